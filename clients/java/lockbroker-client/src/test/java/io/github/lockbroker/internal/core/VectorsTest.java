package io.github.lockbroker.internal.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import com.google.protobuf.ByteString;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** Runs the vectors that the clients of all languages share. Their README.md has the format. */
class VectorsTest {
  private static final Path FOLDER = Path.of("../../vectors");

  @TestFactory
  List<DynamicTest> theCoreDoesWhatTheVectorsSay() throws IOException {
    List<DynamicTest> tests = new ArrayList<>();
    List<Path> files;
    try (Stream<Path> found = Files.list(FOLDER)) {
      files = found.filter(file -> file.toString().endsWith(".jsonl")).sorted().toList();
    }
    for (Path file : files) {
      for (String line : Files.readAllLines(file)) {
        JsonObject given = JsonParser.parseString(line).getAsJsonObject();
        tests.add(dynamicTest(given.get("case").getAsString(), () -> replay(given)));
      }
    }
    assertTrue(tests.size() >= 70, tests.size() + " cases: where are the others?");
    return tests;
  }

  /** Runs a case, and compares what comes out of each step. */
  private static void replay(JsonObject given) {
    known(given, "v", "case", "settings", "chance", "steps");
    assertEquals(1, given.get("v").getAsInt());
    JsonObject settings = given.getAsJsonObject("settings");
    known(settings, "endpoints", "answer_timeout");
    List<String> endpoints = new ArrayList<>();
    for (int at = 0; at < settings.get("endpoints").getAsInt(); at++) {
      endpoints.add("broker " + at);
    }
    Iterator<JsonElement> chance = given.getAsJsonArray("chance").iterator();
    Core core =
        new Core(
            new Core.Settings(endpoints, span(settings, "answer_timeout")),
            () -> chance.next().getAsDouble(),
            0);
    Set<Long> keys = new TreeSet<>();
    int number = 0;
    for (JsonElement each : given.getAsJsonArray("steps")) {
      JsonObject step = each.getAsJsonObject();
      known(step, "at", "in", "out", "due", "valid", "state");
      Input input = input(step.getAsJsonObject("in"));
      if (input instanceof Input.Acquire acquire) {
        keys.add(acquire.key());
      }
      JsonArray out = new JsonArray();
      core.handle(span(step, "at"), input).forEach(output -> out.add(shown(output)));
      JsonObject made = new JsonObject();
      made.add("at", step.get("at"));
      made.add("in", step.get("in"));
      made.add("out", out);
      show(core, keys, made);
      assertEquals(step, made, "step " + number++);
    }
  }

  /** Puts into made what can be asked of the core. */
  private static void show(Core core, Set<Long> keys, JsonObject made) {
    long due = core.due();
    made.add("due", due == Moments.NEVER ? JsonNull.INSTANCE : millis(due));
    JsonObject valid = new JsonObject();
    JsonObject states = new JsonObject();
    for (long key : keys) {
      Core.HeldLock held = core.held(key);
      if (held != null && held.isBroken()) {
        valid.add(String.valueOf(key), object("bounded_by", millis(held.until())));
      } else if (held != null) {
        valid.add(String.valueOf(key), millis(held.until()));
      }
      if (core.state(key) != null) {
        states.addProperty(String.valueOf(key), core.state(key));
      }
    }
    made.add("valid", valid);
    made.add("state", states);
  }

  /** Reads an input. It fails on what it does not know, as does everything that it calls. */
  private static Input input(JsonObject in) {
    assertEquals(1, in.size(), "one kind is wanted in " + in);
    String kind = in.keySet().iterator().next();
    JsonElement value = in.get(kind);
    JsonObject of = value.isJsonObject() ? value.getAsJsonObject() : new JsonObject();
    switch (kind) {
      case "acquire":
        return acquire(of);
      case "end":
        known(of, "key");
        return new Input.End(number(of, "key"));
      case "value":
        known(of, "key", "value");
        return new Input.NewValue(number(of, "key"), ByteString.copyFromUtf8(text(of, "value")));
      case "share":
        known(of, "key", "limit");
        return new Input.Share(number(of, "key"), maybeNumber(of, "limit"));
      case "dialled":
        known(of, "link", "code", "retry_after");
        return new Input.Dialled(number(of, "link"), maybeFailure(of));
      case "ended":
        known(of, "link", "code", "retry_after");
        return new Input.Ended(number(of, "link"), maybeFailure(of));
      case "released_elsewhere":
        known(of, "key", "code", "retry_after");
        return new Input.ReleasedElsewhere(number(of, "key"), maybeFailure(of));
      case "timeout":
        known(of);
        return new Input.Timeout();
      default:
        return new Input.Received(number(of, "link"), message(kind, of));
    }
  }

  private static Message message(String kind, JsonObject of) {
    switch (kind) {
      case "opened":
        known(of, "link", "ttl", "expires_after", "heartbeat_interval");
        return new Message.Opened(
            span(of, "ttl"), span(of, "expires_after"), span(of, "heartbeat_interval"));
      case "heartbeat_ack":
        known(of, "link", "seq", "expires_after", "not_renewed");
        List<Long> notRenewed = new ArrayList<>();
        of.getAsJsonArray("not_renewed").forEach(ref -> notRenewed.add(ref.getAsLong()));
        return new Message.HeartbeatAck(number(of, "seq"), span(of, "expires_after"), notRenewed);
      case "draining":
        known(of, "link");
        return new Message.Draining();
      case "other":
        known(of, "link");
        return new Message.Other();
      default:
        return new Message.LockEvent(number(of, "lock_ref"), event(kind, of));
    }
  }

  private static Message.Event event(String kind, JsonObject of) {
    switch (kind) {
      case "acquired":
        known(of, "link", "lock_ref", "lock_id", "fencing_token", "permit", "also");
        List<LockGrant> also = new ArrayList<>();
        for (JsonElement each : list(of, "also")) {
          known(each.getAsJsonObject(), "lock_id", "fencing_token", "permit");
          also.add(grant(each.getAsJsonObject()));
        }
        return new Message.WasAcquired(grant(of), also);
      case "not_acquired":
        known(of, "link", "lock_ref", "reason", "owner", "name");
        Refusal.Reason reason = Refusal.Reason.valueOf(text(of, "reason"));
        return new Message.WasRefused(new Refusal(reason, text(of, "owner"), text(of, "name")));
      case "lost":
        known(of, "link", "lock_ref", "reason");
        return new Message.WasLost(Loss.valueOf(text(of, "reason")));
      case "released":
        known(of, "link", "lock_ref");
        return new Message.WasReleased();
      case "failed":
        known(of, "link", "lock_ref", "code", "retry_after");
        return new Message.HasFailed(maybeFailure(of));
      default:
        throw new AssertionError("no input " + kind);
    }
  }

  private static LockGrant grant(JsonObject of) {
    return new LockGrant(
        text(of, "lock_id"), number(of, "fencing_token"), maybeNumber(of, "permit"));
  }

  private static Input acquire(JsonObject of) {
    known(of, "key", "name", "also", "linger", "owner", "value", "shared", "wait", "adopt");
    Wait wait = null;
    if (of.has("wait") && !of.get("wait").isJsonNull()) {
      JsonObject told = of.getAsJsonObject("wait");
      known(told, "until", "poll_interval");
      wait = new Wait(maybeSpan(told, "until"), maybeSpan(told, "poll_interval"));
    }
    LockSpec spec = new LockSpec(text(of, "name"), maybeSpan(of, "linger"), text(of, "owner"));
    if (of.has("shared")) {
      JsonObject shared = of.getAsJsonObject("shared");
      known(shared, "limit", "weight");
      Integer limit = maybeNumber(shared, "limit");
      spec = limit == null ? spec.shared() : spec.withLimit(limit);
      Integer weight = maybeNumber(shared, "weight");
      spec = weight == null ? spec : spec.withWeight(weight);
    }
    if (of.has("value")) {
      spec = spec.withValue(ByteString.copyFromUtf8(text(of, "value")));
    }
    spec = spec.withAlso(list(of, "also").asList().stream().map(JsonElement::getAsString).toList());
    return new Input.Acquire(number(of, "key"), spec, wait, text(of, "adopt"));
  }

  /** Writes an output as a vector has it. */
  private static JsonObject shown(Output output) {
    if (output instanceof Output.Dial dial) {
      return object("dial", object("link", dial.link(), "endpoint", dial.endpoint()));
    } else if (output instanceof Output.Send send) {
      return shown(send.link(), send.request());
    } else if (output instanceof Output.Hangup hangup) {
      return object("hangup", object("link", hangup.link()));
    } else if (output instanceof Output.Granted granted) {
      JsonObject told = shown(granted.grant());
      told.addProperty("key", granted.key());
      put(told, "also", granted.also().stream().map(VectorsTest::shown).toList());
      return object("granted", told);
    } else if (output instanceof Output.Moved moved) {
      JsonObject told = object("key", moved.key(), "lock_id", moved.lockId());
      put(told, "also", texts(moved.also()));
      if (moved.permit() != null) {
        told.addProperty("permit", moved.permit());
      }
      return object("moved", told);
    } else if (output instanceof Output.NotShared refused) {
      String code = refused.failure().code().name();
      return object("not_shared", object("key", refused.key(), "code", code));
    } else if (output instanceof Output.Refused refused) {
      Refusal refusal = refused.refusal();
      JsonObject told = object("key", refused.key(), "reason", refusal.reason().name());
      told.addProperty("owner", refusal.owner());
      if (!refusal.name().isEmpty()) {
        told.addProperty("name", refusal.name());
      }
      return object("refused", told);
    } else if (output instanceof Output.Failed failed) {
      return object("failed", object("key", failed.key(), "code", failed.failure().code().name()));
    } else if (output instanceof Output.Lost lost) {
      return object("lost", object("key", lost.key(), "reason", lost.reason().name()));
    } else if (output instanceof Output.Released released) {
      return object("released", object("key", released.key()));
    } else if (output instanceof Output.ReleaseElsewhere release) {
      return object(
          "release_elsewhere",
          object("key", release.key(), "name", release.name(), "lock_id", release.lockId()));
    }
    throw new AssertionError("no output " + output);
  }

  private static JsonObject shown(LockGrant grant) {
    JsonObject told = object("lock_id", grant.lockId(), "fencing_token", grant.fencingToken());
    if (grant.permit() != null) {
      told.addProperty("permit", grant.permit());
    }
    return told;
  }

  private static JsonObject shown(long link, Request request) {
    if (request instanceof Request.Open) {
      return object("open", object("link", link));
    } else if (request instanceof Request.Heartbeat heartbeat) {
      return object("heartbeat", object("link", link, "seq", heartbeat.seq()));
    } else if (request instanceof Request.EndLock end) {
      return object("end_lock", object("link", link, "lock_ref", end.lockRef()));
    } else if (request instanceof Request.Begin begin) {
      return object("begin", begin(link, begin));
    }
    throw new AssertionError("no request " + request);
  }

  private static JsonObject begin(long link, Request.Begin begin) {
    LockSpec spec = begin.spec();
    JsonObject made = object("link", link, "lock_ref", begin.lockRef(), "name", spec.name());
    put(made, "also", texts(spec.also()));
    put(made, "linger", spec.linger());
    if (!spec.owner().isEmpty()) {
      made.addProperty("owner", spec.owner());
    }
    if (spec.value() != null) {
      made.addProperty("value", spec.value().toStringUtf8());
    }
    if (spec.isShared()) {
      Integer limit = spec.limit();
      JsonObject shared = limit == null ? new JsonObject() : object("limit", limit);
      if (spec.weight() != 1) {
        shared.addProperty("weight", spec.weight());
      }
      made.add("shared", shared);
    }
    if (!begin.reattach().isEmpty()) {
      made.addProperty("reattach", begin.reattach());
    }
    put(made, "reattach_also", texts(begin.reattachAlso()));
    if (begin.waiting() != null) {
      JsonObject wait = new JsonObject();
      put(wait, "max_wait", begin.waiting().maxWait());
      put(wait, "poll_interval", begin.waiting().pollInterval());
      made.add("wait", wait);
    }
    return made;
  }

  private static void put(JsonObject into, String key, Long span) {
    if (span != null) {
      into.add(key, millis(span));
    }
  }

  /** Puts a list, unless it is empty. */
  private static void put(JsonObject into, String key, List<? extends JsonElement> elements) {
    if (!elements.isEmpty()) {
      JsonArray list = new JsonArray();
      elements.forEach(list::add);
      into.add(key, list);
    }
  }

  private static List<JsonPrimitive> texts(List<String> texts) {
    return texts.stream().map(JsonPrimitive::new).toList();
  }

  private static JsonArray list(JsonObject of, String key) {
    return of.has(key) ? of.getAsJsonArray(key) : new JsonArray();
  }

  private static JsonObject object(Object... pairs) {
    JsonObject made = new JsonObject();
    for (int at = 0; at < pairs.length; at += 2) {
      Object value = pairs[at + 1];
      made.add(
          (String) pairs[at],
          value instanceof JsonElement element
              ? element
              : value instanceof Number number
                  ? new JsonPrimitive(number)
                  : new JsonPrimitive((String) value));
    }
    return made;
  }

  /** Fails if there is another key: that case would test nothing. */
  private static void known(JsonObject of, String... keys) {
    for (Map.Entry<String, JsonElement> entry : of.entrySet()) {
      assertTrue(Set.of(keys).contains(entry.getKey()), "unknown key in " + of);
    }
  }

  private static Failure maybeFailure(JsonObject of) {
    if (!of.has("code")) {
      return null;
    }
    Failure.Code code = Failure.Code.valueOf(text(of, "code"));
    return new Failure(code, "as the vector says", "", maybeSpan(of, "retry_after"));
  }

  private static long number(JsonObject of, String key) {
    return of.get(key).getAsLong();
  }

  private static Integer maybeNumber(JsonObject of, String key) {
    return of.has(key) ? (Integer) of.get(key).getAsInt() : null;
  }

  private static String text(JsonObject of, String key) {
    return of.has(key) && !of.get(key).isJsonNull() ? of.get(key).getAsString() : "";
  }

  private static long span(JsonObject of, String key) {
    return number(of, key) * Moments.MILLISECOND;
  }

  private static Long maybeSpan(JsonObject of, String key) {
    return of.has(key) && !of.get(key).isJsonNull() ? (Long) span(of, key) : null;
  }

  private static JsonElement millis(long span) {
    assertEquals(0, span % Moments.MILLISECOND, span + " ns is not in whole milliseconds");
    return new JsonPrimitive(span / Moments.MILLISECOND);
  }
}
