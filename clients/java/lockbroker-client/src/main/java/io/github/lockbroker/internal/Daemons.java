package io.github.lockbroker.internal;

import java.util.concurrent.ThreadFactory;

/** Makes threads that do not keep the program from ending. */
public final class Daemons {
  private Daemons() {}

  /** Makes daemons that inherit nothing from the thread that happens to need one first. */
  public static ThreadFactory named(String name) {
    return work -> {
      Thread thread = new Thread(null, work, name, 0, false);
      thread.setDaemon(true);
      return thread;
    };
  }
}
