package io.github.lockbroker.internal.core;

/** Reckons the pause before another try. */
public final class Pause {
  /** The shortest pause. */
  private static final long LEAST = 50 * Moments.MILLISECOND;

  private Pause() {}

  /**
   * Returns the pause after that many tries: twice as long each time, up to most. A random half of
   * it is spared, so that clients do not try in step; chance is that randomness, from 0 up to 1.
   */
  public static long after(int tries, long most, double chance) {
    long whole = Math.min(LEAST << Math.min(tries, 16), most);
    return whole / 2 + Math.round(whole / 2 * Math.min(Math.max(chance, 0), 1));
  }
}
