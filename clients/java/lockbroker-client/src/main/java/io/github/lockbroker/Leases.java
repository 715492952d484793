package io.github.lockbroker;

import com.google.common.util.concurrent.ListenableFuture;
import io.github.lockbroker.internal.Clock;
import io.github.lockbroker.internal.core.Core;
import io.github.lockbroker.internal.core.LockSpec;
import io.github.lockbroker.internal.core.Moments;
import io.github.lockbroker.v1.AcquireLeaseRequest;
import io.github.lockbroker.v1.AcquireLeaseResponse;
import io.github.lockbroker.v1.Acquired;
import io.github.lockbroker.v1.LockServiceGrpc.LockServiceFutureStub;
import io.github.lockbroker.v1.NotAcquired;
import io.github.lockbroker.v1.RenewLeaseRequest;
import io.github.lockbroker.v1.RenewLeaseResponse;
import io.github.lockbroker.v1.Renewed;
import io.github.lockbroker.v1.WaitSpec;
import java.lang.System.Logger.Level;
import java.util.OptionalLong;
import java.util.UUID;
import java.util.concurrent.ExecutionException;

/** Acquires, renews and releases leases by single calls. */
final class Leases {
  /** By so much less than its ttl a broker counts a lease. */
  private static final long LESS = 2 * Moments.SECOND;

  private final Brokers brokers;
  private final Network network;
  private final long answerTimeout;

  /**
   * A lease that is asked for.
   *
   * @param ttl null for the broker's default
   * @param waiting the longest wait; 0 for none
   */
  record Terms(LockSpec spec, Long ttl, long waiting) {}

  Leases(Brokers brokers, Network network, long answerTimeout) {
    this.brokers = brokers;
    this.network = network;
    this.answerTimeout = answerTimeout;
  }

  /** A request that was sent, and when. */
  private record Sent(long at, ListenableFuture<AcquireLeaseResponse> answer) {}

  /** One call for a lease, which may be sent several times: its request id stays the same. */
  private final class Asking {
    final Terms terms;
    final String id = UUID.randomUUID().toString();
    final long waitsUntil;

    /** The latest; null before the first. */
    Sent sent;

    Asking(Terms terms) {
      this.terms = terms;
      this.waitsUntil = Moments.after(Clock.now(), terms.waiting());
    }

    ListenableFuture<AcquireLeaseResponse> send(LockServiceFutureStub stub) {
      var request =
          AcquireLeaseRequest.newBuilder().setLock(Wire.toSpec(terms.spec())).setRequestId(id);
      if (terms.ttl() != null) {
        request.setTtl(Wire.span(terms.ttl()));
      }
      long now = Clock.now();
      if (terms.waiting() > 0) {
        long left = Moments.since(waitsUntil, now);
        request.setWait(WaitSpec.newBuilder().setMaxWait(Wire.span(left)));
      }
      ListenableFuture<AcquireLeaseResponse> answer = stub.acquireLease(request.build());
      sent = new Sent(now, answer);
      return answer;
    }

    Lease call() throws InterruptedException {
      String name = terms.spec().name();
      long until = Moments.after(waitsUntil, answerTimeout);
      long waits = terms.waiting() > 0 ? waitsUntil : 0;
      try {
        var repeated = Repeated.waiting(brokers, brokers.calls(), name, until, waits);
        return read(terms, repeated.call(this::send), sent.at());
      } catch (InterruptedException | LockBrokerException e) {
        // An answer may have crossed it.
        releaseIfGranted(name, sent);
        throw e;
      }
    }
  }

  /** Asks for a lease. */
  Lease acquire(Terms terms) throws InterruptedException {
    if (Thread.interrupted()) {
      throw new InterruptedException();
    }
    return new Asking(terms).call();
  }

  /** Reads an answer to a request that was sent at a moment. */
  private Lease read(Terms terms, AcquireLeaseResponse answer, long sent) {
    String name = terms.spec().name();
    if (answer.hasNotAcquired()) {
      NotAcquired refused = answer.getNotAcquired();
      NotAcquiredReason reason =
          switch (refused.getReason()) {
            case REASON_HELD -> NotAcquiredReason.HELD;
            case REASON_LINGERING -> NotAcquiredReason.LINGERING;
            case REASON_MAX_WAIT -> NotAcquiredReason.MAX_WAIT;
            default ->
                throw Failures.unexpected(name, "no lease, for a reason that is not known here");
          };
      throw new NotAcquiredException(name, reason, refused.getOwner());
    }
    Acquired acquired = answer.getAcquired();
    Long valid = Wire.nanos(acquired.hasExpiresAfterRequest(), acquired.getExpiresAfterRequest());
    if (!answer.hasAcquired() || valid == null) {
      throw Failures.unexpected(name, "a lease without its validity");
    }
    long until = until(sent, valid, terms.ttl(), Clock.now());
    if (Clock.hasPassed(until)) {
      throw Failures.unavailable(name, "the answer came when the lease had run out");
    }
    Hold hold = hold(name, acquired.getLockId(), terms.ttl(), until);
    OptionalLong token = OptionalLong.of(acquired.getFencingToken());
    return new Lease(this, hold, token, Wire.toPermit(acquired), terms.ttl());
  }

  private static Hold hold(String name, String lockId, Long ttl, long until) {
    return new Hold(name, new Core.HeldLock(lockId, ttl == null ? 0 : ttl, until, false));
  }

  /**
   * Returns the end of a validity that counts from a moment. It is earlier by what the holder needs
   * to stop, and by what Java's clock may be wrong: a thirtieth of the ttl each, as with locks.
   *
   * <p>Where the ttl is not known, it is what the broker has just counted from. That is less than
   * expiresAfter, which has the wait in it.
   */
  static long until(long sent, long expiresAfter, Long ttl, long now) {
    long told = Moments.after(sent, expiresAfter);
    long counted = ttl == null ? Moments.since(told, now) + LESS : ttl;
    return Math.max(sent, told - 2 * (counted / 30));
  }

  /** Releases what an answer has granted that nobody waits for. */
  private void releaseIfGranted(String name, Sent sent) {
    if (sent == null || !sent.answer().isDone() || sent.answer().isCancelled()) {
      return;
    }
    try {
      AcquireLeaseResponse answer = sent.answer().get();
      if (answer.hasAcquired()) {
        releaseAtAll(name, answer.getAcquired().getLockId());
      }
    } catch (InterruptedException | ExecutionException e) {
      // It has failed, and granted nothing.
      return;
    }
  }

  /** Renews a lease of somebody else's, and so becomes its holder. */
  Lease adopt(String name, String lockId) throws InterruptedException {
    long until = renew(name, lockId, null);
    return new Lease(this, hold(name, lockId, null, until), OptionalLong.empty(), null, null);
  }

  /**
   * Renews a lease, and returns the new end of its validity; ttl is null if it is not known.
   *
   * @throws LostException if a broker says so
   */
  long renew(String name, String lockId, Long ttl) throws InterruptedException {
    var request = RenewLeaseRequest.newBuilder().setName(name).setLockId(lockId).build();
    long[] sent = new long[1];
    RenewLeaseResponse answer =
        brokers.call(
            name,
            stub -> {
              sent[0] = Clock.now();
              return stub.renewLease(request);
            });
    if (answer.hasLost()) {
      throw new LostException(name, Wire.toLostReason(answer.getLost()));
    }
    Renewed renewed = answer.getRenewed();
    Long valid = Wire.nanos(renewed.hasExpiresAfterRequest(), renewed.getExpiresAfterRequest());
    if (!answer.hasRenewed() || valid == null) {
      throw Failures.unexpected(name, "a renewal without its validity");
    }
    return until(sent[0], valid, ttl, Clock.now());
  }

  /** Releases a lease whose holder has given it up, and tells the hold of the outcome. */
  void release(Hold hold, Core.HeldLock held) {
    if (hold.ended() instanceof LostException) {
      // By the broker's clock it may stand for a while yet.
      releaseAtAll(hold.name, held.lockId());
      hold.over(null);
      return;
    }
    network.releases.execute(() -> hold.over(releaseUntilItEnds(hold, held)));
  }

  /** Releases a lease until it has run out. Returns what went wrong; null if it is released. */
  private LockBrokerException releaseUntilItEnds(Hold hold, Core.HeldLock held) {
    long until = Math.max(held.until(), Moments.after(Clock.now(), brokers.share()));
    var repeated = Repeated.patient(brokers, brokers.releases(), hold.name, until);
    try {
      ReleaseOutcome outcome = brokers.release(repeated::call, hold.name, held.lockId());
      // If there was a call whose answer is lost, it was that one perhaps.
      if (outcome != ReleaseOutcome.RELEASED && !repeated.hasLostAnAnswer()) {
        boolean isGone = outcome == ReleaseOutcome.NOT_HELD;
        hold.lose(isGone ? LostReason.GONE : LostReason.TAKEN_OVER);
      }
      return null;
    } catch (LockBrokerException e) {
      return e;
    } catch (InterruptedException e) {
      // Nobody interrupts this thread but the end of the client.
      return Failures.unavailable(hold.name, "interrupted");
    }
  }

  /** Releases a lease that nobody uses. If that fails, it runs out. */
  void releaseAtAll(String name, String lockId) {
    network.releases.execute(
        () -> {
          try {
            brokers.releaseForSession(name, lockId);
          } catch (LockBrokerException | InterruptedException e) {
            Session.LOGGER.log(Level.DEBUG, "releasing a lease: {0}", e.getMessage());
          }
        });
  }
}
