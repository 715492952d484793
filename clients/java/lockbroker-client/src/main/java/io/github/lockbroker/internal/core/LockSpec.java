package io.github.lockbroker.internal.core;

import com.google.protobuf.ByteString;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Objects;

/**
 * A lock that is asked for.
 *
 * @param linger null for the broker's default
 * @param owner the label that others see; empty for none
 * @param minHold the time after the grant for which nobody else can acquire it; null for none
 * @param isKept it is kept until its validity is over when its stream ends, however that ends. Each
 *     reattach says so anew
 * @param isShared others may have it too, each with a permit
 * @param limit the most that share it at a time; null for as many as there are permits. It is set
 *     only if it is shared
 * @param weight how many permits it takes at once; 1 if it is not shared
 * @param also the names of other locks that are wanted together with it, in the same way: all or
 *     none
 * @param value the one for those who observe the lock; null for none
 */
public record LockSpec(
    String name,
    Long linger,
    String owner,
    Long minHold,
    boolean isKept,
    boolean isShared,
    Integer limit,
    int weight,
    List<String> also,
    ByteString value) {
  /** Refuses null here, in the caller's thread: no message can carry it. */
  public LockSpec {
    Objects.requireNonNull(name);
    Objects.requireNonNull(owner);
    also = List.copyOf(also);
  }

  /** Makes one that has neither minHold nor value, is neither kept nor shared, and wanted alone. */
  public LockSpec(String name, Long linger, String owner) {
    this(name, linger, owner, null, false, false, null, 1, List.of(), null);
  }

  public LockSpec withLinger(long linger) {
    return new LockSpec(name, linger, owner, minHold, isKept, isShared, limit, weight, also, value);
  }

  public LockSpec withOwner(String owner) {
    return new LockSpec(name, linger, owner, minHold, isKept, isShared, limit, weight, also, value);
  }

  public LockSpec withMinHold(long minHold) {
    return new LockSpec(name, linger, owner, minHold, isKept, isShared, limit, weight, also, value);
  }

  /** Returns the same that is kept. */
  public LockSpec kept() {
    return new LockSpec(name, linger, owner, minHold, true, isShared, limit, weight, also, value);
  }

  /** Returns the same that is shared, among as many as were asked for before. */
  public LockSpec shared() {
    return new LockSpec(name, linger, owner, minHold, isKept, true, limit, weight, also, value);
  }

  /** Returns the same that is shared among so many. */
  public LockSpec withLimit(int limit) {
    return new LockSpec(name, linger, owner, minHold, isKept, true, limit, weight, also, value);
  }

  /** Returns the same that is shared, and takes so many permits at once. */
  public LockSpec withWeight(int weight) {
    return new LockSpec(name, linger, owner, minHold, isKept, true, limit, weight, also, value);
  }

  /** Returns the same that is not shared. */
  public LockSpec exclusive() {
    return new LockSpec(name, linger, owner, minHold, isKept, false, null, 1, also, value);
  }

  /**
   * Returns the names of the locks that are had together with this one: other locks, or other
   * permits of the same.
   */
  public List<String> others() {
    List<String> others = new ArrayList<>(also);
    others.addAll(Collections.nCopies(Math.max(0, weight - 1), name));
    return others;
  }

  /** Returns the same that is wanted together with these, and those that were named before. */
  public LockSpec withAlso(List<String> names) {
    List<String> all = new ArrayList<>(also);
    all.addAll(names);
    return new LockSpec(name, linger, owner, minHold, isKept, isShared, limit, weight, all, value);
  }

  public LockSpec withValue(ByteString value) {
    return new LockSpec(name, linger, owner, minHold, isKept, isShared, limit, weight, also, value);
  }

  /** Returns the same with another name, wanted alone, by one permit. */
  public LockSpec named(String name) {
    return new LockSpec(name, linger, owner, minHold, isKept, isShared, limit, 1, List.of(), value);
  }
}
