package io.github.lockbroker.testee;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import io.github.lockbroker.GrantedLock;
import io.github.lockbroker.HeldLock;
import io.github.lockbroker.Lease;
import io.github.lockbroker.LockBrokerException;
import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.LostException;
import io.github.lockbroker.NotAcquiredException;
import io.github.lockbroker.Observed;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.OptionalInt;
import java.util.function.Supplier;

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

  /** Tells of a lease that is granted. */
  static JsonObject granted(Lease lease) {
    long token = lease.fencingToken().getAsLong();
    return of("granted", grant(lease.lockId(), token, lease.permit()));
  }

  /** Tells of a lock that is granted, and of those that are held together with it. */
  static JsonObject granted(HeldLock lock) {
    JsonObject told = grant(lock.lockId(), lock.fencingToken(), lock.permit());
    JsonArray also = new JsonArray();
    for (GrantedLock other : lock.locks().subList(1, lock.locks().size())) {
      JsonObject each = grant(other.lockId(), other.fencingToken(), other.permit());
      each.addProperty("name", other.name());
      also.add(each);
    }
    if (!also.isEmpty()) {
      told.add("also", also);
    }
    return of("granted", told);
  }

  /** Tells of a lock that is shared from now on. */
  static JsonObject downgraded(HeldLock lock) {
    return of("downgraded", grant(lock.lockId(), lock.fencingToken(), lock.permit()));
  }

  /** Tells a state that an observer was told. */
  static JsonObject seen(String as, Observed seen) {
    JsonObject told = of("notice", "seen", "as", as, "state", seen.state(), "owner", seen.owner());
    seen.value()
        .ifPresent(value -> told.addProperty("value", new String(value, StandardCharsets.UTF_8)));
    seen.fencingToken().ifPresent(token -> told.addProperty("token", token));
    return told;
  }

  /** Tells that an observer is told nothing more. */
  static JsonObject notSeen(String as, Exception error) {
    return of("notice", "seen", "as", as, "error", failed(error).get("error"));
  }

  private static JsonObject grant(String lockId, long token, OptionalInt permit) {
    JsonObject told = of("lock_id", lockId, "token", token);
    permit.ifPresent(number -> told.addProperty("permit", number));
    return told;
  }

  /** Asks a lock if it is held. */
  static JsonObject checked(HeldLock lock) {
    return checked(lock::check, lock::remaining);
  }

  /** Asks a lease if it is held. */
  static JsonObject checked(Lease lease) {
    return checked(lease::check, lease::remaining);
  }

  private static JsonObject checked(Runnable check, Supplier<Duration> remaining) {
    try {
      check.run();
      return of("held", of("remaining_ms", remaining.get().toMillis()));
    } catch (LockBrokerException e) {
      return ended(e);
    }
  }

  /** Answers with an error; what was released here is lost to its holder. */
  static JsonObject ended(LockBrokerException error) {
    return hasEnded(error) ? of("lost", of("reason", "ENDED")) : failed(error);
  }

  /** Answers with a lease that has been renewed. */
  static JsonObject renewed(Lease lease) {
    return of("renewed", of("remaining_ms", lease.remaining().toMillis()));
  }

  /** Reports whether a lock or a lease was released here; check is its own. */
  static boolean hasEnded(Runnable check) {
    try {
      check.run();
      return false;
    } catch (LockBrokerException e) {
      return hasEnded(e);
    }
  }

  private static boolean hasEnded(LockBrokerException error) {
    return error.kind() == Kind.RELEASED || error.kind() == Kind.CLOSED;
  }
}
