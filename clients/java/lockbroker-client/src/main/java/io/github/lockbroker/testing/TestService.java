package io.github.lockbroker.testing;

import com.google.protobuf.Duration;
import io.github.lockbroker.v1.AcquireLeaseRequest;
import io.github.lockbroker.v1.AcquireLeaseResponse;
import io.github.lockbroker.v1.Acquired;
import io.github.lockbroker.v1.GetLockRequest;
import io.github.lockbroker.v1.GetLockResponse;
import io.github.lockbroker.v1.LockServiceGrpc;
import io.github.lockbroker.v1.LockSpec;
import io.github.lockbroker.v1.Lost;
import io.github.lockbroker.v1.ReleaseRequest;
import io.github.lockbroker.v1.ReleaseResponse;
import io.github.lockbroker.v1.RenewLeaseRequest;
import io.github.lockbroker.v1.RenewLeaseResponse;
import io.github.lockbroker.v1.Renewed;
import io.github.lockbroker.v1.SessionRequest;
import io.github.lockbroker.v1.SessionResponse;
import io.grpc.stub.StreamObserver;

/** Answers the calls of a test's broker. */
final class TestService extends LockServiceGrpc.LockServiceImplBase {
  /** The limit of who asks for none. */
  private static final int MAX_PERMITS = 4096;

  private final TestBroker broker;

  TestService(TestBroker broker) {
    this.broker = broker;
  }

  static Duration span(long millis) {
    return Duration.newBuilder()
        .setSeconds(millis / 1000)
        .setNanos((int) (millis % 1000) * 1_000_000)
        .build();
  }

  static long millis(Duration span) {
    return span.getSeconds() * 1000 + span.getNanos() / 1_000_000;
  }

  /** Reads a lock that somebody asks for. */
  static TestLock.Asked asked(TestAsker asker, long ref, LockSpec spec) {
    return new TestLock.Asked(
        asker,
        ref,
        spec.getOwner(),
        millis(spec.getLinger()),
        millis(spec.getMinHold()),
        spec.getOnDisconnect() == LockSpec.OnDisconnect.ON_DISCONNECT_KEEP,
        limit(spec));
  }

  private static int limit(LockSpec spec) {
    if (spec.getMode() != LockSpec.Mode.MODE_SHARED) {
      return 0;
    }
    return spec.getLimit() == 0 ? MAX_PERMITS : spec.getLimit();
  }

  /** Tells of a grant. */
  static Acquired.Builder acquired(TestLock.Grant grant) {
    var told = Acquired.newBuilder().setLockId(grant.id).setFencingToken(grant.token);
    return grant.permit == TestLock.ALONE ? told : told.setPermit(grant.permit);
  }

  @Override
  public void acquireLease(
      AcquireLeaseRequest request, StreamObserver<AcquireLeaseResponse> answers) {
    synchronized (broker) {
      if (!broker.isSilent()) {
        new TestLease(broker, request, answers).begin(request);
      }
    }
  }

  @Override
  public void renewLease(RenewLeaseRequest request, StreamObserver<RenewLeaseResponse> answers) {
    RenewLeaseResponse.Builder answer = RenewLeaseResponse.newBuilder();
    synchronized (broker) {
      TestLock lock = broker.lock(request.getName());
      TestLock.Grant held = lock.named(request.getLockId());
      if (broker.isSilent()) {
        return;
      }
      if (!lock.failures.isEmpty()) {
        answers.onError(TestLease.failure(lock.name, lock.failures.removeFirst()));
        return;
      }
      if (held == null || held.lease == null) {
        boolean isTaken = lock.with(TestLock.ALONE) != null;
        Lost.Reason reason = isTaken ? Lost.Reason.REASON_TAKEN_OVER : Lost.Reason.REASON_GONE;
        answer.setLost(Lost.newBuilder().setReason(reason));
      } else {
        broker.holdFor(lock, held, held.lease.ttlMillis);
        Duration valid = span(held.lease.ttlMillis * 13 / 15);
        answer.setRenewed(Renewed.newBuilder().setExpiresAfterRequest(valid));
      }
    }
    answers.onNext(answer.build());
    answers.onCompleted();
  }

  @Override
  public StreamObserver<SessionRequest> session(StreamObserver<SessionResponse> responses) {
    TestSession session = new TestSession(broker, responses);
    broker.add(session);
    return session;
  }

  @Override
  public void release(ReleaseRequest request, StreamObserver<ReleaseResponse> answers) {
    ReleaseResponse.Outcome outcome;
    synchronized (broker) {
      TestLock lock = broker.lock(request.getName());
      TestLock.Grant held = lock.named(request.getLockId());
      if (lock.holders.isEmpty()) {
        outcome = ReleaseResponse.Outcome.OUTCOME_NOT_HELD;
      } else if (held == null) {
        outcome = ReleaseResponse.Outcome.OUTCOME_HELD_BY_ANOTHER;
      } else {
        outcome = ReleaseResponse.Outcome.OUTCOME_RELEASED;
        if (held.session != null) {
          held.session.released(held.ref);
        }
        broker.release(lock, held);
      }
    }
    answers.onNext(ReleaseResponse.newBuilder().setOutcome(outcome).build());
    answers.onCompleted();
  }

  @Override
  public void getLock(GetLockRequest request, StreamObserver<GetLockResponse> answers) {
    GetLockResponse.Builder answer = GetLockResponse.newBuilder();
    synchronized (broker) {
      TestLock lock = broker.lock(request.getName());
      TestLock.Grant named = lock.named(request.getLockId());
      int ofNamed = named == null ? TestLock.ALONE : named.permit;
      int permit = request.hasPermit() ? request.getPermit() : ofNamed;
      TestLock.Grant held = lock.with(permit);
      boolean isWhole = permit == TestLock.ALONE;
      if (held != null) {
        answer.setState(GetLockResponse.State.STATE_HELD).setOwner(held.owner);
        answer.setFreeWithin(span(broker.ttlMillis())).setFencingToken(held.token);
        if (held == named) {
          answer.setExpiresAfterRequest(span(broker.validityMillis()));
        }
      } else if (isWhole && !lock.holders.isEmpty()) {
        answer.setState(GetLockResponse.State.STATE_HELD);
        answer.setFreeWithin(span(broker.ttlMillis()));
        answer.setSharedCount(request.getLockId().isEmpty() ? lock.holders.size() : 0);
      } else if (lock.lingerMillis(permit) > 0) {
        answer.setState(GetLockResponse.State.STATE_LINGERING);
        answer.setFreeWithin(span(lock.lingerMillis(permit)));
      } else {
        answer.setState(GetLockResponse.State.STATE_FREE);
      }
    }
    answers.onNext(answer.build());
    answers.onCompleted();
  }
}
