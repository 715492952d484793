package io.github.lockbroker.internal.core;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.DoubleSupplier;

/**
 * Has the releases that no stream can confirm. Any broker is asked, again and again, until one
 * answers, one refuses for good, or the lock has run out by itself.
 */
final class Elsewhere {
  /** The longest pause between two calls. */
  private static final long MOST_BETWEEN_RELEASES = Moments.SECOND;

  private final TreeMap<Long, Release> releases = new TreeMap<>();

  /** A lock that is being released by calls. */
  private static final class Release {
    /** The calls that are still to be made, one after another. */
    final Deque<Output.ReleaseElsewhere> calls = new ArrayDeque<>();

    /** The end of its validity. */
    final long until;

    /** The moment of the next call; never while one is under way. */
    long next = Moments.NEVER;

    int tries;

    Release(Lock lock, long until) {
      this.until = until;
      calls.add(new Output.ReleaseElsewhere(lock.key, lock.spec.name(), lock.lockId));
      List<String> others = lock.spec.others();
      for (int at = 0; at < lock.also.size(); at++) {
        calls.add(new Output.ReleaseElsewhere(lock.key, others.get(at), lock.also.get(at)));
      }
    }
  }

  boolean isEmpty() {
    return releases.isEmpty();
  }

  boolean has(long key) {
    return releases.containsKey(key);
  }

  /** Begins to release a lock, and those that are held together with it. */
  void begin(Lock lock, long until, List<Output> out) {
    Release release = new Release(lock, until);
    out.add(release.calls.getFirst());
    releases.put(lock.key, release);
  }

  /** Takes the end of a call. */
  void ended(long key, Failure failure, long now, DoubleSupplier chance, List<Output> out) {
    Release release = releases.get(key);
    if (release == null) {
      return;
    }
    if (failure == null && release.calls.size() > 1) {
      release.calls.removeFirst();
      out.add(release.calls.getFirst());
      return;
    } else if (failure == null) {
      out.add(new Output.Released(key));
    } else if (!failure.code().isFinal()) {
      long pause = Pause.after(release.tries, MOST_BETWEEN_RELEASES, chance.getAsDouble());
      release.next = Moments.after(now, pause);
      release.tries++;
      return;
    } else {
      out.add(new Output.Failed(key, failure));
    }
    releases.remove(key);
  }

  /** Calls again where it is time, and ends what has run out. */
  void keepTime(long now, List<Output> out) {
    Iterator<Map.Entry<Long, Release>> each = releases.entrySet().iterator();
    while (each.hasNext()) {
      Map.Entry<Long, Release> entry = each.next();
      Release release = entry.getValue();
      if (release.until <= now) {
        String why = "no broker confirmed the release before the lock ran out by itself";
        out.add(new Output.Failed(entry.getKey(), Failure.unavailable(why)));
        each.remove();
      } else if (release.next <= now) {
        release.next = Moments.NEVER;
        out.add(release.calls.getFirst());
      }
    }
  }

  /** Returns the moment at which to keep time. */
  long due() {
    long due = Moments.NEVER;
    for (Release release : releases.values()) {
      due = Math.min(due, Math.min(release.next, release.until));
    }
    return due;
  }
}
