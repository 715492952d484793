package io.github.lockbroker;

/** Waits though the thread is interrupted; then it stays interrupted. */
final class Uninterrupted {
  private Uninterrupted() {}

  /** Work that waits. When it is interrupted, it is begun anew. */
  interface Waiting<T> {
    T run() throws InterruptedException;
  }

  static <T> T run(Waiting<T> waiting) {
    boolean wasInterrupted = false;
    try {
      while (true) {
        try {
          return waiting.run();
        } catch (InterruptedException e) {
          wasInterrupted = true;
        }
      }
    } finally {
      if (wasInterrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }
}
