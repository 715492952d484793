package io.github.lockbroker;

import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.lockbroker.harness.RealBroker;
import io.github.lockbroker.harness.Scenario;
import io.github.lockbroker.v1.AcquireRequest;
import io.github.lockbroker.v1.LockServiceGrpc;
import io.github.lockbroker.v1.LockSpec;
import io.github.lockbroker.v1.ReleaseRequest;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.Isolated;

/** What a lock costs. It runs alone. */
@Isolated
class CycleTest extends Scenario {
  private static final int ROUNDS = 20;
  private static final int CYCLES = 100;

  private static long nanos(Task<?> task) throws Exception {
    long begun = System.nanoTime();
    for (int time = 0; time < CYCLES; time++) {
      task.run();
    }
    return System.nanoTime() - begun;
  }

  /** Acquiring and releasing costs no more than three times what the bare stub's calls cost. */
  @Test
  void aCycleCostsLittle() throws Exception {
    RealBroker broker = startBroker();
    LockBroker client = connect(broker.url);
    var channel = broker.channel();
    closing(channel::shutdownNow);
    var stub = LockServiceGrpc.newBlockingStub(channel);
    var request =
        AcquireRequest.newBuilder().setLock(LockSpec.newBuilder().setName("bare")).build();
    long[] ours = new long[ROUNDS];
    long[] bare = new long[ROUNDS];
    // In turn, so that both see the same machine.
    for (int round = 0; round < ROUNDS; round++) {
      ours[round] =
          nanos(
              () -> {
                client.tryLock("cycle").orElseThrow().release();
                return null;
              });
      bare[round] =
          nanos(
              () -> {
                var events = stub.acquire(request);
                String id = events.next().getEvent().getAcquired().getLockId();
                stub.release(ReleaseRequest.newBuilder().setName("bare").setLockId(id).build());
                while (events.hasNext()) {
                  events.next();
                }
                return null;
              });
    }
    Arrays.sort(ours);
    Arrays.sort(bare);
    double mine = ours[ROUNDS / 4] / 1e3 / CYCLES;
    double stubs = bare[ROUNDS / 4] / 1e3 / CYCLES;
    String figures = "a cycle takes %.0f µs, the bare stub's %.0f µs".formatted(mine, stubs);
    System.out.println(figures);
    assertTrue(mine <= 3 * stubs, figures);
  }
}
