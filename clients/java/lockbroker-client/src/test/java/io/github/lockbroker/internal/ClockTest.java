package io.github.lockbroker.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.lockbroker.internal.core.Moments;
import org.junit.jupiter.api.Test;

class ClockTest {
  private static final long SECOND = Moments.SECOND;
  private static final long MS = Moments.MILLISECOND;

  @Test
  void suspendsAreFound() {
    Clock.Suspends suspends = new Clock.Suspends(0);
    assertEquals(0, suspends.add(0));
    long first = suspends.add(20 * SECOND);
    assertTrue(first >= 20 * SECOND && first < 21 * SECOND);
    assertEquals(first, suspends.add(20 * SECOND));
  }

  /** An hour that the time of day is set back must not hide the suspends of an hour. */
  @Test
  void aClockThatIsSetBackHidesNoLaterSuspend() {
    Clock.Suspends suspends = new Clock.Suspends(0);
    assertEquals(0, suspends.add(-3600 * SECOND));
    long total = suspends.add(-3590 * SECOND);
    assertTrue(total >= 10 * SECOND && total < 11 * SECOND, total + " ns");
  }

  @Test
  void aClockThatIsReadUnevenlyDoesNotRun() {
    Clock.Suspends suspends = new Clock.Suspends(0);
    for (int time = 0; time < 1000; time++) {
      suspends.add(time % 2 * 20 * MS - 10 * MS);
    }
    assertTrue(suspends.add(0) <= 20 * MS);
  }
}
