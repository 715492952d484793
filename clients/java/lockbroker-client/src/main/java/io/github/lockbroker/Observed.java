package io.github.lockbroker;

import com.google.protobuf.ByteString;
import io.github.lockbroker.v1.ObserveResponse;
import java.time.Duration;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalLong;

/** A lock as those see it who observe it: what an {@link Observation} tells. */
public final class Observed {
  /** Says that nobody can tell. */
  static final Observed UNKNOWN = new Observed(LockState.UNKNOWN, "", null, 0, null);

  private final LockState state;
  private final String owner;

  /** Null for none. */
  private final ByteString value;

  /** Is 0 if it is not known. */
  private final long token;

  /** Null if it is not known. */
  private final Duration expiresIn;

  private Observed(
      LockState state, String owner, ByteString value, long token, Duration expiresIn) {
    this.state = state;
    this.owner = owner;
    this.value = value;
    this.token = token;
    this.expiresIn = expiresIn;
  }

  /** Reads what a broker tells. */
  static Observed of(ObserveResponse told) {
    LockState state =
        switch (told.getState()) {
          case STATE_FREE -> LockState.FREE;
          case STATE_HELD -> LockState.HELD;
          case STATE_LINGERING -> LockState.LINGERING;
          case STATE_REVOKED -> LockState.REVOKED;
          // A later version may know more.
          default -> LockState.UNKNOWN;
        };
    Long expires = Wire.nanos(told.hasExpiresIn(), told.getExpiresIn());
    return new Observed(
        state,
        told.getOwner(),
        told.hasValue() ? told.getValue() : null,
        Math.max(0, told.getFencingToken()),
        expires == null ? null : Duration.ofNanos(expires));
  }

  /**
   * Returns the state of the lock.
   *
   * @return the state
   */
  public LockState state() {
    return state;
  }

  /**
   * Returns the holder's label.
   *
   * @return the label; empty if it has none or it is not known
   */
  public String owner() {
    return owner;
  }

  /**
   * Returns the holder's value, {@link LockOption#value}.
   *
   * @return a copy, perhaps of no bytes; nothing if it has none, or it is not known yet
   */
  public Optional<byte[]> value() {
    return Optional.ofNullable(value).map(ByteString::toByteArray);
  }

  /**
   * Returns the holder's fencing token. It tells one holder from the next.
   *
   * @return the token, if it is known
   */
  public OptionalLong fencingToken() {
    return token == 0 ? OptionalLong.empty() : OptionalLong.of(token);
  }

  /**
   * Returns the time after which the lock is free if nobody renews it, counted from when the broker
   * looked.
   *
   * @return the time, if it is known
   */
  public Optional<Duration> expiresIn() {
    return Optional.ofNullable(expiresIn);
  }

  /** Reports whether there is nothing new to tell after another: the time alone is no change. */
  boolean saysTheSame(Observed other) {
    return state == other.state
        && owner.equals(other.owner)
        && Objects.equals(value, other.value)
        && token == other.token;
  }

  /** Describes the state, without the value. */
  @Override
  public String toString() {
    String by = owner.isEmpty() ? "" : " by \"" + owner + "\"";
    return state + by + (token == 0 ? "" : " (token " + token + ")");
  }
}
