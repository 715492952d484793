package io.github.lockbroker.shedlock;

import io.github.lockbroker.HeldLock;
import io.github.lockbroker.LockBrokerException;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import net.javacrumbs.shedlock.core.AbstractSimpleLock;
import net.javacrumbs.shedlock.core.LockConfiguration;
import net.javacrumbs.shedlock.core.SimpleLock;

/** A lock for a time. Its end is a task of the timer: whoever cancels that has the lock. */
final class Lease extends AbstractSimpleLock {
  private static final System.Logger LOGGER = System.getLogger("io.github.lockbroker.shedlock");

  /** A time longer than anybody needs, and short enough to be added to any moment. */
  private static final Duration LONGEST = Duration.ofDays(36_500);

  private final HeldLock lock;
  private final ScheduledExecutorService timer;

  /** The moment from which the lock may be released, by System.nanoTime(). */
  private final long leastUntil;

  private final ScheduledFuture<?> end;

  Lease(LockConfiguration configuration, HeldLock lock, ScheduledExecutorService timer) {
    super(configuration);
    this.lock = lock;
    this.timer = timer;
    this.leastUntil = System.nanoTime() + nanos(configuration.getLockAtLeastFor());
    this.end = later(nanos(configuration.getLockAtMostFor()));
  }

  /** Returns nanoseconds; what is longer than a century counts as that. */
  private static long nanos(Duration span) {
    return (span.compareTo(LONGEST) > 0 ? LONGEST : span).toNanos();
  }

  private ScheduledFuture<?> later(long nanos) {
    return timer.schedule(this::release, nanos, TimeUnit.NANOSECONDS);
  }

  /** Releases the lock when nobody waits for the outcome. */
  private void release() {
    try {
      lock.close();
    } catch (LockBrokerException e) {
      LOGGER.log(Level.WARNING, e.getMessage());
    }
  }

  @Override
  protected void doUnlock() {
    if (!end.cancel(false)) {
      // Its time is over, and it has been released.
      return;
    }
    long left = leastUntil - System.nanoTime();
    boolean isLost = lock.expiresIn().isZero();
    if (left > 0 && !isLost) {
      later(left);
    } else {
      // It throws if the lock is lost.
      lock.close();
    }
  }

  @Override
  protected Optional<SimpleLock> doExtend(LockConfiguration configuration) {
    boolean isHeld = lock.remaining().compareTo(Duration.ZERO) > 0;
    if (!isHeld || !end.cancel(false)) {
      return Optional.empty();
    }
    return Optional.of(new Lease(configuration, lock, timer));
  }
}
