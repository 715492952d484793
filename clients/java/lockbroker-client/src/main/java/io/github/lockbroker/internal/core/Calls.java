package io.github.lockbroker.internal.core;

import java.util.Comparator;
import java.util.HashMap;
import java.util.Map;
import java.util.TreeSet;

/** The calls that wait for an answer, by their key and by when to see if they are over. */
final class Calls {
  /**
   * A call that waits for its answer.
   *
   * @param check the moment at which to see if it is over
   * @param atMost the moment at which it is over even if a broker may be there
   */
  record Call(long key, long check, long atMost) {}

  private final Map<Long, Call> byKey = new HashMap<>();
  private final TreeSet<Call> queue =
      new TreeSet<>(Comparator.comparingLong(Call::check).thenComparingLong(Call::key));

  void add(long key, long check, long atMost) {
    Call call = new Call(key, check, atMost);
    byKey.put(key, call);
    queue.add(call);
  }

  /** Forgets a call that has its answer, or needs none any more. */
  void remove(long key) {
    Call call = byKey.remove(key);
    if (call != null) {
      queue.remove(call);
    }
  }

  /** Sets another moment at which to see if a call is over. */
  void postpone(Call call, long check) {
    remove(call.key);
    add(call.key, check, call.atMost);
  }

  /** Returns the call that is to be looked at first; null if none waits. */
  Call first() {
    return queue.isEmpty() ? null : queue.first();
  }

  long due() {
    return queue.isEmpty() ? Moments.NEVER : queue.first().check;
  }
}
