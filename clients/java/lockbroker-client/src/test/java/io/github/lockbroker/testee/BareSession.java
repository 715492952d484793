package io.github.lockbroker.testee;

import io.github.lockbroker.v1.BeginLock;
import io.github.lockbroker.v1.EndLock;
import io.github.lockbroker.v1.Heartbeat;
import io.github.lockbroker.v1.LockEvent;
import io.github.lockbroker.v1.LockServiceGrpc;
import io.github.lockbroker.v1.LockSpec;
import io.github.lockbroker.v1.OpenSession;
import io.github.lockbroker.v1.SessionRequest;
import io.github.lockbroker.v1.SessionResponse;
import io.grpc.ManagedChannel;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.StreamObserver;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** A Session by the generated stub alone. */
final class BareSession implements StreamObserver<SessionResponse> {
  private static final SessionResponse END = SessionResponse.getDefaultInstance();

  private final BlockingQueue<SessionResponse> responses = new LinkedBlockingQueue<>();
  private StreamObserver<SessionRequest> requests;

  /**
   * Begins a lock and ends it, as often as is told. Returns what that took, without the time to
   * open the Session.
   */
  static long cycles(String server, String name, long count) throws InterruptedException {
    ManagedChannel channel =
        NettyChannelBuilder.forTarget(server.replaceFirst("^http://", ""))
            .proxyDetector(target -> null)
            .usePlaintext()
            .build();
    try {
      BareSession session = new BareSession();
      session.requests = LockServiceGrpc.newStub(channel).session(session);
      long took = session.run(name, count);
      session.requests.onCompleted();
      return took;
    } finally {
      channel.shutdown().awaitTermination(1, TimeUnit.SECONDS);
      channel.shutdownNow();
    }
  }

  private long run(String name, long count) throws InterruptedException {
    requests.onNext(SessionRequest.newBuilder().setOpen(OpenSession.getDefaultInstance()).build());
    await(null);
    long began = System.nanoTime();
    long beatAt = began;
    long beat = 0;
    for (long ref = 1; ref <= count; ref++) {
      if (System.nanoTime() - beatAt > TimeUnit.SECONDS.toNanos(1)) {
        beatAt = System.nanoTime();
        var heartbeat = Heartbeat.newBuilder().setSeq(++beat);
        requests.onNext(SessionRequest.newBuilder().setHeartbeat(heartbeat).build());
      }
      var lock = LockSpec.newBuilder().setName(name);
      var begin = BeginLock.newBuilder().setLockRef(ref).setLock(lock);
      requests.onNext(SessionRequest.newBuilder().setBegin(begin).build());
      await(LockEvent.KindCase.ACQUIRED);
      var end = EndLock.newBuilder().setLockRef(ref);
      requests.onNext(SessionRequest.newBuilder().setEnd(end).build());
      await(LockEvent.KindCase.RELEASED);
    }
    return System.nanoTime() - began;
  }

  /** Waits for an event of that kind; null for the answer to open. */
  private void await(LockEvent.KindCase kind) throws InterruptedException {
    SessionResponse response;
    do {
      response = responses.take();
    } while (response.hasHeartbeatAck());
    boolean isIt =
        kind == null ? response.hasOpened() : response.getEvent().getEvent().getKindCase() == kind;
    if (!isIt) {
      throw new IllegalStateException(response + " came in the place of " + kind);
    }
  }

  @Override
  public void onNext(SessionResponse response) {
    responses.add(response);
  }

  @Override
  public void onError(Throwable error) {
    responses.add(END);
  }

  @Override
  public void onCompleted() {
    responses.add(END);
  }
}
