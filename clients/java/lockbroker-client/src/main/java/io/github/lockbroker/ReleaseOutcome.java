package io.github.lockbroker;

/** The effect of {@link LockBroker#release}. */
public enum ReleaseOutcome {
  /** The call ended the grant. */
  RELEASED,
  /** Nothing was done, for nobody holds the lock. */
  NOT_HELD,
  /** Nothing was done, for somebody else holds the lock. */
  HELD_BY_ANOTHER
}
