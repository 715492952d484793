package io.github.lockbroker.testing;

import com.google.protobuf.Duration;
import io.github.lockbroker.v1.GetLockRequest;
import io.github.lockbroker.v1.GetLockResponse;
import io.github.lockbroker.v1.LockServiceGrpc;
import io.github.lockbroker.v1.ReleaseRequest;
import io.github.lockbroker.v1.ReleaseResponse;
import io.github.lockbroker.v1.SessionRequest;
import io.github.lockbroker.v1.SessionResponse;
import io.grpc.stub.StreamObserver;

/** Answers the calls of a test's broker. */
final class TestService extends LockServiceGrpc.LockServiceImplBase {
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
      if (lock.holder == null) {
        outcome = ReleaseResponse.Outcome.OUTCOME_NOT_HELD;
      } else if (!lock.holder.id.equals(request.getLockId())) {
        outcome = ReleaseResponse.Outcome.OUTCOME_HELD_BY_ANOTHER;
      } else {
        outcome = ReleaseResponse.Outcome.OUTCOME_RELEASED;
        if (lock.holder.session != null) {
          lock.holder.session.released(lock.holder.ref);
        }
        broker.release(lock);
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
      if (lock.holder != null) {
        answer.setState(GetLockResponse.State.STATE_HELD).setOwner(lock.holder.owner);
        answer.setFreeWithin(span(broker.ttlMillis())).setFencingToken(lock.holder.token);
        if (lock.holder.id.equals(request.getLockId())) {
          answer.setExpiresAfterRequest(span(broker.validityMillis()));
        }
      } else if (lock.lingerMillis() > 0) {
        answer.setState(GetLockResponse.State.STATE_LINGERING);
        answer.setFreeWithin(span(lock.lingerMillis()));
      } else {
        answer.setState(GetLockResponse.State.STATE_FREE);
      }
    }
    answers.onNext(answer.build());
    answers.onCompleted();
  }
}
