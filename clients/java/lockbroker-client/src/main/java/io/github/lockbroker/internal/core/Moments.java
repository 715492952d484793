package io.github.lockbroker.internal.core;

/** Reckons with moments: nanoseconds on the lease clock since the process began to read it. */
public final class Moments {
  /** Is later than every moment that is read. */
  public static final long NEVER = Long.MAX_VALUE;

  public static final long MILLISECOND = 1_000_000;
  public static final long SECOND = 1_000 * MILLISECOND;

  private Moments() {}

  /** Returns the moment that is later by span. It stops at the end of what the clock can show. */
  public static long after(long moment, long span) {
    return span > 0 && moment > NEVER - span ? NEVER : moment + span;
  }

  /** Returns the time from earlier to moment; 0 if earlier is the later one. */
  public static long since(long moment, long earlier) {
    return Math.max(0, moment - earlier);
  }
}
