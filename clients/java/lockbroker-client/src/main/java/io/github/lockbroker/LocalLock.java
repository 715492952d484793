package io.github.lockbroker;

import io.github.lockbroker.internal.core.Moments;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.Lock;
import java.util.concurrent.locks.ReentrantLock;

/** A lock that belongs to a thread, on top of one that does not. */
final class LocalLock implements Lock {
  private final LockBroker client;
  private final LocalLocks locks;
  private final String name;

  /** Counts for each thread, and keeps the others of this program in line. */
  private final ReentrantLock mutex = new ReentrantLock();

  /** Null unless the mutex is locked. */
  private HeldLock held;

  /** Asks for the lock. */
  private interface Ask {
    HeldLock lock() throws InterruptedException;
  }

  /** Checks a lock that is held, once it has been reattached. */
  private interface Check {
    void of(HeldLock held) throws InterruptedException;
  }

  LocalLock(LockBroker client, LocalLocks locks, String name) {
    this.client = client;
    this.locks = locks;
    this.name = name;
  }

  String name() {
    return name;
  }

  @Override
  public void lock() {
    mutex.lock();
    enterUninterruptibly(Wait.forever());
  }

  @Override
  public void lockInterruptibly() throws InterruptedException {
    mutex.lockInterruptibly();
    enter(() -> client.lock(name), held -> held.check(Moments.NEVER));
  }

  @Override
  public boolean tryLock() {
    if (!mutex.tryLock()) {
      return false;
    }
    try {
      enterUninterruptibly(null);
      return true;
    } catch (NotAcquiredException e) {
      return false;
    }
  }

  @Override
  public boolean tryLock(long time, TimeUnit unit) throws InterruptedException {
    long begun = System.nanoTime();
    if (!mutex.tryLock(time, unit)) {
      return false;
    }
    long left = Math.max(0, unit.toNanos(time) - (System.nanoTime() - begun));
    try {
      enter(() -> client.lock(name, Wait.atMost(Duration.ofNanos(left))), held -> held.check(left));
      return true;
    } catch (NotAcquiredException e) {
      return false;
    }
  }

  private void enterUninterruptibly(Wait wait) {
    long within = wait == null ? 0 : Moments.NEVER;
    try {
      enter(
          () -> client.lockUninterruptibly(name, wait), held -> checkUninterruptibly(held, within));
    } catch (InterruptedException e) {
      throw new AssertionError("not interruptible", e);
    }
  }

  /** Checks a lock, and waits for its reattach though the thread is interrupted. */
  private static void checkUninterruptibly(HeldLock held, long within) {
    Uninterrupted.run(
        () -> {
          held.check(within);
          return null;
        });
  }

  /**
   * Takes the lock for a mutex that has just been locked, or makes sure that it is still held. If
   * not, unlocks the mutex once.
   */
  private void enter(Ask ask, Check check) throws InterruptedException {
    boolean isEntered = false;
    try {
      if (mutex.getHoldCount() > 1) {
        check.of(held);
      } else {
        held = ask.lock();
        locks.locked.add(this);
      }
      isEntered = true;
    } finally {
      if (!isEntered) {
        mutex.unlock();
      }
    }
  }

  @Override
  public void unlock() {
    if (!mutex.isHeldByCurrentThread()) {
      throw new IllegalMonitorStateException("lock \"" + name + "\" is not locked by this thread");
    }
    try {
      if (mutex.getHoldCount() == 1) {
        HeldLock over = held;
        held = null;
        locks.locked.remove(this);
        over.close();
      }
    } finally {
      mutex.unlock();
    }
  }

  @Override
  public Condition newCondition() {
    throw new UnsupportedOperationException("a lock of lockbroker has no conditions");
  }

  @Override
  public String toString() {
    return "lock \"" + name + "\" of lockbroker" + (mutex.isLocked() ? ", locked" : ", unlocked");
  }
}
