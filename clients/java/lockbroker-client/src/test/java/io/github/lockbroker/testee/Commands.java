package io.github.lockbroker.testee;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.github.lockbroker.HeldLock;
import io.github.lockbroker.Lease;
import io.github.lockbroker.LockBroker;
import io.github.lockbroker.LockBrokerException;
import io.github.lockbroker.LockInfo;
import io.github.lockbroker.LockState;
import io.github.lockbroker.LostException;
import io.github.lockbroker.Observation;
import io.github.lockbroker.Wait;
import io.grpc.Context;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;

/** What the driver may tell. A command that returns null has answered, or will. */
final class Commands {
  private final Testee testee;
  private final ScheduledExecutorService deadlines =
      Executors.newSingleThreadScheduledExecutor(Commands::daemon);

  Commands(Testee testee) {
    this.testee = testee;
  }

  private static Thread daemon(Runnable work) {
    Thread thread = new Thread(work);
    thread.setDaemon(true);
    return thread;
  }

  JsonObject run(Command told) throws Exception {
    return switch (told.text("do")) {
      case "connect" -> connect(told);
      case "try" -> keep(told.lock(), once(told));
      case "wait" ->
          keep(told.lock(), client(told).lock(told.name(), told.waiting(), told.options()));
      case "deadline" -> deadline(told);
      case "adopt" -> keep(told.lock(), client(told).adopt(told.name(), told.text("lock_id")));
      case "enter" -> enter(told);
      case "leave" -> leave(told);
      case "cancel" -> cancel(told);
      case "lease" -> lease(told);
      case "renew" -> renew(testee.leases.get(told.lock()));
      case "adopt_lease" -> adoptLease(told);
      case "release" -> release(told);
      case "check" -> check(told);
      case "update" -> {
        lock(told).update(told.bytes("value"));
        yield Answers.of("updated", true);
      }
      case "downgrade" -> downgrade(told);
      case "observe" -> observe(told);
      case "unobserve" -> {
        testee.observations.remove(told.text("as")).close();
        yield Answers.ok();
      }
      case "get" -> get(told);
      case "work" -> work(told);
      case "forget" -> forget(told);
      case "many" -> many(told);
      case "check_many" -> checkMany(told);
      case "cycle" -> cycle(told);
      case "bare" -> {
        BareSession.cycles(told.text("server"), told.name(), 1);
        yield Answers.ok();
      }
      case "bare_cycle" ->
          Answers.of(
              "nanos", BareSession.cycles(told.text("server"), told.name(), told.number("count")));
      case "close" -> {
        client(told).close();
        yield Answers.ok();
      }
      default -> throw new IllegalArgumentException("there is no command " + told.text("do"));
    };
  }

  private LockBroker client(Command told) {
    return testee.clients.get(told.text("client"));
  }

  private HeldLock lock(Command told) {
    return testee.locks.get(told.lock());
  }

  /** Asks once. Unlike tryLock it says who has the lock. */
  private HeldLock once(Command told) throws InterruptedException {
    return client(told).lock(told.name(), Wait.atMost(Duration.ZERO), told.options());
  }

  /** Keeps a guard, tells of its loss, and answers. */
  private JsonObject keep(String name, HeldLock lock) {
    testee.locks.put(name, lock);
    // It does not have the guard itself, so that it can be collected.
    lock.onLost(
        reason -> testee.say(Answers.of("notice", "lost", "lock", name, "reason", reason.name())));
    return Answers.granted(lock);
  }

  private JsonObject connect(Command told) {
    LockBroker.Builder builder = LockBroker.builder();
    if (told.has("servers") && !told.fields().getAsJsonArray("servers").isEmpty()) {
      builder.server(
          told.fields().getAsJsonArray("servers").asList().stream()
              .map(JsonElement::getAsString)
              .collect(Collectors.joining(",")));
    }
    if (told.has("tls")) {
      Command tls = new Command(told.fields().getAsJsonObject("tls"));
      if (tls.has("ca")) {
        builder.tlsAuthorities(Path.of(tls.text("ca")));
      }
      if (tls.has("cert")) {
        builder.tlsIdentity(Path.of(tls.text("cert")), Path.of(tls.text("key")));
      }
    }
    testee.clients.put(told.text("client"), builder.connect());
    return Answers.ok();
  }

  private JsonObject deadline(Command told) throws Exception {
    Context call =
        Context.current().withDeadlineAfter(told.number("ms"), TimeUnit.MILLISECONDS, deadlines);
    return keep(told.lock(), call.call(() -> once(told)));
  }

  private JsonObject enter(Command told) throws Exception {
    Scope scope = new Scope();
    boolean isInside = false;
    try (HeldLock lock = client(told).lock(told.name(), told.waiting(), told.options())) {
      isInside = true;
      testee.scopes.put(told.lock(), scope);
      testee.answer(told.id(), keep(told.lock(), lock));
      if (scope.leave().get()) {
        throw new Scope.Failed();
      }
    } catch (Scope.Failed e) {
      scope.ended().complete(Answers.of("left", true));
      return null;
    } catch (LostException e) {
      if (!isInside) {
        throw e;
      }
      scope.ended().complete(Answers.failed(e));
      return null;
    }
    scope.ended().complete(Answers.of("left", true));
    return null;
  }

  private JsonObject leave(Command told) throws Exception {
    Scope scope = testee.scopes.remove(told.lock());
    scope.leave().complete(told.has("fail") && told.fields().get("fail").getAsBoolean());
    return scope.ended().get();
  }

  private JsonObject cancel(Command told) {
    Thread call = testee.calls.get(told.number("call"));
    if (call != null) {
      call.interrupt();
    }
    return Answers.ok();
  }

  private JsonObject downgrade(Command told) throws InterruptedException {
    HeldLock lock = lock(told);
    if (told.has("limit")) {
      lock.downgrade((int) told.number("limit"));
    } else {
      lock.downgrade();
    }
    return Answers.downgraded(lock);
  }

  private JsonObject lease(Command told) throws InterruptedException {
    Lease lease = client(told).lease(told.name(), told.leaseOptions());
    testee.leases.put(told.lock(), lease);
    return Answers.granted(lease);
  }

  private static JsonObject renew(Lease lease) throws InterruptedException {
    try {
      lease.renew();
      return Answers.renewed(lease);
    } catch (LockBrokerException e) {
      return Answers.ended(e);
    }
  }

  private JsonObject adoptLease(Command told) throws InterruptedException {
    Lease lease = client(told).adoptLease(told.name(), told.text("lock_id"));
    testee.leases.put(told.lock(), lease);
    return Answers.renewed(lease);
  }

  private JsonObject check(Command told) {
    Lease lease = testee.leases.get(told.lock());
    return lease == null ? Answers.checked(lock(told)) : Answers.checked(lease);
  }

  private JsonObject release(Command told) {
    Lease lease = testee.leases.get(told.lock());
    HeldLock lock = lock(told);
    boolean wasOver = Answers.hasEnded(lease == null ? lock::check : lease::check);
    if (lease == null) {
      lock.release();
    } else {
      lease.release();
    }
    return Answers.of("released", !wasOver);
  }

  private JsonObject get(Command told) throws InterruptedException {
    LockInfo info = client(told).get(told.name());
    JsonObject found = Answers.of("held", info.state() == LockState.HELD, "owner", info.owner());
    found.addProperty("state", info.state().name());
    info.fencingToken().ifPresent(token -> found.addProperty("token", token));
    info.heldFor().ifPresent(heldFor -> found.addProperty("held_ms", heldFor.toMillis()));
    found.addProperty("etag", info.etag());
    found.addProperty("shared_count", info.sharedCount());
    return found;
  }

  /** Tells what a lock is, from now on. */
  private JsonObject observe(Command told) {
    String as = told.text("as");
    Observation observation;
    try {
      observation = client(told).observe(told.name());
    } catch (LockBrokerException e) {
      testee.say(Answers.notSeen(as, e));
      return Answers.ok();
    }
    testee.observations.put(as, observation);
    daemon(
            () -> {
              try {
                while (true) {
                  testee.say(Answers.seen(as, observation.next()));
                }
              } catch (LockBrokerException | InterruptedException e) {
                if (testee.observations.remove(as, observation)) {
                  testee.say(Answers.notSeen(as, e));
                }
              }
            })
        .start();
    return Answers.ok();
  }

  private JsonObject work(Command told) {
    HeldLock lock = lock(told);
    daemon(
            () -> {
              while (true) {
                // CLOCK_MONOTONIC, on Linux.
                long at = System.nanoTime();
                JsonObject state = Answers.checked(lock);
                if (state.has("lost")) {
                  return;
                }
                if (state.has("held")) {
                  testee.say(Answers.of("notice", "acting", "lock", told.lock(), "at", at));
                }
                sleep(told.number("every_ms"));
              }
            })
        .start();
    return Answers.ok();
  }

  private static void sleep(long millis) {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  private JsonObject forget(Command told) {
    testee.locks.remove(told.lock());
    System.gc();
    return Answers.ok();
  }

  private JsonObject many(Command told) throws InterruptedException {
    LockBroker client = client(told);
    AtomicInteger granted = new AtomicInteger();
    List<Thread> calls = new ArrayList<>();
    for (long number = 0; number < told.number("count"); number++) {
      String name = told.text("prefix") + number;
      calls.add(
          daemon(
              () -> {
                try {
                  keep(name, client.lock(name, Wait.atMost(Duration.ZERO)));
                  granted.incrementAndGet();
                } catch (Exception e) {
                  System.err.println(e);
                }
              }));
    }
    calls.forEach(Thread::start);
    for (Thread call : calls) {
      call.join();
    }
    return Answers.of("granted", granted.get());
  }

  private JsonObject checkMany(Command told) {
    int held = 0;
    for (long number = 0; number < told.number("count"); number++) {
      HeldLock lock = testee.locks.get(told.text("prefix") + number);
      if (lock != null && Answers.checked(lock).has("held")) {
        held++;
      }
    }
    return Answers.of("held", held);
  }

  private JsonObject cycle(Command told) throws InterruptedException {
    LockBroker client = client(told);
    long began = System.nanoTime();
    for (long time = 0; time < told.number("count"); time++) {
      client.lock(told.name()).release();
    }
    return Answers.of("nanos", System.nanoTime() - began);
  }
}
