package io.github.lockbroker;

/** Interrupts a thread while it works, and not after. */
final class Interruption {
  private final Thread worker;
  private boolean hasEnded;
  private boolean isInterrupted;

  Interruption(Thread worker) {
    this.worker = worker;
  }

  synchronized void interrupt() {
    if (!hasEnded) {
      isInterrupted = true;
      worker.interrupt();
    }
  }

  /** Ends the work: takes an interrupt back that the work has not taken. */
  synchronized void end() {
    hasEnded = true;
    if (isInterrupted) {
      Thread.interrupted();
    }
  }
}
