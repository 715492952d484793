package io.github.lockbroker;

import io.github.lockbroker.internal.Clock;
import io.github.lockbroker.internal.core.Core;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * A lock without a stream. It stands for its ttl, whatever becomes of the client and its process.
 * Any thread may use it, several at once.
 *
 * <p>Nothing renews it but {@link #renew}. {@link #release} and {@link #close} end it. Nobody tells
 * the holder that it is lost: {@code renew} says so, and {@link #check} does when it has run out by
 * the clock of this machine.
 *
 * <p>A lease that nobody refers to any more is not released: it runs out.
 */
public final class Lease implements AutoCloseable {
  private final Leases leases;
  private final Hold hold;
  private final OptionalLong fencingToken;

  /** Null if the lease is not shared, or its permit is not known. */
  private final Integer permit;

  /** The ttl that was asked for; null if it is not known. */
  private final Long ttl;

  private final AtomicBoolean isReleased = new AtomicBoolean();

  /** Makes the guard of a lease that has been granted or adopted. */
  Lease(Leases leases, Hold hold, OptionalLong fencingToken, Integer permit, Long ttl) {
    this.leases = leases;
    this.hold = hold;
    this.fencingToken = fencingToken;
    this.permit = permit;
    this.ttl = ttl;
  }

  /**
   * Returns the lock's name.
   *
   * @return the name
   */
  public String name() {
    return hold.name;
  }

  /**
   * Returns the lock id, which names this lease at any broker: see {@link LockBroker#adoptLease}
   * and {@link LockBroker#release}. It stays the same, and it is a capability: keep it out of logs.
   *
   * @return the id
   */
  public String lockId() {
    return hold.look().lockId();
  }

  /**
   * Returns the fencing token. It is greater than that of every earlier grant of the same name, and
   * stays the same. What the lock protects should refuse a token below the highest that it has
   * seen.
   *
   * @return the token, below 2^53; nothing for a lease that was adopted: whoever hands the lease on
   *     hands on its token, too
   */
  public OptionalLong fencingToken() {
    return fencingToken;
  }

  /**
   * Returns the number of the permit, as {@link HeldLock#permit} does.
   *
   * @return the number, from 0 to the limit - 1; nothing for a lease that is not {@link
   *     LeaseOption#shared}, and for one that was adopted
   */
  public OptionalInt permit() {
    return HeldLock.permit(permit);
  }

  /**
   * Returns the time for which the holder may act without renewing the lease, counted from now. It
   * ends two thirtieths of the ttl before the broker could give the lock to anybody else.
   *
   * @return the time; 0 once the lease is lost or released
   */
  public Duration remaining() {
    Core.HeldLock held = hold.look();
    return hold.ended() == null ? Duration.ofNanos(Clock.remaining(held.until())) : Duration.ZERO;
  }

  /**
   * Throws unless the holder may act at this moment, by the clock of this machine. It asks no
   * broker. Once it has said that the lease is lost, the lease stays lost.
   *
   * @throws LostException if the lease has run out, or {@link #renew} has found it lost
   * @throws LockBrokerException of the kind RELEASED after its release
   */
  public void check() {
    LockBrokerException ended = hold.ended();
    if (ended != null) {
      throw ended.about(hold.name);
    }
  }

  /**
   * Makes the lease stand for its ttl from now on, at whichever broker answers.
   *
   * @throws LostException if the lease is lost
   * @throws InterruptedException if the thread is interrupted; the lease is as good as before then
   * @throws LockBrokerException of the kind UNAVAILABLE if no broker answers: the lease is as good
   *     as before then, for {@link #remaining}, and another try makes sense; RELEASED after its
   *     release; or of another kind
   */
  public void renew() throws InterruptedException {
    check();
    Core.HeldLock held = hold.look();
    try {
      long until = leases.renew(hold.name, held.lockId(), ttl);
      hold.publish(
          new Core.HeldLock(
              held.lockId(), held.ttl(), Math.max(until, hold.look().until()), false));
    } catch (LostException e) {
      hold.lose(e.reason());
    }
    if (hold.ended() instanceof LostException lost && lost.reason() == LostReason.EXPIRED) {
      // The holder was told so before the answer came. Nobody uses it any more.
      leases.releaseAtAll(hold.name, held.lockId());
    }
    check();
  }

  /**
   * Releases the lease and waits until a broker has confirmed it. It is repeated at whichever
   * broker answers until the lease has run out. It goes on when the thread is interrupted, and
   * leaves it interrupted. It may be called again, also at the same time, and does the same.
   *
   * @throws LostException if the lease had been lost before
   * @throws LockBrokerException of the kind UNAVAILABLE if no broker confirmed the release: then
   *     the lease runs out by itself; or CLOSED if the client is closed
   */
  public void release() {
    Core.HeldLock held = hold.look();
    // The holder's own belief ends first.
    hold.finish(Failures.released(hold.name));
    if (isReleased.compareAndSet(false, true)) {
      leases.release(hold, held);
    }
    LockBrokerException error = hold.await();
    if (error != null) {
      throw error.about(hold.name);
    }
  }

  /**
   * Releases the lease as {@link #release} does. If nobody confirms the release, the lease runs out
   * by itself, and this is no error.
   *
   * @throws LostException if the lease had been lost: the work is done, and its last step may not
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

  /** Describes the lease, without its lock id. */
  @Override
  public String toString() {
    String token =
        fencingToken.isPresent() ? "token " + fencingToken.getAsLong() : "token not known";
    return "lease \"" + hold.name + "\" (" + token + ", " + remaining().toMillis() + " ms left)";
  }
}
