package io.github.lockbroker;

import com.google.protobuf.ByteString;
import io.github.lockbroker.internal.core.LockSpec;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.function.UnaryOperator;

/** A property of a lock that is asked for. */
public final class LockOption {
  private final UnaryOperator<LockSpec> set;

  private LockOption(UnaryOperator<LockSpec> set) {
    this.set = set;
  }

  /**
   * Sets a label that is shown to others who ask for the lock.
   *
   * @param label up to 128 bytes without control characters. Default: the client's
   * @return the option
   */
  public static LockOption owner(String label) {
    Objects.requireNonNull(label);
    return new LockOption(spec -> spec.withOwner(label));
  }

  /**
   * Sets the time after the release for which nobody can acquire the lock.
   *
   * @param linger up to 1 h, to the millisecond. Default: 0
   * @return the option
   */
  public static LockOption linger(Duration linger) {
    long span = Wire.nanos(Objects.requireNonNull(linger));
    return new LockOption(spec -> spec.withLinger(span));
  }

  /**
   * Sets the time after the grant for which nobody else can acquire the lock, whenever and however
   * this client ends. For jobs that must not run twice on machines whose clocks differ.
   *
   * @param minHold up to 1 h, to the millisecond. Default: 0
   * @return the option
   */
  public static LockOption minHold(Duration minHold) {
    long span = Wire.nanos(Objects.requireNonNull(minHold));
    return new LockOption(spec -> spec.withMinHold(span));
  }

  /**
   * Keeps the lock until its validity is over when the connection ends, however that ends: a proxy
   * that closes connections, as in a reload, costs no lock then. The price: if this process dies,
   * others wait until the validity is over. A release ends the lock at once all the same.
   *
   * @return the option
   */
  public static LockOption keepOnDisconnect() {
    return new LockOption(LockSpec::kept);
  }

  /**
   * Shares the lock: others who share it may have it at the same time, each with a permit of its
   * own, and nobody has it alone meanwhile. See {@link HeldLock#permit} and {@link #limit}.
   * Default: nobody else has it.
   *
   * @return the option
   */
  public static LockOption shared() {
    return new LockOption(LockSpec::shared);
  }

  /**
   * Shares the lock, as {@link #shared} does, among so many at a time. All who use the name should
   * say the same.
   *
   * @param limit 1 to 4,096; a call with another one fails as INVALID. Default: 4,096, if the lock
   *     is shared
   * @return the option
   */
  public static LockOption limit(int limit) {
    return new LockOption(spec -> spec.withLimit(limit));
  }

  /**
   * Shares the lock, as {@link #shared} does, and takes so many permits at once: all of them or
   * none, for one {@link HeldLock}, whose {@link HeldLock#locks} lists them. While one waits for
   * several, others get no new ones. When one is lost, all are. Not together with {@link #also},
   * and not for {@link LockBroker#adopt}.
   *
   * @param weight 1 to 16, and at most the {@link #limit}; a call with another one fails as
   *     INVALID, before anything is sent. Default: 1, if the lock is shared
   * @return the option
   */
  public static LockOption weight(int weight) {
    return new LockOption(spec -> spec.withWeight(weight));
  }

  /**
   * Asks for other locks together with this one, in the same way: all of them or none, for one
   * {@link HeldLock}, whose {@link HeldLock#locks} lists them. Whoever asks for several waits for
   * nobody in a circle, in whatever order the names are said. When one is lost, all are. Not
   * together with {@link #minHold} or a {@link #value}.
   *
   * @param names at most 15, all different; a call with more fails as INVALID
   * @return the option
   */
  public static LockOption also(String... names) {
    List<String> also = List.of(names);
    return new LockOption(spec -> spec.withAlso(also));
  }

  /**
   * Sets the value for those who observe the lock, by {@link LockBroker#observe}: where a leader
   * can be reached, say. {@link HeldLock#update} gives the lock another one. Not for a lock that is
   * {@link #shared}.
   *
   * @param value up to 1,024 bytes, perhaps none, which are copied; a call with more fails as
   *     INVALID, before anything is sent. Default: the lock has no value
   * @return the option
   */
  public static LockOption value(byte[] value) {
    ByteString copy = ByteString.copyFrom(value);
    return new LockOption(spec -> spec.withValue(copy));
  }

  /** Returns the lock with this property. */
  LockSpec set(LockSpec spec) {
    return set.apply(spec);
  }
}
