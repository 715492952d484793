package io.github.lockbroker;

/** The state of a lock, as others see it. */
public enum LockState {
  /** Nobody has it. */
  FREE,
  /** Somebody holds it. If they share it, {@link LockInfo#sharedCount} says how many. */
  HELD,
  /** It was released and nobody can acquire it yet. */
  LINGERING,
  /** It was revoked, and nobody can acquire it until its holder no longer believes in it. */
  REVOKED,
  /**
   * Nobody can tell: no broker answers, or the brokers' store is away, or has lost its memory. The
   * lock may be held as before. Only an {@link Observation} tells this.
   */
  UNKNOWN
}
