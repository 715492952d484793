package io.github.lockbroker.harness;

import static org.junit.jupiter.api.Assertions.fail;

import java.time.Duration;

/** Waits for what must come. */
public final class Eventually {
  /** Longer than anything takes that a test waits for. */
  public static final Duration SOON = Duration.ofSeconds(30);

  private Eventually() {}

  /** Says if something holds. */
  @FunctionalInterface
  public interface Condition {
    /** Looks. */
    boolean holds() throws Exception;
  }

  /** Waits until something holds, and fails if that takes too long. */
  public static void eventually(String what, Condition condition) {
    long begun = System.nanoTime();
    try {
      while (!condition.holds()) {
        if (System.nanoTime() - begun > SOON.toNanos()) {
          fail("not within " + SOON + ": " + what);
        }
        Thread.sleep(10);
      }
    } catch (RuntimeException e) {
      throw e;
    } catch (Exception e) {
      throw new IllegalStateException(what, e);
    }
  }
}
