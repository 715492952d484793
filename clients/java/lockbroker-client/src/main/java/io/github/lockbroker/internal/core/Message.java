package io.github.lockbroker.internal.core;

import java.util.List;

/** A message from a broker. */
public sealed interface Message {
  /**
   * The Session is open.
   *
   * @param ttl as granted
   * @param expiresAfter locks granted from now on are valid for this long after Open was sent
   * @param heartbeatInterval the time from one heartbeat to the next; not 0
   */
  record Opened(long ttl, long expiresAfter, long heartbeatInterval) implements Message {}

  /**
   * Acknowledges a heartbeat.
   *
   * @param expiresAfter all locks but those in notRenewed are valid for this long after the
   *     heartbeat was sent
   * @param notRenewed the locks that keep what they had
   */
  record HeartbeatAck(long seq, long expiresAfter, List<Long> notRenewed) implements Message {}

  /** The broker goes away. */
  record Draining() implements Message {}

  /** Something happened to a lock. */
  record LockEvent(long lockRef, Event event) implements Message {}

  /** Says nothing here. It shows that the broker is alive. */
  record Other() implements Message {}

  /** Something that happened to a lock. */
  sealed interface Event {}

  /**
   * The lock is granted, or reattached.
   *
   * @param also the locks that go with it, in the order of {@link LockSpec#also}
   */
  record WasAcquired(LockGrant grant, List<LockGrant> also) implements Event {}

  /** The lock is not granted, or not reattached. */
  record WasRefused(Refusal refusal) implements Event {}

  /** The lock is no longer held. */
  record WasLost(Loss reason) implements Event {}

  /** The lock has been released. */
  record WasReleased() implements Event {}

  /** The broker could not do it. */
  record HasFailed(Failure failure) implements Event {}
}
