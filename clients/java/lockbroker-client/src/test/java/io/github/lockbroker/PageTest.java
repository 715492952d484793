package io.github.lockbroker;

import static java.nio.charset.StandardCharsets.UTF_8;
import static java.time.Duration.ofSeconds;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import example.Reports;
import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.harness.Program;
import io.github.lockbroker.harness.Scenario;
import io.github.lockbroker.testing.TestBroker;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.Lock;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The samples of README.md. Each is somewhere in these tests, and runs. */
class PageTest extends Scenario {
  private static final AtomicInteger REPORTS = new AtomicInteger();

  private final TestBroker broker = closing(new TestBroker());
  private final LockBroker client = connect(broker.url());

  private static void report(HeldLock lock) {
    REPORTS.incrementAndGet();
  }

  private static void shard(int number) {
    assertEquals(0, number);
    REPORTS.incrementAndGet();
  }

  private static boolean isWanted() {
    return false;
  }

  static boolean nightly(LockBroker client) throws InterruptedException {
    Optional<HeldLock> maybe =
        client.tryLock("nightly", LockOption.owner("host-7"), LockOption.linger(ofSeconds(1)));
    if (maybe.isEmpty()) {
      return false;
    }
    try (HeldLock lock = maybe.get()) {
      report(lock);
    }
    return true;
  }

  static void steps(LockBroker client) throws InterruptedException {
    try (HeldLock lock = client.lock("steps");
        OnLost interrupts = lock.interruptOnLoss()) {
      report(lock);
      lock.check();
      report(lock);
    }
  }

  static void lead(LockBroker client) throws InterruptedException {
    client.hold(
        "leader",
        lock -> {
          while (isWanted()) {
            lock.check();
            report(lock);
            Thread.sleep(100);
          }
          return null;
        });
  }

  static void leadAt(LockBroker client) throws InterruptedException {
    try (HeldLock lock = client.lock("leader", LockOption.value("10.0.0.7:8080".getBytes(UTF_8)))) {
      lock.update("10.0.0.7:8081".getBytes(UTF_8)); // it has moved
      report(lock);
    }
  }

  static String follow(LockBroker client) throws InterruptedException {
    try (Observation leader = client.observe("leader")) {
      while (true) {
        Observed seen = leader.next(); // at once, and whenever it changes
        if (seen.state() == LockState.HELD && seen.value().isPresent()) {
          return new String(seen.value().get(), UTF_8); // for the term seen.fencingToken()
        }
      }
    }
  }

  static void withLock(LockBroker client) throws InterruptedException {
    Lock lock = client.asLock("cache");
    if (lock.tryLock(1, TimeUnit.SECONDS)) {
      try {
        report(null);
      } finally {
        lock.unlock(); // LostException if it was lost meanwhile
      }
    }
  }

  static String startDeployment(LockBroker client) throws InterruptedException {
    Lease lease =
        client.lease(
            "deploy", LeaseOption.ttl(ofSeconds(15)), LeaseOption.waitAtMost(ofSeconds(5)));
    report(null);
    lease.renew(); // LostException; it stands for 15 s from now on
    return lease.lockId();
  }

  static void finishDeployment(LockBroker client, String lockId) throws InterruptedException {
    try (Lease lease = client.adoptLease("deploy", lockId)) {
      report(null);
      lease.check();
    }
  }

  static void outlive(LockBroker client) throws InterruptedException {
    try (HeldLock lock = client.lock("queue/7", LockOption.keepOnDisconnect())) {
      report(lock);
    }
    try (HeldLock lock = client.lock("once a night", LockOption.minHold(ofSeconds(60)))) {
      report(lock);
    }
  }

  static void work(LockBroker client) throws InterruptedException {
    try (HeldLock lock = client.lock("workers", LockOption.limit(8))) {
      shard(lock.permit().getAsInt()); // 0 to 7
    }
  }

  static void read(LockBroker client) throws InterruptedException {
    try (HeldLock lock = client.lock("data", LockOption.shared())) {
      report(lock);
    }
  }

  static void write(LockBroker client) throws InterruptedException {
    try (HeldLock lock = client.lock("data")) {
      report(lock);
    }
  }

  static void rebuild(LockBroker client) throws InterruptedException {
    try (HeldLock lock = client.lock("index")) {
      report(lock); // written alone
      lock.downgrade();
      report(lock); // read by others, too
    }
  }

  static void bigJob(LockBroker client) throws InterruptedException {
    try (HeldLock lock = client.lock("workers", LockOption.limit(8), LockOption.weight(3))) {
      report(lock);
    }
  }

  static void transfer(LockBroker client) throws InterruptedException {
    try (HeldLock lock = client.lock("account/7", LockOption.also("account/4"))) {
      for (GrantedLock account : lock.locks()) {
        System.out.println(account.name() + " is written with the token " + account.fencingToken());
      }
      report(lock);
    }
  }

  static LockBroker brokers() {
    // Asked in turn. When one goes away, its locks move to the next, and are not free in between.
    return LockBroker.connect("http://10.0.0.7:28551,http://10.0.0.8:28551");
  }

  static LockBroker sidecar() {
    return LockBroker.connect("unix:/run/lockbroker/lb.sock");
  }

  static LockBroker secure(Path folder) {
    return LockBroker.builder()
        .server("https://broker.example:28551")
        .tlsAuthorities(folder.resolve("ca.pem"))
        .tlsIdentity(folder.resolve("client.pem"), folder.resolve("client-key.pem"))
        .connect();
  }

  @Test
  void theReportStopsWhenTheLockIsLost() throws Exception {
    try (var broker = new TestBroker();
        var client = LockBroker.connect(broker.url())) {
      HeldLock lock = client.lock("nightly");
      var stopped = new CompletableFuture<LostReason>();
      lock.onLost(stopped::complete);
      broker.lose("nightly", LostReason.EXPIRED);
      assertEquals(LostReason.EXPIRED, stopped.get(10, TimeUnit.SECONDS));
      assertThrows(LostException.class, lock::check);
    }
  }

  @Test
  void theSamplesRun(@TempDir Path folder) throws Exception {
    assertTrue(nightly(client));
    broker.take("nightly", "somebody");
    assertEquals(false, nightly(client));
    steps(client);
    lead(client);
    withLock(client);
    String lockId = startDeployment(client);
    assertEquals(LockState.HELD, client.get("deploy").state());
    finishDeployment(client, lockId);
    assertEquals(LockState.FREE, client.get("deploy").state());
    outlive(client);
    work(client);
    read(client);
    write(client);
    rebuild(client);
    // The broker for tests does not know of it.
    LockBroker real = connect(startBroker().url);
    bigJob(real);
    transfer(real);
    leadAt(real);
    HeldLock led = acquire(real, "leader", LockOption.value("here".getBytes(UTF_8)));
    assertEquals("here", follow(real));
    led.release();
    assertEquals(LockState.FREE, client.get("queue/7").state());
    assertEquals(LockState.LINGERING, client.get("once a night").state());
    assertEquals(16, REPORTS.get());
    closing(brokers());
    closing(sidecar());
    failsAs(Kind.TLS, () -> secure(folder));
  }

  @Test
  void theProgramRuns() throws Exception {
    List<String> command =
        List.of(
            System.getProperty("java.home") + "/bin/java",
            "-cp",
            System.getProperty("java.class.path"),
            Reports.class.getName());
    try (var program = new Program(Map.of("LOCKBROKER_SERVER", broker.url()), command)) {
      String line = program.line(each -> each.isBlank() ? null : each);
      assertTrue(line.startsWith("working, with the token "), line);
      assertEquals(0, program.await());
    }
  }

  @Test
  void everySampleIsInTheTests() throws IOException {
    Path folder = Path.of("src/test/java");
    String own = "io/github/lockbroker/";
    StringBuilder tests = new StringBuilder();
    for (String file : new String[] {own + "PageTest", "example/Reports", own + "FencingTest"}) {
      tests.append(Files.readString(folder.resolve(file + ".java")));
    }
    for (String file :
        new String[] {
          "shedlock/src/test/java/io/github/lockbroker/shedlock/LockBrokerLockProviderTest",
          "spring-integration/src/test/java/io/github/lockbroker/springintegration/"
              + "LockBrokerLockRegistryTest"
        }) {
      tests.append(Files.readString(Path.of("../lockbroker-" + file + ".java")));
    }
    String page = Files.readString(Path.of("../README.md"));
    var samples =
        Pattern.compile("(?s)```java\n(.*?)```")
            .matcher(page)
            .results()
            .map(found -> found.group(1))
            .toList();
    for (Kind kind : Kind.values()) {
      assertTrue(page.contains("| `" + kind + "` |"), kind.toString());
    }
    assertEquals(16, samples.size());
    for (String sample : samples) {
      assertTrue(tests.toString().contains(sample), "no test has this:\n" + sample);
    }
  }
}
