package io.github.lockbroker;

import java.time.Duration;
import java.util.Objects;

/** A property of a lock that is asked for. */
public final class LockOption {
  private final String owner;
  private final Duration linger;

  private LockOption(String owner, Duration linger) {
    this.owner = owner;
    this.linger = linger;
  }

  /**
   * Sets a label that is shown to others who ask for the lock.
   *
   * @param label up to 128 bytes without control characters. Default: the client's
   * @return the option
   */
  public static LockOption owner(String label) {
    return new LockOption(Objects.requireNonNull(label), null);
  }

  /**
   * Sets the time after the release for which nobody can acquire the lock.
   *
   * @param linger up to 1 h, to the millisecond. Default: 0
   * @return the option
   */
  public static LockOption linger(Duration linger) {
    return new LockOption(null, Objects.requireNonNull(linger));
  }

  /** Returns the label; null if this is another option. */
  String owner() {
    return owner;
  }

  /** Returns the linger; null if this is another option. */
  Duration linger() {
    return linger;
  }
}
