package io.github.lockbroker.testee;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.github.lockbroker.LeaseOption;
import io.github.lockbroker.LockOption;
import io.github.lockbroker.Wait;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/** What the driver tells. */
record Command(JsonObject fields) {
  long id() {
    return number("id");
  }

  boolean has(String field) {
    JsonElement value = fields.get(field);
    return value != null && !value.isJsonNull();
  }

  String text(String field) {
    return fields.get(field).getAsString();
  }

  long number(String field) {
    return fields.get(field).getAsLong();
  }

  byte[] bytes(String field) {
    return text(field).getBytes(StandardCharsets.UTF_8);
  }

  private Duration span(String field) {
    return Duration.ofMillis(number(field));
  }

  String lock() {
    return text("lock");
  }

  String name() {
    return text("name");
  }

  private boolean isShared() {
    return has("shared") && fields.get("shared").getAsBoolean();
  }

  LockOption[] options() {
    List<LockOption> options = new ArrayList<>();
    if (has("linger_ms")) {
      options.add(LockOption.linger(span("linger_ms")));
    }
    if (has("owner")) {
      options.add(LockOption.owner(text("owner")));
    }
    if (has("min_hold_ms")) {
      options.add(LockOption.minHold(span("min_hold_ms")));
    }
    if (has("keep") && fields.get("keep").getAsBoolean()) {
      options.add(LockOption.keepOnDisconnect());
    }
    if (has("value")) {
      options.add(LockOption.value(bytes("value")));
    }
    if (isShared()) {
      options.add(LockOption.shared());
    }
    if (has("limit")) {
      options.add(LockOption.limit((int) number("limit")));
    }
    if (has("weight")) {
      options.add(LockOption.weight((int) number("weight")));
    }
    if (has("also")) {
      List<JsonElement> also = fields.getAsJsonArray("also").asList();
      options.add(
          LockOption.also(also.stream().map(JsonElement::getAsString).toArray(String[]::new)));
    }
    return options.toArray(LockOption[]::new);
  }

  LeaseOption[] leaseOptions() {
    List<LeaseOption> options = new ArrayList<>();
    if (has("ttl_ms")) {
      options.add(LeaseOption.ttl(span("ttl_ms")));
    }
    if (has("wait_ms")) {
      options.add(LeaseOption.waitAtMost(span("wait_ms")));
    }
    if (has("linger_ms")) {
      options.add(LeaseOption.linger(span("linger_ms")));
    }
    if (has("min_hold_ms")) {
      options.add(LeaseOption.minHold(span("min_hold_ms")));
    }
    if (has("owner")) {
      options.add(LeaseOption.owner(text("owner")));
    }
    if (isShared()) {
      options.add(LeaseOption.shared());
    }
    if (has("limit")) {
      options.add(LeaseOption.limit((int) number("limit")));
    }
    return options.toArray(LeaseOption[]::new);
  }

  Wait waiting() {
    Wait wait = has("wait_ms") ? Wait.atMost(span("wait_ms")) : Wait.forever();
    return has("poll_ms") ? wait.pollingEvery(span("poll_ms")) : wait;
  }
}
