package io.github.lockbroker.testee;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import io.github.lockbroker.HeldLock;
import io.github.lockbroker.LockBrokerException;
import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.LostException;
import io.github.lockbroker.NotAcquiredException;

/** What the testee says. */
final class Answers {
  private Answers() {}

  /** Makes an object of names and values. */
  static JsonObject of(Object... pairs) {
    JsonObject made = new JsonObject();
    for (int at = 0; at < pairs.length; at += 2) {
      Object value = pairs[at + 1];
      JsonElement element;
      if (value instanceof JsonElement json) {
        element = json;
      } else if (value instanceof Number number) {
        element = new JsonPrimitive(number);
      } else if (value instanceof Boolean flag) {
        element = new JsonPrimitive(flag);
      } else {
        element = new JsonPrimitive(String.valueOf(value));
      }
      made.add((String) pairs[at], element);
    }
    return made;
  }

  static JsonObject ok() {
    return of("ok", true);
  }

  /** Answers with an error. */
  static JsonObject failed(Exception error) {
    if (error instanceof NotAcquiredException refused) {
      return of("not_acquired", of("reason", refused.reason().name(), "owner", refused.owner()));
    } else if (error instanceof LostException lost) {
      return of("lost", of("reason", lost.reason().name()));
    } else if (error instanceof InterruptedException) {
      return of("cancelled", true);
    } else if (error instanceof LockBrokerException ours) {
      return of("error", of("kind", ours.kind().name(), "message", ours.getMessage()));
    }
    return of("error", of("kind", "UNEXPECTED", "message", error.toString()));
  }

  /** Asks a lock if it is held. */
  static JsonObject checked(HeldLock lock) {
    try {
      lock.check();
      return of("held", of("remaining_ms", lock.remaining().toMillis()));
    } catch (LockBrokerException e) {
      return hasEnded(e) ? of("lost", of("reason", "ENDED")) : failed(e);
    }
  }

  /** Reports whether a lock was released here. */
  static boolean hasEnded(HeldLock lock) {
    try {
      lock.check();
      return false;
    } catch (LockBrokerException e) {
      return hasEnded(e);
    }
  }

  private static boolean hasEnded(LockBrokerException error) {
    return error.kind() == Kind.RELEASED || error.kind() == Kind.CLOSED;
  }
}
