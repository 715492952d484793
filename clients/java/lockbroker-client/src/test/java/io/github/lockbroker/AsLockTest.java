package io.github.lockbroker;

import static io.github.lockbroker.harness.Eventually.eventually;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.harness.Scenario;
import io.github.lockbroker.testing.TestBroker;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Lock;
import org.junit.jupiter.api.Test;

/** A lock of java.util.concurrent on top. */
class AsLockTest extends Scenario {
  private final TestBroker broker = closing(new TestBroker());
  private final LockBroker client = connect(broker.url());
  private final Lock lock = client.asLock("x");

  private boolean isHeld() {
    return broker.holder("x").isPresent();
  }

  @Test
  void countsForEachThread() throws Exception {
    lock.lock();
    assertTrue(lock.tryLock());
    assertTrue(lock.tryLock(1, TimeUnit.SECONDS));
    lock.lockInterruptibly();
    assertFalse(soon(begin(() -> lock.tryLock())));
    assertFalse(soon(begin(() -> lock.tryLock(20, TimeUnit.MILLISECONDS))));
    for (int left = 3; left > 0; left--) {
      lock.unlock();
      assertTrue(isHeld());
    }
    assertThrows(
        java.util.concurrent.ExecutionException.class,
        () ->
            soon(
                begin(
                    () -> {
                      lock.unlock();
                      return null;
                    })));
    lock.unlock();
    assertFalse(isHeld());
    assertThrows(IllegalMonitorStateException.class, lock::unlock);
    assertThrows(UnsupportedOperationException.class, lock::newCondition);
    assertTrue(soon(begin(() -> lock.tryLock())));
  }

  @Test
  void isTheSameForOneNameWhileItIsUsed() {
    assertSame(lock, client.asLock("x"));
    assertNotSame(lock, client.asLock("y"));
    client.asLock("z").lock();
    for (int time = 0; time < 5; time++) {
      System.gc();
    }
    // Another one would find the lock held.
    assertTrue(client.asLock("z").tryLock());
    client.asLock("z").unlock();
    client.asLock("z").unlock();
    assertEquals(Optional.empty(), broker.holder("z"));
  }

  @Test
  void excludesOtherPrograms() throws Exception {
    broker.take("x", "somebody");
    assertFalse(lock.tryLock());
    assertFalse(lock.tryLock(20, TimeUnit.MILLISECONDS));
    CompletableFuture<Boolean> locked =
        begin(
            () -> {
              lock.lock();
              lock.unlock();
              return true;
            });
    eventually("it waits", () -> broker.waiters("x") == 1);
    broker.free("x");
    assertTrue(soon(locked));
  }

  @Test
  void lockIgnoresAnInterruptAndKeepsIt() throws Exception {
    broker.take("x", "somebody");
    Thread[] waiter = new Thread[1];
    CompletableFuture<Boolean> interrupted =
        begin(
            () -> {
              waiter[0] = Thread.currentThread();
              lock.lock();
              lock.unlock();
              return Thread.interrupted();
            });
    eventually("it waits", () -> broker.waiters("x") == 1);
    waiter[0].interrupt();
    Thread.sleep(50);
    assertEquals(1, broker.waiters("x"));
    broker.free("x");
    assertTrue(soon(interrupted));
  }

  @Test
  void lockInterruptiblyLeavesTheQueue() throws Exception {
    broker.take("x", "somebody");
    CompletableFuture<Throwable> thrown = new CompletableFuture<>();
    Thread waiter =
        thread(
            () ->
                thrown.complete(assertThrows(InterruptedException.class, lock::lockInterruptibly)));
    eventually("it waits", () -> broker.waiters("x") == 1);
    waiter.interrupt();
    soon(thrown);
    eventually("it has left", () -> broker.waiters("x") == 0);
    broker.free("x");
    assertTrue(lock.tryLock());
  }

  @Test
  void aLossFreesTheMutexAndNobodyElsesLock() throws Exception {
    lock.lock();
    broker.take("x", "somebody");
    eventually(
        "the loss is known",
        () -> {
          try {
            lock.lock();
            lock.unlock();
            return false;
          } catch (LostException e) {
            return true;
          }
        });
    isLost(LostReason.TAKEN_OVER, lock::tryLock);
    isLost(LostReason.TAKEN_OVER, lock::unlock);
    // Somebody else's is untouched, and the mutex is free for other threads.
    assertEquals(Optional.of("somebody"), broker.holder("x"));
    broker.free("x");
    assertTrue(
        soon(
            begin(
                () -> {
                  assertTrue(lock.tryLock());
                  lock.unlock();
                  return true;
                })));
  }

  @Test
  void aFailureFreesTheMutex() throws Exception {
    broker.fail("x", ErrorReason.POLICY_DENIED);
    failsAs(Kind.DENIED, lock::lock);
    broker.fail("x", ErrorReason.STORE_UNAVAILABLE);
    failsAs(Kind.UNAVAILABLE, lock::tryLock);
    assertTrue(soon(begin(() -> lock.tryLock())));
  }
}
