package io.github.lockbroker;

import java.util.ArrayDeque;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/** Events for one thread. Each that is taken in is run, or it is said that it is not. */
final class Events {
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition isNotEmpty = lock.newCondition();
  private final ArrayDeque<Runnable> queue = new ArrayDeque<>();
  private boolean hasEnded;

  /** Queues an event, and does not wait for it. It is false if no more are run. */
  boolean tell(Runnable event) {
    lock.lock();
    try {
      if (!hasEnded) {
        queue.add(event);
        isNotEmpty.signal();
      }
      return !hasEnded;
    } finally {
      lock.unlock();
    }
  }

  /** Returns the next event; null if none comes within that many nanoseconds. */
  Runnable take(long within) throws InterruptedException {
    lock.lock();
    try {
      for (long left = within; queue.isEmpty() && left > 0; ) {
        left = isNotEmpty.awaitNanos(Math.min(left, TimeUnit.DAYS.toNanos(1)));
        left = within == Long.MAX_VALUE ? within : left;
      }
      return queue.poll();
    } finally {
      lock.unlock();
    }
  }

  /** Takes no more events, and runs those that were taken in. */
  void end() {
    lock.lock();
    try {
      hasEnded = true;
    } finally {
      lock.unlock();
    }
    // Nobody else adds to it or takes from it any more.
    for (Runnable event; (event = queue.poll()) != null; ) {
      event.run();
    }
  }
}
