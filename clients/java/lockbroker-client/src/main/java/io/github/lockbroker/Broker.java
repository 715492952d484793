package io.github.lockbroker;

import com.google.common.util.concurrent.ListenableFuture;
import io.github.lockbroker.internal.core.Failure;
import io.github.lockbroker.v1.LockServiceGrpc;
import io.github.lockbroker.v1.LockServiceGrpc.LockServiceFutureStub;
import io.grpc.Context;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Function;

/** One of a client's brokers. */
final class Broker {
  final Endpoint endpoint;
  private final TlsFiles files;
  private final Network network;

  /** The longest time for which a connection is made. */
  private final long within;

  /** The connection for single calls; null if there is none. */
  private CompletableFuture<Connection> current;

  /** There is to be none any more. */
  private boolean isClosed;

  /** A single call has failed. */
  static final class CallFailed extends Exception {
    private static final long serialVersionUID = 1;

    final transient LockBrokerException error;

    /** Another broker may do better. */
    final boolean again;

    CallFailed(LockBrokerException error, boolean again) {
      super(error);
      this.error = error;
      this.again = again;
    }
  }

  Broker(Endpoint endpoint, TlsFiles files, Network network, long within) {
    this.endpoint = endpoint;
    this.files = files;
    this.network = network;
    this.within = within;
  }

  /** Begins to make a new connection. */
  CompletableFuture<Connection> connect() {
    return Dial.begin(network, endpoint, files, within);
  }

  /** Returns the connection for single calls; a new one if the present one stands no more. */
  private synchronized CompletableFuture<Connection> borrow(String lock) throws CallFailed {
    if (isClosed) {
      throw new CallFailed(Failures.closed(lock), false);
    }
    boolean isOver =
        current != null
            && current.isDone()
            && (current.isCompletedExceptionally() || !current.join().isReady());
    if (isOver) {
      drop(current);
    }
    if (current == null) {
      current = connect();
    }
    return current;
  }

  /** Takes a connection out of use. It is closed when the calls on it have ended. */
  private synchronized void drop(CompletableFuture<Connection> used) {
    if (current == used) {
      current = null;
      if (!used.cancel(false) && !used.isCompletedExceptionally()) {
        used.join().closeAfterCalls();
      }
    }
  }

  synchronized void close() {
    isClosed = true;
    if (current != null) {
      drop(current);
    }
  }

  /** Returns a future of the same outcome, which can be cancelled while others wait for that. */
  private static CompletableFuture<Connection> shared(CompletableFuture<Connection> connection) {
    // A copy would wrap a cancellation.
    CompletableFuture<Connection> own = new CompletableFuture<>();
    connection.whenComplete(
        (made, error) -> {
          if (error == null) {
            own.complete(made);
          } else {
            own.completeExceptionally(error);
          }
        });
    return own;
  }

  /** Makes one single call, for no longer than share, in nanoseconds. */
  <T> T call(
      InFlight calls,
      long share,
      String lock,
      Function<LockServiceFutureStub, ListenableFuture<T>> call)
      throws CallFailed, InterruptedException {
    if (calls.hasEnded()) {
      throw new CallFailed(Failures.closed(lock), false);
    }
    Loading.await();
    long end = System.nanoTime() + share;
    CompletableFuture<Connection> connection = borrow(lock);
    CompletableFuture<Connection> own = calls.add(shared(connection));
    ListenableFuture<T> answer = null;
    try {
      var channel = own.get(share, TimeUnit.NANOSECONDS).channel();
      long left = end - System.nanoTime();
      // From ROOT: a call made within another would inherit that one's deadline and its end.
      Context outer = Context.ROOT.attach();
      try {
        var stub = LockServiceGrpc.newFutureStub(channel);
        answer = calls.add(call.apply(stub.withDeadlineAfter(left, TimeUnit.NANOSECONDS)));
      } finally {
        Context.ROOT.detach(outer);
      }
      return answer.get(left, TimeUnit.NANOSECONDS);
    } catch (TimeoutException e) {
      drop(connection);
      throw noAnswer(share, lock, e);
    } catch (CancellationException e) {
      // Another call has given up the connection that both waited for, or the client is closed.
      long left = end - System.nanoTime();
      if (left <= 0 && !calls.hasEnded()) {
        throw noAnswer(share, lock, e);
      }
      return call(calls, left, lock, call);
    } catch (ExecutionException e) {
      if (calls.hasEnded()) {
        throw new CallFailed(Failures.closed(lock), false);
      }
      long late = end - System.nanoTime() <= 0 ? share : 0;
      throw failed(lock, connection, e.getCause(), answer != null, late);
    } finally {
      calls.remove(own);
      if (answer != null) {
        calls.remove(answer);
        answer.cancel(true);
      }
    }
  }

  /** Begins to observe a lock, for that one who waits. */
  ObserveCall observe(String lock) throws CallFailed {
    CompletableFuture<Connection> connection = borrow(lock);
    ObserveCall call = new ObserveCall(this, connection);
    call.begin(shared(connection), lock);
    return call;
  }

  /**
   * Says why a call has failed.
   *
   * @param wasSent the connection stood
   * @param late the time that it was given, in nanoseconds, if that is over; 0 otherwise
   */
  CallFailed failed(
      String lock,
      CompletableFuture<Connection> connection,
      Throwable cause,
      boolean wasSent,
      long late) {
    Failure failure = Wire.toFailure(cause);
    boolean isAway = failure.code() == Failure.Code.UNAVAILABLE || !wasSent;
    if (failure.reason().isEmpty() && isAway) {
      drop(connection);
    }
    if (!failure.reason().isEmpty()) {
      boolean again = !failure.code().isFinal();
      return new CallFailed(Failures.toException(lock, failure, cause), again);
    }
    return late > 0 ? noAnswer(late, lock, cause) : explained(lock, cause, failure);
  }

  /** Says that a call has had no answer in its time, in nanoseconds. */
  CallFailed silent(String lock, CompletableFuture<Connection> connection, long share) {
    drop(connection);
    return noAnswer(share, lock, null);
  }

  private CallFailed noAnswer(long share, String lock, Throwable cause) {
    String within = TimeUnit.NANOSECONDS.toMillis(share) + " ms";
    String text = "no answer from the broker at " + endpoint.name() + " within " + within;
    return new CallFailed(Failures.toException(lock, Failure.unavailable(text), cause), true);
  }

  private CallFailed explained(String lock, Throwable cause, Failure failure) {
    LockBrokerException disagreement = Trouble.disagreement(endpoint, cause);
    if (disagreement != null) {
      return new CallFailed(disagreement.about(lock), true);
    }
    if (failure.code() != Failure.Code.UNAVAILABLE) {
      return new CallFailed(Failures.toException(lock, failure, cause), !failure.code().isFinal());
    }
    String why = Trouble.explain(endpoint, cause).message();
    String text = "no connection to a broker at " + endpoint.name() + ": " + why;
    return new CallFailed(Failures.toException(lock, Failure.unavailable(text), cause), true);
  }
}
