package io.github.lockbroker.internal.core;

import java.util.List;
import java.util.function.DoubleSupplier;

/** Makes links: it knows at which endpoint the next one is tried, when, and for how long. */
public final class Dialer {
  /**
   * The longest time that a new connection and its Session may take to answer; less where several
   * brokers share the time.
   */
  private static final long LONGEST_DIAL = 3 * Moments.SECOND;

  /** The longest pause between two dials. */
  private static final long MOST_BETWEEN_DIALS = 2 * Moments.SECOND;

  private enum State {
    /** There is no dial. */
    IDLE,
    /** The connection is being made. */
    CONNECTING,
    /** Open was sent. */
    OPENING
  }

  private State state = State.IDLE;

  /** The dial under way: its link, its endpoint, and when it has failed. */
  private long link;

  private int at;
  private long until;

  /** The moment at which Open was sent, in OPENING. */
  private long sent;

  /** The longest time of one dial. */
  private final long within;

  /** The endpoint to try next. */
  private int endpoint;

  private final int endpoints;
  private long lastLink;

  /** The earliest moment of the next dial. */
  private long next;

  /** The dials since a heartbeat was acknowledged. */
  private int tries;

  /** Says how a dial ended. */
  record Done(int endpoint, long sent) {}

  Dialer(int endpoints, long answerTimeout, long now) {
    this.within = dialTime(answerTimeout, endpoints);
    this.endpoints = endpoints;
    this.next = now;
  }

  /** Returns how long one dial may take if an answer may take that long. */
  public static long dialTime(long answerTimeout, int endpoints) {
    return Math.min(answerTimeout / endpoints, LONGEST_DIAL);
  }

  /** Returns the endpoint to try next. */
  int endpoint() {
    return endpoint;
  }

  boolean isIdle() {
    return state == State.IDLE;
  }

  /** Reports whether that link is being dialled. */
  boolean isDialling(long link) {
    return state != State.IDLE && this.link == link;
  }

  /** Dials if it is time. */
  void dial(long now, DoubleSupplier chance, List<Output> out) {
    if (state != State.IDLE || now < next) {
      return;
    }
    next = Moments.after(now, Pause.after(tries, MOST_BETWEEN_DIALS, chance.getAsDouble()));
    tries++;
    state = State.CONNECTING;
    link = ++lastLink;
    at = endpoint;
    until = Moments.after(now, within);
    out.add(new Output.Dial(link, at));
  }

  /** Opens the Session on a connection that stands, unless it comes too late. */
  void connected(long link, long now, List<Output> out) {
    if (state == State.CONNECTING && this.link == link) {
      state = State.OPENING;
      sent = now;
      out.add(new Output.Send(link, new Request.Open()));
    }
  }

  /** Takes the dial as done; null if there is no such dial. */
  Done opened(long link) {
    if (state != State.OPENING || this.link != link) {
      return null;
    }
    state = State.IDLE;
    return new Done(at, sent);
  }

  /** Takes the dial as failed; null if there is no such dial. */
  Done failed(long link) {
    if (!isDialling(link)) {
      return null;
    }
    state = State.IDLE;
    turnFrom(at);
    return new Done(at, 0);
  }

  /** Returns the link whose dial has taken too long; 0 if none has. */
  long late(long now) {
    return state == State.IDLE || until > now ? 0 : link;
  }

  /** Returns why a dial has failed that has taken too long. */
  Failure lateFailure() {
    return Failure.unavailable("no broker answered within " + within / Moments.MILLISECOND + " ms");
  }

  /** Turns from an endpoint that was of no use to the next, unless it has been turned from. */
  void turnFrom(int from) {
    if (endpoint == from) {
      endpoint = (from + 1) % endpoints;
    }
  }

  /** Starts the pauses over: a broker renews what it has granted. */
  void startOver(long now) {
    tries = 0;
    next = now;
  }

  /** Returns the moment at which a dial is late, or the next one may be made if it is needed. */
  long due(boolean needed) {
    if (state != State.IDLE) {
      return until;
    }
    return needed ? next : Moments.NEVER;
  }
}
