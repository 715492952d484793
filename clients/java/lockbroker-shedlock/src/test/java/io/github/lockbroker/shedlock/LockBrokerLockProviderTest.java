package io.github.lockbroker.shedlock;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.lockbroker.LockBroker;
import io.github.lockbroker.LockState;
import io.github.lockbroker.LostException;
import io.github.lockbroker.LostReason;
import io.github.lockbroker.harness.RealBroker;
import io.github.lockbroker.testing.TestBroker;
import java.time.Duration;
import java.time.Instant;
import net.javacrumbs.shedlock.core.ExtensibleLockProvider;
import net.javacrumbs.shedlock.core.LockConfiguration;
import net.javacrumbs.shedlock.core.LockProvider;
import net.javacrumbs.shedlock.core.SimpleLock;
import net.javacrumbs.shedlock.test.support.AbstractExtensibleLockProviderIntegrationTest;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.springframework.context.annotation.Bean;

/** Runs ShedLock's own tests of a provider against a real broker. */
class LockBrokerLockProviderTest extends AbstractExtensibleLockProviderIntegrationTest {
  private static RealBroker broker;
  private static LockBroker client;
  private static LockBroker observer;

  @BeforeAll
  static void start() {
    broker = RealBroker.start();
    client = LockBroker.connect(broker.url);
    observer = LockBroker.connect(broker.url);
  }

  @AfterAll
  static void stop() {
    client.close();
    observer.close();
    broker.close();
  }

  @Bean
  LockProvider lockProvider(LockBroker client) {
    return new LockBrokerLockProvider(client);
  }

  @Test
  void theSampleRuns() {
    Duration minute = Duration.ofMinutes(1);
    var configuration = new LockConfiguration(Instant.now(), "sample", minute, Duration.ZERO);
    lockProvider(client).lock(configuration).orElseThrow().unlock();
  }

  @Override
  protected ExtensibleLockProvider getLockProvider() {
    return new LockBrokerLockProvider(client);
  }

  private static LockState state(String name) {
    try {
      return observer.get(name).state();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  @Override
  protected void assertUnlocked(String name) {
    assertEquals(LockState.FREE, state(name));
  }

  @Override
  protected void assertLocked(String name) {
    assertEquals(LockState.HELD, state(name));
  }

  @ParameterizedTest
  @ValueSource(longs = {0, 60})
  void aLossIsToldByUnlock(long leastSeconds) throws Exception {
    try (TestBroker test = new TestBroker();
        LockBroker mine = LockBroker.connect(test.url())) {
      Duration minute = Duration.ofMinutes(1);
      var configuration =
          new LockConfiguration(Instant.now(), "lost", minute, Duration.ofSeconds(leastSeconds));
      SimpleLock lock = new LockBrokerLockProvider(mine).lock(configuration).orElseThrow();
      test.lose("lost", LostReason.TAKEN_OVER);
      // When this has been answered, the client has heard of the loss, too.
      mine.tryLock("behind").orElseThrow().close();
      assertThrows(LostException.class, lock::unlock);
      assertEquals(true, mine.tryLock("lost").isPresent());
    }
  }

  @Test
  void theLongestTimesAreTaken() {
    Duration longest = Duration.ofSeconds(Long.MAX_VALUE);
    var configuration = new LockConfiguration(Instant.now(), "longest", longest, longest);
    getLockProvider().lock(configuration).orElseThrow().unlock();
    assertLocked("longest");
    configuration = new LockConfiguration(Instant.now(), "long", longest, Duration.ZERO);
    getLockProvider().lock(configuration).orElseThrow().unlock();
    assertUnlocked("long");
  }
}
