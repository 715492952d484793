package io.github.lockbroker;

import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.MultiThreadIoEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.nio.NioIoHandler;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/**
 * The threads of a client. They are its own: what blocks a shared one must not keep heartbeats from
 * being sent. They are daemons, so that the program ends when its own threads have.
 */
final class Network {
  /** The longest time that the end of the threads may take. */
  private static final long GOODBYE_SECONDS = 2;

  /** Reads and writes all connections of the client. Nothing on it waits. */
  final EventLoopGroup loop =
      new MultiThreadIoEventLoopGroup(1, factory("lockbroker-io"), NioIoHandler.newFactory());

  /**
   * Runs what may wait: the resolver, releases at another broker, and users' callbacks, which may
   * still come when the client has been closed.
   */
  final ExecutorService threads =
      new ThreadPoolExecutor(
          0,
          Integer.MAX_VALUE,
          1,
          TimeUnit.SECONDS,
          new SynchronousQueue<>(),
          factory("lockbroker-work"),
          (work, closed) -> factory("lockbroker-work").newThread(work).start());

  /** Makes daemons that inherit nothing from the thread that happens to need one first. */
  static ThreadFactory factory(String name) {
    return work -> {
      Thread thread = new Thread(null, work, name, 0, false);
      thread.setDaemon(true);
      return thread;
    };
  }

  /** Ends the threads. What they have begun, they still do. */
  void close() {
    threads.shutdown();
    loop.shutdownGracefully(0, GOODBYE_SECONDS, TimeUnit.SECONDS)
        .awaitUninterruptibly(GOODBYE_SECONDS, TimeUnit.SECONDS);
  }
}
