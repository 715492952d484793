package io.github.lockbroker;

import com.google.protobuf.ByteString;
import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.internal.Clock;
import io.github.lockbroker.internal.core.Moments;
import io.github.lockbroker.v1.UpdateLockRequest;
import io.github.lockbroker.v1.UpdateLockResponse;

/** Brings brokers the values that holders give their locks. */
final class Values {
  /**
   * The pause before an update is tried again that somebody else's was in the way of, or a
   * reattach.
   */
  private static final long AGAIN_MILLIS = 50;

  private Values() {}

  /** Says that a lock was asked for without a value. */
  static LockBrokerException without(String lock) {
    String why = "it was asked for without a value, so it can be given none";
    return new LockBrokerException(Kind.INVALID, lock, why);
  }

  /**
   * Brings brokers the value that the holder of a lock has given it last. One at a time does so,
   * and each brings the latest: so an older one never comes after it.
   */
  static void bring(Brokers brokers, Hold hold) throws InterruptedException {
    hold.updating.lockInterruptibly();
    try {
      long until = Moments.after(Clock.now(), brokers.answerTimeout());
      while (!once(brokers, hold, Clock.hasPassed(until))) {
        // It has moved meanwhile, or will.
      }
    } finally {
      hold.updating.unlock();
    }
  }

  /**
   * Makes one try. Returns false if it is to be made again.
   *
   * @param isLast a failure is not to be made good by another try
   */
  private static boolean once(Brokers brokers, Hold hold, boolean isLast)
      throws InterruptedException {
    String lockId = hold.look().lockId();
    LockBrokerException ended = hold.ended();
    if (ended != null) {
      throw ended.about(hold.name);
    }
    LockBrokerException error;
    try {
      switch (update(brokers, hold.name, lockId, hold.value())) {
        case OUTCOME_UPDATED:
          // Otherwise it has moved, perhaps with the value from before.
          return hold.look().lockId().equals(lockId);
        case OUTCOME_NOT_HELD, OUTCOME_HELD_BY_ANOTHER:
          // It is about to move: its new id is on the way.
          String why = "the brokers know this lock by another id, or no more";
          error = Failures.unavailable(hold.name, why);
          break;
        case OUTCOME_NO_VALUE:
          throw without(hold.name);
        default:
          throw Failures.unexpected(hold.name, "an update without an outcome");
      }
    } catch (LockBrokerException e) {
      if (e.kind() != Kind.UNAVAILABLE) {
        throw e;
      }
      error = e;
    }
    if (isLast) {
      throw error;
    }
    Thread.sleep(AGAIN_MILLIS);
    return false;
  }

  private static UpdateLockResponse.Outcome update(
      Brokers brokers, String name, String lockId, ByteString value) throws InterruptedException {
    UpdateLockRequest request =
        UpdateLockRequest.newBuilder().setName(name).setLockId(lockId).setValue(value).build();
    return brokers.call(name, stub -> stub.updateLock(request)).getOutcome();
  }
}
