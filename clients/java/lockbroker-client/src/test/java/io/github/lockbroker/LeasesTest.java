package io.github.lockbroker;

import static io.github.lockbroker.harness.Eventually.eventually;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.harness.Proxy;
import io.github.lockbroker.harness.RealBroker;
import io.github.lockbroker.harness.Scenario;
import io.github.lockbroker.testing.TestBroker;
import io.github.lockbroker.v1.AcquireLeaseRequest;
import io.github.lockbroker.v1.AcquireLeaseResponse;
import io.github.lockbroker.v1.LockServiceGrpc;
import io.github.lockbroker.v1.ReleaseRequest;
import io.github.lockbroker.v1.ReleaseResponse;
import io.grpc.ManagedChannel;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.StreamObserver;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Leases, locks that outlive their stream, and locks that stay closed for a while. */
class LeasesTest extends Scenario {
  private static final LeaseOption FIVE = LeaseOption.ttl(Duration.ofSeconds(5));

  private static RealBroker.Store store;
  private static RealBroker first;
  private static RealBroker second;

  @BeforeAll
  static void start() throws InterruptedException {
    store = RealBroker.store();
    first = RealBroker.start(store.arguments());
    second = RealBroker.start(store.arguments());
    // They may grant nothing in their first second.
    for (RealBroker broker : List.of(first, second)) {
      try (LockBroker client = LockBroker.connect(broker.url)) {
        acquire(client, "ready").close();
      }
    }
  }

  @AfterAll
  static void stop() {
    first.close();
    second.close();
    store.close();
  }

  private LockBroker client() {
    return connect(first.url);
  }

  private LockBroker other() {
    return connect(second.url);
  }

  private static LeaseOption waiting(long millis) {
    return LeaseOption.waitAtMost(Duration.ofMillis(millis));
  }

  private static void isFree(LockBroker client, String name) throws InterruptedException {
    client.tryLock(name).orElseThrow().release();
  }

  @Test
  void isHeldWithoutAStream() throws Exception {
    LockBroker client = connect(LockBroker.builder().server(first.url).owner("host 7"));
    LockBroker other = other();
    Lease lease = client.lease("held", LeaseOption.ttl(Duration.ofSeconds(15)));
    lease.check();
    long left = lease.remaining().toMillis();
    assertTrue(left > 5000 && left <= 12_000, left + " ms");
    assertEquals("held", lease.name());
    assertFalse(lease.toString().contains(lease.lockId()));
    assertEquals("host 7", refused(other, "held").owner());
    client.close();
    lease.check();
    assertEquals(NotAcquiredReason.HELD, refused(other, "held").reason());
    failsAs(Kind.CLOSED, lease::renew);
    failsAs(Kind.CLOSED, () -> client.lease("held"));
    failsAs(Kind.CLOSED, () -> client.adoptLease("held", "id"));
    assertEquals(ReleaseOutcome.RELEASED, other.release("held", lease.lockId()));
    try (Lease later = other.lease("held", FIVE, LeaseOption.owner("me"))) {
      assertTrue(later.fencingToken().getAsLong() > lease.fencingToken().getAsLong());
      assertEquals("me", other.get("held").owner());
    }
    isFree(other, "held");
  }

  @Test
  void isRenewedAtAnyBroker() throws Exception {
    RealBroker third = startBroker(store.arguments());
    LockBroker client = connect(third.url + "," + second.url);
    LockBroker other = other();
    Lease lease = client.lease("renewed", FIVE);
    for (int second = 0; second < 7; second++) {
      Thread.sleep(1000);
      if (second == 3) {
        third.close();
      }
      lease.renew();
      long left = lease.remaining().toMillis();
      assertTrue(left > 1500 && left <= 2670, left + " ms");
      assertTrue(other.tryLock("renewed").isEmpty());
    }
    lease.release();
    lease.release();
    failsAs(Kind.RELEASED, lease::renew);
    failsAs(Kind.RELEASED, lease::check);
    assertEquals(Duration.ZERO, lease.remaining());
    isFree(other, "renewed");
  }

  @Test
  void whoRenewsALostOneIsTold() throws Exception {
    LockBroker client = client();
    LockBroker other = other();
    Lease lease = client.lease("lost");
    other.release("lost", lease.lockId());
    // Nobody tells.
    lease.check();
    try (HeldLock theirs = acquire(other, "lost")) {
      assertThrows(LostException.class, lease::renew);
      assertThrows(LostException.class, lease::check);
      assertThrows(LostException.class, lease::renew);
      assertThrows(LostException.class, lease::release);
      assertThrows(LostException.class, lease::close);
      assertEquals(Duration.ZERO, lease.remaining());
      theirs.check();
    }
    Lease again = client.lease("lost");
    other.release("lost", again.lockId());
    isLost(LostReason.GONE, again::close);
    Lease taken = client.lease("lost");
    other.release("lost", taken.lockId());
    try (HeldLock theirs = acquire(other, "lost")) {
      isLost(LostReason.TAKEN_OVER, taken::release);
      theirs.check();
    }
  }

  @Test
  void runsOut() throws Exception {
    Lease lease = client().lease("out", FIVE);
    CompletableFuture<HeldLock> rival = begin(() -> acquire(other(), "out"));
    while (lease.remaining().toNanos() > 0) {
      assertFalse(rival.isDone());
      Thread.sleep(10);
    }
    isLost(LostReason.EXPIRED, lease::check);
    isLost(LostReason.EXPIRED, lease::renew);
    isLost(LostReason.EXPIRED, lease::release);
    soon(rival).release();
  }

  @Test
  void isWaitedFor() throws Exception {
    LockBroker client = client();
    HeldLock lock = acquire(other(), "waited");
    long begun = System.nanoTime();
    NotAcquiredException over =
        assertThrows(NotAcquiredException.class, () -> client.lease("waited", waiting(300)));
    long took = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - begun);
    assertEquals(NotAcquiredReason.MAX_WAIT, over.reason());
    assertTrue(took > 200 && took < 3000, took + " ms");
    failsAs(Kind.INVALID, () -> client.lease("waited", waiting(31_000)));
    CompletableFuture<Lease> granted = begin(() -> client.lease("waited", FIVE, waiting(20_000)));
    Thread.sleep(1000);
    assertFalse(granted.isDone());
    lock.release();
    // It counts from the grant, not from the request.
    Lease lease = soon(granted);
    assertTrue(lease.remaining().toMillis() <= 2670, lease.toString());
    lease.release();
  }

  @Test
  void anotherProcessGoesOnWithIt() throws Exception {
    LockBroker client = client();
    LockBroker other = other();
    Lease lease = client.lease("adopted", FIVE);
    Lease adopted = other.adoptLease("adopted", lease.lockId());
    assertEquals(OptionalLong.empty(), adopted.fencingToken());
    assertEquals(lease.lockId(), adopted.lockId());
    client.close();
    Thread.sleep(500);
    adopted.renew();
    long left = adopted.remaining().toMillis();
    assertTrue(left > 1500 && left <= 2670, left + " ms");
    assertEquals(NotAcquiredReason.HELD, refused(other, "adopted").reason());
    adopted.close();
    isLost(LostReason.GONE, () -> other.adoptLease("adopted", lease.lockId()));
    failsAs(Kind.INVALID, () -> other.adoptLease("adopted", "none"));
    failsAs(Kind.INVALID, () -> other.adoptLease("adopted", "x".repeat(2000)));
    // There is no way back from a lock on a stream.
    Lease moved = other.lease("adopted");
    LockOption kept = LockOption.keepOnDisconnect();
    try (HeldLock lock = other.adopt("adopted", moved.lockId(), kept)) {
      assertEquals(moved.fencingToken().getAsLong(), lock.fencingToken());
      assertThrows(LostException.class, moved::renew);
    }
  }

  /** A broker that has another one do the work, and then says what the test wants. */
  private final class Relay extends LockServiceGrpc.LockServiceImplBase {
    final List<AcquireLeaseRequest> asked = new CopyOnWriteArrayList<>();
    final List<AcquireLeaseResponse> granted = new CopyOnWriteArrayList<>();
    final List<ReleaseRequest> released = new CopyOnWriteArrayList<>();
    final String url;

    /** The number of answers that do not come, and the way in which they do not. */
    volatile int missing;

    volatile String how = "fails";

    private final LockServiceGrpc.LockServiceBlockingStub target;

    Relay(RealBroker broker) throws Exception {
      ManagedChannel channel = broker.channel();
      closing(channel::shutdownNow);
      target = LockServiceGrpc.newBlockingStub(channel);
      var address = new InetSocketAddress(InetAddress.getLoopbackAddress(), 0);
      Server server = NettyServerBuilder.forAddress(address).addService(this).build().start();
      closing(server::shutdownNow);
      url = "http://127.0.0.1:" + server.getPort();
    }

    private <T> void answer(T answer, StreamObserver<T> answers) {
      if (missing == 0) {
        answers.onNext(answer);
        answers.onCompleted();
        return;
      }
      missing--;
      if (how.equals("fails")) {
        var lost = Status.UNAVAILABLE.withDescription("the answer is lost");
        answers.onError(lost.asRuntimeException());
      }
    }

    @Override
    public void acquireLease(
        AcquireLeaseRequest request, StreamObserver<AcquireLeaseResponse> answers) {
      asked.add(request);
      AcquireLeaseResponse answer = target.acquireLease(request);
      granted.add(answer);
      if (how.equals("makes no sense")) {
        var acquired = answer.getAcquired().toBuilder().clearExpiresAfterRequest();
        answer = AcquireLeaseResponse.newBuilder().setAcquired(acquired).build();
      }
      answer(answer, answers);
    }

    @Override
    public void release(ReleaseRequest request, StreamObserver<ReleaseResponse> answers) {
      released.add(request);
      answer(target.release(request), answers);
    }
  }

  private LockBroker impatient(String server) {
    return connect(LockBroker.builder().server(server).answerTimeout(Duration.ofSeconds(4)));
  }

  @ParameterizedTest
  @ValueSource(strings = {"fails", "is silent"})
  void anAnswerThatIsLostCostsNothing(String how) throws Exception {
    Relay relay = new Relay(first);
    relay.how = how;
    relay.missing = 1;
    LockBroker client = impatient(relay.url + "," + second.url);
    try (Lease lease = client.lease(how)) {
      var granted = relay.granted.get(0).getAcquired();
      assertEquals(granted.getLockId(), lease.lockId());
      assertEquals(granted.getFencingToken(), lease.fencingToken().getAsLong());
    }
    isFree(other(), how);
    assertEquals(4, UUID.fromString(relay.asked.get(0).getRequestId()).version());
    impatient(relay.url).lease(how).close();
    assertNotEquals(relay.asked.get(0).getRequestId(), relay.asked.get(1).getRequestId());
  }

  @Test
  void whatIsGrantedAndCannotBeUsedIsReleased() throws Exception {
    Relay relay = new Relay(first);
    relay.how = "makes no sense";
    failsAs(Kind.UNEXPECTED, () -> connect(relay.url).lease("senseless"));
    acquire(other(), "senseless").release();
    assertEquals(relay.granted.get(0).getAcquired().getLockId(), releasedId(relay));
  }

  private static String releasedId(Relay relay) {
    eventually("it is released", () -> !relay.released.isEmpty());
    return relay.released.get(0).getLockId();
  }

  @Test
  void theOnlyBrokerIsAskedAgain() throws Exception {
    Relay relay = new Relay(first);
    LockBroker client = connect(relay.url);
    relay.missing = 2;
    Lease lease = client.lease("again");
    assertEquals(3, relay.asked.size());
    assertEquals(1, relay.asked.stream().map(AcquireLeaseRequest::getRequestId).distinct().count());
    // So is the release, and what it finds then is its own work.
    relay.missing = 2;
    lease.release();
    assertEquals(3, relay.released.size());
    isFree(other(), "again");
  }

  @Test
  void noBrokerAnswers() throws Exception {
    LockBroker nobody =
        connect(
            LockBroker.builder()
                .server("127.0.0.1:" + RealBroker.freePort())
                .answerTimeout(Duration.ofMillis(500)));
    long begun = System.nanoTime();
    failsAs(Kind.UNAVAILABLE, () -> nobody.lease("nobody"));
    long took = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - begun);
    assertTrue(took > 400 && took < 3000, took + " ms");
    RealBroker third = startBroker(store.arguments());
    // A broker may grant nothing in its first second.
    Lease lease = impatient(third.url).lease("nobody", FIVE, waiting(20_000));
    Duration left = lease.remaining();
    third.close();
    failsAs(Kind.UNAVAILABLE, lease::renew);
    // It is as good as before.
    lease.check();
    assertTrue(lease.remaining().toNanos() > 0 && lease.remaining().compareTo(left) <= 0);
    failsAs(Kind.UNAVAILABLE, lease::release);
    lease.close();
    assertEquals(NotAcquiredReason.HELD, refused(other(), "nobody").reason());
  }

  @Test
  void whatEachBrokerRefusesFailsAtOnce() throws Exception {
    TestBroker one = closing(new TestBroker());
    TestBroker two = closing(new TestBroker());
    LockBroker client = connect(one.url() + "," + two.url());
    one.fail("job", ErrorReason.STORE_UNAVAILABLE);
    two.fail("job", ErrorReason.STORE_UNAVAILABLE);
    LockBrokerException away = failsAs(Kind.UNAVAILABLE, () -> client.lease("job"));
    assertEquals(ErrorReason.STORE_UNAVAILABLE, away.errorReason());
    // A wait goes on.
    for (int time = 0; time < 4; time++) {
      one.fail("job", ErrorReason.STORE_UNAVAILABLE);
      two.fail("job", ErrorReason.STORE_UNAVAILABLE);
    }
    client.lease("job", waiting(20_000)).close();
    LockBroker real = client();
    Duration second = Duration.ofSeconds(1);
    Map<String, LeaseOption> wrong =
        Map.of(
            "ttl", LeaseOption.ttl(second),
            "linger", LeaseOption.linger(second.negated()),
            "min_hold", LeaseOption.minHold(Duration.ofHours(2)),
            "owner", LeaseOption.owner("x".repeat(200)));
    wrong.forEach((what, option) -> failsAs(Kind.INVALID, () -> real.lease("job", option)));
    failsAs(Kind.INVALID, () -> real.lease("x".repeat(2000)));
  }

  @Test
  void whoIsInterruptedHoldsNothing() throws Exception {
    LockBroker client = client();
    LockBroker other = other();
    HeldLock lock = acquire(other, "interrupted");
    CompletableFuture<Throwable> thrown = new CompletableFuture<>();
    Thread waits =
        thread(
            () ->
                thrown.complete(
                    assertThrows(
                        InterruptedException.class,
                        () -> client.lease("interrupted", waiting(20_000)))));
    Thread.sleep(500);
    waits.interrupt();
    soon(thrown);
    lock.release();
    isFree(other, "interrupted");
    Thread.currentThread().interrupt();
    assertThrows(InterruptedException.class, () -> client.lease("interrupted"));
    isFree(other, "interrupted");
    // A release goes on.
    Lease lease = client.lease("interrupted");
    Thread.currentThread().interrupt();
    lease.release();
    assertTrue(Thread.interrupted());
    isFree(other, "interrupted");
  }

  @Test
  void theCloseOfTheClientEndsACallForOne() throws Exception {
    LockBroker client = client();
    HeldLock lock = acquire(other(), "closed");
    CompletableFuture<Lease> waits = begin(() -> client.lease("closed", waiting(20_000)));
    Thread.sleep(500);
    client.close();
    ExecutionException error = assertThrows(ExecutionException.class, () -> soon(waits));
    assertEquals(Kind.CLOSED, ((LockBrokerException) error.getCause()).kind());
    lock.release();
    isFree(other(), "closed");
  }

  @Test
  void validityEndsBeforeTheBrokers() {
    long milli = 1_000_000;
    long ttl = 15_000 * milli;
    assertEquals(7 + 12_000 * milli, Leases.until(7, 13_000 * milli, ttl, 7));
    assertEquals(7 + 12_000 * milli, Leases.until(7, 13_000 * milli, null, 7));
    // After a wait of 20 s.
    long waited = 7 + 20_000 * milli;
    assertEquals(waited + 12_000 * milli, Leases.until(7, 33_000 * milli, ttl, waited));
    assertEquals(waited + 12_000 * milli, Leases.until(7, 33_000 * milli, null, waited));
    assertEquals(7, Leases.until(7, milli, ttl, 7));
    assertEquals(7, Leases.until(7, milli, null, 7));
  }

  @Test
  void aLockThatIsKeptOutlivesItsConnection() throws Exception {
    Proxy proxy = startProxy(first);
    LockBroker client = connect(proxy.url);
    HeldLock kept = client.lock("kept", LockOption.keepOnDisconnect());
    HeldLock tried = client.tryLock("tried", LockOption.keepOnDisconnect()).orElseThrow();
    HeldLock plain = client.lock("plain");
    CompletableFuture<HeldLock> plainRival = begin(() -> acquire(other(), "plain"));
    CompletableFuture<HeldLock> rival = begin(() -> acquire(other(), "kept"));
    // Long enough for the broker to give the other away before a reattach comes.
    proxy.delay(500);
    for (int time = 0; time < 2; time++) {
      String keptId = kept.lockId();
      String triedId = tried.lockId();
      proxy.cut();
      // Both of them, before the next cut: one that comes in mid-reattach may cost a lock
      // (docs/safety.md, R30).
      awaitMove(kept, keptId);
      awaitMove(tried, triedId);
      if (time == 0) {
        HeldLock theirs = soon(plainRival);
        assertEquals(Duration.ZERO, plain.remaining());
        assertThrows(LostException.class, plain::awaitHeld);
        theirs.release();
      }
    }
    assertFalse(rival.isDone());
    kept.release();
    soon(rival).release();
  }

  /** Waits until the lock is held under another id. Fails as soon as it is lost, and says why. */
  private static void awaitMove(HeldLock lock, String before) {
    eventually(
        "it has moved: " + lock,
        () -> {
          lock.awaitHeld();
          return !lock.lockId().equals(before);
        });
  }

  @Test
  void aLockStaysClosedForItsLeastTime() throws Exception {
    LockBroker client = client();
    LockBroker other = other();
    Duration least = Duration.ofSeconds(2);
    List<Task<AutoCloseable>> asks =
        List.of(
            () -> client.lock("least 0", LockOption.minHold(least)),
            () -> client.tryLock("least 1", LockOption.minHold(least)).orElseThrow(),
            () -> client.lease("least 2", LeaseOption.minHold(least)));
    for (int number = 0; number < asks.size(); number++) {
      long begun = System.nanoTime();
      asks.get(number).run().close();
      assertEquals(NotAcquiredReason.LINGERING, refused(other, "least " + number).reason());
      acquire(other, "least " + number).release();
      assertTrue(System.nanoTime() - begun >= least.toNanos());
    }
  }
}
