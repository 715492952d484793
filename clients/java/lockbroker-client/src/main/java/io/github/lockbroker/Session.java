package io.github.lockbroker;

import com.google.protobuf.ByteString;
import io.github.lockbroker.internal.Clock;
import io.github.lockbroker.internal.Daemons;
import io.github.lockbroker.internal.core.Core;
import io.github.lockbroker.internal.core.Failure;
import io.github.lockbroker.internal.core.Input;
import io.github.lockbroker.internal.core.LockGrant;
import io.github.lockbroker.internal.core.Message;
import io.github.lockbroker.internal.core.Moments;
import io.github.lockbroker.internal.core.Output;
import io.github.lockbroker.internal.core.Request;
import io.github.lockbroker.v1.SessionResponse;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.lang.System.Logger.Level;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;

/**
 * Runs a client: does what the core says, and tells it what happens. One thread has all of it; the
 * network and the users tell it events.
 */
final class Session {
  static final System.Logger LOGGER = System.getLogger("io.github.lockbroker");

  /**
   * The longest sleep. Leases run on while the machine is suspended and timers do not, so it may
   * notice that late that something has run out.
   */
  private static final long LONGEST_SLEEP = Moments.SECOND;

  /**
   * The longest time for which a stream is closed in good order. A broker would take a reset for
   * silence.
   */
  private static final long GOODBYE = Moments.SECOND;

  private final Brokers brokers;
  private final Network network;
  private final Long ttl;
  private final Events events = new Events();
  private final Core core;
  private final Map<Long, Caller> callers = new HashMap<>();
  private final Map<Long, SessionStream> streams = new HashMap<>();

  /** The streams that are being closed. */
  private final List<SessionStream> closing = new ArrayList<>();

  /** The latest reason for which the two sides cannot talk. */
  private LockBrokerException disagreement;

  /** The moment from which an ending session waits no longer; never while it is not ending. */
  private long closeBy = Moments.NEVER;

  /** The reason for which nothing more is begun. */
  private volatile String whyOver = "close was called";

  /** Nothing more is to be done, but for what is closed. */
  private boolean isDone;

  /** Completed when nothing is done any more. */
  private final CompletableFuture<Void> ended = new CompletableFuture<>();

  /** A call that asked for a lock. It is told the answer, and then its hold is told the rest. */
  private static final class Caller {
    final String name;
    final CompletableFuture<Grant> answer;

    /** Null until the lock is granted. */
    Hold hold;

    Caller(String name, CompletableFuture<Grant> answer) {
      this.name = name;
      this.answer = answer;
    }
  }

  /**
   * The outcome of a call.
   *
   * @param grants those of all its locks, in the order of their names; the ids in them may be out
   *     of date
   */
  record Grant(Hold hold, List<LockGrant> grants) {}

  Session(Brokers brokers, Network network, Long ttl, long answerTimeout) {
    this.brokers = brokers;
    this.network = network;
    this.ttl = ttl;
    Core.Settings settings = new Core.Settings(brokers.names(), answerTimeout);
    this.core = new Core(settings, () -> ThreadLocalRandom.current().nextDouble(), Clock.now());
    Daemons.named("lockbroker-session").newThread(this::run).start();
  }

  /** Runs until the session has been closed. */
  private void run() {
    try {
      Loading.load(network);
      while (!isOver()) {
        turn(Math.min(core.due(), closeBy));
      }
      finish();
    } catch (InterruptedException | RuntimeException | Error e) {
      fail(e);
    } finally {
      isDone = true;
      events.end();
      List.copyOf(callers.keySet()).forEach(key -> end(key, closed(callers.get(key).name)));
      AtExit.remove(this);
      ended.complete(null);
    }
  }

  /** Loses everything, for nothing renews it any more. The holders are told before anybody else. */
  private void fail(Throwable error) {
    whyOver = "the client has failed: " + error;
    for (Caller caller : callers.values()) {
      if (caller.hold != null) {
        caller.hold.lose(LostReason.EXPIRED);
      }
    }
    LOGGER.log(Level.ERROR, "the client has failed, and its locks are lost", error);
    streams.values().forEach(SessionStream::close);
  }

  private LockBrokerException closed(String lock) {
    return Failures.closed(lock, whyOver);
  }

  /** Takes one event, or the time that has passed by then. */
  private void turn(long due) throws InterruptedException {
    for (SessionStream stream : closing) {
      due = Math.min(due, stream.closeBy);
    }
    long sleep =
        due == Moments.NEVER ? Long.MAX_VALUE : Math.min(Clock.remaining(due), LONGEST_SLEEP);
    Runnable event = events.take(sleep);
    if (event != null) {
      event.run();
    } else {
      step(new Input.Timeout());
    }
    closing.removeIf(
        stream -> {
          boolean isLate = Clock.hasPassed(stream.closeBy);
          if (isLate) {
            stream.close();
          }
          return isLate;
        });
  }

  /** Closes what is open, and waits for it. Meanwhile it takes what the streams still say. */
  private void finish() throws InterruptedException {
    isDone = true;
    List.copyOf(streams.values()).forEach(this::hangUp);
    while (!closing.isEmpty()) {
      turn(Moments.NEVER);
    }
  }

  /** Waits until nothing is done any more. */
  void awaitEnd() {
    ended.join();
  }

  /** Waits until nothing is done any more, for no longer than within, in nanoseconds. */
  void awaitEnd(long within) {
    try {
      ended.get(Math.max(0, within), TimeUnit.NANOSECONDS);
    } catch (InterruptedException | ExecutionException | TimeoutException e) {
      // The process ends, and the system closes the connections.
      return;
    }
  }

  /** Releases everything and ends the session, after within at the latest. */
  void close(long within) {
    events.tell(() -> beginClose(within));
  }

  private void beginClose(long within) {
    if (closeBy != Moments.NEVER) {
      return;
    }
    closeBy = Moments.after(Clock.now(), within);
    for (long key : List.copyOf(callers.keySet())) {
      Caller caller = callers.get(key);
      if (caller.hold != null) {
        caller.hold.finish(closed(caller.name));
      } else {
        end(key, closed(caller.name));
      }
      step(new Input.End(key));
    }
  }

  private boolean isOver() {
    boolean isEmpty = callers.isEmpty() && core.isEmpty();
    return closeBy != Moments.NEVER && (isEmpty || Clock.hasPassed(closeBy));
  }

  /** Asks for a lock. The answer fails with a {@link LockBrokerException}. */
  CompletableFuture<Grant> begin(Input.Acquire acquire) {
    String name = acquire.spec().name();
    CompletableFuture<Grant> answer = new CompletableFuture<>();
    boolean isTold =
        events.tell(
            () -> {
              if (closeBy == Moments.NEVER) {
                callers.put(acquire.key(), new Caller(name, answer));
                step(acquire);
              } else {
                answer.completeExceptionally(closed(name));
              }
            });
    if (!isTold) {
      answer.completeExceptionally(closed(name));
    }
    return answer;
  }

  /** Gives a lock another value, and waits until a broker has taken it. */
  void update(long key, Hold hold, ByteString value) throws InterruptedException {
    hold.give(value);
    // First of all, so that a reattach brings it. If the session has ended, so has the lock.
    events.tell(() -> step(new Input.NewValue(key, value)));
    Values.bring(brokers, hold);
  }

  /** Shares a lock from now on, and waits until it has a permit; limit is null for none. */
  void downgrade(long key, Hold hold, Integer limit) throws InterruptedException {
    hold.wantToShare();
    // If the session has ended, so has the lock.
    events.tell(() -> step(new Input.Share(key, limit)));
    if (!hold.awaitShared(brokers.answerTimeout())) {
      String why = "no broker has shared the lock in time; it may still become a shared one";
      throw Failures.unavailable(hold.name, why);
    }
  }

  /**
   * Brings the value that a lock was given last to where it has moved: its reattach may have been
   * under way with an earlier one.
   */
  private void bringAlong(long key) {
    Caller caller = callers.get(key);
    if (caller != null && caller.hold != null && caller.hold.value() != null) {
      network.values.execute(() -> bringAlong(caller.hold));
    }
  }

  private void bringAlong(Hold hold) {
    try {
      Values.bring(brokers, hold);
    } catch (LockBrokerException | InterruptedException e) {
      // Nobody interrupts this thread but the end of the client.
      LOGGER.log(Level.DEBUG, "the value has not moved along: {0}", e.getMessage());
    }
  }

  /** Ends a lock, or the wait for it. It does nothing if the lock has ended. */
  void giveUp(long key) {
    events.tell(
        () -> {
          Caller caller = callers.get(key);
          if (caller != null && caller.hold == null) {
            callers.remove(key);
          }
          step(new Input.End(key));
        });
  }

  /** Tells the core what has happened, and does what it says. */
  private void step(Input input) {
    if (isDone) {
      return;
    }
    int before = core.nextEndpoint();
    List<Output> outputs = core.handle(Clock.now(), input);
    if (core.nextEndpoint() != before) {
      brokers.turnFrom(before);
    }
    outputs.forEach(this::carryOut);
    // These change what all locks of a stream may believe in.
    boolean concernsAll =
        input instanceof Input.Ended
            || (input instanceof Input.Received received
                && received.message() instanceof Message.HeartbeatAck);
    if (concernsAll) {
      List.copyOf(callers.keySet()).forEach(this::publish);
    }
  }

  /**
   * Tells a guard for how long its lock is valid. A guard that has seen its lock run out since the
   * core looked is believed: the lock is given up.
   */
  private void publish(long key) {
    Caller caller = callers.get(key);
    Core.HeldLock held = core.held(key);
    if (caller != null && caller.hold != null && held != null && !caller.hold.publish(held)) {
      step(new Input.End(key));
    }
  }

  private void carryOut(Output output) {
    if (output instanceof Output.Dial dial) {
      dial(dial.link(), brokers.get(dial.endpoint()));
    } else if (output instanceof Output.Send send) {
      send(streams.get(send.link()), send.request());
    } else if (output instanceof Output.Hangup hangup) {
      hangUp(streams.get(hangup.link()));
    } else if (output instanceof Output.Granted granted) {
      granted(granted);
    } else if (output instanceof Output.Moved moved) {
      LOGGER.log(Level.DEBUG, "lock \"{0}\" has been reattached", nameOf(moved.key()));
      publish(moved.key());
      bringAlong(moved.key());
    } else if (output instanceof Output.NotShared refused) {
      notShared(refused);
    } else if (output instanceof Output.Refused refused) {
      refused(refused);
    } else if (output instanceof Output.Failed failed) {
      failed(failed);
    } else if (output instanceof Output.Lost lost) {
      lost(lost);
    } else if (output instanceof Output.Released released) {
      end(released.key(), null);
    } else if (output instanceof Output.ReleaseElsewhere release) {
      network.releases.execute(() -> releaseElsewhere(release));
    }
  }

  private void notShared(Output.NotShared refused) {
    Caller caller = callers.get(refused.key());
    if (caller != null && caller.hold != null) {
      caller.hold.refuseToShare(Failures.toException(caller.name, refused.failure(), null));
    }
  }

  private void releaseElsewhere(Output.ReleaseElsewhere release) {
    Failure failure = null;
    ReleaseOutcome outcome = null;
    try {
      outcome = brokers.releaseForSession(release.name(), release.lockId());
    } catch (LockBrokerException e) {
      failure = Failures.toFailure(e);
    } catch (InterruptedException e) {
      // Nobody interrupts this thread but the end of the client.
      failure = Failure.unavailable("interrupted");
    }
    Input.ReleasedElsewhere answered = new Input.ReleasedElsewhere(release.key(), failure);
    boolean isAnothers = outcome == ReleaseOutcome.HELD_BY_ANOTHER;
    events.tell(
        () -> {
          Caller caller = callers.get(release.key());
          if (isAnothers && caller != null && caller.hold != null) {
            // It went before the broker knew of the release, perhaps while the holder still acted.
            caller.hold.lose(LostReason.TAKEN_OVER);
          }
          step(answered);
        });
  }

  private void dial(long id, Broker broker) {
    SessionStream stream = new SessionStream(id, broker, broker.connect());
    streams.put(id, stream);
    stream.connection.whenComplete(
        (connection, error) -> {
          if (!events.tell(() -> dialled(stream, error)) && connection != null) {
            connection.close();
          }
        });
  }

  private void dialled(SessionStream stream, Throwable error) {
    if (streams.get(stream.id) != stream) {
      return;
    }
    Failure failure = null;
    if (error != null) {
      streams.remove(stream.id);
      failure = explain(stream, error);
    }
    step(new Input.Dialled(stream.id, failure));
  }

  /** Says what has gone wrong, and remembers it for those who wait if it would go wrong again. */
  private Failure explain(SessionStream stream, Throwable error) {
    Throwable cause = error instanceof CompletionException ? error.getCause() : error;
    LockBrokerException found = Trouble.disagreement(stream.broker.endpoint, cause);
    disagreement = found == null ? disagreement : found;
    return Trouble.explain(found, cause);
  }

  private void send(SessionStream stream, Request request) {
    if (stream == null) {
      return;
    }
    if (request instanceof Request.Open) {
      stream.open(Wire.toRequest(request, ttl), receiver(stream));
    } else {
      stream.send(Wire.toRequest(request, ttl));
    }
  }

  /** Returns what gRPC is to call with a message, and when the stream ends. */
  private StreamObserver<SessionResponse> receiver(SessionStream stream) {
    return new StreamObserver<>() {
      @Override
      public void onNext(SessionResponse response) {
        events.tell(() -> received(stream, response));
      }

      @Override
      public void onError(Throwable error) {
        events.tell(() -> streamEnded(stream, error));
      }

      @Override
      public void onCompleted() {
        Status status = Status.UNAVAILABLE.withDescription("the broker ended the Session");
        events.tell(() -> streamEnded(stream, status.asRuntimeException()));
      }
    };
  }

  private void received(SessionStream stream, SessionResponse response) {
    if (streams.get(stream.id) != stream) {
      return;
    }
    Message message = Wire.toMessage(response);
    if (message == null) {
      String text = "`opened` lacks a duration, or has one that makes no sense";
      streamEnded(stream, Status.INTERNAL.withDescription(text).asRuntimeException());
      return;
    }
    step(new Input.Received(stream.id, stream.withMargin(message)));
  }

  private void streamEnded(SessionStream stream, Throwable error) {
    closing.remove(stream);
    stream.close();
    if (streams.get(stream.id) != stream) {
      return;
    }
    streams.remove(stream.id);
    Failure failure = explain(stream, error);
    LOGGER.log(
        Level.DEBUG,
        "the stream to {0} has ended: {1}",
        stream.broker.endpoint.name(),
        failure.message());
    step(new Input.Ended(stream.id, failure));
  }

  /** Closes a stream in good order, and hears nothing more of it. */
  private void hangUp(SessionStream stream) {
    if (stream == null) {
      return;
    }
    streams.remove(stream.id);
    if (!stream.isOpen()) {
      stream.close();
      return;
    }
    stream.finish();
    stream.closeBy = Moments.after(Clock.now(), GOODBYE);
    closing.add(stream);
  }

  private void granted(Output.Granted granted) {
    Caller caller = callers.get(granted.key());
    Core.HeldLock held = core.held(granted.key());
    if (caller != null && held != null) {
      caller.hold = new Hold(caller.name, held);
      List<LockGrant> grants = new ArrayList<>(List.of(granted.grant()));
      grants.addAll(granted.also());
      caller.answer.complete(new Grant(caller.hold, grants));
    }
  }

  private void refused(Output.Refused refused) {
    String told = refused.refusal().name();
    String name = told.isEmpty() ? nameOf(refused.key()) : told;
    NotAcquiredReason reason =
        switch (refused.refusal().reason()) {
          case HELD -> NotAcquiredReason.HELD;
          case LINGERING -> NotAcquiredReason.LINGERING;
          case MAX_WAIT -> NotAcquiredReason.MAX_WAIT;
          case NOT_REATTACHABLE -> NotAcquiredReason.NOT_REATTACHABLE;
          default -> null;
        };
    end(
        refused.key(),
        reason == null
            // None of the others was asked for.
            ? Failures.unexpected(name, "not acquired, for a reason that this client does not know")
            : new NotAcquiredException(name, reason, refused.refusal().owner()));
  }

  private void failed(Output.Failed failed) {
    String name = nameOf(failed.key());
    boolean disagrees = failed.failure().code() == Failure.Code.HANDSHAKE && disagreement != null;
    end(
        failed.key(),
        disagrees ? disagreement.about(name) : Failures.toException(name, failed.failure(), null));
  }

  /** Calls back when a lock is lost. */
  OnLost onLost(Hold hold, Consumer<? super LostReason> callback) {
    return hold.onLost(network.callbacks, callback);
  }

  /** Interrupts a thread when a lock is lost. */
  OnLost onLost(Hold hold, Interruption interruption) {
    Callback callback = hold.onLost(network.interrupts, reason -> interruption.interrupt());
    return () -> {
      interruption.end(false);
      callback.close();
    };
  }

  private void lost(Output.Lost lost) {
    String name = nameOf(lost.key());
    LostReason reason = LostReason.valueOf(lost.reason().name());
    Caller caller = callers.get(lost.key());
    if (caller != null && caller.hold != null) {
      LOGGER.log(Level.DEBUG, "lock \"{0}\" is lost: {1}", name, reason.text());
      caller.hold.lose(reason);
    }
    end(lost.key(), new LostException(name, reason));
  }

  /** Tells the end of a lock, or of a call that has failed; error is null if it was released. */
  private void end(long key, LockBrokerException error) {
    Caller caller = callers.remove(key);
    if (caller == null) {
      return;
    }
    if (caller.hold != null) {
      caller.hold.over(error);
    } else {
      caller.answer.completeExceptionally(
          error == null ? Failures.unexpected(caller.name, "a call without an answer") : error);
    }
  }

  private String nameOf(long key) {
    Caller caller = callers.get(key);
    return caller == null ? "" : caller.name;
  }
}
