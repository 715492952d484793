package io.github.lockbroker;

import static io.github.lockbroker.harness.Eventually.eventually;
import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.harness.RealBroker;
import io.github.lockbroker.harness.Scenario;
import java.time.Duration;
import java.util.List;
import java.util.OptionalInt;
import org.junit.jupiter.api.Test;

/** Locks that one has alone, and shares from then on. */
class DowngradeTest extends Scenario {
  @Test
  void aLockIsSharedFromNowOn() throws Exception {
    RealBroker[] brokers = pair();
    LockBroker client = connect(brokers[0].url + "," + brokers[1].url);
    LockBroker other = connect(brokers[1].url);
    LockOption two = LockOption.limit(2);
    HeldLock lock = acquire(client, "index");
    long token = lock.fencingToken();
    String alone = lock.lockId();
    assertEquals(OptionalInt.empty(), lock.permit());
    assertTrue(other.tryLock("index", two).isEmpty());
    lock.downgrade(2);
    OptionalInt permit = lock.permit();
    assertTrue(permit.isPresent());
    assertEquals(permit, lock.locks().get(0).permit());
    assertEquals(token, lock.fencingToken());
    assertNotEquals(alone, lock.lockId());
    // It is shared already.
    lock.downgrade();
    lock.check();
    HeldLock another = acquire(other, "index", two);
    assertTrue(other.tryLock("index", two).isEmpty());
    refused(other, "index");
    String shared = lock.lockId();
    brokers[0].kill();
    eventually(
        "the lock moves",
        () -> !lock.lockId().equals(shared) && lock.remaining().compareTo(Duration.ZERO) > 0);
    assertEquals(permit, lock.permit());
    another.release();
    lock.release();
    acquire(other, "index").release();
    failsAs(Kind.RELEASED, lock::downgrade);
  }

  @Test
  void aLockThatCannotBeSharedIsHeldAsBefore() throws Exception {
    RealBroker broker = startBroker();
    LockBroker client = connect(broker.url);
    HeldLock leader = acquire(client, "leader", LockOption.value("here".getBytes(UTF_8)));
    List<HeldLock> locks =
        List.of(
            acquire(client, "job", LockOption.minHold(Duration.ofSeconds(1))),
            acquire(client, "one", LockOption.also("another")),
            leader);
    for (HeldLock lock : locks) {
      failsAs(Kind.INVALID, lock::downgrade);
      lock.check();
      assertTrue(client.tryLock(lock.name(), LockOption.shared()).isEmpty());
    }
    for (int limit : new int[] {0, -1, 4097, Integer.MAX_VALUE}) {
      failsAs(Kind.INVALID, () -> locks.get(0).downgrade(limit));
    }
    leader.update("there".getBytes(UTF_8));
    locks.forEach(HeldLock::release);
  }

  @Test
  void nobodyAnswers() throws Exception {
    RealBroker broker = startBroker();
    LockBroker client =
        closing(
            LockBroker.builder().server(broker.url).answerTimeout(Duration.ofSeconds(1)).connect());
    HeldLock lock = acquire(client, "unanswered");
    broker.kill();
    Thread.currentThread().interrupt();
    assertThrows(InterruptedException.class, lock::downgrade);
    failsAs(Kind.UNAVAILABLE, lock::downgrade);
    assertEquals(OptionalInt.empty(), lock.permit());
  }

  @Test
  void aLossIsTold() throws Exception {
    RealBroker broker = startBroker();
    LockBroker client = connect(broker.url);
    HeldLock lock = acquire(client, "gone");
    connect(broker.url).release("gone", lock.lockId());
    assertThrows(LostException.class, lock::downgrade);
  }
}
