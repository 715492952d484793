package io.github.lockbroker;

import com.google.protobuf.ByteString;
import io.github.lockbroker.internal.Clock;
import io.github.lockbroker.internal.core.Core;
import io.github.lockbroker.internal.core.Moments;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import java.util.function.Supplier;

/** The state that a guard shares with the session. */
final class Hold {
  final String name;

  /** Guards what follows. It is no monitor, since reading the clock would pin a virtual thread. */
  private final ReentrantLock lock = new ReentrantLock();

  private final Condition hasChanged = lock.newCondition();
  private Core.HeldLock held;

  /** The reason for which the holder may not act any more; null while it may. */
  private LockBrokerException ended;

  /** The way in which the lock was lost; null if it was not. */
  private LostReason lost;

  /** The value that it was given last; null if it has that with which it was asked for. */
  private ByteString value;

  /** The reason for which it is held alone, though it was to be shared; null if there is none. */
  private LockBrokerException notShared;

  /** Is held by who brings brokers the value. */
  final ReentrantLock updating = new ReentrantLock();

  /** The callbacks that wait for a loss, each with the threads that run it. */
  private final Map<Callback, Executor> onLost = new LinkedHashMap<>();

  /** Completed when the session is done with the lock, with what the release threw, or null. */
  private final CompletableFuture<LockBrokerException> done = new CompletableFuture<>();

  Hold(String name, Core.HeldLock held) {
    this.name = name;
    this.held = held;
  }

  /** Does something under the lock, and marks a lock that has run out as lost first. */
  private <T> T locked(Supplier<T> work) {
    lock.lock();
    try {
      if (ended == null && Clock.hasPassed(held.until())) {
        loseNow(LostReason.EXPIRED);
      }
      return work.get();
    } finally {
      lock.unlock();
    }
  }

  /**
   * Returns what is known of the lock. First it marks a lock that has run out as lost, so that
   * nothing later can revive it.
   */
  Core.HeldLock look() {
    return locked(() -> held);
  }

  /** Notes the value that the lock is to have. */
  void give(ByteString value) {
    locked(() -> this.value = value);
  }

  /** Returns the value that the lock was given last; null if it was given none. */
  ByteString value() {
    return locked(() -> value);
  }

  /** Returns why the holder may not act; null if it may. */
  LockBrokerException ended() {
    return locked(() -> ended);
  }

  /**
   * Takes what the core knows of the lock by now. It is false if that comes too late: the holder
   * has been told that the lock is lost.
   */
  boolean publish(Core.HeldLock held) {
    return locked(
        () -> {
          if (ended != null) {
            return lost == null;
          }
          this.held = held;
          hasChanged.signalAll();
          return true;
        });
  }

  /** Ends the hold as lost. A release that is under way finds the loss, too. */
  void lose(LostReason reason) {
    locked(
        () -> {
          loseNow(reason);
          return null;
        });
  }

  private void loseNow(LostReason reason) {
    if (lost != null) {
      return;
    }
    lost = reason;
    if (ended == null) {
      ended = new LostException(name, reason);
      onLost.forEach((callback, threads) -> threads.execute(() -> callback.call(reason)));
    }
    onLost.clear();
    hasChanged.signalAll();
  }

  /** Ends the hold by the holder's own will. */
  void finish(LockBrokerException why) {
    locked(
        () -> {
          if (ended == null) {
            ended = why;
            onLost.clear();
            hasChanged.signalAll();
          }
          return null;
        });
  }

  /** Says that the session is done with the lock: it has been released, if error is null. */
  void over(LockBrokerException error) {
    finish(error == null ? Failures.released(name) : error);
    done.complete(locked(() -> lost != null ? new LostException(name, lost) : error));
  }

  /**
   * Waits until the lock's stream is not broken any more, or the lock has ended, or that many
   * nanoseconds have passed. Returns what was known of the lock at that moment.
   */
  Core.HeldLock awaitReattach(long within) throws InterruptedException {
    long end = Moments.after(Clock.now(), within);
    lock.lockInterruptibly();
    try {
      while (ended() == null && held.isBroken() && !Clock.hasPassed(end)) {
        long left = Clock.remaining(Math.min(end, held.until()));
        hasChanged.awaitNanos(Math.max(left, Moments.MILLISECOND));
      }
      return held;
    } finally {
      lock.unlock();
    }
  }

  /** Forgets why the lock could not be shared before. */
  void wantToShare() {
    locked(() -> notShared = null);
  }

  /** Says why the lock is held alone, as before. */
  void refuseToShare(LockBrokerException why) {
    locked(
        () -> {
          notShared = why;
          hasChanged.signalAll();
          return null;
        });
  }

  /**
   * Waits until the lock is shared. Throws if it is held alone, as before, or has ended. Returns
   * false if that many nanoseconds have passed.
   */
  boolean awaitShared(long within) throws InterruptedException {
    long end = Moments.after(Clock.now(), within);
    lock.lockInterruptibly();
    try {
      while (true) {
        LockBrokerException why = ended() == null ? notShared : ended;
        if (why != null) {
          throw why.about(name);
        }
        if (held.permit() != null || Clock.hasPassed(end)) {
          return held.permit() != null;
        }
        long left = Clock.remaining(Math.min(end, held.until()));
        hasChanged.awaitNanos(Math.max(left, Moments.MILLISECOND));
      }
    } finally {
      lock.unlock();
    }
  }

  /** Waits until the session is done with the lock. Returns what the release is to throw. */
  LockBrokerException await() {
    return done.join();
  }

  /** Calls back in threads when the lock is lost; soon if it is lost already. */
  Callback onLost(Executor threads, Consumer<? super LostReason> callback) {
    Callback made = new Callback(this, callback);
    return locked(
        () -> {
          if (ended == null) {
            onLost.put(made, threads);
          } else if (ended instanceof LostException loss) {
            threads.execute(() -> made.call(loss.reason()));
          }
          return made;
        });
  }

  /** Calls that callback no more. */
  void forget(Callback callback) {
    locked(() -> onLost.remove(callback));
  }
}
