package io.github.lockbroker;

import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Future;

/** The single calls of one caller that wait for something, so that they can be ended together. */
final class InFlight {
  private final Set<Future<?>> waits = new HashSet<>();
  private boolean hasEnded;

  /** Adds what a call waits for; cancels it if no call is to wait any more. */
  <F extends Future<?>> F add(F wait) {
    synchronized (this) {
      if (!hasEnded) {
        waits.add(wait);
        return wait;
      }
    }
    wait.cancel(true);
    return wait;
  }

  synchronized void remove(Future<?> wait) {
    waits.remove(wait);
  }

  synchronized boolean hasEnded() {
    return hasEnded;
  }

  /** Ends the calls, and all later ones at once. */
  void end() {
    List<Future<?>> ended;
    synchronized (this) {
      hasEnded = true;
      ended = List.copyOf(waits);
    }
    ended.forEach(wait -> wait.cancel(true));
  }
}
