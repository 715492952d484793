package io.github.lockbroker;

import com.google.common.util.concurrent.ListenableFuture;
import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.internal.Clock;
import io.github.lockbroker.internal.core.Moments;
import io.github.lockbroker.v1.LockServiceGrpc.LockServiceFutureStub;
import java.time.Duration;
import java.util.function.Function;

/**
 * A call that is made again, at one broker after the other, until one answers or the time is over.
 * It is for calls that a broker takes for the same one when they come again.
 */
final class Repeated {
  /** The pause after each broker has been asked in vain, if a broker says no other one. */
  private static final Duration PAUSE = Duration.ofMillis(100);

  private static final Duration LONGEST_PAUSE = Duration.ofMillis(250);

  private final Brokers brokers;
  private final InFlight scope;
  private final String lock;

  /** The moment after which nothing is sent any more. */
  private final long until;

  /** The moment until which a broker may let the call wait. */
  private final long waitsUntil;

  /** The moment until which it goes on though each broker has said that it cannot. */
  private final long patientUntil;

  /** A request was sent perhaps, and nobody knows what became of it. */
  private boolean hasLostAnAnswer;

  /** The number of brokers in a row that have said that they cannot. */
  private int refused;

  private Repeated(
      Brokers brokers,
      InFlight scope,
      String lock,
      long until,
      long waitsUntil,
      long patientUntil) {
    this.brokers = brokers;
    this.scope = scope;
    this.lock = lock;
    this.until = until;
    this.waitsUntil = waitsUntil;
    this.patientUntil = patientUntil;
  }

  /** Prepares a call that may wait at a broker. */
  static Repeated waiting(
      Brokers brokers, InFlight scope, String lock, long until, long waitsUntil) {
    return new Repeated(brokers, scope, lock, until, waitsUntil, waitsUntil);
  }

  /** Prepares a call that goes on until its end if there is nobody who can do it. */
  static Repeated patient(Brokers brokers, InFlight scope, String lock, long until) {
    return new Repeated(brokers, scope, lock, until, 0, until);
  }

  boolean hasLostAnAnswer() {
    return hasLostAnAnswer;
  }

  /** Makes the call. */
  <T> T call(Function<LockServiceFutureStub, ListenableFuture<T>> call)
      throws InterruptedException {
    for (int tries = 1; ; tries++) {
      long now = Clock.now();
      long patience = brokers.share() + Moments.since(waitsUntil, now);
      long within = Math.max(Math.min(patience, until - now), Moments.MILLISECOND);
      int at = brokers.next();
      try {
        return brokers.get(at).call(scope, within, lock, call);
      } catch (Broker.CallFailed failed) {
        if (isOver(failed)) {
          throw failed.error;
        }
        brokers.turnFrom(at);
        if (tries % brokers.size() == 0) {
          Duration pause = failed.error.retryAfter().orElse(PAUSE);
          Thread.sleep((pause.compareTo(LONGEST_PAUSE) < 0 ? pause : LONGEST_PAUSE).toMillis());
        }
      }
    }
  }

  /** Reports whether there is no sense in another try. */
  private boolean isOver(Broker.CallFailed failed) {
    if (!failed.again || Clock.hasPassed(until)) {
      return true;
    }
    Kind kind = failed.error.kind();
    boolean isBrokersWord = !failed.error.errorReason().isEmpty();
    if (!isBrokersWord && (kind == Kind.UNAVAILABLE || kind == Kind.UNEXPECTED)) {
      hasLostAnAnswer = true;
      refused = 0;
      return false;
    }
    refused++;
    boolean canWait = kind == Kind.UNAVAILABLE && !Clock.hasPassed(patientUntil);
    return refused >= brokers.size() && !canWait && !hasLostAnAnswer;
  }
}
