package io.github.lockbroker.internal.core;

import java.util.Objects;

/**
 * A lock that is asked for.
 *
 * @param linger null for the broker's default
 * @param owner the label that others see; empty for none
 * @param minHold the time after the grant for which nobody else can acquire it; null for none
 * @param isKept it is kept until its validity is over when its stream ends, however that ends. Each
 *     reattach says so anew
 */
public record LockSpec(String name, Long linger, String owner, Long minHold, boolean isKept) {
  /** Refuses null here, in the caller's thread: no message can carry it. */
  public LockSpec {
    Objects.requireNonNull(name);
    Objects.requireNonNull(owner);
  }

  /** Makes one that has no minHold and is not kept. */
  public LockSpec(String name, Long linger, String owner) {
    this(name, linger, owner, null, false);
  }

  public LockSpec withLinger(long linger) {
    return new LockSpec(name, linger, owner, minHold, isKept);
  }

  public LockSpec withOwner(String owner) {
    return new LockSpec(name, linger, owner, minHold, isKept);
  }

  public LockSpec withMinHold(long minHold) {
    return new LockSpec(name, linger, owner, minHold, isKept);
  }

  /** Returns the same that is kept. */
  public LockSpec kept() {
    return new LockSpec(name, linger, owner, minHold, true);
  }
}
