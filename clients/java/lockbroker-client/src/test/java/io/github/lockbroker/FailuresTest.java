package io.github.lockbroker;

import static io.github.lockbroker.harness.Eventually.eventually;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.harness.Child;
import io.github.lockbroker.harness.Proxy;
import io.github.lockbroker.harness.RealBroker;
import io.github.lockbroker.harness.Scenario;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What breaks, and what becomes of locks then. */
class FailuresTest extends Scenario {
  /** The shortest ttl that a broker grants. */
  private static final Duration SHORT = Duration.ofSeconds(5);

  private static long millisSince(long nanos) {
    return TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - nanos);
  }

  private static void assertHeld(String answer) {
    assertTrue(answer.startsWith("held"), answer);
  }

  private LockBroker shortTo(String server) {
    return connect(LockBroker.builder().server(server).ttl(SHORT));
  }

  /** Waits until a lock has moved to another stream. It must not be lost meanwhile. */
  private static void awaitMove(HeldLock lock, String id) {
    eventually(
        "the lock has moved",
        () -> {
          assertTrue(lock.expiresIn().toNanos() > 0, "lost");
          return !lock.lockId().equals(id) && isHeld(lock);
        });
  }

  private static boolean isHeld(HeldLock lock) {
    try {
      lock.check();
      return true;
    } catch (LockBrokerException e) {
      return false;
    }
  }

  /** Works as the page says, until a check throws. */
  private static String checkOnAndOn(HeldLock lock) throws InterruptedException {
    while (true) {
      lock.check();
      Thread.sleep(1);
    }
  }

  /** However a process ends, the system closes its connections, and its locks are free at once. */
  @ParameterizedTest
  @ValueSource(strings = {"KILL", "TERM", "INT", "exit", "return"})
  void theEndOfTheProcessReleases(String way) throws Exception {
    RealBroker broker = startBroker();
    Child holder = startChild(broker.url, Map.of());
    assertHeld(holder.tell("lock ended"));
    LockBroker client = connect(broker.url);
    refused(client, "ended");
    long begun = System.nanoTime();
    if (way.equals(way.toUpperCase(java.util.Locale.ROOT))) {
      holder.signal(way);
    } else {
      holder.write(way);
    }
    acquire(client, "ended").close();
    assertTrue(millisSince(begun) < 4000, "free after " + millisSince(begun) + " ms");
    holder.await();
  }

  @Test
  void locksMoveWhenABrokerIsKilled() throws Exception {
    RealBroker[] brokers = pair();
    LockBroker client = connect(brokers[0].url + "," + brokers[1].url);
    List<HeldLock> locks = new ArrayList<>();
    List<String> ids = new ArrayList<>();
    for (int number = 0; number < 100; number++) {
      locks.add(acquire(client, "moved " + number));
      ids.add(locks.get(number).lockId());
    }
    brokers[0].kill();
    for (int number = 0; number < 100; number++) {
      awaitMove(locks.get(number), ids.get(number));
    }
    refused(connect(brokers[1].url), "moved 7");
    locks.forEach(HeldLock::close);
  }

  @Test
  void locksAndWaitersMoveWhenABrokerDrains() throws Exception {
    RealBroker[] brokers = pair();
    LockBroker client = connect(brokers[0].url + "," + brokers[1].url);
    HeldLock lock = acquire(client, "drained");
    HeldLock blocker = acquire(connect(brokers[1].url), "drained, waited for");
    CompletableFuture<Boolean> waited =
        begin(
            () -> {
              client.lock("drained, waited for").close();
              return true;
            });
    LocksTest.awaitPlace(brokers[0], "drained, waited for", 2);
    String id = lock.lockId();
    brokers[0].signal("TERM");
    eventually(
        "the lock has moved",
        () -> {
          lock.check();
          return !lock.lockId().equals(id);
        });
    // The broker has nobody left to wait for.
    assertEquals(0, brokers[0].await());
    lock.close();
    blocker.close();
    assertTrue(soon(waited));
  }

  @Test
  void aNestedLockWaitsForTheReattach() throws Exception {
    RealBroker[] brokers = pair();
    LockBroker client = connect(brokers[0].url + "," + brokers[1].url);
    var lock = client.asLock("nested");
    lock.lock();
    Thread.currentThread().interrupt();
    brokers[0].kill();
    long begun = System.nanoTime();
    while (millisSince(begun) < 2000) {
      lock.lock();
      lock.unlock();
    }
    assertTrue(Thread.interrupted(), "the interrupt is gone");
    lock.unlock();
    acquire(connect(brokers[1].url), "nested").close();
  }

  @Test
  void holdGoesOnWhenABrokerDies() throws Exception {
    RealBroker[] brokers = pair();
    LockBroker client = connect(brokers[0].url + "," + brokers[1].url);
    List<Long> tokens = new ArrayList<>();
    LockedWork<String, Exception> work =
        lock -> {
          tokens.add(lock.fencingToken());
          if (tokens.size() > 1) {
            return "done";
          }
          brokers[0].kill();
          return checkOnAndOn(lock);
        };
    assertEquals("done", client.hold("checked", work));
    // It is the same lock.
    assertEquals(tokens.get(0), tokens.get(1));
    assertFalse(Thread.interrupted());
    acquire(client, "checked").close();
  }

  @Test
  void holdAcquiresAgainWhatABreakHasLost() throws Exception {
    RealBroker broker = startBroker();
    Proxy proxy = startProxy(broker);
    LockBroker observer = connect(broker.url);
    LockBroker client = connect(proxy.url);
    List<Long> tokens = new ArrayList<>();
    LockedWork<String, Exception> work =
        lock -> {
          tokens.add(lock.fencingToken());
          if (tokens.size() > 1) {
            return "done";
          }
          proxy.hole();
          observer.release("cut off", lock.lockId());
          proxy.resetClients();
          proxy.open();
          return checkOnAndOn(lock);
        };
    assertEquals("done", client.hold("cut off", work));
    assertTrue(tokens.get(0) < tokens.get(1), tokens.toString());
  }

  @Test
  void anInterruptEndsAHoldThatWaitsForTheReattach() throws Exception {
    RealBroker broker = startBroker();
    Proxy proxy = startProxy(broker);
    LockBroker observer = connect(broker.url);
    LockBroker client = shortTo(proxy.url);
    CompletableFuture<HeldLock> begun = new CompletableFuture<>();
    LockedWork<String, Exception> work =
        lock -> {
          begun.complete(lock);
          return checkOnAndOn(lock);
        };
    CompletableFuture<Throwable> thrown = new CompletableFuture<>();
    Thread worker =
        thread(
            () ->
                thrown.complete(
                    assertThrows(InterruptedException.class, () -> client.hold("cut", work))));
    soon(begun);
    proxy.close();
    eventually("it is cut off", () -> observer.get("cut").state() == LockState.FREE);
    assertFalse(thrown.isDone());
    worker.interrupt();
    soon(thrown);
  }

  @Test
  void awaitHeldWaitsForTheReattachOrTheLoss() throws Exception {
    RealBroker[] brokers = pair();
    LockBroker client = connect(brokers[0].url + "," + brokers[1].url);
    HeldLock lock = acquire(client, "awaited");
    lock.awaitHeld();
    String id = lock.lockId();
    brokers[0].kill();
    while (isHeld(lock) && lock.lockId().equals(id)) {
      Thread.onSpinWait();
    }
    lock.awaitHeld();
    assertFalse(lock.lockId().equals(id));
    Thread.currentThread().interrupt();
    assertThrows(InterruptedException.class, lock::awaitHeld);
    CompletableFuture<LostReason> loss = loss(lock);
    connect(brokers[1].url).release("awaited", lock.lockId());
    soon(loss);
    isLost(LostReason.RELEASED, lock::awaitHeld);
  }

  /** Whatever a call waits for, the end of the client ends it. */
  @ParameterizedTest
  @ValueSource(strings = {"a connection", "an answer", "an answer, beside a release"})
  void closeEndsCallsInFlight(String what) throws Exception {
    RealBroker broker = startBroker();
    Proxy proxy = startProxy(broker);
    LockBroker client = connect(proxy.url);
    if (what.contains("release")) {
      acquire(client, "in flight");
    }
    if (what.contains("answer")) {
      client.get("in flight");
    }
    proxy.hole();
    List<CompletableFuture<?>> calls =
        List.of(
            begin(() -> client.get("in flight")),
            begin(() -> client.release("in flight", "00000000-0000-0000-0000-000000000000")));
    Thread.sleep(500);
    long begun = System.nanoTime();
    CompletableFuture<?> closed =
        begin(
            () -> {
              client.close();
              return null;
            });
    for (CompletableFuture<?> call : calls) {
      Throwable error = assertThrows(ExecutionException.class, () -> soon(call)).getCause();
      assertEquals(LockBrokerException.class, error.getClass(), error.toString());
      assertEquals(Kind.CLOSED, ((LockBrokerException) error).kind(), error.toString());
    }
    assertTrue(millisSince(begun) < 2000, "they took " + millisSince(begun) + " ms");
    failsAs(Kind.CLOSED, () -> client.get("in flight"));
    soon(closed);
  }

  @Test
  void leavesAHalfOpenConnection() throws Exception {
    RealBroker[] brokers = pair();
    Proxy proxy = startProxy(brokers[0]);
    HeldLock lock = acquire(connect(proxy.url + "," + brokers[1].url), "half-open");
    String id = lock.lockId();
    proxy.hole();
    eventually(
        "the lock has moved",
        () -> {
          lock.check();
          return !lock.lockId().equals(id);
        });
    lock.close();
  }

  @Test
  void aResetAtOneEndMovesTheLocks() throws Exception {
    RealBroker[] brokers = pair();
    Proxy proxy = startProxy(brokers[0]);
    HeldLock lock = acquire(shortTo(proxy.url + "," + brokers[1].url), "reset");
    String id = lock.lockId();
    proxy.resetClients();
    awaitMove(lock, id);
    lock.close();
  }

  @Test
  void aLockOutlivesARestartOfMemcached() throws Exception {
    RealBroker.Store store = closing(RealBroker.store());
    RealBroker broker = startBroker(store.arguments());
    HeldLock lock = acquire(connect(broker.url), "restarted");
    store.memcached().close();
    closing(RealBroker.store(store.port()));
    // Longer than the validity that it had: the store has it again.
    Thread.sleep(14_000);
    lock.check();
    lock.release();
  }

  @Test
  void withoutAnyBrokerALockIsLostInTime() throws Exception {
    RealBroker broker = startBroker();
    LockBroker client = shortTo(broker.url);
    HeldLock lock = acquire(client, "lost");
    HeldLock given = acquire(client, "lost, given up");
    CompletableFuture<LostReason> loss = loss(lock);
    broker.kill();
    eventually("the guard sees that the stream is broken", () -> !isHeld(lock));
    failsAs(Kind.UNAVAILABLE, lock::check);
    assertEquals(Duration.ZERO, lock.remaining());
    assertTrue(lock.expiresIn().toNanos() > 0);
    CompletableFuture<LockBrokerException> released =
        begin(() -> failsAs(Kind.UNAVAILABLE, given::release));
    assertEquals(LostReason.EXPIRED, soon(loss));
    assertEquals(Duration.ZERO, lock.expiresIn());
    isLost(LostReason.EXPIRED, lock::check);
    isLost(LostReason.EXPIRED, lock::release);
    soon(released);
    given.close();
    long begun = System.nanoTime();
    LockBrokerException error = failsAs(Kind.UNAVAILABLE, () -> client.tryLock("lost"));
    assertTrue(millisSince(begun) < 7000, "it took " + millisSince(begun) + " ms");
    assertTrue(error.getMessage().contains(broker.url), error.getMessage());
  }

  @Test
  void repeatsAReleaseAtAnotherBroker() throws Exception {
    RealBroker[] brokers = pair();
    Proxy proxy = startProxy(brokers[0]);
    HeldLock lock = acquire(connect(proxy.url + "," + brokers[1].url), "released elsewhere");
    // The broker gets the release, or does not: nothing comes back.
    proxy.hole();
    long begun = System.nanoTime();
    CompletableFuture<Boolean> released =
        begin(
            () -> {
              lock.release();
              return true;
            });
    Thread.sleep(100);
    proxy.resetClients();
    soon(released);
    // The broker that was just left is not asked first: it would cost its share of the time.
    assertTrue(millisSince(begun) < 2000, "it took " + millisSince(begun) + " ms");
    acquire(connect(brokers[1].url), "released elsewhere").close();
  }

  @Test
  void aStoppedClientFindsItsLockLost() throws Exception {
    RealBroker broker = startBroker();
    Child holder = startChild(broker.url, Map.of(Child.TTL, "PT5S"));
    assertHeld(holder.tell("lock stopped"));
    holder.signal("STOP");
    LockBroker client = connect(broker.url);
    // Longer than the ttl, until nobody has it any more.
    HeldLock other = acquire(client, "stopped");
    holder.signal("CONT");
    String answer = holder.tell("check");
    assertTrue(answer.startsWith("error") && answer.contains("lost"), answer);
    other.close();
  }

  @Test
  void aBusyClientKeepsItsLock() throws Exception {
    RealBroker broker = startBroker();
    LockBroker client = shortTo(broker.url);
    HeldLock lock = acquire(client, "busy");
    // Threads and callbacks that block concern no heartbeat.
    Object monitor = new Object();
    HeldLock victim = acquire(client, "busy, callback");
    victim.onLost(
        reason -> {
          synchronized (monitor) {
            reason.name();
          }
        });
    synchronized (monitor) {
      client.release("busy, callback", victim.lockId());
      Thread.sleep(6500);
      lock.check();
    }
    lock.close();
  }

  @Test
  void proxiesAreNotHeeded() {
    RealBroker broker = startBroker();
    String nowhere = "http://127.0.0.1:9";
    Child child =
        closing(
            Child.start(
                broker.url,
                Map.of("http_proxy", nowhere, "HTTPS_PROXY", nowhere, "GRPC_PROXY_EXP", nowhere),
                "-Dhttp.proxyHost=127.0.0.1",
                "-Dhttp.proxyPort=9",
                "-Dhttps.proxyHost=127.0.0.1",
                "-Dhttps.proxyPort=9",
                "-Dhttp.nonProxyHosts="));
    assertHeld(child.tell("lock proxied"));
  }

  @Test
  void theEnvironmentSaysWhereTheBrokersAre() {
    RealBroker broker = startBroker();
    String servers = "127.0.0.1:9," + broker.url;
    Child child = startChild("", Map.of("LOCKBROKER_SERVER", servers));
    assertHeld(child.tell("lock environment"));
  }

  @Test
  void aBrokerThatSaysNothingCostsItsShare() throws Exception {
    RealBroker broker = startBroker();
    // It accepts, and never sends SETTINGS.
    ServerSocket mute = closing(new ServerSocket(0, 50, InetAddress.getLoopbackAddress()));
    LockBroker client = connect("127.0.0.1:" + mute.getLocalPort() + "," + broker.url);
    long begun = System.nanoTime();
    HeldLock lock = client.tryLock("mute").orElseThrow();
    assertTrue(millisSince(begun) < 4000, "it took " + millisSince(begun) + " ms");
    lock.close();
    client.get("mute");
  }

  /** One of them gives up the connection that both wait for. */
  @Test
  void callsThatShareAConnectionFailAsCalls() throws Exception {
    ServerSocket mute = closing(new ServerSocket(0, 50, InetAddress.getLoopbackAddress()));
    String server = "127.0.0.1:" + mute.getLocalPort();
    LockBroker client =
        connect(LockBroker.builder().server(server).answerTimeout(Duration.ofSeconds(1)));
    CompletableFuture<?> first = begin(() -> failsAs(Kind.UNAVAILABLE, () -> client.get("a")));
    Thread.sleep(500);
    failsAs(Kind.UNAVAILABLE, () -> client.get("b"));
    soon(first);
  }

  @Test
  void nobodyListens() {
    LockBroker client =
        connect(LockBroker.builder().server("127.0.0.1:9").answerTimeout(Duration.ofSeconds(1)));
    LockBrokerException lock = failsAs(Kind.UNAVAILABLE, () -> client.tryLock("nobody"));
    assertTrue(lock.getMessage().contains("Connection refused"), lock.getMessage());
    LockBrokerException get = failsAs(Kind.UNAVAILABLE, () -> client.get("nobody"));
    assertTrue(get.getMessage().contains("Connection refused"), get.getMessage());
    long begun = System.nanoTime();
    client.close();
    assertTrue(millisSince(begun) < 3000, "close took " + millisSince(begun) + " ms");
  }

  @Test
  void speaksOverAUnixSocket() throws Exception {
    Path folder = Files.createTempDirectory("lb");
    String socket = "unix:" + folder + "/l?b%2F #.sock";
    startBroker("--listen", socket);
    LockBroker client = connect(socket);
    HeldLock lock = acquire(client, "socket");
    assertEquals(LockState.HELD, client.get("socket").state());
    lock.close();
    LockBroker nobody = connect("unix:" + folder + "/none");
    failsAs(Kind.UNAVAILABLE, () -> nobody.get("socket"));
  }

  @ParameterizedTest
  @CsvSource({
    "ftp://host:1, no scheme ftp://",
    "host, no port",
    "http://, no host",
    "'', no host",
    "http://host:1/path, after the port",
    "http://host:1?query, after the port",
    "http://host:port, no number from 1 to 65535",
    "http://host:70000, no number from 1 to 65535",
    "http://host:0, no number from 1 to 65535",
    "host:0, no number from 1 to 65535",
    "http://host:, no number from 1 to 65535",
    "host:, no number from 1 to 65535",
    "https://[::1]:99999, no number from 1 to 65535",
    "::1, no host",
    "a b, after the port",
    "grpcs://host:1, no scheme grpcs://",
    "unix://, no path",
    "unix:///, no path",
    "unix://host/path, host before the path",
    "http://user@host:1, certificates",
    "unix:, no path",
    "'http://a:1,,http://b:1', no host",
  })
  void whatIsNoEndpointIsRefused(String server, String says) {
    LockBrokerException error = failsAs(Kind.ENDPOINT, () -> LockBroker.connect(server));
    assertTrue(error.getMessage().contains(says), error.getMessage());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "host:1",
        "http://h_o-st:1",
        "https://host",
        "http://[::1]:1",
        "unix:///a b",
        "HTTP://host:1",
        "Https://host",
        "http://host:1/",
        "https://[::1]:65535",
        "[::1]:1",
        "unix:/a"
      })
  void whatIsAnEndpointIsTaken(String server) {
    connect(server);
  }

  @Test
  void anAnswerTimeoutOfNothingIsRefused() {
    LockBroker.Builder builder = LockBroker.builder().server("host:1");
    failsAs(Kind.INVALID, () -> builder.answerTimeout(Duration.ZERO).connect());
  }

  @Test
  void anInterruptedWaitReleasesWhatCrossesIt() throws Exception {
    RealBroker broker = startBroker();
    LockBroker client = connect(broker.url);
    for (int time = 0; time < 30; time++) {
      HeldLock blocker = acquire(client, "crossed");
      Thread waiter =
          thread(
              () -> {
                try {
                  client.lock("crossed").close();
                } catch (InterruptedException e) {
                  // As it should be.
                }
              });
      begin(
          () -> {
            blocker.close();
            return null;
          });
      Thread.sleep(time % 3);
      waiter.interrupt();
      waiter.join();
      acquire(client, "crossed").close();
    }
    assertFalse(Thread.interrupted());
  }
}
