package io.github.lockbroker.internal.core;

/** A message to a broker. */
public sealed interface Request {
  /** Opens the Session, with the ttl of the settings. */
  record Open() implements Request {}

  /**
   * Says that the client lives.
   *
   * @param seq rises by one
   */
  record Heartbeat(long seq) implements Request {}

  /**
   * Asks for a lock.
   *
   * @param lockRef rises by one
   * @param waiting null to try once
   * @param reattach null to ask for a new grant
   */
  record Begin(long lockRef, LockSpec spec, WaitLeft waiting, Reattach reattach)
      implements Request {}

  /** Gives up a lock, or the wait for it. */
  record EndLock(long lockRef) implements Request {}

  /**
   * A grant that is reattached, as a broker is told of it.
   *
   * @param validity what is left of the validity of a lock that is kept: for so long it is created
   *     again where memcached has lost it. Null for a lock that is not kept, and for another
   *     client's
   */
  record Reattach(String lockId, Long validity) {}

  /**
   * A wait, as a broker is told of it.
   *
   * @param maxWait the time that is left; null to wait for as long as it takes
   * @param pollInterval as in {@link Wait}
   */
  record WaitLeft(Long maxWait, Long pollInterval) {}
}
