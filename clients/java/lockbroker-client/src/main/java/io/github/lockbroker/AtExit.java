package io.github.lockbroker;

import io.github.lockbroker.internal.Daemons;
import io.github.lockbroker.internal.core.Moments;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** Releases locks when the program ends. One shutdown hook does it for all clients that want it. */
final class AtExit {
  /** The longest time for which the end of the program waits. */
  private static final long LONGEST = Moments.SECOND;

  private static final Set<Session> SESSIONS = new HashSet<>();

  /** The hook that is registered; null while there is no such client. */
  private static Thread hook;

  private AtExit() {}

  /** Closes a session when the program ends, unless it is removed before. */
  static synchronized void add(Session session) {
    SESSIONS.add(session);
    if (hook == null) {
      Thread made = Daemons.named("lockbroker-exit").newThread(AtExit::closeAll);
      try {
        Runtime.getRuntime().addShutdownHook(made);
        hook = made;
      } catch (IllegalStateException e) {
        // The program is ending, and takes no more hooks.
        return;
      }
    }
  }

  static synchronized void remove(Session session) {
    if (!SESSIONS.remove(session) || !SESSIONS.isEmpty() || hook == null) {
      return;
    }
    try {
      Runtime.getRuntime().removeShutdownHook(hook);
      hook = null;
    } catch (IllegalStateException e) {
      // The program is ending, and the hook has nothing to do.
      return;
    }
  }

  private static void closeAll() {
    List<Session> all;
    synchronized (AtExit.class) {
      all = List.copyOf(SESSIONS);
    }
    long end = System.nanoTime() + LONGEST;
    // Half of it for the releases, and half to end the streams in good order.
    all.forEach(session -> session.close(LONGEST / 2));
    all.forEach(session -> session.awaitEnd(end - System.nanoTime()));
  }
}
