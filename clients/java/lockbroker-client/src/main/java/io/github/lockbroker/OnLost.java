package io.github.lockbroker;

/**
 * A callback that waits for the loss of a lock, or an interrupt that does. It is the result of
 * {@link HeldLock#onLost} and {@link HeldLock#interruptOnLoss}.
 */
public interface OnLost extends AutoCloseable {
  /**
   * Ends the waiting. Once this has returned, the callback or the interrupt does not come any more.
   * If the callback runs at this moment in another thread, waits for its end. It may be called
   * again.
   */
  @Override
  void close();
}
