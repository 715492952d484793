package io.github.lockbroker.testing;

import static io.github.lockbroker.harness.Eventually.eventually;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.lockbroker.ErrorReason;
import io.github.lockbroker.HeldLock;
import io.github.lockbroker.Lease;
import io.github.lockbroker.LeaseOption;
import io.github.lockbroker.LockBroker;
import io.github.lockbroker.LockBrokerException;
import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.LockInfo;
import io.github.lockbroker.LockOption;
import io.github.lockbroker.LockState;
import io.github.lockbroker.LostException;
import io.github.lockbroker.LostReason;
import io.github.lockbroker.NotAcquiredException;
import io.github.lockbroker.NotAcquiredReason;
import io.github.lockbroker.OnLost;
import io.github.lockbroker.Wait;
import io.github.lockbroker.harness.Proxy;
import io.github.lockbroker.harness.Scenario;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
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
    assertEquals(NotAcquiredReason.MAX_WAIT, over.reason());
    LockOption linger = LockOption.linger(Duration.ofSeconds(4));
    CompletableFuture<HeldLock> granted =
        begin(() -> client.lock("job", LockOption.owner("me"), linger));
    eventually("somebody waits", () -> broker.waiters("job") == 1);
    broker.free("job");
    HeldLock lock = soon(granted);
    assertEquals(Optional.of("me"), broker.holder("job"));
    lock.release();
    assertEquals(NotAcquiredReason.LINGERING, refused(client, "job").reason());
    HeldLock again = acquire(client, "job");
    LockInfo info = client.get("job", again.lockId());
    assertEquals(LockState.HELD, info.state());
    assertEquals(OptionalLong.of(again.fencingToken()), info.fencingToken());
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
          assertEquals(reason, error.errorReason());
          assertEquals(Optional.of(Duration.ofMillis(50)), error.retryAfter());
        });
    // A wait goes on through a store that is away.
    broker.fail("job", ErrorReason.STORE_UNAVAILABLE);
    acquire(client, "job").close();
  }

  @Test
  void hasLeases() throws Exception {
    TestBroker broker = start();
    LockBroker client = connect(broker.url());
    Lease lease =
        client.lease("job", LeaseOption.owner("me"), LeaseOption.ttl(Duration.ofSeconds(9)));
    assertEquals(Optional.of("me"), broker.holder("job"));
    long left = lease.remaining().toMillis();
    assertTrue(left > 5000 && left <= 7200, left + " ms");
    lease.renew();
    assertEquals("me", refused(client, "job").owner());
    CompletableFuture<Lease> waiting =
        begin(() -> client.lease("job", LeaseOption.waitAtMost(Duration.ofSeconds(20))));
    eventually("somebody waits", () -> broker.waiters("job") == 1);
    lease.release();
    Lease next = soon(waiting);
    Lease adopted = client.adoptLease("job", next.lockId());
    broker.lose("job", LostReason.REVOKED);
    isLost(LostReason.GONE, next::renew);
    isLost(LostReason.GONE, adopted::renew);
    client.lease("job", LeaseOption.minHold(Duration.ofSeconds(20))).close();
    assertEquals(NotAcquiredReason.LINGERING, refused(client, "job").reason());
    broker.fail("other", ErrorReason.POLICY_DENIED);
    LockBrokerException denied = failsAs(Kind.DENIED, () -> client.lease("other"));
    assertEquals(ErrorReason.POLICY_DENIED, denied.errorReason());
    // Whoever waits and leaves is granted nothing.
    broker.take("other", "somebody");
    Thread leaving =
        thread(
            () ->
                assertThrows(
                    InterruptedException.class,
                    () -> client.lease("other", LeaseOption.waitAtMost(Duration.ofSeconds(20)))));
    eventually("somebody waits", () -> broker.waiters("other") == 1);
    leaving.interrupt();
    eventually("nobody waits", () -> broker.waiters("other") == 0);
  }

  @Test
  void sharesALockThatWasHeldAlone() throws Exception {
    LockBroker client = connect(start().url());
    HeldLock lock = client.tryLock("index").orElseThrow();
    long token = lock.fencingToken();
    lock.downgrade(2);
    assertEquals(OptionalInt.of(0), lock.permit());
    assertEquals(token, lock.fencingToken());
    client.tryLock("index", LockOption.limit(2)).orElseThrow().release();
    lock.release();
    LockOption minHold = LockOption.minHold(Duration.ofSeconds(1));
    HeldLock job = client.tryLock("job", minHold).orElseThrow();
    failsAs(Kind.INVALID, job::downgrade);
    job.check();
    // It does not know of several at once.
    LockOption two = LockOption.weight(2);
    assertThrows(LockBrokerException.class, () -> client.tryLock("seats", two));
  }

  @Test
  void grantsPermits() throws Exception {
    TestBroker broker = start();
    LockBroker client = connect(broker.url());
    LockOption shared = LockOption.shared();
    HeldLock first = client.tryLock("job", LockOption.limit(2)).orElseThrow();
    HeldLock second = client.tryLock("job", LockOption.limit(2)).orElseThrow();
    assertEquals(OptionalInt.of(0), first.permit());
    assertEquals(OptionalInt.of(1), second.permit());
    assertTrue(client.tryLock("job", LockOption.limit(2)).isEmpty());
    assertEquals(NotAcquiredReason.HELD, refused(client, "job").reason());
    // The lowest that is free.
    first.release();
    first = client.tryLock("job", shared).orElseThrow();
    assertEquals(OptionalInt.of(0), first.permit());
    assertEquals(2, client.get("job").sharedCount());
    LockInfo info = client.getPermit("job", 1);
    assertEquals(OptionalLong.of(second.fencingToken()), info.fencingToken());
    // They move with their permits.
    String id = second.lockId();
    broker.drain();
    eventually("it moves", () -> !second.lockId().equals(id));
    assertEquals(OptionalInt.of(1), second.permit());
    // A writer waits, and lets in no more readers; those who wait come after it.
    CompletableFuture<HeldLock> writer = begin(() -> client.lock("job"));
    eventually("it waits", () -> broker.waiters("job") == 1);
    assertTrue(client.tryLock("job", shared).isEmpty());
    CompletableFuture<HeldLock> reader = begin(() -> client.lock("job", shared));
    eventually("both wait", () -> broker.waiters("job") == 2);
    first.release();
    second.release();
    HeldLock alone = soon(writer);
    assertEquals(OptionalInt.empty(), alone.permit());
    assertFalse(reader.isDone());
    alone.release();
    assertEquals(OptionalInt.of(0), soon(reader).permit());
    // A writer that gives up lets them in again.
    Wait brief = Wait.atMost(Duration.ofMillis(20));
    assertThrows(NotAcquiredException.class, () -> client.lock("job", brief));
    HeldLock lingers = acquire(client, "job", shared, LockOption.linger(Duration.ofHours(1)));
    assertEquals(OptionalInt.of(1), lingers.permit());
    // A linger closes the permit alone, and keeps out a writer.
    lingers.release();
    Lease lease = client.lease("job", LeaseOption.shared());
    assertEquals(OptionalInt.of(2), lease.permit());
    broker.lose("job", LostReason.REVOKED);
    assertEquals(LostReason.REVOKED, soon(loss(soon(reader))));
    isLost(LostReason.GONE, lease::renew);
    assertEquals(NotAcquiredReason.LINGERING, refused(client, "job").reason());
    assertEquals(OptionalInt.of(0), client.lease("job", LeaseOption.limit(1)).permit());
  }

  @Test
  void endsLeasesThatNobodyRenews() throws Exception {
    TestBroker broker = closing(new TestBroker(Duration.ofMillis(3000)));
    LockBroker client = connect(broker.url());
    Lease lease = client.lease("job");
    for (int time = 0; time < 4; time++) {
      Thread.sleep(1000);
      lease.renew();
    }
    eventually("it is over here", () -> lease.remaining().isZero());
    eventually("it is over there", () -> broker.holder("job").isEmpty());
    isLost(LostReason.EXPIRED, lease::check);
    isLost(LostReason.EXPIRED, lease::renew);
    isLost(LostReason.EXPIRED, lease::release);
  }

  @Test
  void keepsLocksWhenTheirStreamEnds() throws Exception {
    TestBroker broker = closing(new TestBroker(Duration.ofSeconds(3)));
    Proxy proxy = closing(new Proxy(broker.url().substring("http://".length())));
    LockBroker client = connect(proxy.url);
    HeldLock lock = client.lock("job", LockOption.keepOnDisconnect());
    CompletableFuture<HeldLock> rival = begin(() -> connect(broker.url()).lock("job"));
    eventually("somebody waits", () -> broker.waiters("job") == 1);
    String id = lock.lockId();
    proxy.cut();
    eventually("it moves", () -> !lock.lockId().equals(id));
    lock.check();
    assertFalse(rival.isDone());
    lock.release();
    HeldLock next = soon(rival);
    // One whose client does not come back is free when it has run out.
    next.release();
    HeldLock left = client.lock("job", LockOption.keepOnDisconnect());
    proxy.close();
    proxy.cut();
    acquire(connect(broker.url()), "job").release();
    assertThrows(LostException.class, left::check);
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

  @Test
  void aReleaseThatFindsAnotherHolderIsALoss() throws Exception {
    // The client notices the silence, and asks again on another connection, before this is over.
    TestBroker broker = closing(new TestBroker(Duration.ofMillis(6000)));
    HeldLock lock = acquire(connect(broker.url()), "job");
    broker.silence(true);
    broker.take("job", "somebody");
    isLost(LostReason.TAKEN_OVER, lock::release);
    assertEquals(Optional.of("somebody"), broker.holder("job"));
  }

  @Test
  void expiresInIsNothingAfterTheEnd() throws Exception {
    TestBroker broker = start();
    LockBroker client = connect(broker.url());
    HeldLock lost = acquire(client, "lost");
    assertTrue(lost.expiresIn().toNanos() > 0);
    CompletableFuture<LostReason> loss = loss(lost);
    broker.lose("lost", LostReason.TAKEN_OVER);
    soon(loss);
    assertEquals(Duration.ZERO, lost.expiresIn());
    HeldLock released = acquire(client, "released");
    released.release();
    assertEquals(Duration.ZERO, released.expiresIn());
  }

  @Test
  void nothingComesAfterTheCloseOfACallback() throws Exception {
    TestBroker broker = start();
    LockBroker client = connect(broker.url());
    HeldLock lock = acquire(client, "job");
    AtomicInteger calls = new AtomicInteger();
    lock.onLost(reason -> calls.incrementAndGet()).close();
    lock.interruptOnLoss().close();
    CompletableFuture<LostReason> loss = loss(lock);
    broker.lose("job", LostReason.EXPIRED);
    soon(loss);
    Thread.sleep(100);
    assertEquals(0, calls.get());
    // One that came, and that the work has not taken, is taken back; the program's own stays.
    HeldLock other = acquire(client, "other");
    try (OnLost interrupts = other.interruptOnLoss()) {
      broker.lose("other", LostReason.EXPIRED);
      while (!Thread.currentThread().isInterrupted()) {
        Thread.onSpinWait();
      }
    }
    assertFalse(Thread.interrupted());
    Thread.currentThread().interrupt();
    try (OnLost interrupts = other.interruptOnLoss()) {
      assertTrue(Thread.currentThread().isInterrupted());
    }
    assertTrue(Thread.interrupted());
  }

  @Test
  void theCloseOfACallbackWaitsForItsEnd() throws Exception {
    TestBroker broker = start();
    HeldLock lock = acquire(connect(broker.url()), "job");
    CompletableFuture<Void> begun = new CompletableFuture<>();
    AtomicInteger ended = new AtomicInteger();
    OnLost callback =
        lock.onLost(
            reason -> {
              begun.complete(null);
              try {
                Thread.sleep(200);
              } catch (InterruptedException e) {
                throw new IllegalStateException(e);
              }
              ended.incrementAndGet();
            });
    broker.lose("job", LostReason.EXPIRED);
    soon(begun);
    callback.close();
    assertEquals(1, ended.get());
  }

  @Test
  void itDoesNotKnowOfSeveralLocksTogether() throws Exception {
    LockBroker client = connect(start().url());
    failsAs(Kind.UNEXPECTED, () -> client.tryLock("a", LockOption.also("b")));
    // Nothing is left of the attempt.
    acquire(client, "a").release();
    acquire(client, "b").release();
  }
}
