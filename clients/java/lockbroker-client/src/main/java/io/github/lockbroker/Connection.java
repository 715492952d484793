package io.github.lockbroker;

import io.grpc.ConnectivityState;
import io.grpc.ManagedChannel;

/** A connection to a broker. It is made once: a broken one is thrown away. */
record Connection(ManagedChannel channel) {

  /** Reports whether it still stands. */
  boolean isReady() {
    return channel.getState(false) == ConnectivityState.READY;
  }

  /** Closes it, when the calls on it have ended. */
  void closeAfterCalls() {
    channel.shutdown();
  }

  /** Closes it at once. */
  void close() {
    channel.shutdownNow();
  }
}
