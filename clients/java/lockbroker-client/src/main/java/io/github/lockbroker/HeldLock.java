package io.github.lockbroker;

import com.google.protobuf.ByteString;
import io.github.lockbroker.internal.Clock;
import io.github.lockbroker.internal.Daemons;
import io.github.lockbroker.internal.core.Core;
import io.github.lockbroker.internal.core.Input;
import io.github.lockbroker.internal.core.LockGrant;
import io.github.lockbroker.internal.core.Moments;
import java.lang.System.Logger.Level;
import java.lang.ref.Cleaner;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.OptionalInt;
import java.util.function.Consumer;

/**
 * A lock that is held until {@link #release} or {@link #close}. It belongs to no thread: any may
 * use it, several at once.
 *
 * <p>The lock can be lost all the same: when no broker renews it in time, because the network or
 * all brokers are away, or when somebody releases it by its lock id. So have the work interrupted
 * by {@link #interruptOnLoss}, or call {@link #check} before each step that must not be done twice,
 * and give {@link #fencingToken} to whatever the lock protects.
 *
 * <p>A lock that nobody refers to any more is not released, since the work that it protects may go
 * on. It is held until the client is closed or the process ends. The client logs a warning.
 */
public final class HeldLock implements AutoCloseable {
  private static final Cleaner CLEANER = Cleaner.create(Daemons.named("lockbroker-cleaner"));

  private final String name;

  /** The names of the locks that are held together with it, its own for more of its permits. */
  private final List<String> also;

  private final long key;

  /** It was asked for with a value. */
  private final boolean hasValue;

  /**
   * Those of all its locks, in the order of their names. The ids in them may be out of date, and so
   * may the permit of the first.
   */
  private final List<LockGrant> grants;

  private final Hold hold;
  private final Session session;

  /** Makes the guard of a lock that has been granted. */
  HeldLock(Session session, Input.Acquire asked, Session.Grant grant) {
    this.session = session;
    this.name = asked.spec().name();
    this.also = asked.spec().others();
    this.key = asked.key();
    this.hasValue = asked.spec().value() != null;
    this.grants = grant.grants();
    this.hold = grant.hold();
    // Not by way of this, which could never be collected then.
    Hold hold = this.hold;
    CLEANER.register(this, () -> warn(hold));
  }

  private static void warn(Hold hold) {
    if (hold.ended() == null) {
      Session.LOGGER.log(
          Level.WARNING,
          "lock \"{0}\" is held and nobody can release it any more: close every lock",
          hold.name);
    }
  }

  /**
   * Returns the lock's name.
   *
   * @return the name
   */
  public String name() {
    return name;
  }

  /**
   * Returns the lock id, which names this grant at any broker: see {@link LockBroker#release} and
   * {@link LockBroker#adopt}. It changes when the client has to move to another stream, and it is a
   * capability: keep it out of logs.
   *
   * @return 36 to 47 characters
   */
  public String lockId() {
    return hold.look().lockId();
  }

  /**
   * Returns the fencing token. It is greater than that of every earlier grant of the same name, and
   * the same for as long as the lock is held. What the lock protects should refuse a token below
   * the highest that it has seen.
   *
   * @return the token, below 2^53
   */
  public long fencingToken() {
    return grants.get(0).fencingToken();
  }

  /**
   * Returns the number of the permit. Nobody else has the same permit of this name at the same
   * time, so it can number a worker. It stays the same for as long as the lock is held, once it is
   * shared.
   *
   * @return the number, from 0 to the limit - 1; nothing for a lock that is not {@link
   *     LockOption#shared}
   */
  public OptionalInt permit() {
    return permit(hold.look().permit());
  }

  /**
   * Returns all locks that are held by this one, in the order in which they were named: the one
   * that was asked for, and those of {@link LockOption#also}, or the other permits of a {@link
   * LockOption#weight}.
   *
   * @return at least one
   */
  public List<GrantedLock> locks() {
    Core.HeldLock held = hold.look();
    List<GrantedLock> locks = new ArrayList<>();
    locks.add(new GrantedLock(name, held.lockId(), fencingToken(), permit(held.permit())));
    for (int at = 0; at < also.size(); at++) {
      LockGrant grant = grants.get(at + 1);
      String id = held.also().get(at);
      locks.add(new GrantedLock(also.get(at), id, grant.fencingToken(), permit(grant.permit())));
    }
    return locks;
  }

  /** Returns a permit, which may be null, as users see it. */
  static OptionalInt permit(Integer permit) {
    return permit == null ? OptionalInt.empty() : OptionalInt.of(permit);
  }

  /**
   * Returns the lock's ttl as the broker granted it: for so long the lock outlives a holder that
   * falls silent.
   *
   * @return the ttl
   */
  public Duration ttl() {
    return Duration.ofNanos(hold.look().ttl());
  }

  /**
   * Returns the time for which the holder may act without hearing from a broker again, counted from
   * now. It ends two thirtieths of the ttl before the broker could give the lock to anybody else.
   *
   * @return the time; 0 once the lock is lost or released, and while the stream to the broker is
   *     broken and the lock not yet reattached, for the broker may have taken the break for the
   *     client's end
   */
  public Duration remaining() {
    Core.HeldLock held = hold.look();
    boolean mayAct = hold.ended() == null && !held.isBroken();
    return mayAct ? Duration.ofNanos(Clock.remaining(held.until())) : Duration.ZERO;
  }

  /**
   * Returns the time after which the lock is lost if no broker is heard any more, counted from now.
   * It is only an upper bound, and never a leave to act: the lock may be lost before. Unlike {@link
   * #remaining} it runs on while the stream to the broker is broken. Then the holder must not act,
   * and this bounds the time in which the lock may still be reattached.
   *
   * @return the time; 0 once the lock is lost or released
   */
  public Duration expiresIn() {
    Core.HeldLock held = hold.look();
    return hold.ended() == null ? Duration.ofNanos(Clock.remaining(held.until())) : Duration.ZERO;
  }

  /**
   * Throws unless the holder may act at this moment. It reads the clock, so it finds a loss also
   * where everything else was stopped. Once it has said that the lock is lost, the lock stays lost.
   *
   * @throws LostException if the lock is lost
   * @throws LockBrokerException of the kind UNAVAILABLE while the stream to the broker is broken
   *     and the lock not yet reattached: pause, and check again, or call {@link #awaitHeld};
   *     RELEASED or CLOSED after the lock's or the client's end
   */
  public void check() {
    check(hold.look());
  }

  /**
   * Checks as {@link #check} does. While the stream to the broker is broken, waits for the reattach
   * or the loss first.
   *
   * @throws LostException if the lock is lost
   * @throws LockBrokerException of the kind RELEASED or CLOSED after the lock's or the client's end
   * @throws InterruptedException if the thread is interrupted; the lock is still held then, or
   *     waits for its reattach
   */
  public void awaitHeld() throws InterruptedException {
    check(Moments.NEVER);
  }

  /** Reports whether this was thrown because a check of this lock found its stream broken. */
  boolean isBreak(Throwable error) {
    for (Throwable cause = error; cause != null; cause = cause.getCause()) {
      if (cause instanceof LockBrokerException ours && ours.isBreakOf(hold)) {
        return true;
      }
    }
    return false;
  }

  /** Checks, and waits for a reattach before if need be; no longer than within, in nanoseconds. */
  void check(long within) throws InterruptedException {
    check(hold.awaitReattach(within));
  }

  private void check(Core.HeldLock held) {
    LockBrokerException ended = hold.ended();
    if (ended != null) {
      throw ended.about(name);
    }
    if (held.isBroken()) {
      throw LockBrokerException.broken(hold);
    }
  }

  /**
   * Gives the lock another value, for those who observe it, by {@link LockBroker#observe}, and
   * waits until a broker has taken it. Of several updates at a time the last one counts.
   *
   * @param value up to 1,024 bytes, perhaps none, which are copied
   * @throws LostException if the lock is lost
   * @throws LockBrokerException of the kind INVALID if the value is longer, or the lock was asked
   *     for without one, {@link LockOption#value}; UNAVAILABLE if no broker could do it within
   *     {@link LockBroker.Builder#answerTimeout}: then those who observe may see either value,
   *     until the next update; RELEASED or CLOSED after the lock's or the client's end
   * @throws InterruptedException if the thread is interrupted; the update may happen all the same
   */
  public void update(byte[] value) throws InterruptedException {
    ByteString copy = ByteString.copyFrom(value);
    Bounds.check(name, copy);
    if (!hasValue) {
      // Only the broker that keeps the lock could say so.
      throw Values.without(name);
    }
    session.update(key, hold, copy);
  }

  /**
   * Shares the lock from now on, as {@link #downgrade(int)} does, among up to 4,096.
   *
   * @throws LostException as that one
   * @throws LockBrokerException as that one
   * @throws InterruptedException as that one
   */
  public void downgrade() throws InterruptedException {
    share(null);
  }

  /**
   * Shares the lock from now on, and waits until it has a {@link #permit}: others may share it too,
   * and nobody has it alone in between. The fencing token stays. Does nothing if the lock is shared
   * already.
   *
   * <p><b>Stop writing before you call it</b>: others may share the lock before this returns, and
   * also if it throws.
   *
   * @param limit the most that share it at a time, 1 to 4,096
   * @throws LostException if the lock is lost
   * @throws LockBrokerException of the kind INVALID if the limit is another one, and if the lock
   *     has a {@link LockOption#minHold}, a {@link LockOption#value} or others beside it, by {@link
   *     LockOption#also}: then it is held alone, as before. UNAVAILABLE if no broker could do it
   *     within {@link LockBroker.Builder#answerTimeout}: it may still become a shared one. RELEASED
   *     or CLOSED after the lock's or the client's end
   * @throws InterruptedException if the thread is interrupted; the lock may still become a shared
   *     one
   */
  public void downgrade(int limit) throws InterruptedException {
    share(limit);
  }

  private void share(Integer limit) throws InterruptedException {
    Bounds.checkLimit(name, limit);
    if (!also.isEmpty()) {
      String why = "several locks are held together, and only one alone can be shared from now on";
      throw new LockBrokerException(LockBrokerException.Kind.INVALID, name, why);
    }
    session.downgrade(key, hold, limit);
  }

  /**
   * Calls callback once when the lock is lost; soon if it is lost already. It is not called for a
   * loss that comes after the release has begun.
   *
   * <p>It runs in a thread of the client's. A callback should be short: a client runs 64 of them at
   * once, and the others wait. Heartbeats and releases do not wait for them. To interrupt a thread,
   * use {@link #interruptOnLoss}: a callback may come when that thread does something else already.
   *
   * @param callback is given the reason
   * @return what ends it, so that the callback is not called any more. You need not close it
   */
  public OnLost onLost(Consumer<? super LostReason> callback) {
    return session.onLost(hold, Objects.requireNonNull(callback));
  }

  /**
   * Interrupts this thread when the lock is lost, until the result is closed; soon if it is lost
   * already. Nothing is interrupted after that close, and an interrupt that came before and that
   * the work has not taken is taken back. So let this thread close it, at the end of the work:
   *
   * <pre>{@code
   * try (var lock = client.lock("reports");
   *     var interrupts = lock.interruptOnLoss()) {
   *   work();
   * }
   * }</pre>
   *
   * <p>If others interrupt the thread between the loss and the close, that cannot be told from the
   * interrupt of the loss. One that came before the loss stays.
   *
   * @return what ends it
   */
  public OnLost interruptOnLoss() {
    return interruptOnLoss(new Interruption());
  }

  OnLost interruptOnLoss(Interruption interruption) {
    return session.onLost(hold, interruption);
  }

  /**
   * Releases the lock and waits until a broker has confirmed it. If the stream breaks meanwhile,
   * the release is repeated at whichever broker answers until the lock has run out: no longer than
   * {@link #expiresIn} before the call. It goes on when the thread is interrupted, and leaves it
   * interrupted. It may be called again, also at the same time, and does the same.
   *
   * @throws LostException if the lock had been lost before; also if the stream broke and somebody
   *     else had the lock when a broker was asked to release it
   * @throws LockBrokerException of the kind UNAVAILABLE if no broker confirmed the release: then
   *     the lock runs out by itself
   */
  public void release() {
    // The holder's own belief ends first.
    hold.finish(Failures.released(name));
    session.giveUp(key);
    LockBrokerException error = hold.await();
    if (error != null) {
      throw error.about(name);
    }
  }

  /**
   * Releases the lock as {@link #release} does. If nobody confirms the release, the lock runs out
   * by itself, and this is no error.
   *
   * @throws LostException if the lock had been lost: the work is done, and its last step may not
   *     have been under the lock
   */
  @Override
  public void close() {
    try {
      release();
    } catch (LostException e) {
      throw e;
    } catch (LockBrokerException e) {
      Session.LOGGER.log(Level.DEBUG, "closing: {0}", e.getMessage());
    }
  }

  /** Describes the lock, without its lock id. */
  @Override
  public String toString() {
    long left = remaining().toMillis();
    return "lock \"" + name + "\" (token " + fencingToken() + ", " + left + " ms left)";
  }
}
