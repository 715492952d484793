package io.github.lockbroker;

/** Interrupts the thread that made it while it works, and not after. */
final class Interruption {
  private final Thread worker = Thread.currentThread();
  private boolean hasEnded;
  private boolean wasGiven;

  /** Interrupts the worker. One that is interrupted already, by the program, stays so. */
  synchronized void interrupt() {
    if (!hasEnded && !worker.isInterrupted()) {
      wasGiven = true;
      worker.interrupt();
    }
  }

  /**
   * Ends the work. Takes the interrupt back that this has given, unless the work has taken it: an
   * interrupt that is there then is the program's. Reports whether this has given one.
   */
  synchronized boolean end(boolean wasTaken) {
    boolean isFirst = !hasEnded;
    hasEnded = true;
    if (isFirst && wasGiven && !wasTaken && Thread.currentThread() == worker) {
      Thread.interrupted();
    }
    return wasGiven;
  }
}
