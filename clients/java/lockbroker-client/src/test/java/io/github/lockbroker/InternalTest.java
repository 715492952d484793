package io.github.lockbroker;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.lockbroker.harness.Eventually;
import io.github.lockbroker.harness.Scenario;
import io.github.lockbroker.internal.Clock;
import io.github.lockbroker.internal.core.Core;
import io.github.lockbroker.internal.core.Input;
import io.github.lockbroker.internal.core.LockSpec;
import io.github.lockbroker.internal.core.Moments;
import io.github.lockbroker.testing.TestBroker;
import java.lang.reflect.Modifier;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketAddress;
import java.net.SocketTimeoutException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.ResourceLock;

/** Parts of the client. */
class InternalTest extends Scenario {
  @Test
  void aHoldThatHasRunOutIsNotRevived() throws Exception {
    long until = Clock.now() + 200 * Moments.MILLISECOND;
    Core.HeldLock held = new Core.HeldLock("id", 5 * Moments.SECOND, until, false);
    Hold hold = new Hold("revived", held);
    LostReason[] told = new LostReason[1];
    hold.onLost(Runnable::run, reason -> told[0] = reason);
    assertTrue(hold.publish(held));
    assertNull(hold.ended());
    while (!Clock.hasPassed(until)) {
      Thread.sleep(1);
    }
    assertEquals(LostException.class, hold.ended().getClass());
    assertEquals(LostReason.EXPIRED, told[0]);
    long later = Clock.now() + 60 * Moments.SECOND;
    assertFalse(hold.publish(new Core.HeldLock("id", 5 * Moments.SECOND, later, false)));
    assertEquals(until, hold.look().until());
    hold.over(null);
    assertEquals(LostException.class, hold.await().getClass());
  }

  /** The clock runs with the one that runs on in suspend, and not behind it. */
  @Test
  void theClockKeepsUpWithUptime() throws Exception {
    Path uptime = Path.of("/proc/uptime");
    long begun = Clock.now();
    double before = Double.parseDouble(Files.readString(uptime).split(" ")[0]);
    Thread.sleep(1000);
    double after = Double.parseDouble(Files.readString(uptime).split(" ")[0]);
    double passed = (Clock.now() - begun) / 1e9;
    assertTrue(passed > after - before - 0.011, passed + " s of " + (after - before));
    assertTrue(passed < after - before + 1, passed + " s of " + (after - before));
    long last = 0;
    for (int time = 0; time < 10_000; time++) {
      long now = Clock.now();
      assertTrue(now >= last, "it goes back");
      last = now;
    }
  }

  @Test
  void theReasonsAreThoseOfTheProto() throws Exception {
    String proto = Files.readString(Path.of("../../../proto/lockbroker/v1/lockbroker.proto"));
    String listed = proto.substring(proto.indexOf("// Errors:"), proto.indexOf("syntax ="));
    var want =
        Pattern.compile("(?m)^//   ([A-Z_]{6,}) ")
            .matcher(listed)
            .results()
            .map(found -> found.group(1))
            .collect(Collectors.toCollection(TreeSet::new));
    var have =
        Arrays.stream(ErrorReason.class.getFields())
            .filter(field -> Modifier.isStatic(field.getModifiers()))
            .map(field -> field.getName())
            .collect(Collectors.toCollection(TreeSet::new));
    assertTrue(want.size() > 20, want.toString());
    assertEquals(want, have);
  }

  /** Logs and labels of metrics get the constants, and messages the words. */
  @Test
  void enumsAreThemselvesAndHaveWords() {
    for (LostReason reason : LostReason.values()) {
      assertEquals(reason.name(), reason.toString());
      String message = new LostException("x", reason).getMessage();
      assertEquals("lock \"x\": lost: " + reason.text(), message);
    }
    for (NotAcquiredReason reason : NotAcquiredReason.values()) {
      assertEquals(reason.name(), reason.toString());
      String message = new NotAcquiredException("x", reason, "me").getMessage();
      assertEquals("lock \"x\": not acquired: " + reason.text() + " (holder: me)", message);
    }
    for (LockBrokerException.Kind kind : LockBrokerException.Kind.values()) {
      assertEquals(kind.name(), kind.toString());
      String message = new LockBrokerException(kind, "", "why").getMessage();
      assertEquals(kind.text() + ": why", message);
    }
  }

  @Test
  void spansAreRoundedUp() {
    assertEquals(1_000_000, Wire.span(1).getNanos());
    assertEquals(2, Wire.span(2 * Moments.SECOND).getSeconds());
    assertEquals(-1_000_000, Wire.span(-Moments.MILLISECOND).getNanos());
    assertEquals(Wire.FAR, Wire.nanos(Duration.ofDays(1_000_000)));
    assertEquals(-Wire.FAR, Wire.nanos(Duration.ofSeconds(Long.MIN_VALUE)));
    var odd = com.google.protobuf.Duration.newBuilder().setSeconds(-1).build();
    assertNull(Wire.nanos(true, odd));
  }

  /** Returns an address that answers no attempt to connect. */
  private SocketAddress blackHole() throws Exception {
    ServerSocket server = closing(new ServerSocket(0, 1, InetAddress.getLoopbackAddress()));
    // Linux takes one connection more than it was told to keep, and leaves the next ones without
    // an answer.
    try {
      while (true) {
        closing(new Socket()).connect(server.getLocalSocketAddress(), 200);
      }
    } catch (SocketTimeoutException e) {
      return server.getLocalSocketAddress();
    }
  }

  private static CompletableFuture<Connection> dial(
      Network network, Endpoint endpoint, List<SocketAddress> addresses, long within) {
    return Dial.begin(network, endpoint, TlsFiles.NONE, () -> addresses, within);
  }

  @Test
  void aFirstAddressThatSwallowsPacketsCostsLittle() throws Exception {
    Network network = new Network();
    closing(network::close);
    TestBroker broker = closing(new TestBroker());
    int port = Integer.parseInt(broker.url().replaceFirst(".*:", ""));
    SocketAddress good = new InetSocketAddress(InetAddress.getLoopbackAddress(), port);
    Endpoint endpoint = Endpoint.parseAll(broker.url(), TlsFiles.NONE).get(0);
    long within = 10 * Moments.SECOND;
    SocketAddress hole = blackHole();
    long begun = System.nanoTime();
    Connection made =
        dial(network, endpoint, List.of(hole, good), within).get(20, TimeUnit.SECONDS);
    long took = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - begun);
    assertTrue(made.isReady());
    assertTrue(took < 5000, "it took " + took + " ms");
    made.close();
    SocketAddress closed = new InetSocketAddress(InetAddress.getLoopbackAddress(), 9);
    ExecutionException refused =
        assertThrows(
            ExecutionException.class,
            () ->
                dial(network, endpoint, List.of(closed, closed), within).get(20, TimeUnit.SECONDS));
    String why = Trouble.explain(endpoint, refused.getCause()).message();
    assertTrue(why.contains("refused"), why);
    assertThrows(
        ExecutionException.class,
        () ->
            dial(network, endpoint, List.of(hole), 50 * Moments.MILLISECOND)
                .get(20, TimeUnit.SECONDS));
  }

  /** It looks for threads by their names, which other clients have too. */
  @Test
  @ResourceLock("threads")
  void closeLeavesNothingBehind() throws Exception {
    Thread[] mine = new Thread[2];
    LockBroker client = connect(startBroker().url + ",127.0.0.1:9");
    HeldLock lock = acquire(client, "left behind");
    client.get("left behind");
    for (var callback : List.of(0, 1)) {
      HeldLock lost = acquire(client, "left behind, lost " + callback);
      lost.onLost(reason -> mine[callback] = Thread.currentThread());
      client.release(lost.name(), lost.lockId());
      Eventually.eventually("the callback is called", () -> mine[callback] != null);
    }
    assertTrue(mine[0].isDaemon());
    lock.close();
    client.close();
    Eventually.eventually("the threads have ended", () -> !mine[0].isAlive() && !mine[1].isAlive());
  }

  /** Returns a session whose thread can be made to fail. */
  private Session session(Network network, String server) {
    List<Endpoint> endpoints = Endpoint.parseAll(server, TlsFiles.NONE);
    long timeout = 5 * Moments.SECOND;
    Brokers brokers = new Brokers(endpoints, TlsFiles.NONE, network, timeout);
    closing(brokers::close);
    return new Session(brokers, network, null, timeout);
  }

  private static Input.Acquire wanted(long key) {
    return new Input.Acquire(key, new LockSpec("lock " + key, null, ""), null, "");
  }

  /** Keeps what tells of failed clients out of the log, and returns it. */
  private List<LogRecord> failures() {
    Logger logger = Logger.getLogger("io.github.lockbroker");
    List<LogRecord> failures = new CopyOnWriteArrayList<>();
    logger.setFilter(
        record -> !record.getMessage().contains("has failed") || !failures.add(record));
    closing(() -> logger.setFilter(null));
    return failures;
  }

  @Test
  void aFailureOfTheEngineIsALoss() throws Exception {
    TestBroker broker = closing(new TestBroker());
    Network network = new Network();
    closing(network::close);
    List<LogRecord> failures = failures();
    Session session = session(network, broker.url());
    HeldLock lock = new HeldLock(session, wanted(1), soon(session.begin(wanted(1))));
    CompletableFuture<LostReason> loss = loss(lock);
    CompletableFuture<Boolean> interrupted =
        begin(
            () -> {
              try (OnLost interrupts = lock.interruptOnLoss()) {
                Thread.sleep(20_000);
                return false;
              } catch (InterruptedException e) {
                return true;
              }
            });
    Thread.sleep(100);
    // No caller can ask for this: the client fails on it.
    Input.Acquire broken = new Input.Acquire(2, wanted(2).spec(), null, null);
    CompletableFuture<Session.Grant> bad = session.begin(broken);
    assertEquals(LostReason.EXPIRED, soon(loss));
    assertTrue(soon(interrupted));
    isLost(LostReason.EXPIRED, lock::check);
    isLost(LostReason.EXPIRED, lock::release);
    assertThrows(ExecutionException.class, () -> soon(bad));
    ExecutionException over =
        assertThrows(ExecutionException.class, () -> soon(session.begin(wanted(3))));
    assertTrue(over.getMessage().contains("the client has failed"), over.getMessage());
    Eventually.eventually("it is free", () -> broker.holder("lock 1").isEmpty());
    assertEquals(1, failures.size());
    assertEquals(Level.SEVERE, failures.get(0).getLevel());
  }

  @Test
  void blockedCallbacksHoldUpNothingElse() throws Exception {
    TestBroker broker = closing(new TestBroker());
    LockBroker client = connect(broker.url());
    CountDownLatch blocked = new CountDownLatch(1);
    AtomicInteger called = new AtomicInteger();
    HeldLock lock = acquire(client, "blocked");
    for (int number = 0; number < Network.CALLBACKS + 10; number++) {
      lock.onLost(
          reason -> {
            called.incrementAndGet();
            try {
              blocked.await();
            } catch (InterruptedException e) {
              throw new IllegalStateException(e);
            }
          });
    }
    HeldLock other = acquire(client, "blocked, beside");
    broker.lose("blocked", LostReason.GONE);
    Eventually.eventually("they block", () -> called.get() == Network.CALLBACKS);
    other.release();
    HeldLock interrupting = acquire(client, "blocked, interrupts");
    CompletableFuture<Boolean> interrupted = new CompletableFuture<>();
    thread(
        () -> {
          try (OnLost interrupts = interrupting.interruptOnLoss()) {
            broker.lose("blocked, interrupts", LostReason.GONE);
            Thread.sleep(20_000);
            interrupted.complete(false);
          } catch (InterruptedException e) {
            interrupted.complete(true);
          }
        });
    assertTrue(soon(interrupted));
    Thread.sleep(100);
    assertEquals(Network.CALLBACKS, called.get());
    blocked.countDown();
    Eventually.eventually("all are called", () -> called.get() == Network.CALLBACKS + 10);
  }

  @Test
  void anErrorWhileDiallingIsTold() throws Exception {
    Network network = new Network();
    closing(network::close);
    Endpoint endpoint = Endpoint.parseAll("http://127.0.0.1:9", TlsFiles.NONE).get(0);
    Dial.Addresses broken =
        () -> {
          throw new NoSuchMethodError("of an old gRPC");
        };
    ExecutionException error =
        assertThrows(
            ExecutionException.class,
            () ->
                Dial.begin(network, endpoint, TlsFiles.NONE, broken, 3 * Moments.SECOND)
                    .get(2, TimeUnit.SECONDS));
    String why = Trouble.explain(endpoint, error.getCause()).message();
    assertTrue(why.contains("NoSuchMethodError: of an old gRPC"), why);
  }

  @Test
  void callsTurnOnlyFromTheBrokerThatWasLeft() throws Exception {
    TestBroker good = closing(new TestBroker());
    Network network = new Network();
    closing(network::close);
    List<Endpoint> endpoints =
        Endpoint.parseAll("127.0.0.1:9," + good.url() + ",127.0.0.1:9", TlsFiles.NONE);
    Brokers brokers = new Brokers(endpoints, TlsFiles.NONE, network, 3 * Moments.SECOND);
    closing(brokers::close);
    assertEquals(ReleaseOutcome.NOT_HELD, brokers.release("x", "id"));
    // The single calls have turned to the good one already.
    brokers.turnFrom(0);
    brokers.turnFrom(2);
    assertEquals(1, brokers.next());
  }
}
