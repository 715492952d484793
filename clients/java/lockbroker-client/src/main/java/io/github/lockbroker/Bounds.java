package io.github.lockbroker;

import com.google.protobuf.ByteString;
import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.internal.core.LockSpec;
import java.nio.charset.StandardCharsets;
import java.util.Objects;

/**
 * Refuses texts that no message could carry, and limits and values that cannot be. A broker ends
 * the whole Session for a message above 4 KiB, and with it all locks of the client. What is shorter
 * and still too long it refuses by itself.
 */
final class Bounds {
  private static final int MOST_BYTES = 1024;

  /** The most bytes of a text beside a value: all has to fit into one message. */
  private static final int MOST_BESIDE_VALUE = 512;

  /** The longest value, as brokers have it. */
  private static final int MOST_VALUE_BYTES = 1024;

  /** The most locks that are asked for together with another. */
  private static final int MOST_ALSO = 15;

  /** The most bytes that several may take, whose texts are sent in one message. */
  private static final int MOST_TOGETHER_BYTES = 3800;

  /**
   * What one of several takes beside its name and its owner: its id, its times, and what frames
   * them.
   */
  private static final int BESIDE_TEXTS = 100;

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
    checkLimit(spec.name(), spec.limit());
    checkWeight(spec);
    if (spec.value() != null) {
      check(spec.name(), spec.value());
      check(spec.name(), "name", spec.name(), MOST_BESIDE_VALUE);
      check(spec.name(), "owner", spec.owner(), MOST_BESIDE_VALUE);
    }
    if (!spec.also().isEmpty() || spec.weight() > 1) {
      checkTogether(spec);
    }
  }

  /** Checks how many share a lock; null for as many as there are permits. */
  static void checkLimit(String lock, Integer limit) {
    if (limit != null && (limit < 1 || limit > MOST_PERMITS)) {
      String why = "a limit of " + limit + ": take 1 to " + MOST_PERMITS;
      throw new LockBrokerException(Kind.INVALID, lock, why);
    }
  }

  private static void checkWeight(LockSpec spec) {
    int weight = spec.weight();
    int most = MOST_ALSO + 1;
    if (spec.limit() != null) {
      most = Math.min(most, spec.limit());
    }
    if (weight < 1 || weight > most) {
      String why = "a weight of " + weight + ": take 1 to " + most;
      throw new LockBrokerException(Kind.INVALID, spec.name(), why);
    }
    if (weight > 1 && !spec.also().isEmpty()) {
      String why = "a weight is for one lock alone, and others are asked for together with it";
      throw new LockBrokerException(Kind.INVALID, spec.name(), why);
    }
  }

  /** Checks the value of a lock. */
  static void check(String lock, ByteString value) {
    if (value.size() > MOST_VALUE_BYTES) {
      String why = "the value has " + value.size() + " bytes; brokers take at most ";
      throw new LockBrokerException(Kind.INVALID, lock, why + MOST_VALUE_BYTES);
    }
  }

  private static void checkTogether(LockSpec spec) {
    int others = spec.also().size();
    if (others > MOST_ALSO) {
      String why =
          others + " other locks are asked for together with it: take at most " + MOST_ALSO;
      throw new LockBrokerException(Kind.INVALID, spec.name(), why);
    }
    if (spec.value() != null) {
      String why = "a value is for one lock alone, and others are asked for together with it";
      throw new LockBrokerException(Kind.INVALID, spec.name(), why);
    }
    int owner = bytes(spec.owner());
    int together = bytes(spec.name()) + owner + BESIDE_TEXTS;
    for (String name : spec.others()) {
      check(spec.name(), "name", name);
      together += bytes(name) + owner + BESIDE_TEXTS;
    }
    if (together > MOST_TOGETHER_BYTES) {
      String why =
          "the names of the locks that are asked for together, and the owner, are too long for one"
              + " message";
      throw new LockBrokerException(Kind.INVALID, spec.name(), why);
    }
  }

  private static int bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8).length;
  }

  /** Checks a text that is sent about a lock; which says what it is. */
  static void check(String lock, String which, String text) {
    check(lock, which, text, MOST_BYTES);
  }

  private static void check(String lock, String which, String text, int most) {
    Objects.requireNonNull(text, () -> "the " + which + " is null");
    if (text.codePoints().anyMatch(Bounds::isHalf)) {
      String why = "the " + which + " has half a surrogate pair, which UTF-8 cannot carry";
      throw new LockBrokerException(Kind.INVALID, lock, why);
    }
    // A char has at most three bytes, so most texts need no look.
    int length = text.length() <= most / 3 ? 0 : bytes(text);
    if (length > most) {
      String why = "the " + which + " has " + length + " bytes; brokers take names of at most 128";
      throw new LockBrokerException(Kind.INVALID, lock, why + " bytes");
    }
  }
}
