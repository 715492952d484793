package io.github.lockbroker;

import io.github.lockbroker.internal.Daemons;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.MultiThreadIoEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.nio.NioIoHandler;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/**
 * The threads of a client. They are its own: what blocks a shared one must not keep heartbeats from
 * being sent. They are daemons, so that the program ends when its own threads have.
 *
 * <p>There are several pools, each with a bound and a queue: what waits in one must not hold up
 * another. A thread that has nothing to do ends after a second.
 */
final class Network {
  /** The longest time that the end of the threads may take. */
  private static final long GOODBYE_SECONDS = 2;

  /** The number of users' callbacks that run at once. {@link HeldLock#onLost} tells it. */
  static final int CALLBACKS = 64;

  /** Reads and writes all connections of the client. Nothing on it waits. */
  final EventLoopGroup loop =
      new MultiThreadIoEventLoopGroup(1, Daemons.named("lockbroker-io"), NioIoHandler.newFactory());

  /** Makes connections, which may wait for the resolver and for files. */
  final ExecutorService dials = pool("lockbroker-dial", 4);

  /** Releases locks at another broker. */
  final ExecutorService releases = pool("lockbroker-release", 16);

  /** Brings brokers the values of locks that have moved. */
  final ExecutorService values = pool("lockbroker-value", 4);

  /**
   * Interrupts users' threads. That waits for nothing, unless a thread of a user's own class does.
   */
  final ExecutorService interrupts = pool("lockbroker-interrupt", 4);

  /** Runs users' callbacks, which may still come when the client has been closed. */
  final ExecutorService callbacks = pool("lockbroker-callback", CALLBACKS);

  /** Makes a pool. After its end each work gets a thread of its own. */
  private static ExecutorService pool(String name, int threads) {
    ThreadFactory factory = Daemons.named(name);
    ThreadPoolExecutor pool =
        new ThreadPoolExecutor(
            threads,
            threads,
            1,
            TimeUnit.SECONDS,
            new LinkedBlockingQueue<>(),
            factory,
            (work, closed) -> factory.newThread(work).start());
    pool.allowCoreThreadTimeOut(true);
    return pool;
  }

  /** Ends the threads. What they have begun, they still do. */
  void close() {
    List.of(dials, releases, values, interrupts, callbacks).forEach(ExecutorService::shutdown);
    loop.shutdownGracefully(0, GOODBYE_SECONDS, TimeUnit.SECONDS)
        .awaitUninterruptibly(GOODBYE_SECONDS, TimeUnit.SECONDS);
  }
}
