package io.github.lockbroker;

import com.google.common.util.concurrent.ListenableFuture;
import io.github.lockbroker.internal.core.Dialer;
import io.github.lockbroker.v1.LockServiceGrpc.LockServiceFutureStub;
import io.github.lockbroker.v1.ReleaseRequest;
import io.github.lockbroker.v1.ReleaseResponse;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Function;

/** The brokers of a client, which are asked in turn; at least one. */
final class Brokers {
  private final List<Broker> all;

  /** The calls of users, and those by which the session releases locks: these end last. */
  private final InFlight calls = new InFlight();

  private final InFlight releases = new InFlight();

  /** The one to ask next. */
  private final AtomicInteger next = new AtomicInteger();

  /** The longest time that an answer may take, of all of them together; nanoseconds. */
  private final long answerTimeout;

  Brokers(List<Endpoint> endpoints, TlsFiles files, Network network, long answerTimeout) {
    this.answerTimeout = answerTimeout;
    long within = Dialer.dialTime(answerTimeout, endpoints.size());
    this.all =
        endpoints.stream().map(endpoint -> new Broker(endpoint, files, network, within)).toList();
  }

  Broker get(int endpoint) {
    return all.get(endpoint);
  }

  int size() {
    return all.size();
  }

  /** Returns the longest time that one of them may take to answer, in nanoseconds. */
  long share() {
    return answerTimeout / all.size();
  }

  /** Returns the longest time that an answer may take, of all of them together; nanoseconds. */
  long answerTimeout() {
    return answerTimeout;
  }

  /** Returns the calls of users. */
  InFlight calls() {
    return calls;
  }

  /** Returns the calls that release locks, which end last. */
  InFlight releases() {
    return releases;
  }

  /** Returns the endpoints, for people. */
  List<String> names() {
    return all.stream().map(broker -> broker.endpoint.name()).toList();
  }

  /**
   * Turns from a broker that was of no use to the next, unless somebody else has turned from it.
   */
  void turnFrom(int endpoint) {
    next.compareAndSet(endpoint, (endpoint + 1) % all.size());
  }

  /** Returns the number of the one to ask next. */
  int next() {
    return next.get();
  }

  /** Makes a single call of a user, at each broker in turn until one answers. */
  <T> T call(String lock, Function<LockServiceFutureStub, ListenableFuture<T>> call)
      throws InterruptedException {
    return call(calls, lock, call);
  }

  private <T> T call(
      InFlight scope, String lock, Function<LockServiceFutureStub, ListenableFuture<T>> call)
      throws InterruptedException {
    LockBrokerException error = null;
    for (int tries = 0; tries < all.size(); tries++) {
      int at = next.get();
      try {
        return all.get(at).call(scope, share(), lock, call);
      } catch (Broker.CallFailed failed) {
        error = failed.error;
        if (!failed.again) {
          break;
        }
        turnFrom(at);
      }
    }
    throw error;
  }

  /** Calls Release for a user. It is bounded by the answer timeout. */
  ReleaseOutcome release(String name, String lockId) throws InterruptedException {
    return release(calls, name, lockId);
  }

  /** Calls Release for the session, until {@link #close}. */
  ReleaseOutcome releaseForSession(String name, String lockId) throws InterruptedException {
    return release(releases, name, lockId);
  }

  private ReleaseOutcome release(InFlight scope, String name, String lockId)
      throws InterruptedException {
    return release(call -> call(scope, name, call), name, lockId);
  }

  /** A way to make a call of Release. */
  interface Releasing {
    ReleaseResponse call(Function<LockServiceFutureStub, ListenableFuture<ReleaseResponse>> call)
        throws InterruptedException;
  }

  /** Calls Release in some way. */
  ReleaseOutcome release(Releasing way, String name, String lockId) throws InterruptedException {
    var request = ReleaseRequest.newBuilder().setName(name).setLockId(lockId).build();
    ReleaseResponse answer = way.call(stub -> stub.release(request));
    return switch (answer.getOutcome()) {
      case OUTCOME_RELEASED -> ReleaseOutcome.RELEASED;
      case OUTCOME_NOT_HELD -> ReleaseOutcome.NOT_HELD;
      case OUTCOME_HELD_BY_ANOTHER -> ReleaseOutcome.HELD_BY_ANOTHER;
      default -> throw Failures.unexpected(name, "a release without an outcome");
    };
  }

  /** Ends the calls of users. */
  void endCalls() {
    calls.end();
  }

  void close() {
    calls.end();
    releases.end();
    all.forEach(Broker::close);
  }
}
