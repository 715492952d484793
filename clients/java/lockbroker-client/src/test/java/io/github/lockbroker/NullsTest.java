package io.github.lockbroker;

import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.lockbroker.harness.Scenario;
import io.github.lockbroker.testing.TestBroker;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;

/** Null, where something is wanted: the caller is told at once, and nobody else suffers. */
class NullsTest extends Scenario {
  private static void areRefused(List<Executable> calls) {
    for (Executable call : calls) {
      assertThrows(NullPointerException.class, call, () -> "call " + calls.indexOf(call));
    }
  }

  /** A call that waits instead is interrupted. */
  @Test
  @Timeout(60)
  void aClientRefusesThemAndGoesOn() throws Exception {
    TestBroker broker = closing(new TestBroker());
    LockBroker client = connect(broker.url());
    HeldLock lock = acquire(client, "kept");
    areRefused(
        List.of(
            () -> client.lock(null),
            () -> client.lock("x", (LockOption) null),
            () -> client.lock("x", (LockOption[]) null),
            () -> client.lock("x", (Wait) null),
            () -> client.lock(null, Wait.forever()),
            () -> client.tryLock(null),
            () -> client.tryLock("x", (LockOption) null),
            () -> client.adopt(null, lock.lockId()),
            () -> client.adopt("x", null),
            () -> client.adopt("x", "id", (LockOption) null),
            () -> client.lease(null),
            () -> client.lease("x", (LeaseOption) null),
            () -> client.lease("x", (LeaseOption[]) null),
            () -> client.adoptLease(null, "id"),
            () -> client.adoptLease("x", null),
            () -> client.release(null, lock.lockId()),
            () -> client.release("x", null),
            () -> client.get(null),
            () -> client.get("x", null),
            () -> client.hold(null, held -> 0),
            // Not only when the lock is granted.
            () -> client.hold("kept", null),
            () -> client.observe(null),
            () -> client.observe("x").next(null),
            () -> lock.update(null),
            () -> client.asLock(null),
            () -> client.asLock("x").tryLock(1, null),
            () -> lock.onLost(null)));
    lock.check();
    assertTrue(broker.holder("x").isEmpty());
    acquire(client, "another").close();
    lock.release();
  }

  @Test
  void settingsRefuseThem() {
    LockBroker.Builder builder = LockBroker.builder();
    areRefused(
        List.of(
            () -> LockBroker.connect(null),
            () -> builder.server(null),
            () -> builder.ttl(null),
            () -> builder.owner(null),
            () -> builder.answerTimeout(null),
            () -> builder.tlsAuthorities(null),
            () -> builder.tlsIdentity(null, Path.of("key")),
            () -> builder.tlsIdentity(Path.of("certificate"), null),
            () -> LockOption.also((String) null),
            () -> LockOption.also((String[]) null),
            () -> LockOption.owner(null),
            () -> LockOption.linger(null),
            () -> LockOption.minHold(null),
            () -> LockOption.value(null),
            () -> LeaseOption.ttl(null),
            () -> LeaseOption.waitAtMost(null),
            () -> LeaseOption.owner(null),
            () -> LeaseOption.linger(null),
            () -> LeaseOption.minHold(null),
            () -> Wait.atMost(null),
            () -> Wait.forever().pollingEvery(null)));
  }

  @Test
  void aTestBrokerRefusesThem() {
    TestBroker broker = closing(new TestBroker());
    areRefused(
        List.of(
            () -> new TestBroker((Duration) null).close(),
            () -> broker.take(null, "me"),
            () -> broker.take("x", null),
            () -> broker.free(null),
            () -> broker.lose("x", null),
            () -> broker.fail("x", null),
            () -> broker.holder(null),
            () -> broker.waiters(null)));
  }
}
