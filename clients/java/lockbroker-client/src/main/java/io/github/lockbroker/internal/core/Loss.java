package io.github.lockbroker.internal.core;

/** The way in which a lock was lost. */
public enum Loss {
  /** No renewal got through in time, by the broker's clock or by the client's. */
  EXPIRED,
  /** The store no longer has the grant. */
  GONE,
  /** The store has another grant in its place. */
  TAKEN_OVER,
  /** An operator revoked it. */
  REVOKED,
  /** Somebody released it by its lock id. */
  RELEASED
}
