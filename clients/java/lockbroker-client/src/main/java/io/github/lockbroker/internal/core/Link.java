package io.github.lockbroker.internal.core;

import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;

/** One Session stream: what was sent on it, what it covers, and when it has to be heard again. */
final class Link {
  /** The state of a link. It only goes on. */
  enum Phase {
    /** The link takes new locks. There is one such link at most. */
    CURRENT,
    /** It takes no new locks, and stays open until those that it has are elsewhere. */
    RETIRED,
    /** The other side has ended it. What it covered is still what bounds a reattach. */
    ENDED
  }

  /** A lock on a link. */
  record Place(long link, long lockRef) {}

  final long id;

  /** The number of the endpoint. */
  final int endpoint;

  /** The ttl of its locks, as granted. */
  final long ttl;

  final Validity validity;

  Phase phase = Phase.CURRENT;

  /** The keys of the locks that were begun here and have not ended, by their handles. */
  final TreeMap<Long, Long> locks = new TreeMap<>();

  /** The moment of the broker's last message. */
  long heardAt;

  private final long heartbeatInterval;
  private long lastRef;
  private long lastSeq;
  private long nextBeat;

  /** Makes the link of a Session whose Open was sent at sent and has been answered now. */
  Link(long id, int endpoint, long sent, long now, Message.Opened terms) {
    this.id = id;
    this.endpoint = endpoint;
    this.ttl = terms.ttl();
    this.validity = new Validity(sent, Math.max(0, terms.expiresAfter() - notice()));
    this.heartbeatInterval = terms.heartbeatInterval();
    // The validity counts from Open, and so do the heartbeats that carry it on. After an answer
    // that took long, the first would come too late.
    this.nextBeat = Moments.after(sent, terms.heartbeatInterval());
    this.heardAt = now;
  }

  /**
   * Returns how long before the end of its validity a lock counts as lost (docs/safety.md, R6a).
   */
  private long notice() {
    return ttl / 30;
  }

  /** Asks for a lock and returns its place here. */
  Place begin(Lock lock, Request.WaitLeft wait, List<Output> out) {
    lastRef++;
    locks.put(lastRef, lock.key);
    // A reattach names each permit.
    LockSpec spec =
        lock.lockId.isEmpty() || lock.spec.weight() == 1 ? lock.spec : lock.spec.withWeight(1);
    send(new Request.Begin(lastRef, spec, wait, lock.lockId, lock.also), out);
    return new Place(id, lastRef);
  }

  /**
   * Releases a lock or gives up the wait for it. The stream keeps order, so a grant that crosses
   * this is released by it.
   */
  void end(long lockRef, List<Output> out) {
    send(new Request.EndLock(lockRef), out);
  }

  private void send(Request request, List<Output> out) {
    if (isOpen()) {
      out.add(new Output.Send(id, request));
    }
  }

  /** Takes an acknowledgement. */
  void acknowledged(Message.HeartbeatAck ack) {
    long expiresAfter = Math.max(0, ack.expiresAfter() - notice());
    validity.acknowledged(ack.seq(), expiresAfter, ack.notRenewed());
  }

  /** Returns the end of a lock's validity. */
  long until(long lockRef) {
    return validity.until(lockRef);
  }

  boolean isOpen() {
    return phase != Phase.ENDED;
  }

  /** Sends a heartbeat if one is due. */
  void beat(long now, List<Output> out) {
    if (!isOpen() || now < nextBeat) {
      return;
    }
    lastSeq++;
    validity.beat(lastSeq, now);
    send(new Request.Heartbeat(lastSeq), out);
    nextBeat = Moments.after(now, heartbeatInterval);
  }

  /**
   * Returns the moment from which the silence means that something is wrong: half a ttl after the
   * last message. An acknowledgement may take a sixth of the ttl. The rest is for its way.
   */
  private long silentAt() {
    return Moments.after(heardAt, ttl / 2 + ttl / 30);
  }

  /** Reports whether the silence has lasted too long. */
  boolean isSilent(long now) {
    return now >= silentAt();
  }

  /** Returns the moment at which this link has something to do next if no message comes before. */
  long due() {
    long due = locks.isEmpty() ? Moments.NEVER : validity.next();
    if (isOpen()) {
      due = Math.min(due, nextBeat);
    }
    if (phase == Phase.CURRENT) {
      due = Math.min(due, silentAt());
    }
    return due;
  }

  /** Returns the keys of the link's locks, in the order in which they were begun. */
  List<Long> keys() {
    return new ArrayList<>(locks.values());
  }
}
