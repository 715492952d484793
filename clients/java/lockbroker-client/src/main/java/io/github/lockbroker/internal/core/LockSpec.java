package io.github.lockbroker.internal.core;

import java.util.Objects;

/**
 * A lock that is asked for.
 *
 * @param linger null for the broker's default
 * @param owner the label that others see; empty for none
 */
public record LockSpec(String name, Long linger, String owner) {
  /** Refuses null here, in the caller's thread: no message can carry it. */
  public LockSpec {
    Objects.requireNonNull(name);
    Objects.requireNonNull(owner);
  }
}
