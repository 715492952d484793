package io.github.lockbroker.internal.core;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/**
 * Counts until when the locks of one stream may be believed in.
 *
 * <p>There is one moment for the whole stream, which every acknowledged heartbeat moves on, and one
 * for each lock that the latest acknowledgement left out. Moments count from when the client sent
 * what is acknowledged, so the clocks of client and broker are never compared. It knows nothing of
 * streams, threads or guards.
 */
final class Validity {
  /** The end of the validity of every lock that is not in behind, later ones included. */
  private long coveredUntil;

  /** The locks that the latest acknowledgement did not renew, with what an earlier one gave. */
  private Map<Long, Long> behind = new TreeMap<>();

  /** The locks in behind that acknowledgements no longer mention. */
  private final Set<Long> settled = new HashSet<>();

  /**
   * The heartbeats that may still be acknowledged, oldest first. The first may have been
   * acknowledged already, since the broker repeats itself when it has renewed more.
   */
  private final ArrayDeque<Beat> beats = new ArrayDeque<>();

  /** The moment at which something here runs out next; null once everything has. */
  private Long next;

  private record Beat(long seq, long sent) {}

  /**
   * Says which locks have run out.
   *
   * @param all the stream's own moment has come, and with it every lock on it
   * @param some the locks that have run out, if not all have
   */
  record RunOut(boolean all, List<Long> some) {}

  /** Begins with a stream whose Open was sent at sent and answered with expiresAfter. */
  Validity(long sent, long expiresAfter) {
    coveredUntil = Moments.after(sent, expiresAfter);
    next = coveredUntil;
  }

  /** Notes that the heartbeat seq is being sent. */
  void beat(long seq, long now) {
    beats.addLast(new Beat(seq, now));
  }

  /** Takes an acknowledgement. Ignores one that was never asked for, or is older than another. */
  void acknowledged(long seq, long expiresAfter, Collection<Long> notRenewed) {
    if (beats.stream().noneMatch(beat -> beat.seq == seq)) {
      return;
    }
    while (beats.getFirst().seq != seq) {
      beats.removeFirst();
    }
    Map<Long, Long> left = new TreeMap<>();
    notRenewed.forEach(lock -> left.put(lock, until(lock)));
    settled.forEach(lock -> left.put(lock, until(lock)));
    behind = left;
    coveredUntil = Moments.after(beats.getFirst().sent, expiresAfter);
    lookAhead();
  }

  /**
   * Notes that no more events come for this lock. It keeps its validity, and nothing is added to
   * it. Acknowledgements leave it out from now on, though not in notRenewed.
   */
  void settle(long lock) {
    behind.put(lock, until(lock));
    settled.add(lock);
    lookAhead();
  }

  /** Returns the end of the lock's validity. */
  long until(long lock) {
    return behind.getOrDefault(lock, coveredUntil);
  }

  /** Returns the moment at which something runs out next; {@link Moments#NEVER} if nothing does. */
  long next() {
    return next == null ? Moments.NEVER : next;
  }

  /** Returns what has run out by now and was not reported before; null if nothing has. */
  RunOut runOut(long now) {
    if (next == null || next > now) {
      return null;
    }
    if (coveredUntil <= now) {
      next = null;
      return new RunOut(true, List.of());
    }
    // Those reported stay in behind: a lock that has run out must not become valid again.
    List<Long> over = new ArrayList<>();
    long soonest = coveredUntil;
    for (Map.Entry<Long, Long> lock : behind.entrySet()) {
      if (lock.getValue() <= now) {
        over.add(lock.getKey());
      } else {
        soonest = Math.min(soonest, lock.getValue());
      }
    }
    next = soonest;
    return new RunOut(false, over);
  }

  private void lookAhead() {
    long soonest = coveredUntil;
    for (long until : behind.values()) {
      soonest = Math.min(soonest, until);
    }
    next = soonest;
  }
}
