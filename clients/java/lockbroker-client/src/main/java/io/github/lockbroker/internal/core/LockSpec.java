package io.github.lockbroker.internal.core;

import com.google.protobuf.ByteString;
import java.util.ArrayList;
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
    this(name, linger, owner, null, false, false, null, List.of(), null);
  }

  public LockSpec withLinger(long linger) {
    return new LockSpec(name, linger, owner, minHold, isKept, isShared, limit, also, value);
  }

  public LockSpec withOwner(String owner) {
    return new LockSpec(name, linger, owner, minHold, isKept, isShared, limit, also, value);
  }

  public LockSpec withMinHold(long minHold) {
    return new LockSpec(name, linger, owner, minHold, isKept, isShared, limit, also, value);
  }

  /** Returns the same that is kept. */
  public LockSpec kept() {
    return new LockSpec(name, linger, owner, minHold, true, isShared, limit, also, value);
  }

  /** Returns the same that is shared, among as many as were asked for before. */
  public LockSpec shared() {
    return new LockSpec(name, linger, owner, minHold, isKept, true, limit, also, value);
  }

  /** Returns the same that is shared among so many. */
  public LockSpec withLimit(int limit) {
    return new LockSpec(name, linger, owner, minHold, isKept, true, limit, also, value);
  }

  /** Returns the same that is wanted together with these, and those that were named before. */
  public LockSpec withAlso(List<String> names) {
    List<String> all = new ArrayList<>(also);
    all.addAll(names);
    return new LockSpec(name, linger, owner, minHold, isKept, isShared, limit, all, value);
  }

  public LockSpec withValue(ByteString value) {
    return new LockSpec(name, linger, owner, minHold, isKept, isShared, limit, also, value);
  }

  /** Returns the same with another name, wanted alone. */
  public LockSpec named(String name) {
    return new LockSpec(name, linger, owner, minHold, isKept, isShared, limit, List.of(), value);
  }
}
