package io.github.lockbroker;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.UnknownFieldSet;
import io.github.lockbroker.harness.Child;
import io.github.lockbroker.harness.RealBroker;
import io.github.lockbroker.harness.Scenario;
import io.github.lockbroker.v1.Acquired;
import io.github.lockbroker.v1.HeartbeatAck;
import io.github.lockbroker.v1.LockEvent;
import io.github.lockbroker.v1.LockServiceGrpc;
import io.github.lockbroker.v1.Lost;
import io.github.lockbroker.v1.SessionEvent;
import io.github.lockbroker.v1.SessionOpened;
import io.github.lockbroker.v1.SessionRequest;
import io.github.lockbroker.v1.SessionRequest.KindCase;
import io.github.lockbroker.v1.SessionResponse;
import io.grpc.Server;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.StreamObserver;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Brokers that do what a test says, and what a broker does not. */
class MisbehavingTest extends Scenario {
  private static final Duration TTL = Duration.ofSeconds(15);

  /**
   * Starts a broker that says things one after the other, after each request that it waits for: a
   * KindCase is waited for, a response is said, and a Duration passes first. Returns its address.
   */
  private String script(Object... says) throws Exception {
    var service =
        new LockServiceGrpc.LockServiceImplBase() {
          @Override
          public StreamObserver<SessionRequest> session(StreamObserver<SessionResponse> out) {
            if (says.length == 0) {
              out.onCompleted();
            }
            return new Script(new ArrayDeque<>(Arrays.asList(says)), out, ended);
          }
        };
    var address = new InetSocketAddress(InetAddress.getLoopbackAddress(), 0);
    Server server = NettyServerBuilder.forAddress(address).addService(service).build().start();
    closing(server::shutdownNow);
    return "127.0.0.1:" + server.getPort();
  }

  /** Completed with true when a client ends its stream in good order, with false at a reset. */
  private final CompletableFuture<Boolean> ended = new CompletableFuture<>();

  private record Script(
      Deque<Object> says, StreamObserver<SessionResponse> out, CompletableFuture<Boolean> ended)
      implements StreamObserver<SessionRequest> {
    @Override
    public void onNext(SessionRequest request) {
      if (says.peek() != request.getKindCase()) {
        return;
      }
      says.remove();
      goOn();
    }

    private void goOn() {
      while (!says.isEmpty() && !(says.peek() instanceof KindCase)) {
        Object next = says.remove();
        if (next instanceof Duration pause) {
          CompletableFuture.delayedExecutor(pause.toMillis(), TimeUnit.MILLISECONDS)
              .execute(this::goOn);
          return;
        }
        out.onNext((SessionResponse) next);
      }
    }

    @Override
    public void onError(Throwable error) {
      ended.complete(false);
      says.clear();
    }

    @Override
    public void onCompleted() {
      ended.complete(true);
      says.clear();
      out.onCompleted();
    }
  }

  private static SessionResponse opened(Duration ttl) {
    long nanos = ttl.toNanos();
    return SessionResponse.newBuilder()
        .setOpened(
            SessionOpened.newBuilder()
                .setTtl(Wire.span(nanos))
                .setExpiresAfterOpen(Wire.span(nanos * 13 / 15))
                .setHeartbeatInterval(Wire.span(nanos / 3)))
        .build();
  }

  private static SessionResponse event(long ref, LockEvent.Builder event) {
    return SessionResponse.newBuilder()
        .setEvent(SessionEvent.newBuilder().setLockRef(ref).setEvent(event))
        .build();
  }

  private static SessionResponse acquired(String id) {
    var acquired = Acquired.newBuilder().setLockId(id).setFencingToken(7);
    return event(1, LockEvent.newBuilder().setAcquired(acquired));
  }

  private static SessionResponse ack(long seq, Duration expiresAfter) {
    var ack =
        HeartbeatAck.newBuilder()
            .setSeq(seq)
            .setExpiresAfterHeartbeat(Wire.span(expiresAfter.toNanos()));
    return SessionResponse.newBuilder().setHeartbeatAck(ack).build();
  }

  /** A message of a later version. */
  private static SessionResponse unknown() {
    var field = UnknownFieldSet.Field.newBuilder().addVarint(1).build();
    return SessionResponse.newBuilder()
        .setUnknownFields(UnknownFieldSet.newBuilder().addField(999, field).build())
        .build();
  }

  private LockBroker impatient(String server) {
    return connect(LockBroker.builder().server(server).answerTimeout(Duration.ofSeconds(2)));
  }

  @Test
  void aBrokerOfALaterVersionIsUnderstood() throws Exception {
    String server =
        script(
            KindCase.OPEN,
            opened(TTL),
            unknown(),
            KindCase.BEGIN,
            unknown(),
            event(1, LockEvent.newBuilder()),
            event(99, LockEvent.newBuilder().setLost(Lost.getDefaultInstance())),
            ack(77, Duration.ofHours(1)),
            acquired("id"),
            ack(77, Duration.ofHours(1)),
            opened(Duration.ofHours(1)));
    HeldLock lock = acquire(impatient(server), "later");
    // Nothing of an acknowledgement that was never asked for, or of a second `opened`, is
    // believed.
    Thread.sleep(200);
    assertEquals(7, lock.fencingToken());
    assertEquals("id", lock.lockId());
    assertEquals(TTL, lock.ttl());
    assertTrue(lock.remaining().compareTo(Duration.ofSeconds(12)) <= 0, lock.toString());
    lock.check();
  }

  /** A broker would take a reset for silence, and keep the locks. */
  @Test
  void closeEndsTheStreamInGoodOrder() throws Exception {
    String server = script(KindCase.OPEN, opened(TTL), KindCase.BEGIN, acquired("id"));
    LockBroker client = impatient(server);
    acquire(client, "in order");
    client.close();
    assertTrue(soon(ended));
  }

  @ParameterizedTest
  @ValueSource(strings = {"TERM", "exit", "return"})
  void theEndOfTheProcessEndsTheStreamInGoodOrder(String way) throws Exception {
    String server = script(KindCase.OPEN, opened(TTL), KindCase.BEGIN, acquired("id"));
    Child holder = startChild(server, Map.of(Child.RELEASE_AT_EXIT, "true"));
    assertEquals("held 7 id", holder.tell("lock hooked"));
    if (way.equals("TERM")) {
      holder.signal(way);
    } else {
      holder.write(way);
    }
    assertTrue(soon(ended));
    long begun = System.nanoTime();
    holder.await();
    long took = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - begun);
    assertTrue(took < 3000, "it ends after " + took + " ms");
  }

  @ParameterizedTest
  @ValueSource(strings = {"speaks early", "opens without durations", "ends at once", "is mute"})
  void aBrokerThatMakesNoSenseIsLeft(String how) throws Exception {
    var empty = SessionOpened.getDefaultInstance();
    String bad =
        switch (how) {
          case "speaks early" -> script(KindCase.OPEN, acquired("id"));
          case "opens without durations" ->
              script(KindCase.OPEN, SessionResponse.newBuilder().setOpened(empty).build());
          case "ends at once" -> script();
          default -> script(KindCase.OPEN, KindCase.KIND_NOT_SET);
        };
    LockBroker alone = impatient(bad);
    assertThrows(LockBrokerException.class, () -> alone.tryLock("senseless"));
    RealBroker good = startBroker();
    connect(bad + "," + good.url).tryLock("senseless").orElseThrow().close();
  }

  /**
   * A broker that grants and then answers no heartbeat is left when its silence has lasted for half
   * the ttl. The reattach at the other one is answered, and that answer comes too late.
   */
  @Test
  void anAnswerThatComesTooLateRevivesNothing() throws Exception {
    Duration ttl = Duration.ofSeconds(2);
    String silent = script(KindCase.OPEN, opened(ttl), KindCase.BEGIN, acquired("id"));
    String late = script(KindCase.OPEN, opened(ttl), KindCase.BEGIN, ttl, acquired("late"));
    HeldLock lock = acquire(connect(silent + "," + late), "late");
    assertEquals(LostReason.EXPIRED, soon(loss(lock)));
    isLost(LostReason.EXPIRED, lock::check);
    Thread.sleep(ttl.toMillis());
    assertEquals("id", lock.lockId());
    assertEquals(Duration.ZERO, lock.remaining());
    isLost(LostReason.EXPIRED, lock::check);
  }
}
