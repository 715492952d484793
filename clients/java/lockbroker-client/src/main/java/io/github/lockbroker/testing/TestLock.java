package io.github.lockbroker.testing;

import io.github.lockbroker.LostReason;
import io.github.lockbroker.v1.NotAcquired;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.function.Predicate;
import java.util.stream.LongStream;

/** A lock of a test's broker. The broker's monitor guards it, and all that it refers to. */
final class TestLock {
  /** Stands for a permit where a lock is not shared. */
  static final int ALONE = -1;

  final String name;

  /** Those who have it: one alone, or each with a permit. */
  final List<Grant> holders = new ArrayList<>();

  final List<Asked> waiters = new ArrayList<>();

  /** Until when nobody can have a permit, or ALONE the lock itself, by System.nanoTime(). */
  private final Map<Integer, Long> closed = new HashMap<>();

  /** The reasons with which the next requests fail. */
  final Deque<String> failures = new ArrayDeque<>();

  /** A lock that somebody has. */
  static final class Grant {
    final String id;
    final long token;
    final String owner;

    /** That of a shared lock, or ALONE. */
    final int permit;

    long lingerMillis;

    /** From when others can have it, by System.nanoTime(); 0 for at any time. */
    long closedUntil;

    /** It is held when its stream has ended, until it has run out. */
    boolean isKept;

    /** Until when it is held without a stream, by System.nanoTime(). */
    long endsAt;

    /** Null if it is no lease. */
    TestLease lease;

    /** Null if no client of this broker has it. */
    TestAsker session;

    long ref;

    Grant(String id, long token, String owner, int permit) {
      this.id = id;
      this.token = token;
      this.owner = owner;
      this.permit = permit;
    }
  }

  /**
   * Somebody who asks for a lock.
   *
   * @param limit above the permit that is asked for; 0 for who wants the lock alone
   */
  record Asked(
      TestAsker session,
      long ref,
      String owner,
      long lingerMillis,
      long minHoldMillis,
      boolean isKept,
      int limit) {}

  TestLock(String name) {
    this.name = name;
  }

  /** Returns a holder; null if there is none like that. */
  Grant find(Predicate<Grant> is) {
    return holders.stream().filter(is).findFirst().orElse(null);
  }

  /** Returns who has this permit; null if nobody does. */
  Grant with(int permit) {
    return find(grant -> grant.permit == permit);
  }

  /** Returns who has the grant with this lock id; null if nobody does. */
  Grant named(String id) {
    return find(grant -> grant.id.equals(id));
  }

  /** Returns the label of who has the lock alone. */
  String owner() {
    Grant holder = with(ALONE);
    return holder == null ? "" : holder.owner;
  }

  /** Returns what can be granted now, if anything can: a permit, the lowest first, or ALONE. */
  OptionalInt free(Asked asked) {
    if (asked.limit() == 0) {
      boolean isFree = holders.isEmpty() && opensInMillis() == 0;
      return isFree ? OptionalInt.of(ALONE) : OptionalInt.empty();
    }
    if (isTaken(ALONE)) {
      return OptionalInt.empty();
    }
    for (int permit = 0; permit < asked.limit(); permit++) {
      if (!isTaken(permit)) {
        return OptionalInt.of(permit);
      }
    }
    return OptionalInt.empty();
  }

  private boolean isTaken(int permit) {
    return with(permit) != null || closedMillis(closed.getOrDefault(permit, 0L)) > 0;
  }

  /** Returns true if somebody waits who wants the lock alone, and so lets in no others. */
  private boolean isKeptOut(Asked asked) {
    return asked.limit() > 0 && waiters.stream().anyMatch(waiter -> waiter.limit() == 0);
  }

  /** Returns what can be granted now to who has just come, if anything can. */
  OptionalInt freeForNew(Asked asked) {
    return isKeptOut(asked) ? OptionalInt.empty() : free(asked);
  }

  /** Returns why nothing is granted to who has just come. */
  NotAcquired.Reason refusal(Asked asked) {
    return holders.isEmpty() && !isKeptOut(asked)
        ? NotAcquired.Reason.REASON_LINGERING
        : NotAcquired.Reason.REASON_HELD;
  }

  private static long closedMillis(long until) {
    long left = until == 0 ? 0 : (until - System.nanoTime()) / 1_000_000 + 1;
    return Math.max(0, left);
  }

  private LongStream allClosedMillis() {
    return closed.values().stream().mapToLong(TestLock::closedMillis).filter(left -> left > 0);
  }

  /** Returns when the first of what is closed is so no longer; 0 if nothing is. */
  long opensInMillis() {
    return allClosedMillis().min().orElse(0);
  }

  /** Returns for how long a permit is closed, or, for ALONE, any of the lock. */
  long lingerMillis(int permit) {
    return permit == ALONE
        ? allClosedMillis().max().orElse(0)
        : Math.max(
            closedMillis(closed.getOrDefault(ALONE, 0L)),
            closedMillis(closed.getOrDefault(permit, 0L)));
  }

  /** Ends all lingers. */
  void open() {
    closed.clear();
  }

  /** Takes the lock from one who has it, without a word, and keeps it closed for that long. */
  void drop(Grant grant, long lingerMillis) {
    if (grant.session != null) {
      grant.session.forget(grant.ref);
    }
    long now = System.nanoTime();
    long left = lingerMillis * 1_000_000;
    if (grant.closedUntil != 0) {
      left = Math.max(left, grant.closedUntil - now);
    }
    if (left > 0) {
      closed.put(grant.permit, now + left);
    }
    holders.remove(grant);
  }

  /** Makes a holder lose the lock. */
  void lose(Grant grant, LostReason reason) {
    if (grant.session != null) {
      grant.session.lost(grant.ref, reason);
    }
    drop(grant, 0);
  }

  /** Makes all holders lose the lock. */
  void loseAll(LostReason reason) {
    List.copyOf(holders).forEach(grant -> lose(grant, reason));
  }
}
