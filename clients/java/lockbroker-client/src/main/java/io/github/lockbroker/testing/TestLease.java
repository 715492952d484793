package io.github.lockbroker.testing;

import com.google.protobuf.Any;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import com.google.rpc.Status;
import io.github.lockbroker.LostReason;
import io.github.lockbroker.v1.AcquireLeaseRequest;
import io.github.lockbroker.v1.AcquireLeaseResponse;
import io.github.lockbroker.v1.Acquired;
import io.github.lockbroker.v1.NotAcquired;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.util.OptionalInt;

/** A call for a lease at a test's broker, whose monitor guards it. */
final class TestLease implements TestAsker {
  private final TestBroker broker;
  private final StreamObserver<AcquireLeaseResponse> answers;

  /** That of the lease; the call's name, so that it can be made again. */
  final long ttlMillis;

  final String requestId;

  TestLease(
      TestBroker broker,
      AcquireLeaseRequest request,
      StreamObserver<AcquireLeaseResponse> answers) {
    this.broker = broker;
    this.answers = answers;
    this.requestId = request.getRequestId();
    this.ttlMillis = request.hasTtl() ? TestService.millis(request.getTtl()) : broker.ttlMillis();
  }

  /** Returns the statuses of a call that fails for a reason. */
  static StatusRuntimeException failure(String name, String reason) {
    var info = ErrorInfo.newBuilder().setReason(reason).setDomain("lockbroker");
    info.putMetadata("lock", name);
    var retry =
        RetryInfo.newBuilder().setRetryDelay(TestService.span(TestSession.RETRY_MILLIS)).build();
    return StatusProto.toStatusRuntimeException(
        Status.newBuilder()
            .setCode(TestSession.status(reason).value())
            .setMessage("as the test wants it")
            .addDetails(Any.pack(info.build()))
            .addDetails(Any.pack(retry))
            .build());
  }

  void begin(AcquireLeaseRequest request) {
    TestLock lock = broker.lock(request.getLock().getName());
    if (!lock.failures.isEmpty()) {
      answers.onError(failure(lock.name, lock.failures.removeFirst()));
      return;
    }
    TestLock.Grant before =
        lock.find(grant -> grant.lease != null && grant.lease.isCalled(requestId));
    if (before != null) {
      acquired(lock, before);
      return;
    }
    TestLock.Asked asked = TestService.asked(this, 0, request.getLock());
    long wait = TestService.millis(request.getWait().getMaxWait());
    OptionalInt permit = lock.freeForNew(asked);
    if (permit.isPresent()) {
      broker.grant(lock, asked, permit.getAsInt());
    } else if (wait > 0) {
      queue(lock, asked, wait);
    } else {
      refuse(0, lock.refusal(asked), lock.owner());
    }
  }

  private boolean isCalled(String id) {
    return !id.isEmpty() && requestId.equals(id);
  }

  private void queue(TestLock lock, TestLock.Asked asked, long wait) {
    lock.waiters.add(asked);
    broker.later(
        wait,
        () -> {
          if (lock.waiters.remove(asked)) {
            refuse(0, NotAcquired.Reason.REASON_MAX_WAIT, lock.owner());
            broker.grantNext(lock);
          }
        });
    if (answers instanceof ServerCallStreamObserver<AcquireLeaseResponse> call) {
      call.setOnCancelHandler(
          () -> {
            synchronized (broker) {
              lock.waiters.remove(asked);
              broker.grantNext(lock);
            }
          });
    }
    // It may be that nobody has it and it lingers.
    broker.grantNext(lock);
  }

  @Override
  public void acquired(TestLock lock, TestLock.Grant grant) {
    grant.lease = this;
    broker.holdFor(lock, grant, ttlMillis);
    Acquired.Builder acquired = TestService.acquired(grant);
    acquired.setExpiresAfterRequest(TestService.span(ttlMillis * 13 / 15));
    answer(AcquireLeaseResponse.newBuilder().setAcquired(acquired));
  }

  @Override
  public void refuse(long ref, NotAcquired.Reason reason, String owner) {
    var refused = NotAcquired.newBuilder().setReason(reason).setOwner(owner);
    answer(AcquireLeaseResponse.newBuilder().setNotAcquired(refused));
  }

  private void answer(AcquireLeaseResponse.Builder answer) {
    answers.onNext(answer.build());
    answers.onCompleted();
  }

  @Override
  public void lost(long ref, LostReason reason) {
    // Nobody is told who has no stream.
  }

  @Override
  public void released(long ref) {
    // As above.
  }

  @Override
  public void forget(long ref) {
    // It has no other.
  }
}
