package io.github.lockbroker.harness;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.lockbroker.HeldLock;
import io.github.lockbroker.LockBroker;
import io.github.lockbroker.LockBrokerException;
import io.github.lockbroker.LockOption;
import io.github.lockbroker.LostException;
import io.github.lockbroker.LostReason;
import io.github.lockbroker.NotAcquiredException;
import io.github.lockbroker.Wait;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.function.Executable;

/** A test with brokers, clients and proxies, which are closed at its end. */
public abstract class Scenario {
  private final Deque<AutoCloseable> resources = new ArrayDeque<>();

  /** Closes everything, the latest first. */
  @AfterEach
  void closeAll() throws Exception {
    while (!resources.isEmpty()) {
      resources.pop().close();
    }
  }

  /** Closes something at the end of the test. */
  protected synchronized <T extends AutoCloseable> T closing(T resource) {
    resources.push(resource);
    return resource;
  }

  protected RealBroker startBroker(String... arguments) {
    return closing(RealBroker.start(arguments));
  }

  /** Starts two brokers on one store. */
  protected RealBroker[] pair() {
    String[] store = closing(RealBroker.store()).arguments();
    return new RealBroker[] {startBroker(store), startBroker(store)};
  }

  protected Proxy startProxy(RealBroker broker) {
    return closing(new Proxy(broker));
  }

  protected LockBroker connect(String server) {
    return closing(LockBroker.connect(server));
  }

  protected LockBroker connect(LockBroker.Builder builder) {
    return closing(builder.connect());
  }

  /** Starts this JVM's classes as a client that does what it is told: see {@link Child}. */
  protected Child startChild(String server, Map<String, String> environment) {
    return closing(Child.start(server, environment));
  }

  /** Takes a lock, and waits for it if it must. */
  protected static HeldLock acquire(LockBroker client, String name, LockOption... options)
      throws InterruptedException {
    return client.lock(name, Wait.atMost(Eventually.SOON), options);
  }

  /** Asks for a lock once, and returns why it is not acquired. */
  protected static NotAcquiredException refused(LockBroker client, String name) {
    return assertThrows(
        NotAcquiredException.class, () -> client.lock(name, Wait.atMost(Duration.ZERO)).close());
  }

  protected static LockBrokerException failsAs(LockBrokerException.Kind kind, Executable what) {
    LockBrokerException error = assertThrows(LockBrokerException.class, what);
    assertEquals(kind, error.kind(), error.getMessage());
    return error;
  }

  protected static void isLost(LostReason reason, Executable what) {
    LostException error = assertThrows(LostException.class, what);
    assertEquals(reason, error.reason());
  }

  /** Returns what completes when a lock is lost. */
  protected static CompletableFuture<LostReason> loss(HeldLock lock) {
    CompletableFuture<LostReason> lost = new CompletableFuture<>();
    lock.onLost(lost::complete);
    return lost;
  }

  protected static <T> T soon(CompletableFuture<T> future) throws Exception {
    return future.get(Eventually.SOON.toSeconds(), TimeUnit.SECONDS);
  }

  /** Work that may throw. */
  @FunctionalInterface
  protected interface Task<T> {
    /** Does it. */
    T run() throws Exception;
  }

  /** Does something in a thread of its own. */
  protected static <T> CompletableFuture<T> begin(Task<T> task) {
    CompletableFuture<T> result = new CompletableFuture<>();
    thread(
        () -> {
          try {
            result.complete(task.run());
          } catch (Throwable e) {
            result.completeExceptionally(e);
          }
        });
    return result;
  }

  /** Starts a thread. */
  protected static Thread thread(Runnable work) {
    Thread thread = new Thread(work, "test");
    thread.setDaemon(true);
    thread.start();
    return thread;
  }

  /** Does something in many threads at once, and waits for all. */
  protected static void inParallel(int count, java.util.function.IntFunction<Task<?>> task)
      throws Exception {
    List<CompletableFuture<?>> all = new ArrayList<>();
    for (int number = 0; number < count; number++) {
      all.add(begin(task.apply(number)));
    }
    for (CompletableFuture<?> each : all) {
      soon(each);
    }
  }
}
