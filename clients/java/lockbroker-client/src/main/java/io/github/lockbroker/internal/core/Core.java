package io.github.lockbroker.internal.core;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.TreeMap;
import java.util.function.DoubleSupplier;

/**
 * The client's half of the protocol, without I/O: what has happened goes in with the moment at
 * which it did, and what is to be done comes out. It knows no stream, no thread and no clock.
 *
 * <p>One link is current and takes new locks. Others are on their way out: they drain, are silent,
 * or have ended. A link on its way out stays, and sends heartbeats, until each of its locks has
 * been reattached elsewhere or has run out, because closing it would release them. {@link Lock} has
 * the life of a single lock.
 */
public final class Core {
  /**
   * The longest pause before a broker is asked again for what it could not do. Within an old
   * validity there is not much time to be polite.
   */
  private static final long ASK_AGAIN = 250 * Moments.MILLISECOND;

  /** The time that a broker's answer may still take when a wait is over. */
  private static final long GRACE = Moments.SECOND;

  /** The interval at which to check if there is a broker, when a wait is over. */
  private static final long CHECK_INTERVAL = 50 * Moments.MILLISECOND;

  /**
   * Is told to the core once.
   *
   * @param endpoints as people name them; at least one
   * @param answerTimeout the longest time that an answer may take beyond a wait
   */
  public record Settings(List<String> endpoints, long answerTimeout) {}

  /**
   * A held lock, as its holder may believe in it.
   *
   * @param also the ids of the locks that are held together with it
   * @param permit null for a lock that is not shared
   * @param until the end of its validity
   * @param isBroken its stream has ended against the client's will. The broker may have taken that
   *     for the client's end, so until only bounds a reattach.
   */
  public record HeldLock(
      String lockId, List<String> also, Integer permit, long ttl, long until, boolean isBroken) {
    /** Makes one that is held alone. */
    public HeldLock(String lockId, long ttl, long until, boolean isBroken) {
      this(lockId, List.of(), null, ttl, until, isBroken);
    }
  }

  private final Settings settings;
  private final DoubleSupplier chance;
  private final TreeMap<Long, Lock> locks = new TreeMap<>();
  private final Links links = new Links();
  private final Dialer dialer;
  private final Elsewhere elsewhere = new Elsewhere();
  private final Calls calls = new Calls();

  /** The reasons for which there is no session with each endpoint; null if there is none. */
  private final String[] troubles;

  /** The number of dials in a row that failed in a way in which they would fail again. */
  private int refused;

  /** The moment at which to ask again for what a broker has failed to do. */
  private long askAt = Moments.NEVER;

  /** Makes a core. chance gives random numbers from 0 up to 1. */
  public Core(Settings settings, DoubleSupplier chance, long now) {
    this.settings = settings;
    this.chance = chance;
    this.dialer = new Dialer(settings.endpoints.size(), settings.answerTimeout, now);
    this.troubles = new String[settings.endpoints.size()];
  }

  /**
   * Takes what has happened by now, and returns what is to be done. What time has ended comes
   * before the input: a message that is read too late revives nothing.
   */
  public List<Output> handle(long now, Input input) {
    List<Output> out = new ArrayList<>();
    // But a broker whose message waited here for long is not silent.
    if (input instanceof Input.Received received) {
      Link link = links.get(received.link());
      if (link != null) {
        link.heardAt = now;
      }
    }
    keepTime(now, out);
    if (input instanceof Input.Acquire acquire) {
      acquire(acquire, now, out);
    } else if (input instanceof Input.End end) {
      end(end.key(), now, out);
    } else if (input instanceof Input.NewValue given) {
      Lock lock = locks.get(given.key());
      // One that was asked for without a value has none: a reattach must not bring one that was
      // refused.
      if (lock != null && lock.spec.value() != null) {
        lock.spec = lock.spec.withValue(given.value());
      }
    } else if (input instanceof Input.Share share) {
      Lock lock = locks.get(share.key());
      if (lock != null) {
        step(lock, lock.share(share.limit()), now, out);
      }
    } else if (input instanceof Input.Dialled dialled) {
      if (dialled.failure() == null) {
        dialer.connected(dialled.link(), now, out);
      } else {
        dialFailed(dialled.link(), dialled.failure(), now, out);
      }
    } else if (input instanceof Input.Received received) {
      message(received.link(), received.message(), now, out);
    } else if (input instanceof Input.Ended ended) {
      ended(ended.link(), ended.failure(), now, out);
    } else if (input instanceof Input.ReleasedElsewhere released) {
      elsewhere.ended(released.key(), released.failure(), now, chance, out);
    }
    if (needsLink()) {
      dialer.dial(now, chance, out);
    }
    hangUp(out);
    return out;
  }

  /** Returns the moment at which to come back if nothing happens before; never if there is none. */
  public long due() {
    long due = Math.min(dialer.due(needsLink()), elsewhere.due());
    due = Math.min(due, Math.min(askAt, calls.due()));
    for (Link link : links.all) {
      due = Math.min(due, link.due());
    }
    return due;
  }

  /** Returns a lock that is held and not given up; null otherwise. */
  public HeldLock held(long key) {
    Lock lock = locks.get(key);
    if (lock == null || (lock.state != Lock.State.HELD && lock.state != Lock.State.MOVING)) {
      return null;
    }
    Link link = links.get(lock.home.link());
    if (link == null) {
      return null;
    }
    long until = link.until(lock.home.lockRef());
    return new HeldLock(lock.lockId, lock.also, lock.permit, link.ttl, until, !link.isOpen());
  }

  /** Returns the number of the endpoint to try next. */
  public int nextEndpoint() {
    return dialer.endpoint();
  }

  /** Reports whether there is nothing left to hold, to ask for or to release. */
  public boolean isEmpty() {
    return locks.isEmpty() && elsewhere.isEmpty();
  }

  /** Returns the state of a lock, by its name in the vectors; null if it has ended. */
  public String state(long key) {
    if (elsewhere.has(key)) {
      return "releasing_elsewhere";
    }
    Lock lock = locks.get(key);
    return lock == null ? null : lock.state.name().toLowerCase(Locale.ROOT);
  }

  private boolean needsLink() {
    return dialer.isIdle() && !locks.isEmpty() && links.current() == null;
  }

  private void acquire(Input.Acquire input, long now, List<Output> out) {
    long answerBy = Moments.after(now, settings.answerTimeout);
    if (input.waiting() == null) {
      calls.add(input.key(), answerBy, answerBy);
    } else if (input.waiting().until() != null) {
      // A broker ends the wait itself. One that is being connected to gets the time that a call
      // without a wait has.
      long until = input.waiting().until();
      calls.add(input.key(), until, Math.max(answerBy, Moments.after(until, GRACE)));
    }
    locks.put(input.key(), new Lock(input));
    ask(input.key(), now, out);
  }

  /** Does what a transition of a lock leaves to be done. */
  private void step(Lock lock, Lock.Next left, long now, List<Output> out) {
    if (left instanceof Lock.Gone || !lock.isPending()) {
      calls.remove(lock.key);
    }
    if (left instanceof Lock.Gone) {
      locks.remove(lock.key);
    } else if (left instanceof Lock.Ask) {
      ask(lock.key, now, out);
    } else if (left instanceof Lock.AskLater later) {
      long pause = later.after() == null ? ASK_AGAIN : Math.min(ASK_AGAIN, later.after());
      // The earlier moment stands: others that fail must not put it off again and again.
      askAt = Math.min(askAt, Moments.after(now, pause));
    } else if (left instanceof Lock.Retire retire) {
      retire(retire.link(), false, now, out);
    } else if (left instanceof Lock.ReleaseElsewhere release) {
      locks.remove(lock.key);
      elsewhere.begin(lock, release.until(), out);
    }
  }

  /** Gives up a lock, or the wait for it. */
  private void end(long key, long now, List<Output> out) {
    Lock lock = locks.get(key);
    if (lock != null) {
      step(lock, lock.end(links, now, out), now, out);
    }
  }

  /** Asks the current link, if there is one, for a lock that is wanted, or for a reattach. */
  private void ask(long key, long now, List<Output> out) {
    Link link = links.current();
    Lock lock = locks.get(key);
    if (link != null && lock != null) {
      lock.place(link, now, out);
    }
  }

  /** Asks the current link for all that it does not know yet, in the order of the wanting. */
  private void askAll(long now, List<Output> out) {
    Link link = links.current();
    if (link != null) {
      locks.values().forEach(lock -> lock.place(link, now, out));
    }
  }

  private void dialFailed(long link, Failure failure, long now, List<Output> out) {
    Dialer.Done dial = dialer.failed(link);
    if (dial == null) {
      return;
    }
    refused = failure.code().isFinal() ? refused + 1 : 0;
    troubled(dial.endpoint(), failure.message());
    // Another broker may take what one refuses.
    if (refused < settings.endpoints.size()) {
      return;
    }
    for (long key : new ArrayList<>(locks.keySet())) {
      if (locks.get(key).isPending()) {
        fail(key, failure, now, out);
      }
    }
  }

  /** Notes why there is no session with an endpoint. */
  private void troubled(int endpoint, String why) {
    troubles[endpoint] = why.isEmpty() ? "it gives no reason" : why;
  }

  /** Ends a call by a failure. */
  private void fail(long key, Failure failure, long now, List<Output> out) {
    end(key, now, out);
    out.add(new Output.Failed(key, failure));
  }

  private void message(long id, Message message, long now, List<Output> out) {
    if (message instanceof Message.Opened opened) {
      opened(id, opened, now, out);
      return;
    }
    Link link = links.get(id);
    if (link == null) {
      notOpened(id, now, out);
      return;
    }
    if (message instanceof Message.HeartbeatAck ack) {
      link.acknowledged(ack);
      dialer.startOver(now);
    } else if (message instanceof Message.Draining) {
      retire(id, true, now, out);
    } else if (message instanceof Message.LockEvent event) {
      // Ignores what is said of a lock that has moved on or was given up.
      Long key = link.locks.get(event.lockRef());
      Lock lock = key == null ? null : locks.get(key);
      if (lock != null) {
        Link.Place at = new Link.Place(id, event.lockRef());
        step(lock, lock.event(at, event.event(), links, now, out), now, out);
      }
    }
  }

  private void opened(long id, Message.Opened terms, long now, List<Output> out) {
    Dialer.Done dial = dialer.opened(id);
    if (dial == null) {
      return;
    }
    Arrays.fill(troubles, null);
    refused = 0;
    links.all.add(new Link(id, dial.endpoint(), dial.sent(), now, terms));
    askAll(now, out);
  }

  /** Hangs up on a broker that says something else before Opened. */
  private void notOpened(long id, long now, List<Output> out) {
    if (dialer.isDialling(id)) {
      out.add(new Output.Hangup(id));
      String why = "the Session did not begin with `opened`";
      dialFailed(id, new Failure(Failure.Code.INTERNAL, why, "", null), now, out);
    }
  }

  private void ended(long id, Failure failure, long now, List<Output> out) {
    Link link = links.get(id);
    if (link == null) {
      dialFailed(id, failure, now, out);
      return;
    }
    boolean wasCurrent = link.phase == Link.Phase.CURRENT;
    link.phase = Link.Phase.ENDED;
    if (wasCurrent) {
      troubled(link.endpoint, failure.message());
      dialer.turnFrom(link.endpoint);
    }
    leave(link, false, now, out);
  }

  /**
   * Takes a link out of use: what is wanted or held there moves to the next. answers says whether
   * releases that were asked for on it are still answered there.
   */
  private void retire(long id, boolean answers, long now, List<Output> out) {
    Link link = links.get(id);
    if (link == null) {
      return;
    }
    if (link.phase == Link.Phase.CURRENT) {
      link.phase = Link.Phase.RETIRED;
      dialer.turnFrom(link.endpoint);
    }
    leave(link, answers, now, out);
  }

  private void leave(Link link, boolean answers, long now, List<Output> out) {
    for (long key : link.keys()) {
      Lock lock = locks.get(key);
      if (lock != null) {
        step(lock, lock.leave(link.id, answers, links, now, out), now, out);
      }
    }
    askAll(now, out);
  }

  /** Does what it is time for. */
  private void keepTime(long now, List<Output> out) {
    links.all.forEach(link -> runOut(link, now, out));
    elsewhere.keepTime(now, out);
    long late = dialer.late(now);
    if (late != 0) {
      out.add(new Output.Hangup(late));
      dialFailed(late, dialer.lateFailure(), now, out);
    }
    for (Link link : links.all) {
      if (link.phase == Link.Phase.CURRENT && link.isSilent(now)) {
        troubled(link.endpoint, "the broker is silent");
        retire(link.id, false, now, out);
      }
    }
    if (askAt <= now) {
      askAt = Moments.NEVER;
      askAll(now, out);
    }
    giveUp(now, out);
    links.all.forEach(link -> link.beat(now, out));
  }

  /** Loses what has run out on a link. */
  private void runOut(Link link, long now, List<Output> out) {
    Validity.RunOut over = link.validity.runOut(now);
    if (over == null) {
      return;
    }
    List<Long> keys =
        over.all()
            ? link.keys()
            : over.some().stream().map(link.locks::get).filter(Objects::nonNull).toList();
    for (long key : keys) {
      Lock lock = locks.get(key);
      if (lock != null && !lock.isPending() && lock.home.link() == link.id) {
        step(lock, lock.lose(Loss.EXPIRED, links, out), now, out);
      }
    }
  }

  /** Ends the calls that have no answer in time. */
  private void giveUp(long now, List<Output> out) {
    for (Calls.Call call = calls.first();
        call != null && call.check() <= now;
        call = calls.first()) {
      boolean noBroker = Arrays.stream(troubles).anyMatch(Objects::nonNull);
      if (noBroker || call.atMost() <= now) {
        calls.remove(call.key());
        fail(call.key(), Failure.unavailable(whyNoAnswer()), now, out);
      } else {
        // Trouble may become known at any time.
        calls.postpone(call, Math.min(Moments.after(now, CHECK_INTERVAL), call.atMost()));
      }
    }
  }

  /** Returns why no broker has answered: the troubles with each, as far as they are known. */
  private String whyNoAnswer() {
    List<String> told = new ArrayList<>();
    for (int at = 0; at < troubles.length; at++) {
      if (troubles[at] != null) {
        told.add("no session with a broker at " + settings.endpoints.get(at) + ": " + troubles[at]);
      }
    }
    if (told.isEmpty()) {
      return "no answer from the broker at "
          + String.join(", ", settings.endpoints)
          + " within "
          + settings.answerTimeout / Moments.MILLISECOND
          + " ms";
    }
    return String.join("; ", told);
  }

  /** Closes the links that are out of use and have no lock left. */
  private void hangUp(List<Output> out) {
    links.all.removeIf(
        link -> {
          boolean isOver = link.phase != Link.Phase.CURRENT && link.locks.isEmpty();
          if (isOver && link.isOpen()) {
            out.add(new Output.Hangup(link.id));
          }
          return isOver;
        });
  }
}
