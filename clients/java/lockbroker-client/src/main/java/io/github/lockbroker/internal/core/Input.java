package io.github.lockbroker.internal.core;

import com.google.protobuf.ByteString;

/**
 * Something that has happened. Moments and spans are nanoseconds, here and in the whole package.
 */
public sealed interface Input {
  /**
   * A call wants a lock.
   *
   * @param key a new key
   * @param waiting null to try once
   * @param adopt the lock id of a grant to take over; empty to ask for a new one
   */
  record Acquire(long key, LockSpec spec, Wait waiting, String adopt) implements Input {}

  /** A lock, or the wait for it, is no longer wanted. It is ignored if the lock has ended. */
  record End(long key) implements Input {}

  /**
   * A lock is to have another value: each reattach from now on brings it. It is ignored if the lock
   * was asked for without one, or has ended.
   */
  record NewValue(long key, ByteString value) implements Input {}

  /**
   * A lock that is held alone is to be shared from now on. It is ignored if it is shared already,
   * or has ended.
   *
   * @param limit as in {@link LockSpec}
   */
  record Share(long key, Integer limit) implements Input {}

  /**
   * A connection stands, or cannot be made.
   *
   * @param failure null if it stands
   */
  record Dialled(long link, Failure failure) implements Input {}

  /** A message has come. */
  record Received(long link, Message message) implements Input {}

  /** A stream has ended, though nobody here has hung up. */
  record Ended(long link, Failure failure) implements Input {}

  /**
   * A call of Release has been answered, or has failed. Any answer means that the lock is not held
   * any more.
   *
   * @param failure null if it has been answered
   */
  record ReleasedElsewhere(long key, Failure failure) implements Input {}

  /** Time has passed, and nothing else happened. */
  record Timeout() implements Input {}
}
