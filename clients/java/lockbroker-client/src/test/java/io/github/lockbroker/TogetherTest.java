package io.github.lockbroker;

import static io.github.lockbroker.harness.Eventually.eventually;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.harness.RealBroker;
import io.github.lockbroker.harness.Scenario;
import java.time.Duration;
import java.util.List;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Several locks together. */
class TogetherTest extends Scenario {
  private static RealBroker broker;

  @BeforeAll
  static void start() {
    broker = RealBroker.start();
  }

  @AfterAll
  static void stop() {
    broker.close();
  }

  private LockBroker client() {
    return connect(broker.url);
  }

  private static List<String> names(HeldLock lock) {
    return lock.locks().stream().map(GrantedLock::name).toList();
  }

  private static String text(int length) {
    return "x".repeat(length);
  }

  @Test
  void allOrNone() throws Exception {
    LockBroker one = client();
    LockBroker two = client();
    HeldLock lock = acquire(one, "all/c", LockOption.also("all/a"), LockOption.also("all/b"));
    assertEquals(List.of("all/c", "all/a", "all/b"), names(lock));
    GrantedLock first =
        new GrantedLock(lock.name(), lock.lockId(), lock.fencingToken(), lock.permit());
    assertEquals(first, lock.locks().get(0));
    for (GrantedLock each : lock.locks()) {
      assertEquals(OptionalInt.empty(), each.permit());
      assertFalse(lock.locks().toString().contains(each.lockId()));
      LockInfo info = two.get(each.name(), each.lockId());
      assertEquals(LockState.HELD, info.state());
      assertEquals(OptionalLong.of(each.fencingToken()), info.fencingToken());
      assertNotEquals(Duration.ZERO, info.remaining());
      assertEquals(each.name(), refused(two, each.name()).lock());
    }
    lock.release();
    HeldLock taken = acquire(two, "all/b", LockOption.owner("two"));
    LockOption also = LockOption.also("all/b", "all/a");
    assertTrue(one.tryLock("all/c", also).isEmpty());
    for (Wait wait : List.of(Wait.atMost(Duration.ZERO), Wait.atMost(Duration.ofMillis(200)))) {
      NotAcquiredException held =
          assertThrows(NotAcquiredException.class, () -> one.lock("all/c", wait, also));
      assertEquals("all/b", held.lock());
      assertEquals("two", held.owner());
      assertTrue(held.getMessage().contains("all/b"), held.getMessage());
    }
    assertEquals(LockState.FREE, two.get("all/a").state());
    assertEquals(LockState.FREE, two.get("all/c").state());
    taken.release();
  }

  @Test
  void readersOfSeveral() throws Exception {
    LockBroker client = client();
    LockOption limit = LockOption.limit(2);
    HeldLock one = acquire(client, "seats/a", limit, LockOption.also("seats/b"));
    HeldLock two = acquire(client, "seats/b", limit, LockOption.also("seats/a"));
    for (int at = 0; at < 2; at++) {
      OptionalInt permit = one.locks().get(at).permit();
      assertEquals(1, permit.getAsInt() + two.locks().get(1 - at).permit().getAsInt());
    }
    assertEquals(one.locks().get(0).permit(), one.permit());
    one.release();
    two.release();
  }

  @Test
  void theOptionsAreForAll() throws Exception {
    LockBroker client = client();
    LockOption also = LockOption.also("options/b");
    HeldLock lock =
        acquire(
            client,
            "options/a",
            also,
            LockOption.owner("one"),
            LockOption.linger(Duration.ofMinutes(1)),
            LockOption.keepOnDisconnect());
    assertEquals("one", client.get("options/b").owner());
    lock.release();
    for (String name : names(lock)) {
      assertEquals(LockState.LINGERING, client.get(name).state());
    }
    LockOption minHold = LockOption.minHold(Duration.ofSeconds(1));
    failsAs(Kind.INVALID, () -> client.lock("options/c", LockOption.also("options/d"), minHold));
    failsAs(Kind.INVALID, () -> client.lock("options/c", LockOption.also("options/c")));
  }

  /** Whoever adopts has one lock id, and each lock has its own. */
  @Test
  void oneIsAdoptedAlone() throws Exception {
    HeldLock lock = acquire(client(), "adopt/a", LockOption.also("adopt/b"));
    LockBroker other = client();
    LockOption also = LockOption.also("adopt/b");
    failsAs(Kind.INVALID, () -> other.adopt("adopt/a", lock.lockId(), also));
    lock.check();
    lock.release();
  }

  @Test
  void aWaitThatIsInterruptedGivesBackWhatItHad() throws Exception {
    LockBroker client = client();
    HeldLock taken = acquire(client, "wait/b");
    CompletableFuture<Thread> waiter = new CompletableFuture<>();
    CompletableFuture<HeldLock> waiting =
        begin(
            () -> {
              waiter.complete(Thread.currentThread());
              return client.lock("wait/a", LockOption.also("wait/b"));
            });
    eventually("it has one", () -> client.get("wait/a").state() == LockState.HELD);
    soon(waiter).interrupt();
    ExecutionException ended = assertThrows(ExecutionException.class, () -> soon(waiting));
    assertEquals(InterruptedException.class, ended.getCause().getClass());
    eventually("it gives that back", () -> client.get("wait/a").state() == LockState.FREE);
    taken.release();
  }

  @Test
  void theyMoveTogether() throws Exception {
    RealBroker[] brokers = pair();
    LockBroker client = connect(brokers[0].url + "," + brokers[1].url);
    LockBroker other = connect(brokers[1].url);
    HeldLock lock = acquire(client, "moves/b", LockOption.also("moves/a"));
    List<GrantedLock> before = lock.locks();
    brokers[0].kill();
    eventually(
        "they move",
        () ->
            !lock.lockId().equals(before.get(0).lockId())
                && lock.remaining().compareTo(Duration.ZERO) > 0);
    for (int at = 0; at < before.size(); at++) {
      GrantedLock each = lock.locks().get(at);
      assertEquals(before.get(at).name(), each.name());
      assertEquals(before.get(at).fencingToken(), each.fencingToken());
      assertNotEquals(before.get(at).lockId(), each.lockId());
      assertEquals(LockState.HELD, other.get(each.name()).state());
    }
    lock.release();
    for (String name : names(lock)) {
      assertEquals(LockState.FREE, other.get(name).state());
    }
  }

  @Test
  void whatIsTooMuchTogetherIsNotSent() {
    // Nobody is there to be asked.
    LockBroker client = connect("http://127.0.0.1:9");
    String[] eight = {"1", "2", "3", "4", "5", "6", "7", "8"};
    String wide = "\u20ac".repeat(300);
    List<LockOption[]> wrong =
        List.of(
            new LockOption[] {LockOption.also(eight), LockOption.also(eight)},
            new LockOption[] {LockOption.also(text(1025))},
            new LockOption[] {LockOption.also(text(1000), text(1000), text(1000), text(1000))},
            new LockOption[] {LockOption.also(text(1000)), LockOption.owner(text(1000))},
            new LockOption[] {LockOption.also(wide, wide, wide)},
            new LockOption[] {LockOption.also("\ud800")});
    for (LockOption[] options : wrong) {
      failsAs(Kind.INVALID, () -> client.tryLock(text(1000), options));
      failsAs(Kind.INVALID, () -> client.lock(text(1000), options));
    }
  }
}
