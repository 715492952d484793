package io.github.lockbroker;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.github.lockbroker.internal.core.Failure;
import io.github.lockbroker.internal.core.LockGrant;
import io.github.lockbroker.internal.core.Loss;
import io.github.lockbroker.internal.core.Message;
import io.github.lockbroker.internal.core.Moments;
import io.github.lockbroker.internal.core.Refusal;
import io.github.lockbroker.internal.core.Request;
import io.github.lockbroker.v1.Acquired;
import io.github.lockbroker.v1.AlsoAcquired;
import io.github.lockbroker.v1.AlsoLock;
import io.github.lockbroker.v1.BeginLock;
import io.github.lockbroker.v1.EndLock;
import io.github.lockbroker.v1.Heartbeat;
import io.github.lockbroker.v1.HeartbeatAck;
import io.github.lockbroker.v1.LockEvent;
import io.github.lockbroker.v1.LockSpec;
import io.github.lockbroker.v1.Lost;
import io.github.lockbroker.v1.NotAcquired;
import io.github.lockbroker.v1.OpenSession;
import io.github.lockbroker.v1.SessionOpened;
import io.github.lockbroker.v1.SessionRequest;
import io.github.lockbroker.v1.SessionResponse;
import io.github.lockbroker.v1.WaitSpec;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/** Writes and reads the messages of the wire, and the statuses. */
final class Wire {
  private static final String DOMAIN = "lockbroker";

  /** A span longer than anybody needs, and short enough to be added to any moment. */
  static final long FAR = 0xFFFFFFFFL * Moments.SECOND;

  private Wire() {}

  /** Returns nanoseconds, FAR at most either way; null stays null. */
  static Long nanos(Duration span) {
    if (span == null) {
      return null;
    }
    if (span.compareTo(Duration.ofNanos(FAR)) > 0) {
      return FAR;
    }
    return span.compareTo(Duration.ofNanos(-FAR)) < 0 ? (Long) (-FAR) : (Long) span.toNanos();
  }

  /** Rounds up to whole milliseconds, as everywhere on the wire. */
  static com.google.protobuf.Duration span(long nanos) {
    long millis = -Math.floorDiv(-nanos, Moments.MILLISECOND);
    return com.google.protobuf.Duration.newBuilder()
        .setSeconds(millis / 1000)
        .setNanos((int) (millis % 1000 * Moments.MILLISECOND))
        .build();
  }

  /** Reads a duration; null if it makes no sense. */
  static Long nanos(boolean isSet, com.google.protobuf.Duration span) {
    boolean makesSense = span.getSeconds() >= 0 && span.getNanos() >= 0;
    if (!isSet || !makesSense || span.getNanos() >= Moments.SECOND) {
      return null;
    }
    return nanos(Duration.ofSeconds(span.getSeconds(), span.getNanos()));
  }

  /** Writes a message to a broker. ttl is that of Open; null for the broker's default. */
  static SessionRequest toRequest(Request request, Long ttl) {
    SessionRequest.Builder made = SessionRequest.newBuilder();
    if (request instanceof Request.Open) {
      OpenSession.Builder open = OpenSession.newBuilder();
      if (ttl != null) {
        open.setTtl(span(ttl));
      }
      made.setOpen(open);
    } else if (request instanceof Request.Heartbeat heartbeat) {
      made.setHeartbeat(Heartbeat.newBuilder().setSeq(heartbeat.seq()));
    } else if (request instanceof Request.EndLock end) {
      made.setEnd(EndLock.newBuilder().setLockRef(end.lockRef()));
    } else if (request instanceof Request.Begin begin) {
      made.setBegin(toBegin(begin));
    }
    return made.build();
  }

  /** Writes a lock that is asked for. */
  static LockSpec toSpec(io.github.lockbroker.internal.core.LockSpec spec) {
    LockSpec.Builder lock = LockSpec.newBuilder().setName(spec.name()).setOwner(spec.owner());
    if (spec.linger() != null) {
      lock.setLinger(span(spec.linger()));
    }
    if (spec.minHold() != null) {
      lock.setMinHold(span(spec.minHold()));
    }
    if (spec.isKept()) {
      lock.setOnDisconnect(LockSpec.OnDisconnect.ON_DISCONNECT_KEEP);
    }
    if (spec.isShared()) {
      lock.setMode(LockSpec.Mode.MODE_SHARED);
    }
    if (spec.limit() != null) {
      lock.setLimit(spec.limit());
    }
    if (spec.weight() > 1) {
      lock.setWeight(spec.weight());
    }
    if (spec.value() != null) {
      lock.setValue(spec.value());
    }
    return lock.build();
  }

  private static BeginLock toBegin(Request.Begin begin) {
    BeginLock.Builder made =
        BeginLock.newBuilder()
            .setLockRef(begin.lockRef())
            .setLock(toSpec(begin.spec()))
            .setReattachLockId(begin.reattach());
    List<String> also = new ArrayList<>(begin.spec().also());
    while (also.size() < begin.reattachAlso().size()) {
      // One more permit of the same lock.
      also.add(begin.spec().name());
    }
    for (int at = 0; at < also.size(); at++) {
      AlsoLock.Builder lock =
          AlsoLock.newBuilder().setLock(toSpec(begin.spec().named(also.get(at))));
      if (at < begin.reattachAlso().size()) {
        lock.setReattachLockId(begin.reattachAlso().get(at));
      }
      made.addAlso(lock);
    }
    if (begin.waiting() != null) {
      WaitSpec.Builder wait = WaitSpec.newBuilder();
      if (begin.waiting().maxWait() != null) {
        wait.setMaxWait(span(begin.waiting().maxWait()));
      }
      if (begin.waiting().pollInterval() != null) {
        wait.setPollInterval(span(begin.waiting().pollInterval()));
      }
      made.setWait(wait);
    }
    return made.build();
  }

  /** Reads a message from a broker; null if it makes no sense. */
  static Message toMessage(SessionResponse response) {
    switch (response.getKindCase()) {
      case OPENED:
        SessionOpened opened = response.getOpened();
        Long ttl = nanos(opened.hasTtl(), opened.getTtl());
        Long expires = nanos(opened.hasExpiresAfterOpen(), opened.getExpiresAfterOpen());
        Long interval = nanos(opened.hasHeartbeatInterval(), opened.getHeartbeatInterval());
        boolean makesSense = ttl != null && expires != null && interval != null && interval > 0;
        return makesSense ? new Message.Opened(ttl, expires, interval) : null;
      case HEARTBEAT_ACK:
        HeartbeatAck ack = response.getHeartbeatAck();
        Long after = nanos(ack.hasExpiresAfterHeartbeat(), ack.getExpiresAfterHeartbeat());
        return after == null
            ? new Message.Other()
            : new Message.HeartbeatAck(ack.getSeq(), after, ack.getNotRenewedList());
      case EVENT:
        long ref = response.getEvent().getLockRef();
        LockEvent told = response.getEvent().getEvent();
        if (told.getKindCase() == LockEvent.KindCase.DRAINING && ref == 0) {
          return new Message.Draining();
        }
        Message.Event event = toEvent(told);
        return event == null ? new Message.Other() : new Message.LockEvent(ref, event);
      default:
        // A broker may say more than this client knows.
        return new Message.Other();
    }
  }

  /** Reads an event of a lock; null if it says nothing here. */
  private static Message.Event toEvent(LockEvent event) {
    switch (event.getKindCase()) {
      case ACQUIRED:
        Acquired acquired = event.getAcquired();
        return new Message.WasAcquired(
            new LockGrant(acquired.getLockId(), acquired.getFencingToken(), toPermit(acquired)),
            acquired.getAlsoList().stream().map(Wire::toGrant).toList());
      case NOT_ACQUIRED:
        NotAcquired refused = event.getNotAcquired();
        return new Message.WasRefused(
            new Refusal(toReason(refused.getReason()), refused.getOwner(), refused.getName()));
      case LOST:
        return new Message.WasLost(toLoss(event.getLost().getReason()));
      case RELEASED:
        return new Message.WasReleased();
      case FAILED:
        io.github.lockbroker.v1.Failed failed = event.getFailed();
        return new Message.HasFailed(
            new Failure(
                toCode(Status.fromCodeValue(failed.getCode()).getCode()),
                failed.getMessage(),
                failed.getReason(),
                nanos(failed.hasRetryAfter(), failed.getRetryAfter())));
      default:
        return null;
    }
  }

  /** Reads the permit of a lock that is shared; null for one that is not. */
  static Integer toPermit(Acquired acquired) {
    return toPermit(acquired.hasPermit(), acquired.getPermit());
  }

  private static Integer toPermit(boolean isSet, int permit) {
    return isSet && permit >= 0 ? (Integer) permit : null;
  }

  private static LockGrant toGrant(AlsoAcquired also) {
    Integer permit = toPermit(also.hasPermit(), also.getPermit());
    return new LockGrant(also.getLockId(), also.getFencingToken(), permit);
  }

  private static Refusal.Reason toReason(NotAcquired.Reason reason) {
    return switch (reason) {
      case REASON_HELD -> Refusal.Reason.HELD;
      case REASON_LINGERING -> Refusal.Reason.LINGERING;
      case REASON_MAX_WAIT -> Refusal.Reason.MAX_WAIT;
      case REASON_NOT_REATTACHABLE -> Refusal.Reason.NOT_REATTACHABLE;
      case REASON_CANCELLED -> Refusal.Reason.CANCELLED;
      default -> Refusal.Reason.UNKNOWN;
    };
  }

  private static Loss toLoss(Lost.Reason reason) {
    return switch (reason) {
      case REASON_GONE -> Loss.GONE;
      case REASON_TAKEN_OVER -> Loss.TAKEN_OVER;
      case REASON_REVOKED -> Loss.REVOKED;
      default -> Loss.EXPIRED;
    };
  }

  /** Reads how a lease was lost. */
  static LostReason toLostReason(Lost lost) {
    return LostReason.valueOf(toLoss(lost.getReason()).name());
  }

  /**
   * Reads a status. Where nobody has answered in time, it makes no difference which side's time it
   * was.
   */
  private static Failure.Code toCode(Status.Code code) {
    return switch (code) {
      case DEADLINE_EXCEEDED -> Failure.Code.UNAVAILABLE;
      case OK -> Failure.Code.UNKNOWN;
      default -> Failure.Code.valueOf(code.name());
    };
  }

  /** Reads the status by which a call or a stream ended. */
  static Failure toFailure(Throwable error) {
    Status status = Status.fromThrowable(error);
    String message = status.getDescription() == null ? "" : status.getDescription();
    String reason = "";
    Long retryAfter = null;
    com.google.rpc.Status details = StatusProto.fromThrowable(error);
    if (details != null) {
      for (Any detail : details.getDetailsList()) {
        try {
          if (detail.is(ErrorInfo.class)) {
            ErrorInfo info = detail.unpack(ErrorInfo.class);
            reason = info.getDomain().equals(DOMAIN) ? info.getReason() : reason;
          } else if (detail.is(RetryInfo.class)) {
            RetryInfo info = detail.unpack(RetryInfo.class);
            retryAfter = nanos(info.hasRetryDelay(), info.getRetryDelay());
          }
        } catch (InvalidProtocolBufferException e) {
          // A detail that cannot be read says nothing. The status itself has been read.
          continue;
        }
      }
    }
    return new Failure(toCode(status.getCode()), message, reason, retryAfter);
  }
}
