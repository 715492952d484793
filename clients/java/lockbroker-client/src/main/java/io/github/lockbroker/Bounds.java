package io.github.lockbroker;

import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.internal.core.LockSpec;
import java.nio.charset.StandardCharsets;
import java.util.Objects;

/**
 * Refuses texts that no message could carry, and limits that cannot be. A broker ends the whole
 * Session for a message above 4 KiB, and with it all locks of the client. What is shorter and still
 * too long it refuses by itself.
 */
final class Bounds {
  private static final int MOST_BYTES = 1024;

  /** The most that can share a lock at a time. */
  private static final int MOST_PERMITS = 4096;

  private Bounds() {}

  private static boolean isHalf(int codePoint) {
    return codePoint >= Character.MIN_SURROGATE && codePoint <= Character.MAX_SURROGATE;
  }

  /** Checks the name of a lock. */
  static void check(String name) {
    check("", "name", name);
  }

  /** Checks a lock that is asked for, but for its name. */
  static void check(LockSpec spec) {
    check(spec.name(), "owner", spec.owner());
    Integer limit = spec.limit();
    if (limit != null && (limit < 1 || limit > MOST_PERMITS)) {
      String why = "a limit of " + limit + ": take 1 to " + MOST_PERMITS;
      throw new LockBrokerException(Kind.INVALID, spec.name(), why);
    }
  }

  /** Checks a text that is sent about a lock; which says what it is. */
  static void check(String lock, String which, String text) {
    Objects.requireNonNull(text, () -> "the " + which + " is null");
    if (text.codePoints().anyMatch(Bounds::isHalf)) {
      String why = "the " + which + " has half a surrogate pair, which UTF-8 cannot carry";
      throw new LockBrokerException(Kind.INVALID, lock, why);
    }
    // A char has at most three bytes, so most texts need no look.
    int length = text.length() <= MOST_BYTES / 3 ? 0 : text.getBytes(StandardCharsets.UTF_8).length;
    if (length > MOST_BYTES) {
      String why = "the " + which + " has " + length + " bytes; brokers take names of at most 128";
      throw new LockBrokerException(Kind.INVALID, lock, why + " bytes");
    }
  }
}
