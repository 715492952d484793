package io.github.lockbroker.springintegration;

import static io.github.lockbroker.harness.Eventually.eventually;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.lockbroker.LockBroker;
import io.github.lockbroker.LostReason;
import io.github.lockbroker.harness.Scenario;
import io.github.lockbroker.testing.TestBroker;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.Lock;
import org.junit.jupiter.api.Assertions;
import org.junit.jupiter.api.Test;
import org.springframework.context.annotation.Bean;
import org.springframework.integration.leader.Candidate;
import org.springframework.integration.leader.Context;
import org.springframework.integration.leader.DefaultCandidate;
import org.springframework.integration.support.leader.LockRegistryLeaderInitiator;
import org.springframework.integration.support.locks.LockRegistry;

class LockBrokerLockRegistryTest extends Scenario {
  private final TestBroker broker = closing(new TestBroker());

  @Bean
  LockRegistry lockRegistry(LockBroker client) {
    return new LockBrokerLockRegistry(client, "shop/"); // put before each key
  }

  @Test
  void theSampleRuns() throws Exception {
    LockRegistry registry = lockRegistry(connect(broker.url()));
    registry.executeLocked(
        7, () -> assertTrue(broker.holder("shop/7").isPresent(), "it has another name"));
  }

  private LockBrokerLockRegistry registry() {
    return new LockBrokerLockRegistry(connect(broker.url()), "app/");
  }

  @Test
  void handsOutOneLockForAKey() throws Exception {
    LockBrokerLockRegistry registry = registry();
    Lock lock = registry.obtain(7);
    assertSame(lock, registry.obtain("7"));
    Assertions.assertThrows(NullPointerException.class, () -> registry.obtain(null));
    lock.lock();
    assertTrue(broker.holder("app/7").isPresent());
    assertFalse(registry().obtain(7).tryLock());
    assertTrue(lock.tryLock(1, TimeUnit.SECONDS));
    lock.unlock();
    lock.unlock();
    assertEquals("done", registry.executeLocked(7, () -> "done"));
    assertEquals(Optional.empty(), broker.holder("app/7"));
    broker.take("app/7", "somebody");
    Assertions.assertThrows(
        TimeoutException.class,
        () -> registry.executeLocked(7, java.time.Duration.ofMillis(50), () -> "never"));
  }

  private LockRegistryLeaderInitiator initiator(Candidate candidate) {
    var initiator = new LockRegistryLeaderInitiator(registry(), candidate);
    initiator.setHeartBeatMillis(50);
    initiator.setBusyWaitMillis(20);
    closing(initiator::destroy);
    initiator.start();
    return initiator;
  }

  private static boolean leads(LockRegistryLeaderInitiator initiator) {
    Context context = initiator.getContext();
    return context != null && context.isLeader();
  }

  @Test
  void oneLeadsAndAnotherFollows() {
    var first = initiator(new DefaultCandidate("first", "role"));
    eventually("the first leads", () -> leads(first));
    var second = initiator(new DefaultCandidate("second", "role"));
    eventually("the second waits", () -> broker.waiters("app/role") == 1 || !leads(second));
    assertTrue(leads(first));
    // It locks again with every heartbeat, and unlocks as often.
    first.stop();
    eventually("the second leads", () -> leads(second));
    assertFalse(leads(first));
  }

  @Test
  void aLossEndsTheLeadershipAndItBeginsAnew() throws Exception {
    int[] times = new int[2];
    var candidate =
        new DefaultCandidate("one", "lost") {
          @Override
          public void onGranted(Context context) {
            times[0]++;
          }

          @Override
          public void onRevoked(Context context) {
            times[1]++;
          }
        };
    var initiator = initiator(candidate);
    eventually("it leads", () -> leads(initiator));
    broker.lose("app/lost", LostReason.TAKEN_OVER);
    eventually("it is told, and leads again", () -> times[1] == 1 && times[0] == 2);
    assertTrue(leads(initiator));
    initiator.stop();
    // No mutex is left locked.
    eventually("it is free", () -> broker.holder("app/lost").isEmpty());
    var next = initiator(candidate);
    eventually("the next one leads", () -> leads(next));
  }
}
