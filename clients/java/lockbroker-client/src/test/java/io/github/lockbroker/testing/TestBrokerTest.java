package io.github.lockbroker.testing;

import static io.github.lockbroker.harness.Eventually.eventually;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.lockbroker.ErrorReason;
import io.github.lockbroker.HeldLock;
import io.github.lockbroker.LockBroker;
import io.github.lockbroker.LockBrokerException;
import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.LockOption;
import io.github.lockbroker.LockState;
import io.github.lockbroker.LostReason;
import io.github.lockbroker.NotAcquiredException;
import io.github.lockbroker.NotAcquiredReason;
import io.github.lockbroker.Wait;
import io.github.lockbroker.harness.Scenario;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

class TestBrokerTest extends Scenario {
  private TestBroker start() {
    return closing(new TestBroker());
  }

  @Test
  void grantsAndRefuses() throws Exception {
    TestBroker broker = start();
    LockBroker client = connect(broker.url());
    broker.take("job", "somebody");
    assertEquals("somebody", refused(client, "job").owner());
    NotAcquiredException over =
        assertThrows(
            NotAcquiredException.class,
            () -> client.lock("job", Wait.atMost(Duration.ofMillis(30))));
    assertEquals(NotAcquiredReason.WAIT_OVER, over.why());
    LockOption linger = LockOption.linger(Duration.ofSeconds(4));
    CompletableFuture<HeldLock> granted =
        begin(() -> client.lock("job", LockOption.owner("me"), linger));
    eventually("somebody waits", () -> broker.waiters("job") == 1);
    broker.free("job");
    HeldLock lock = soon(granted);
    assertEquals(Optional.of("me"), broker.holder("job"));
    lock.release();
    assertEquals(NotAcquiredReason.LINGERING, refused(client, "job").why());
    HeldLock again = acquire(client, "job");
    assertEquals(LockState.HELD, client.get("job", again.lockId()).state());
    client.close();
    assertEquals(Optional.empty(), broker.holder("job"));
  }

  @Test
  void losesOnCommand() throws Exception {
    TestBroker broker = start();
    LockBroker client = connect(broker.url());
    for (LostReason reason : LostReason.values()) {
      HeldLock lock = acquire(client, "job");
      broker.lose("job", reason);
      assertEquals(reason, soon(loss(lock)));
      isLost(reason, lock::check);
    }
    assertThrows(IllegalStateException.class, () -> broker.lose("job", LostReason.GONE));
  }

  @Test
  void failsOnCommand() throws Exception {
    TestBroker broker = start();
    LockBroker client = connect(broker.url());
    Map<String, Kind> kinds =
        Map.of(
            ErrorReason.STORE_UNAVAILABLE, Kind.UNAVAILABLE,
            ErrorReason.POLICY_DENIED, Kind.DENIED,
            ErrorReason.MAX_LOCKS, Kind.EXHAUSTED,
            ErrorReason.BROKER_FAULT, Kind.UNEXPECTED);
    kinds.forEach(
        (reason, kind) -> {
          broker.fail("job", reason);
          LockBrokerException error = failsAs(kind, () -> client.tryLock("job"));
          assertEquals(reason, error.reason());
          assertEquals(Optional.of(Duration.ofMillis(50)), error.retryAfter());
        });
    // A wait goes on through a store that is away.
    broker.fail("job", ErrorReason.STORE_UNAVAILABLE);
    acquire(client, "job").close();
  }

  @Test
  void movesLocksWhenItDrains() throws Exception {
    TestBroker broker = start();
    HeldLock lock = acquire(connect(broker.url()), "job");
    String id = lock.lockId();
    long begun = System.nanoTime();
    broker.drain();
    eventually("it moves", () -> !lock.lockId().equals(id));
    long took = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - begun);
    assertTrue(took < 4000, "the guard hears of it only with the next heartbeat: " + took);
    lock.check();
    lock.release();
  }

  @Test
  void losesLocksWhenItIsSilent() throws Exception {
    TestBroker broker = closing(new TestBroker(Duration.ofMillis(3000)));
    LockBroker client = connect(broker.url());
    HeldLock lock = acquire(client, "job");
    // Heartbeats carry it far beyond its ttl.
    Thread.sleep(4000);
    lock.check();
    broker.silence(true);
    assertEquals(LostReason.EXPIRED, soon(loss(lock)));
    broker.silence(false);
    acquire(client, "job").close();
  }
}
