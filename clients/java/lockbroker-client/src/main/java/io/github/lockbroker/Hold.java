package io.github.lockbroker;

import io.github.lockbroker.internal.Clock;
import io.github.lockbroker.internal.core.Core;
import io.github.lockbroker.internal.core.Moments;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** The state that a guard shares with the session. */
final class Hold {
  final String name;

  /** Runs the callbacks, so that they may wait for whatever they like. */
  private final Executor threads;

  private Core.HeldLock held;

  /** Why the holder may not act any more; null while it may. */
  private LockBrokerException ended;

  /** How the lock was lost; null if it was not. */
  private LostReason lost;

  private List<Consumer<? super LostReason>> onLost = new ArrayList<>();

  /** Completed when the session is done with the lock, with what the release threw, or null. */
  private final CompletableFuture<LockBrokerException> done = new CompletableFuture<>();

  Hold(String name, Core.HeldLock held, Executor threads) {
    this.name = name;
    this.held = held;
    this.threads = threads;
  }

  /**
   * Returns what is known of the lock. First it marks a lock that has run out as lost, so that
   * nothing later can revive it.
   */
  synchronized Core.HeldLock look() {
    runOut();
    return held;
  }

  /** Returns why the holder may not act; null if it may. */
  synchronized LockBrokerException ended() {
    runOut();
    return ended;
  }

  private void runOut() {
    if (ended == null && Clock.hasPassed(held.until())) {
      lose(LostReason.EXPIRED);
    }
  }

  /**
   * Takes what the core knows of the lock by now. It is false if that comes too late: the holder
   * has been told that the lock is lost.
   */
  synchronized boolean publish(Core.HeldLock held) {
    runOut();
    if (ended != null) {
      return lost == null;
    }
    this.held = held;
    notifyAll();
    return true;
  }

  /** Ends the hold as lost. A release that is under way finds the loss, too. */
  synchronized void lose(LostReason reason) {
    if (lost != null) {
      return;
    }
    lost = reason;
    if (ended == null) {
      ended = new LostException(name, reason);
      onLost.forEach(callback -> threads.execute(() -> callback.accept(reason)));
    }
    onLost = List.of();
    notifyAll();
  }

  /** Ends the hold by the holder's own will. */
  synchronized void finish(LockBrokerException why) {
    runOut();
    if (ended == null) {
      ended = why;
      onLost = List.of();
      notifyAll();
    }
  }

  /** Says that the session is done with the lock: it has been released, if error is null. */
  synchronized void over(LockBrokerException error) {
    finish(error == null ? Failures.released(name) : error);
    done.complete(error == null && lost != null ? new LostException(name, lost) : error);
  }

  /**
   * Waits until the lock's stream is not broken any more, or the lock has ended, or that many
   * nanoseconds have passed.
   */
  synchronized void awaitReattach(long within) throws InterruptedException {
    long end = Moments.after(Clock.now(), within);
    while (ended() == null && held.isBroken() && !Clock.hasPassed(end)) {
      long left = Clock.remaining(Math.min(end, held.until()));
      TimeUnit.NANOSECONDS.timedWait(this, Math.max(left, Moments.MILLISECOND));
    }
  }

  /** Waits until the session is done with the lock. Returns what the release is to throw. */
  LockBrokerException await() {
    return done.join();
  }

  /** Calls callback when the lock is lost; soon if it is lost already. */
  synchronized void onLost(Consumer<? super LostReason> callback) {
    runOut();
    if (ended == null) {
      onLost.add(callback);
    } else if (ended instanceof LostException loss) {
      threads.execute(() -> callback.accept(loss.why()));
    }
  }
}
