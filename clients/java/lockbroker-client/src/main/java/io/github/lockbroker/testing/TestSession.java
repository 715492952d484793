package io.github.lockbroker.testing;

import io.github.lockbroker.ErrorReason;
import io.github.lockbroker.LostReason;
import io.github.lockbroker.v1.BeginLock;
import io.github.lockbroker.v1.Draining;
import io.github.lockbroker.v1.Failed;
import io.github.lockbroker.v1.HeartbeatAck;
import io.github.lockbroker.v1.LockEvent;
import io.github.lockbroker.v1.Lost;
import io.github.lockbroker.v1.NotAcquired;
import io.github.lockbroker.v1.Queued;
import io.github.lockbroker.v1.Released;
import io.github.lockbroker.v1.SessionEvent;
import io.github.lockbroker.v1.SessionOpened;
import io.github.lockbroker.v1.SessionRequest;
import io.github.lockbroker.v1.SessionResponse;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;

/** A client's stream at a test's broker, whose monitor guards it. */
final class TestSession implements TestAsker, StreamObserver<SessionRequest> {
  /** The statuses of reasons. Those of the others are UNAVAILABLE. */
  private static final Map<String, Status.Code> STATUSES =
      Map.of(
          ErrorReason.INVALID_FIELD, Status.Code.INVALID_ARGUMENT,
          ErrorReason.POLICY_DENIED, Status.Code.PERMISSION_DENIED,
          ErrorReason.STORE_FULL, Status.Code.RESOURCE_EXHAUSTED,
          ErrorReason.MAX_LOCKS, Status.Code.RESOURCE_EXHAUSTED,
          ErrorReason.MAX_WAITERS, Status.Code.RESOURCE_EXHAUSTED,
          ErrorReason.QUOTA_LOCKS, Status.Code.RESOURCE_EXHAUSTED,
          ErrorReason.QUOTA_WAITERS, Status.Code.RESOURCE_EXHAUSTED,
          ErrorReason.QUOTA_RATE, Status.Code.RESOURCE_EXHAUSTED,
          ErrorReason.BROKER_FAULT, Status.Code.INTERNAL);

  /** The time after which a client may ask again for what has failed. */
  static final long RETRY_MILLIS = 50;

  private final TestBroker broker;
  private final StreamObserver<SessionResponse> responses;

  /** The locks that it has or waits for, by its handles. */
  private final Map<Long, TestLock> locks = new HashMap<>();

  private boolean isOver;

  TestSession(TestBroker broker, StreamObserver<SessionResponse> responses) {
    this.broker = broker;
    this.responses = responses;
  }

  @Override
  public void onNext(SessionRequest request) {
    synchronized (broker) {
      switch (request.getKindCase()) {
        case OPEN -> opened();
        case HEARTBEAT -> acknowledge(request.getHeartbeat().getSeq());
        case BEGIN -> begin(request.getBegin());
        case END -> end(request.getEnd().getLockRef());
        default -> {
          // Nothing else is asked for.
        }
      }
    }
  }

  @Override
  public void onError(Throwable error) {
    over();
  }

  @Override
  public void onCompleted() {
    synchronized (broker) {
      over();
      responses.onCompleted();
    }
  }

  /** Releases everything that is not to be kept, as the end of a stream does. */
  private void over() {
    synchronized (broker) {
      isOver = true;
      broker.remove(this);
      for (long ref : List.copyOf(locks.keySet())) {
        TestLock lock = locks.get(ref);
        TestLock.Grant mine = mine(lock, ref);
        if (mine != null && mine.isKept) {
          // It may still be reattached.
          broker.holdFor(lock, mine, broker.ttlMillis());
        } else {
          giveUp(ref);
        }
      }
    }
  }

  /** Returns the grant with that handle; null if it is only waited for. */
  private TestLock.Grant mine(TestLock lock, long ref) {
    return lock.find(grant -> grant.session == this && grant.ref == ref);
  }

  private void opened() {
    long ttl = broker.ttlMillis();
    send(
        SessionResponse.newBuilder()
            .setOpened(
                SessionOpened.newBuilder()
                    .setTtl(TestService.span(ttl))
                    .setExpiresAfterOpen(TestService.span(broker.validityMillis()))
                    .setHeartbeatInterval(TestService.span(ttl / 3))));
  }

  private void acknowledge(long seq) {
    var validity = TestService.span(broker.validityMillis());
    var ack = HeartbeatAck.newBuilder().setSeq(seq).setExpiresAfterHeartbeat(validity);
    send(SessionResponse.newBuilder().setHeartbeatAck(ack));
  }

  private void end(long ref) {
    if (!locks.containsKey(ref)) {
      return;
    }
    if (giveUp(ref)) {
      released(ref);
    } else {
      refuse(ref, NotAcquired.Reason.REASON_CANCELLED, "");
    }
  }

  /** Releases a lock, and returns true, or gives up the wait for it. */
  private boolean giveUp(long ref) {
    TestLock lock = locks.remove(ref);
    TestLock.Grant mine = mine(lock, ref);
    if (mine != null) {
      broker.release(lock, mine);
      return true;
    }
    lock.waiters.removeIf(asked -> asked.session() == this && asked.ref() == ref);
    // Those behind a wait that is given up may get the lock now.
    broker.grantNext(lock);
    return false;
  }

  private void begin(BeginLock begin) {
    long ref = begin.getLockRef();
    TestLock lock = broker.lock(begin.getLock().getName());
    if (!lock.failures.isEmpty()) {
      fail(ref, lock.failures.removeFirst());
      return;
    }
    if (!begin.getReattachLockId().isEmpty()) {
      reattach(lock, begin);
      return;
    }
    TestLock.Asked asked = TestService.asked(this, ref, begin.getLock());
    OptionalInt permit = lock.freeForNew(asked);
    if (permit.isPresent()) {
      broker.grant(lock, asked, permit.getAsInt());
    } else if (begin.hasWait()) {
      queue(lock, asked, begin);
    } else {
      refuse(ref, lock.refusal(asked), lock.owner());
    }
  }

  /** Puts a request into the queue. */
  private void queue(TestLock lock, TestLock.Asked asked, BeginLock begin) {
    if (begin.getWait().hasMaxWait()) {
      long wait = TestService.millis(begin.getWait().getMaxWait());
      broker.later(wait, () -> waitIsOver(lock, asked));
    }
    locks.put(asked.ref(), lock);
    lock.waiters.add(asked);
    var queued = Queued.newBuilder().setPosition(lock.waiters.size());
    say(asked.ref(), LockEvent.newBuilder().setQueued(queued));
    // It may be that nobody has it and it lingers.
    broker.grantNext(lock);
  }

  private void waitIsOver(TestLock lock, TestLock.Asked asked) {
    if (lock.waiters.remove(asked)) {
      locks.remove(asked.ref());
      refuse(asked.ref(), NotAcquired.Reason.REASON_MAX_WAIT, lock.owner());
      broker.grantNext(lock);
    }
  }

  /** Takes over a grant, and shares it if it was held alone and that is asked for. */
  private void reattach(TestLock lock, BeginLock begin) {
    long ref = begin.getLockRef();
    TestLock.Grant old = lock.named(begin.getReattachLockId());
    if (old == null) {
      refuse(ref, NotAcquired.Reason.REASON_NOT_REATTACHABLE, "");
      return;
    }
    TestLock.Asked asked = TestService.asked(this, ref, begin.getLock());
    boolean isShared = old.permit == TestLock.ALONE && asked.limit() > 0;
    if (isShared && old.closedUntil != 0) {
      // A lock with a minHold stays exclusive.
      fail(ref, ErrorReason.INVALID_FIELD);
      return;
    }
    lock.lose(old, LostReason.TAKEN_OVER);
    int permit = isShared ? lock.free(asked).orElse(TestLock.ALONE) : old.permit;
    var grant = new TestLock.Grant(TestBroker.newId(), old.token, old.owner, permit);
    grant.lingerMillis = old.lingerMillis;
    grant.closedUntil = old.closedUntil;
    grant.isKept = asked.isKept();
    grant.session = this;
    grant.ref = ref;
    lock.holders.add(grant);
    acquired(lock, grant);
    broker.grantNext(lock);
  }

  @Override
  public void acquired(TestLock lock, TestLock.Grant grant) {
    locks.put(grant.ref, lock);
    say(grant.ref, LockEvent.newBuilder().setAcquired(TestService.acquired(grant)));
  }

  static Status.Code status(String reason) {
    return STATUSES.getOrDefault(reason, Status.Code.UNAVAILABLE);
  }

  private void fail(long ref, String reason) {
    var failed =
        Failed.newBuilder()
            .setCode(status(reason).value())
            .setMessage("as the test wants it")
            .setReason(reason)
            .setRetryAfter(TestService.span(RETRY_MILLIS));
    say(ref, LockEvent.newBuilder().setFailed(failed));
  }

  @Override
  public void refuse(long ref, NotAcquired.Reason reason, String owner) {
    var refused = NotAcquired.newBuilder().setReason(reason).setOwner(owner);
    say(ref, LockEvent.newBuilder().setNotAcquired(refused));
  }

  @Override
  public void lost(long ref, LostReason reason) {
    if (reason == LostReason.RELEASED) {
      released(ref);
      return;
    }
    Lost.Reason told =
        switch (reason) {
          case GONE -> Lost.Reason.REASON_GONE;
          case TAKEN_OVER -> Lost.Reason.REASON_TAKEN_OVER;
          case REVOKED -> Lost.Reason.REASON_REVOKED;
          default -> Lost.Reason.REASON_EXPIRED;
        };
    say(ref, LockEvent.newBuilder().setLost(Lost.newBuilder().setReason(told)));
  }

  @Override
  public void released(long ref) {
    say(ref, LockEvent.newBuilder().setReleased(Released.getDefaultInstance()));
  }

  void drain() {
    say(0, LockEvent.newBuilder().setDraining(Draining.getDefaultInstance()));
  }

  @Override
  public void forget(long ref) {
    locks.remove(ref);
  }

  /** Tells the client of an event of a lock. */
  private void say(long ref, LockEvent.Builder event) {
    var said = SessionEvent.newBuilder().setLockRef(ref).setEvent(event);
    send(SessionResponse.newBuilder().setEvent(said));
  }

  /** Says something, unless the broker is silent or the stream is over. */
  private void send(SessionResponse.Builder response) {
    if (!isOver && !broker.isSilent()) {
      responses.onNext(response.build());
    }
  }
}
