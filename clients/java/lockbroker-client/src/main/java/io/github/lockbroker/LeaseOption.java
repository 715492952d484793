package io.github.lockbroker;

import java.time.Duration;
import java.util.Objects;
import java.util.function.UnaryOperator;

/** A property of a lease that is asked for. */
public final class LeaseOption {
  private final UnaryOperator<Leases.Terms> set;

  private LeaseOption(UnaryOperator<Leases.Terms> set) {
    this.set = set;
  }

  /**
   * Sets the ttl: for so long the lease stands after each renewal.
   *
   * @param ttl 5 s up to the broker's --max-ttl, to the millisecond. Default: the client's
   * @return the option
   */
  public static LeaseOption ttl(Duration ttl) {
    long span = Wire.nanos(Objects.requireNonNull(ttl));
    return new LeaseOption(terms -> new Leases.Terms(terms.spec(), span, terms.waiting()));
  }

  /**
   * Waits for the lock, exact to 50 ms, or to 150 ms while the store is slow.
   *
   * @param limit the longest wait, up to 30 s; 0 or less asks once. Default: 0
   * @return the option
   */
  public static LeaseOption waitAtMost(Duration limit) {
    long span = Math.max(0, Wire.nanos(Objects.requireNonNull(limit)));
    return new LeaseOption(terms -> new Leases.Terms(terms.spec(), terms.ttl(), span));
  }

  /**
   * Sets a label that is shown to others who ask for the lock.
   *
   * @param label up to 128 bytes without control characters. Default: the client's
   * @return the option
   */
  public static LeaseOption owner(String label) {
    return of(LockOption.owner(label));
  }

  /**
   * Sets the time after the release for which nobody can acquire the lock.
   *
   * @param linger up to 1 h, to the millisecond. Default: 0
   * @return the option
   */
  public static LeaseOption linger(Duration linger) {
    return of(LockOption.linger(linger));
  }

  /**
   * Sets the time after the grant for which nobody else can acquire the lock, whenever and however
   * the lease ends.
   *
   * @param minHold up to 1 h, to the millisecond. Default: 0
   * @return the option
   */
  public static LeaseOption minHold(Duration minHold) {
    return of(LockOption.minHold(minHold));
  }

  /**
   * Shares the lock, as {@link LockOption#shared} does.
   *
   * @return the option
   */
  public static LeaseOption shared() {
    return of(LockOption.shared());
  }

  /**
   * Shares the lock among so many at a time, as {@link LockOption#limit} does.
   *
   * @param limit 1 to 4,096; a call with another one fails as INVALID. Default: 4,096, if the lock
   *     is shared
   * @return the option
   */
  public static LeaseOption limit(int limit) {
    return of(LockOption.limit(limit));
  }

  private static LeaseOption of(LockOption option) {
    return new LeaseOption(
        terms -> new Leases.Terms(option.set(terms.spec()), terms.ttl(), terms.waiting()));
  }

  /** Returns the terms with this property. */
  Leases.Terms set(Leases.Terms terms) {
    return set.apply(terms);
  }
}
