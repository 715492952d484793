package io.github.lockbroker.internal.core;

import java.util.List;

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
   * @param reattach the lock id to reattach; empty for none
   * @param reattachAlso those of the locks that go with it: of {@link LockSpec#also}, or more
   *     permits of the same lock; empty for none
   */
  record Begin(
      long lockRef, LockSpec spec, WaitLeft waiting, String reattach, List<String> reattachAlso)
      implements Request {}

  /** Gives up a lock, or the wait for it. */
  record EndLock(long lockRef) implements Request {}

  /**
   * A wait, as a broker is told of it.
   *
   * @param maxWait the time that is left; null to wait for as long as it takes
   * @param pollInterval as in {@link Wait}
   */
  record WaitLeft(Long maxWait, Long pollInterval) {}
}
