package io.github.lockbroker;

import static io.github.lockbroker.harness.Eventually.SOON;
import static io.github.lockbroker.harness.Eventually.eventually;
import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.harness.RealBroker;
import io.github.lockbroker.harness.Scenario;
import io.github.lockbroker.testing.TestBroker;
import io.github.lockbroker.v1.LockServiceGrpc;
import io.github.lockbroker.v1.ObserveRequest;
import io.github.lockbroker.v1.ObserveResponse;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.StreamObserver;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Values of locks, and those who observe them. */
class LeadersTest extends Scenario {
  private static RealBroker broker;

  @BeforeAll
  static void start() {
    broker = RealBroker.start();
  }

  @AfterAll
  static void stop() {
    broker.close();
  }

  private LockBroker client() {
    return connect(broker.url);
  }

  private static LockOption value(String text) {
    return LockOption.value(text.getBytes(UTF_8));
  }

  private static void update(HeldLock lock, String text) throws InterruptedException {
    lock.update(text.getBytes(UTF_8));
  }

  private Observation observe(LockBroker client, String name) {
    return closing(client.observe(name));
  }

  /** Describes a state, with its value. */
  private static String shown(Observed seen) {
    String value = seen.value().map(bytes -> " " + new String(bytes, UTF_8)).orElse("");
    return seen.state() + value + (seen.owner().isEmpty() ? "" : " by " + seen.owner());
  }

  /** Waits for a state. The first one of a new holder may be without its value. */
  private static Observed sees(Observation observation, String wanted) throws Exception {
    while (true) {
      Observed seen = observation.next(SOON).orElseThrow();
      if (shown(seen).equals(wanted)) {
        return seen;
      }
      assertEquals(LockState.HELD, seen.state(), "while this is wanted: " + wanted);
    }
  }

  @Test
  void aLeaderIsFollowedToItsEnd() throws Exception {
    LockBroker client = client();
    Observation follower = observe(client, "leader");
    assertEquals(Optional.empty(), sees(follower, "FREE").expiresIn());
    byte[] bytes = "one".getBytes(UTF_8);
    LockOption copied = LockOption.value(bytes);
    bytes[0] = 'x';
    HeldLock lock = acquire(client, "leader", copied, LockOption.owner("me"));
    Observed seen = sees(follower, "HELD one by me");
    assertEquals(lock.fencingToken(), seen.fencingToken().getAsLong());
    assertTrue(seen.expiresIn().isPresent());
    assertEquals("HELD by \"me\" (token " + lock.fencingToken() + ")", seen.toString());
    update(lock, "two");
    sees(follower, "HELD two by me");
    // An empty one is one.
    update(lock, "");
    assertArrayEquals(new byte[0], sees(follower, "HELD  by me").value().get());
    assertEquals(Optional.empty(), follower.next(Duration.ofMillis(100)));
    lock.release();
    sees(follower, "FREE");
    failsAs(Kind.RELEASED, () -> update(lock, "late"));
    HeldLock lost = acquire(client, "leader", value("lost"));
    client.release("leader", lost.lockId());
    eventually("it is lost", () -> lost.remaining().isZero());
    isLost(LostReason.RELEASED, () -> update(lost, "late"));
  }

  /** Of several at a time the last counts, and none comes after it. */
  @Test
  void theLastOfManyUpdatesCounts() throws Exception {
    LockBroker client = client();
    HeldLock lock = acquire(client, "busy", value(""));
    Observation follower = observe(client, "busy");
    inParallel(
        20,
        number ->
            () -> {
              update(lock, "number " + number);
              return null;
            });
    update(lock, "last");
    sees(follower, "HELD last");
    lock.release();
    sees(follower, "FREE");
    HeldLock interrupted = acquire(client, "busy", value(""));
    Thread.currentThread().interrupt();
    assertThrows(InterruptedException.class, () -> update(interrupted, "late"));
  }

  @Test
  void itEndsWithItsCloseAndItsClients() throws Exception {
    LockBroker client = client();
    for (AutoCloseable closes : List.<AutoCloseable>of(() -> {}, client)) {
      Observation observation = observe(client, "ends");
      sees(observation, "FREE");
      CompletableFuture<Observed> next = begin(observation::next);
      assertThrows(
          java.util.concurrent.TimeoutException.class, () -> next.get(200, TimeUnit.MILLISECONDS));
      if (closes == client) {
        client.close();
      } else {
        observation.close();
      }
      Throwable ended = assertThrows(ExecutionException.class, () -> soon(next)).getCause();
      assertEquals(Kind.CLOSED, ((LockBrokerException) ended).kind());
      failsAs(Kind.CLOSED, observation::next);
    }
    failsAs(Kind.CLOSED, () -> client.observe("ends").next());
    Observation waiting = observe(client(), "ends");
    sees(waiting, "FREE");
    CompletableFuture<Thread> waiter = new CompletableFuture<>();
    CompletableFuture<Observed> next =
        begin(
            () -> {
              waiter.complete(Thread.currentThread());
              return waiting.next();
            });
    soon(waiter).interrupt();
    Throwable ended = assertThrows(ExecutionException.class, () -> soon(next)).getCause();
    assertEquals(InterruptedException.class, ended.getClass());
    // Nothing is lost by that.
    acquire(client(), "ends", value("on")).name();
    sees(waiting, "HELD on");
  }

  @Test
  void whatNoBrokerTakesIsInvalid() throws Exception {
    // Nobody is there to be asked.
    LockBroker alone = connect("http://127.0.0.1:9");
    LockOption longest = LockOption.value(new byte[1025]);
    failsAs(Kind.INVALID, () -> alone.lock("long", longest));
    failsAs(Kind.INVALID, () -> alone.tryLock("also", value("v"), LockOption.also("other")));
    // Each of these texts is short enough, and all together are not.
    String text = "x".repeat(1000);
    LockOption owner = LockOption.owner(text);
    failsAs(Kind.INVALID, () -> alone.adopt(text, text, owner, value("v".repeat(1024))));
    LockBroker client = client();
    HeldLock plain = acquire(client, "odd/plain");
    failsAs(Kind.INVALID, () -> update(plain, "v"));
    failsAs(Kind.INVALID, () -> client.tryLock("odd/shared", value("v"), LockOption.shared()));
    // A value is no text.
    byte[] bytes = {0, -1};
    HeldLock lock = acquire(client, "odd", LockOption.value(bytes));
    failsAs(Kind.INVALID, () -> lock.update(new byte[1025]));
    assertArrayEquals(bytes, observe(client, "odd").next().value().get());
    Observation invalid = observe(client, "n".repeat(129));
    failsAs(Kind.INVALID, invalid::next);
    failsAs(Kind.INVALID, invalid::next);
    plain.check();
  }

  @Test
  void whereNoRoomIsTheNextBrokerIsAsked() throws Exception {
    String[] store = closing(RealBroker.store()).arguments();
    List<String> arguments = new ArrayList<>(List.of(store));
    arguments.addAll(List.of("--max-observers", "1"));
    RealBroker full = startBroker(arguments.toArray(String[]::new));
    RealBroker free = startBroker(store);
    sees(observe(connect(full.url), "room"), "FREE");
    Observation second = observe(connect(full.url + "," + free.url), "room");
    failsAs(Kind.EXHAUSTED, second::next);
    sees(second, "FREE");
  }

  @Test
  void withoutABrokerNobodyKnows() throws Exception {
    RealBroker[] brokers = pair();
    Observation follower = observe(connect(brokers[0].url + "," + brokers[1].url), "leader");
    sees(follower, "FREE");
    brokers[0].kill();
    acquire(connect(brokers[1].url), "leader", value("one")).name();
    sees(follower, "HELD one");
    brokers[1].kill();
    sees(follower, "UNKNOWN");
    assertEquals(Optional.empty(), follower.next(Duration.ofSeconds(1)));
    Observation nobody = observe(connect("127.0.0.1:9,127.0.0.1:10"), "leader");
    sees(nobody, "UNKNOWN");
  }

  @Test
  void aValueMovesAlong() throws Exception {
    RealBroker[] brokers = pair();
    LockBroker client = connect(brokers[0].url + "," + brokers[1].url);
    LockBroker other = connect(brokers[1].url);
    HeldLock quiet = acquire(client, "moves/quiet", value("one"));
    HeldLock lock = acquire(client, "moves", value("one"));
    update(quiet, "two");
    brokers[0].kill();
    update(lock, "two");
    eventually("they move", () -> !quiet.remaining().isZero() && !lock.remaining().isZero());
    sees(observe(other, "moves/quiet"), "HELD two");
    sees(observe(other, "moves"), "HELD two");
    // Without the value that came along it would be refused.
    update(quiet, "three");
  }

  /** Starts a broker that tells an observer what a test says, and returns its address. */
  private String teller(Consumer<StreamObserver<ObserveResponse>> tells) throws Exception {
    var service =
        new LockServiceGrpc.LockServiceImplBase() {
          @Override
          public void observe(ObserveRequest request, StreamObserver<ObserveResponse> out) {
            tells.accept(out);
          }
        };
    var address = new InetSocketAddress(InetAddress.getLoopbackAddress(), 0);
    Server server = NettyServerBuilder.forAddress(address).addService(service).build().start();
    closing(server::shutdownNow);
    return "127.0.0.1:" + server.getPort();
  }

  private static ObserveResponse heldBy(String owner, long token) {
    return ObserveResponse.newBuilder()
        .setState(ObserveResponse.State.STATE_HELD)
        .setOwner(owner)
        .setFencingToken(token)
        .build();
  }

  @Test
  void anEarlierLeaderIsNotToldAsOne() throws Exception {
    CompletableFuture<StreamObserver<ObserveResponse>> said = new CompletableFuture<>();
    String server =
        teller(
            out -> {
              out.onNext(heldBy("one", 7));
              said.complete(out);
            });
    Observation follower = observe(connect(server), "leader");
    sees(follower, "HELD by one");
    StreamObserver<ObserveResponse> out = soon(said);
    out.onNext(heldBy("two", 9));
    sees(follower, "HELD by two");
    out.onNext(heldBy("one", 7));
    sees(follower, "UNKNOWN");
    out.onNext(heldBy("one", 7));
    assertEquals(Optional.empty(), follower.next(Duration.ofMillis(200)));
    out.onNext(heldBy("two", 9));
    sees(follower, "HELD by two");
    // A state that a later version has.
    out.onNext(ObserveResponse.newBuilder().setStateValue(99).build());
    sees(follower, "UNKNOWN");
    // A slow reader gets the latest alone.
    for (int token = 10; token < 50; token++) {
      out.onNext(heldBy("number " + token, token));
    }
    Thread.sleep(500);
    sees(follower, "HELD by number 49");
  }

  @Test
  void aStreamThatEndsOrIsSilentIsLeft() throws Exception {
    String second = teller(out -> out.onNext(heldBy("two", 8)));
    String ends = teller(StreamObserver::onCompleted);
    sees(observe(connect(ends + "," + second), "leader"), "HELD by two");
    String fails =
        teller(
            out -> {
              out.onNext(heldBy("one", 7));
              out.onError(Status.UNAVAILABLE.asRuntimeException());
            });
    sees(observe(connect(fails + "," + second), "leader"), "HELD by two");
    String silent = teller(out -> out.onNext(heldBy("one", 7)));
    Observation follower = observe(connect(silent + "," + second), "leader");
    sees(follower, "HELD by one");
    long begun = System.nanoTime();
    Observed seen = follower.next(Duration.ofSeconds(40)).orElseThrow();
    long took = TimeUnit.NANOSECONDS.toSeconds(System.nanoTime() - begun);
    assertEquals("HELD by two", shown(seen));
    assertTrue(took >= 14 && took < 30, "after " + took + " s");
  }

  /** A first server that accepts and says nothing does not use up the time for an answer. */
  @Test
  void aMuteServerIsPassedOver() throws Exception {
    String mute = teller(out -> {});
    String second = teller(out -> out.onNext(heldBy("two", 8)));
    var builder = LockBroker.builder().server(mute + "," + second);
    Observation follower = observe(connect(builder.answerTimeout(Duration.ofSeconds(2))), "leader");
    assertEquals("HELD by two", shown(follower.next(SOON).orElseThrow()));
  }

  @Test
  void aBrokerForTestsKnowsNeither() throws Exception {
    TestBroker tests = closing(new TestBroker());
    LockBroker client = connect(tests.url());
    HeldLock lock = acquire(client, "leader", value("here"));
    failsAs(Kind.UNEXPECTED, () -> update(lock, "there"));
    Observation follower = observe(client, "leader");
    failsAs(Kind.UNEXPECTED, follower::next);
    lock.check();
  }
}
