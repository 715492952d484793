package io.github.lockbroker;

import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.internal.Clock;
import io.github.lockbroker.internal.core.Moments;
import io.github.lockbroker.internal.core.Pause;
import io.github.lockbroker.v1.ObserveResponse;
import java.time.Duration;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Tells what a lock is, from now on. {@link LockBroker#observe} makes it.
 *
 * <p>Between two states a lock may have been free, or held by others, and a value may have been
 * another one: what is told is the latest. A lower fencing token is never told after a higher one:
 * that is {@link LockState#UNKNOWN}, for the store has lost its memory, or this broker has seen
 * less than the one before. Where no broker answers, UNKNOWN is told once, and brokers are asked
 * again and again.
 *
 * <p>It keeps a stream to a broker open from its first call on, until it is closed or the client
 * is. Any thread may close it; one thread at a time gets the next state, and others wait for that.
 */
public final class Observation implements AutoCloseable {
  /** The longest silence of a broker that is believed: it repeats the last state every 5 s. */
  private static final long SILENCE = 15 * Moments.SECOND;

  /** The longest pause before brokers are asked again. */
  private static final long LONGEST_PAUSE = Moments.SECOND;

  /** The longest sleep: timers stand still while the machine is suspended. */
  private static final long LONGEST_SLEEP = Moments.SECOND;

  /** The kinds of failures after which another broker is asked. */
  private static final Set<Kind> AWAY = Set.of(Kind.UNAVAILABLE, Kind.HANDSHAKE, Kind.PROTOCOL);

  private final Brokers brokers;
  private final String name;

  /** Done when it is closed. The end of the client cancels it, too. */
  private final CompletableFuture<Void> closed;

  /** Is held by the thread that gets the next state. It guards what follows. */
  private final ReentrantLock reading = new ReentrantLock();

  /** The state that was told last; null if none was. */
  private Observed told;

  /** The highest token that was told. */
  private long highest;

  /** The error that has ended it; null before. */
  private LockBrokerException over;

  /** Null while there is none. Those who close it read it, too. */
  private volatile ObserveCall source;

  /** The number of its broker. */
  private int at;

  /** The moment at which its broker was asked, and at which it was heard last. */
  private long begun;

  private long heard;

  /** It has told something. */
  private boolean hasTold;

  /** The number of brokers in a row that have not answered. */
  private int tried;

  /**
   * The number of times in a row that no broker has answered, or one that ended at once or has told
   * nothing.
   */
  private int failures;

  /** The moment from which a broker may be asked. */
  private long retryAt;

  Observation(Brokers brokers, String name) {
    this.brokers = brokers;
    this.name = name;
    this.closed = brokers.calls().add(new CompletableFuture<>());
    closed.whenComplete((nothing, cancelled) -> leave(source));
  }

  private static void leave(ObserveCall call) {
    if (call != null) {
      call.cancel();
    }
  }

  /**
   * Waits for the next state: the first one as soon as a broker tells it, and then whenever it has
   * changed. The time alone, {@link Observed#expiresIn}, is no change.
   *
   * @return the state
   * @throws LockBrokerException of the kind INVALID or DENIED as the broker says, and each further
   *     call throws the same; CLOSED once it or the client is closed. After another kind the next
   *     call asks the next broker: EXHAUSTED if as many observe there as may, or UNEXPECTED
   * @throws InterruptedException if the thread is interrupted; nothing is lost then
   */
  public Observed next() throws InterruptedException {
    return next(Moments.NEVER);
  }

  /**
   * Waits for the next state as {@link #next()} does, for a limited time.
   *
   * @param within the longest time; 0 does not wait
   * @return the state; nothing if there is no new one
   * @throws LockBrokerException as {@link #next()} does
   * @throws InterruptedException if the thread is interrupted; nothing is lost then
   */
  public Optional<Observed> next(Duration within) throws InterruptedException {
    long span = Math.max(0, Wire.nanos(within));
    return Optional.ofNullable(next(Moments.after(Clock.now(), span)));
  }

  private Observed next(long until) throws InterruptedException {
    Loading.await();
    reading.lockInterruptibly();
    try {
      Observed next;
      do {
        next = source == null ? begin(until) : hear(until);
      } while (next == null && !Clock.hasPassed(until));
      return next;
    } finally {
      reading.unlock();
    }
  }

  private void checkOpen() {
    if (over != null) {
      throw over.about(name);
    }
    if (closed.isDone()) {
      throw Failures.closed(name);
    }
  }

  /** Asks the broker whose turn it is, after the pause. Returns null, at that moment or before. */
  private Observed begin(long until) throws InterruptedException {
    checkOpen();
    long now = Clock.now();
    if (now < retryAt) {
      pause(Math.min(Math.min(retryAt, until) - now, LONGEST_SLEEP));
      return null;
    }
    at = brokers.next();
    begun = now;
    heard = now;
    hasTold = false;
    try {
      source = brokers.get(at).observe(name);
    } catch (Broker.CallFailed failed) {
      throw failed.error;
    }
    if (closed.isDone()) {
      leave(source);
    }
    return null;
  }

  /** Waits for some nanoseconds, or until it is closed. */
  private void pause(long nanos) throws InterruptedException {
    try {
      closed.get(Math.max(0, nanos), TimeUnit.NANOSECONDS);
    } catch (TimeoutException | CancellationException | ExecutionException e) {
      // The next look finds out which.
      return;
    }
  }

  /** Returns the moment at which the broker is not believed to answer any more. */
  private long due() {
    return source.isAnswered()
        ? Moments.after(heard, SILENCE)
        : Moments.after(begun, brokers.share());
  }

  /** Waits for the broker's next message. Returns what is to be told; null if nothing is yet. */
  private Observed hear(long until) throws InterruptedException {
    long soon = Moments.after(Clock.now(), LONGEST_SLEEP);
    source.await(Math.min(Math.min(until, due()), soon));
    checkOpen();
    boolean isOver = source.hasEnded() || Clock.hasPassed(due());
    ObserveResponse message = source.take();
    if (message != null) {
      heard = Clock.now();
      hasTold = true;
      tried = 0;
      return take(Observed.of(message));
    }
    return isOver ? turn() : null;
  }

  /** Turns to the next broker. Returns what is to be told, if none of them answers. */
  private Observed turn() {
    ObserveCall left = source;
    source = null;
    // Unless somebody else has turned from it already.
    brokers.turnFrom(at);
    LockBrokerException error = left.isAnswered() ? null : left.failure(name, brokers.share());
    leave(left);
    boolean isAway = error == null || AWAY.contains(error.kind());
    boolean isRound = !isAway || error == null || ++tried >= brokers.size();
    if (isRound) {
      tried = 0;
      boolean hasServed = hasTold && Clock.now() - begun >= LONGEST_PAUSE;
      failures = hasServed ? 0 : failures + 1;
    }
    long pause = 0;
    if (isRound && failures > 0) {
      double chance = ThreadLocalRandom.current().nextDouble();
      pause = Pause.after(failures - 1, LONGEST_PAUSE, chance);
    }
    retryAt = Moments.after(Clock.now(), pause);
    if (!isAway) {
      over = error.kind() == Kind.INVALID || error.kind() == Kind.DENIED ? error : null;
      throw error.about(name);
    }
    boolean isUnknown = error == null ? failures >= brokers.size() : isRound;
    return isUnknown ? take(Observed.UNKNOWN) : null;
  }

  /**
   * Returns what is to be told, if it is new. An earlier holder is not told as one. But nor does
   * the one that was told before stand for ever.
   */
  private Observed take(Observed seen) {
    long token = seen.fencingToken().orElse(0);
    Observed next = token != 0 && token < highest ? Observed.UNKNOWN : seen;
    highest = Math.max(highest, token);
    if (told != null && next.saysTheSame(told)) {
      return null;
    }
    told = next;
    return next;
  }

  /** Ends it. A thread that waits for the next state is told CLOSED. */
  @Override
  public void close() {
    brokers.calls().remove(closed);
    closed.complete(null);
  }
}
