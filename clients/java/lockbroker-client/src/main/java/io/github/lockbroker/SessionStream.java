package io.github.lockbroker;

import io.github.lockbroker.internal.core.Message;
import io.github.lockbroker.v1.LockServiceGrpc;
import io.github.lockbroker.v1.SessionRequest;
import io.github.lockbroker.v1.SessionResponse;
import io.grpc.Context;
import io.grpc.stub.StreamObserver;
import java.util.concurrent.CompletableFuture;

/** A Session stream on a connection of its own. Only the session's thread uses it. */
final class SessionStream {
  final long id;
  final Broker broker;

  /** The connection, which may still be being made. */
  final CompletableFuture<Connection> connection;

  /** The moment from which a stream that is being closed waits no longer for the broker. */
  long closeBy;

  /** Sends; null before the Session is opened. gRPC takes one message at a time. */
  private StreamObserver<SessionRequest> requests;

  /** The ttl of its locks; 0 before the broker has told it. */
  private long ttl;

  SessionStream(long id, Broker broker, CompletableFuture<Connection> connection) {
    this.id = id;
    this.broker = broker;
    this.connection = connection;
  }

  /**
   * Opens the Session. It has no deadline, and none of the surrounding call: the locks would end
   * with it.
   */
  void open(SessionRequest first, StreamObserver<SessionResponse> receiver) {
    Context outer = Context.ROOT.attach();
    try {
      requests = LockServiceGrpc.newStub(connection.join().channel()).session(receiver);
    } finally {
      Context.ROOT.detach(outer);
    }
    requests.onNext(first);
  }

  boolean isOpen() {
    return requests != null;
  }

  /** Queues a message. It never waits. */
  void send(SessionRequest request) {
    requests.onNext(request);
  }

  /** Ends the sending side, which releases everything on the stream. */
  void finish() {
    requests.onCompleted();
  }

  /** Closes the connection, or gives up making it. */
  void close() {
    if (!connection.cancel(false) && !connection.isCompletedExceptionally()) {
      connection.join().close();
    }
  }

  /**
   * Ends validities a thirtieth of the ttl earlier than the broker told (docs/safety.md, A2): the
   * clock that Java can read is slewed.
   */
  Message withMargin(Message message) {
    if (message instanceof Message.Opened opened) {
      ttl = ttl == 0 ? opened.ttl() : ttl;
      long expiresAfter = Math.max(0, opened.expiresAfter() - ttl / 30);
      return new Message.Opened(opened.ttl(), expiresAfter, opened.heartbeatInterval());
    } else if (message instanceof Message.HeartbeatAck ack) {
      long expiresAfter = Math.max(0, ack.expiresAfter() - ttl / 30);
      return new Message.HeartbeatAck(ack.seq(), expiresAfter, ack.notRenewed());
    }
    return message;
  }
}
