package io.github.lockbroker;

import java.time.Duration;
import java.util.Objects;

/** The way to wait for a lock. */
public final class Wait {
  private static final Wait FOREVER = new Wait(null, null);

  private final Duration limit;
  private final Duration pollInterval;

  private Wait(Duration limit, Duration pollInterval) {
    this.limit = limit;
    this.pollInterval = pollInterval;
  }

  /**
   * Waits until the lock is granted or the thread is interrupted.
   *
   * @return the wait
   */
  public static Wait forever() {
    return FOREVER;
  }

  /**
   * Waits for that long at most, exact to 50 ms, or to 150 ms while the store is slow. What is
   * longer than 136 years counts as that.
   *
   * @param limit the longest wait; 0 or less asks once, and then the exception says who has it
   * @return the wait
   */
  public static Wait atMost(Duration limit) {
    return new Wait(Objects.requireNonNull(limit), null);
  }

  /**
   * Sets the least time between two of the broker's polls for a lock that another broker holds.
   *
   * @param interval 1 ms to 1 h. Default: the broker's choice
   * @return a wait with that interval
   */
  public Wait pollingEvery(Duration interval) {
    return new Wait(limit, Objects.requireNonNull(interval));
  }

  /** Returns the longest wait; null for none. */
  Duration limit() {
    return limit;
  }

  /** Returns the interval; null for the broker's choice. */
  Duration pollInterval() {
    return pollInterval;
  }

  @Override
  public String toString() {
    return limit == null ? "forever" : "at most " + limit;
  }
}
