package io.github.lockbroker;

import static io.github.lockbroker.harness.Eventually.eventually;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.harness.RealBroker;
import io.github.lockbroker.harness.Scenario;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Shared locks. */
class PermitsTest extends Scenario {
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

  private static Set<Integer> permits(OptionalInt... permits) {
    return Stream.of(permits).map(OptionalInt::getAsInt).collect(Collectors.toSet());
  }

  @Test
  void readersShareAndAWriterWaits() throws Exception {
    LockBroker one = client();
    LockBroker two = client();
    LockOption shared = LockOption.shared();
    HeldLock first = acquire(one, "read", shared);
    HeldLock second = acquire(one, "read", shared);
    HeldLock third = acquire(two, "read", shared, LockOption.owner("two"));
    assertEquals(3, permits(first.permit(), second.permit(), third.permit()).size());
    NotAcquiredException held = refused(two, "read");
    assertEquals(NotAcquiredReason.HELD, held.reason());
    assertEquals("", held.owner());
    LockInfo info = one.get("read");
    assertEquals(LockState.HELD, info.state());
    assertEquals(3, info.sharedCount());
    info = one.getPermit("read", third.permit().getAsInt());
    assertEquals(OptionalLong.of(third.fencingToken()), info.fencingToken());
    assertEquals("two", info.owner());
    assertEquals(0, info.sharedCount());
    for (int wrong : new int[] {-1, 4096, Integer.MAX_VALUE, Integer.MIN_VALUE}) {
      failsAs(Kind.INVALID, () -> one.getPermit("read", wrong));
    }
    CompletableFuture<HeldLock> writer = begin(() -> two.lock("read"));
    eventually(
        "the writer keeps new readers out",
        () -> {
          Optional<HeldLock> reader = one.tryLock("read", shared);
          reader.ifPresent(HeldLock::release);
          return reader.isEmpty();
        });
    List.of(first, second, third).forEach(HeldLock::release);
    HeldLock alone = soon(writer);
    assertEquals(OptionalInt.empty(), alone.permit());
    alone.release();
    acquire(one, "read", shared).release();
  }

  @Test
  void soManyAtATime() throws Exception {
    LockBroker client = client();
    LockOption limit = LockOption.limit(2);
    HeldLock first = acquire(client, "seats", limit);
    HeldLock second = acquire(client, "seats", limit);
    assertEquals(Set.of(0, 1), permits(first.permit(), second.permit()));
    assertTrue(client.tryLock("seats", limit).isEmpty());
    CompletableFuture<HeldLock> waiting =
        begin(() -> client.lock("seats", limit, LockOption.shared()));
    second.release();
    HeldLock third = soon(waiting);
    assertEquals(second.permit(), third.permit());
    assertTrue(third.fencingToken() > second.fencingToken());
  }

  @Test
  void aLeaseHasAPermit() throws Exception {
    LockBroker client = client();
    LeaseOption limit = LeaseOption.limit(2);
    Lease first = client.lease("leased", limit);
    Lease second = client.lease("leased", limit, LeaseOption.shared());
    assertEquals(Set.of(0, 1), permits(first.permit(), second.permit()));
    NotAcquiredException held =
        assertThrows(NotAcquiredException.class, () -> client.lease("leased", limit));
    assertEquals(NotAcquiredReason.HELD, held.reason());
    first.renew();
    // Nobody tells who adopts it.
    assertEquals(OptionalInt.empty(), client.adoptLease("leased", first.lockId()).permit());
    LockInfo info = client.getPermit("leased", first.permit().getAsInt());
    assertEquals(first.fencingToken(), info.fencingToken());
    // Whoever makes it a lock is told.
    HeldLock lock = client.adopt("leased", first.lockId());
    assertEquals(first.permit(), lock.permit());
    assertEquals(first.fencingToken(), OptionalLong.of(lock.fencingToken()));
    assertEquals(OptionalInt.empty(), client.lease("leased alone").permit());
  }

  private static Map<Integer, Long> permits(HeldLock lock, int count) {
    Map<Integer, Long> permits = new TreeMap<>();
    for (GrantedLock each : lock.locks()) {
      permits.put(each.permit().getAsInt(), each.fencingToken());
      assertEquals(lock.name(), each.name());
    }
    assertEquals(count, permits.size(), permits::toString);
    assertEquals(count, lock.locks().size());
    return permits;
  }

  @Test
  void severalPermitsAtOnce() throws Exception {
    LockBroker client = client();
    LockBroker other = client();
    LockOption limit = LockOption.limit(4);
    HeldLock lock = acquire(client, "several", limit, LockOption.weight(3));
    for (Map.Entry<Integer, Long> each : permits(lock, 3).entrySet()) {
      LockInfo info = other.getPermit("several", each.getKey());
      assertEquals(OptionalLong.of(each.getValue()), info.fencingToken());
    }
    HeldLock single = acquire(other, "several", limit, LockOption.weight(1));
    permits(single, 1);
    assertTrue(client.tryLock("several", limit, LockOption.weight(2)).isEmpty());
    CompletableFuture<HeldLock> waiting =
        begin(() -> other.lock("several", LockOption.weight(2), limit));
    lock.release();
    HeldLock two = soon(waiting);
    permits(two, 2);
    failsAs(Kind.INVALID, two::downgrade);
    two.release();
    single.release();
    acquire(client, "several").release();
  }

  @Test
  void severalPermitsMoveTogether() throws Exception {
    RealBroker[] brokers = pair();
    LockBroker client = connect(brokers[0].url + "," + brokers[1].url);
    LockOption limit = LockOption.limit(4);
    HeldLock lock = acquire(client, "heavy", limit, LockOption.weight(3));
    Map<Integer, Long> permits = permits(lock, 3);
    List<String> ids = lock.locks().stream().map(GrantedLock::lockId).toList();
    brokers[0].kill();
    eventually(
        "the lock moves",
        () -> !lock.lockId().equals(ids.get(0)) && lock.remaining().compareTo(Duration.ZERO) > 0);
    assertEquals(permits, permits(lock, 3));
    lock.locks().forEach(each -> assertFalse(ids.contains(each.lockId())));
    lock.release();
    acquire(connect(brokers[1].url), "heavy").release();
  }

  @Test
  void aPermitMovesWithItsLock() throws Exception {
    RealBroker[] brokers = pair();
    LockBroker client = connect(brokers[0].url + "," + brokers[1].url);
    LockBroker other = connect(brokers[1].url);
    LockOption limit = LockOption.limit(2);
    HeldLock first = acquire(other, "moves", limit);
    HeldLock lock = acquire(client, "moves", limit);
    OptionalInt permit = lock.permit();
    assertEquals(Set.of(0, 1), permits(first.permit(), permit));
    String id = lock.lockId();
    brokers[0].kill();
    eventually(
        "the lock moves",
        () -> {
          assertTrue(other.tryLock("moves", limit).isEmpty(), "somebody else got its permit");
          return !lock.lockId().equals(id) && lock.remaining().compareTo(Duration.ZERO) > 0;
        });
    assertEquals(permit, lock.permit());
    LockInfo info = other.getPermit("moves", permit.getAsInt());
    assertEquals(OptionalLong.of(lock.fencingToken()), info.fencingToken());
    lock.release();
    first.release();
  }

  @Test
  void aLimitThatCannotBeIsNotSent() {
    // Nobody is there to be asked.
    LockBroker client = connect("http://127.0.0.1:9");
    for (int limit : new int[] {0, -1, 4097, Integer.MIN_VALUE, Integer.MAX_VALUE}) {
      failsAs(Kind.INVALID, () -> client.tryLock("limited", LockOption.limit(limit)));
      failsAs(Kind.INVALID, () -> client.lock("limited", LockOption.limit(limit)));
      failsAs(Kind.INVALID, () -> client.lease("limited", LeaseOption.limit(limit)));
    }
  }

  @Test
  void aWeightThatCannotBeIsNotSent() {
    LockBroker client = connect("http://127.0.0.1:9");
    for (int weight : new int[] {0, -1, 17, Integer.MIN_VALUE, Integer.MAX_VALUE}) {
      failsAs(Kind.INVALID, () -> client.tryLock("weighty", LockOption.weight(weight)));
    }
    LockOption three = LockOption.weight(3);
    failsAs(Kind.INVALID, () -> client.lock("weighty", three, LockOption.limit(2)));
    failsAs(Kind.INVALID, () -> client.lock("weighty", three, LockOption.also("another")));
    failsAs(Kind.INVALID, () -> client.adopt("weighty", "an id", three));
    // Each permit takes its part of the message.
    LockOption owner = LockOption.owner("o".repeat(500));
    failsAs(Kind.INVALID, () -> client.lock("weighty", LockOption.weight(16), owner));
  }
}
