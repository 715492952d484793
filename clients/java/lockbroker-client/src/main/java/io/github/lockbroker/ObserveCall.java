package io.github.lockbroker;

import io.github.lockbroker.internal.Clock;
import io.github.lockbroker.v1.LockServiceGrpc;
import io.github.lockbroker.v1.ObserveRequest;
import io.github.lockbroker.v1.ObserveResponse;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.Context;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Observes a lock at one broker, from the connection on. The network tells it, and one thread
 * reads: the latest message alone is kept.
 */
final class ObserveCall extends ClientCall.Listener<ObserveResponse> {
  private final Broker broker;

  /** The one that was borrowed. */
  private final CompletableFuture<Connection> connection;

  /** Guards what follows. */
  private final ReentrantLock lock = new ReentrantLock();

  private final Condition hasChanged = lock.newCondition();

  /** Null before the connection stands. */
  private ClientCall<ObserveRequest, ObserveResponse> call;

  private boolean isCancelled;
  private boolean isAnswered;

  /** The latest message that nobody has read; null if there is none. */
  private ObserveResponse latest;

  /** The reason for which nothing more comes; null before that. */
  private Throwable end;

  ObserveCall(Broker broker, CompletableFuture<Connection> connection) {
    this.broker = broker;
    this.connection = connection;
  }

  /** Begins the call once the connection stands. */
  void begin(CompletableFuture<Connection> own, String name) {
    own.whenComplete(
        (made, error) -> {
          if (error == null) {
            start(made, ObserveRequest.newBuilder().setName(name).build());
          } else {
            over(error instanceof CompletionException ? error.getCause() : error);
          }
        });
  }

  private void start(Connection made, ObserveRequest request) {
    lock.lock();
    // From ROOT: a call made within another would inherit that one's deadline and its end.
    Context outer = Context.ROOT.attach();
    try {
      if (!isCancelled) {
        call = made.channel().newCall(LockServiceGrpc.getObserveMethod(), CallOptions.DEFAULT);
        call.start(this, new Metadata());
        call.request(1);
        call.sendMessage(request);
        call.halfClose();
      }
    } finally {
      Context.ROOT.detach(outer);
      lock.unlock();
    }
  }

  private void change(Runnable change) {
    lock.lock();
    try {
      change.run();
      hasChanged.signalAll();
    } finally {
      lock.unlock();
    }
  }

  @Override
  public void onHeaders(Metadata headers) {
    change(() -> isAnswered = true);
  }

  @Override
  public void onMessage(ObserveResponse message) {
    change(
        () -> {
          latest = message;
          call.request(1);
        });
  }

  @Override
  public void onClose(Status status, Metadata trailers) {
    Status ended =
        status.isOk() ? Status.UNAVAILABLE.withDescription("the broker ended the stream") : status;
    over(ended.asRuntimeException(trailers));
  }

  private void over(Throwable why) {
    change(() -> end = end == null ? why : end);
  }

  /** Waits until there is something new, or the moment has come. */
  void await(long until) throws InterruptedException {
    lock.lockInterruptibly();
    try {
      long left = Clock.remaining(until);
      while (latest == null && end == null && left > 0 && !isCancelled) {
        boolean wasAnswered = isAnswered;
        left = hasChanged.awaitNanos(left);
        if (isAnswered != wasAnswered) {
          return;
        }
      }
    } finally {
      lock.unlock();
    }
  }

  /** Returns the latest message, if nobody has read it; null otherwise. */
  ObserveResponse take() {
    lock.lock();
    try {
      ObserveResponse taken = latest;
      latest = null;
      return taken;
    } finally {
      lock.unlock();
    }
  }

  /** Reports whether the broker has begun to answer. */
  boolean isAnswered() {
    lock.lock();
    try {
      return isAnswered;
    } finally {
      lock.unlock();
    }
  }

  /** Reports whether nothing more comes. */
  boolean hasEnded() {
    lock.lock();
    try {
      return end != null;
    } finally {
      lock.unlock();
    }
  }

  /** Ends it. */
  void cancel() {
    change(
        () -> {
          isCancelled = true;
          if (call != null) {
            call.cancel("nobody observes any more", null);
          }
        });
  }

  /** Says why there was no answer, within share, in nanoseconds. */
  LockBrokerException failure(String name, long share) {
    Throwable why;
    boolean wasSent;
    lock.lock();
    try {
      why = end;
      wasSent = call != null;
    } finally {
      lock.unlock();
    }
    if (why == null) {
      return broker.silent(name, connection, share).error;
    }
    if (why instanceof CancellationException) {
      // Another call has given up the connection that both waited for.
      long millis = TimeUnit.NANOSECONDS.toMillis(share);
      return Failures.unavailable(name, "no connection within " + millis + " ms");
    }
    return broker.failed(name, connection, why, wasSent, 0).error;
  }
}
