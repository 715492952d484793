package io.github.lockbroker;

import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;

/** Calls back once at most, and not after its close. */
final class Callback implements OnLost {
  private final Hold hold;
  private final Consumer<? super LostReason> callback;

  /** Is locked while the callback runs. Its own thread may close it. */
  private final ReentrantLock running = new ReentrantLock();

  private boolean isClosed;

  Callback(Hold hold, Consumer<? super LostReason> callback) {
    this.hold = hold;
    this.callback = callback;
  }

  void call(LostReason reason) {
    running.lock();
    try {
      if (!isClosed) {
        isClosed = true;
        callback.accept(reason);
      }
    } finally {
      running.unlock();
    }
  }

  @Override
  public void close() {
    hold.forget(this);
    running.lock();
    isClosed = true;
    running.unlock();
  }
}
