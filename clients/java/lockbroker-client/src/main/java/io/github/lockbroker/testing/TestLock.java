package io.github.lockbroker.testing;

import io.github.lockbroker.LostReason;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

/** A lock of a test's broker. The broker's monitor guards it, and all that it refers to. */
final class TestLock {
  private static final long NANOS = 1_000_000;

  final String name;

  /** Null if nobody has it. */
  Grant holder;

  final List<Asked> waiters = new ArrayList<>();

  /** Until when nobody can have it, by System.nanoTime(); 0 for never. */
  long lingersUntil;

  /** The reasons with which the next requests fail. */
  final Deque<String> failures = new ArrayDeque<>();

  /** A lock that somebody has. */
  static final class Grant {
    final String id;
    final long token;
    final String owner;
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

    Grant(String id, long token, String owner) {
      this.id = id;
      this.token = token;
      this.owner = owner;
    }
  }

  /** Somebody who asks for a lock. */
  record Asked(
      TestAsker session,
      long ref,
      String owner,
      long lingerMillis,
      long minHoldMillis,
      boolean isKept) {}

  TestLock(String name) {
    this.name = name;
  }

  long lingerMillis() {
    long left = lingersUntil == 0 ? 0 : (lingersUntil - System.nanoTime()) / 1_000_000 + 1;
    return Math.max(0, left);
  }

  /** Takes the lock from whoever has it, without a word. */
  void drop() {
    if (holder.session != null) {
      holder.session.forget(holder.ref);
    }
    if (holder.closedUntil != 0
        && holder.closedUntil - System.nanoTime() > lingerMillis() * NANOS) {
      lingersUntil = holder.closedUntil;
    }
    holder = null;
  }

  /** Makes the holder lose the lock, if there is one. */
  void lose(LostReason reason) {
    if (holder == null) {
      return;
    }
    if (holder.session != null) {
      holder.session.lost(holder.ref, reason);
    }
    drop();
  }
}
