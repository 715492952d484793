package io.github.lockbroker.testing;

import io.github.lockbroker.LostReason;
import io.github.lockbroker.internal.Daemons;
import io.grpc.Server;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/**
 * A broker for tests. It runs in the test's own process, keeps its locks and leases in memory, and
 * grants, refuses and loses them on command.
 *
 * <pre>{@code
 * try (var broker = new TestBroker();
 *     var client = LockBroker.connect(broker.url())) {
 *   broker.take("reports", "somebody"); // now somebody else has it
 *   broker.lose("nightly", LostReason.EXPIRED); // the holder's onLost is called
 * }
 * }</pre>
 *
 * <p>It speaks the protocol as far as this client uses it. It checks no names and no bounds, and
 * nothing that it says is kept: for tests of a whole system, start a real broker with {@code
 * --store memory}.
 */
public final class TestBroker implements AutoCloseable {
  private final Server server;
  private final long ttlMillis;

  /** Ends waits and lingers. */
  private final ScheduledExecutorService timer =
      Executors.newSingleThreadScheduledExecutor(Daemons.named("lockbroker-test"));

  // This broker's monitor guards these, and all that they refer to.

  /** All that were ever asked for. */
  private final Map<String, TestLock> locks = new HashMap<>();

  private final Set<TestSession> sessions = new HashSet<>();
  private boolean isSilent;
  private long lastToken;

  /** Starts a broker on a free port of the loopback address, with a ttl of 15 s. */
  public TestBroker() {
    this(Duration.ofSeconds(15));
  }

  /**
   * Starts a broker on a free port of the loopback address.
   *
   * @param ttl that of all locks, whatever clients ask for. With 300 ms a test sees quickly what a
   *     client does when it hears nothing
   */
  public TestBroker(Duration ttl) {
    ttlMillis = ttl.toMillis();
    InetSocketAddress address = new InetSocketAddress(InetAddress.getLoopbackAddress(), 0);
    try {
      server =
          NettyServerBuilder.forAddress(address).addService(new TestService(this)).build().start();
    } catch (IOException e) {
      throw new UncheckedIOException("the test's broker finds no port to listen on", e);
    }
  }

  /**
   * Returns where it listens.
   *
   * @return as {@link io.github.lockbroker.LockBroker#connect(String)} takes it
   */
  public String url() {
    return "http://127.0.0.1:" + server.getPort();
  }

  /**
   * Ends the broker at once, as a crash does. A client finds its streams broken, and its locks lost
   * when they have run out.
   */
  @Override
  public void close() {
    server.shutdownNow();
    timer.shutdownNow();
  }

  /**
   * Gives the lock to somebody else. If a client holds it, that client loses it.
   *
   * @param name the lock
   * @param owner the label of somebody else
   */
  public synchronized void take(String name, String owner) {
    Objects.requireNonNull(owner);
    TestLock lock = lock(name);
    lock.lose(LostReason.TAKEN_OVER);
    lock.lingersUntil = 0;
    lock.holder = newGrant(owner);
  }

  /**
   * Releases the lock, whoever has it. The first who waits for it gets it. A client that held it
   * loses it.
   *
   * @param name the lock
   */
  public synchronized void free(String name) {
    TestLock lock = lock(name);
    lock.lose(LostReason.GONE);
    lock.lingersUntil = 0;
    grantNext(lock);
  }

  /**
   * Makes the client that holds the lock lose it. One that has a lease finds out when it renews it.
   *
   * @param name the lock
   * @param reason what the client is told
   * @throws IllegalStateException if no client holds it
   */
  public synchronized void lose(String name, LostReason reason) {
    Objects.requireNonNull(reason);
    TestLock lock = lock(name);
    if (lock.holder == null || lock.holder.session == null) {
      throw new IllegalStateException("no client holds \"" + name + "\"");
    }
    lock.lose(reason);
    grantNext(lock);
  }

  /**
   * Makes the next request for the lock fail.
   *
   * @param name the lock
   * @param reason such as {@link io.github.lockbroker.ErrorReason#STORE_UNAVAILABLE}
   */
  public synchronized void fail(String name, String reason) {
    lock(name).failures.add(Objects.requireNonNull(reason));
  }

  /**
   * Makes the broker say nothing any more, as a network that is cut does. Clients lose their locks
   * when these have run out.
   *
   * @param isSilent false to end that
   */
  public synchronized void silence(boolean isSilent) {
    this.isSilent = isSilent;
  }

  /** Tells all clients that the broker goes away. They connect again and move their locks. */
  public synchronized void drain() {
    sessions.forEach(TestSession::drain);
  }

  /**
   * Returns the label of whoever holds the lock.
   *
   * @param name the lock
   * @return the label, which may be empty; nothing if nobody holds it
   */
  public synchronized Optional<String> holder(String name) {
    return Optional.ofNullable(lock(name).holder).map(grant -> grant.owner);
  }

  /**
   * Returns how many wait for the lock.
   *
   * @param name the lock
   * @return their number
   */
  public synchronized int waiters(String name) {
    return lock(name).waiters.size();
  }

  long ttlMillis() {
    return ttlMillis;
  }

  /** Returns the validity that a broker tells of a ttl: 13 s of 15 s. */
  long validityMillis() {
    return ttlMillis * 13 / 15;
  }

  boolean isSilent() {
    return isSilent;
  }

  synchronized void add(TestSession session) {
    sessions.add(session);
  }

  synchronized void remove(TestSession session) {
    sessions.remove(session);
  }

  TestLock lock(String name) {
    return locks.computeIfAbsent(Objects.requireNonNull(name), TestLock::new);
  }

  TestLock.Grant newGrant(String owner) {
    return new TestLock.Grant(newId(), ++lastToken, owner);
  }

  static String newId() {
    return UUID.randomUUID().toString();
  }

  /** Does something later, under the broker's monitor. */
  void later(long millis, Runnable work) {
    try {
      timer.schedule(
          () -> {
            synchronized (this) {
              work.run();
            }
          },
          millis,
          TimeUnit.MILLISECONDS);
    } catch (RejectedExecutionException e) {
      // The broker is closed, and nothing comes later.
      return;
    }
  }

  /** Gives a lock that nobody has to the first who waits. */
  void grantNext(TestLock lock) {
    if (lock.holder != null || lock.waiters.isEmpty()) {
      return;
    }
    long left = lock.lingerMillis();
    if (left > 0) {
      later(left, () -> grantNext(lock));
      return;
    }
    grant(lock, lock.waiters.remove(0));
  }

  /** Gives a lock to who asks for it. */
  void grant(TestLock lock, TestLock.Asked asked) {
    lock.holder = newGrant(asked.owner());
    lock.holder.lingerMillis = asked.lingerMillis();
    if (asked.minHoldMillis() > 0) {
      lock.holder.closedUntil = System.nanoTime() + asked.minHoldMillis() * 1_000_000;
    }
    lock.holder.isKept = asked.isKept();
    lock.holder.session = asked.session();
    lock.holder.ref = asked.ref();
    asked.session().acquired(lock, lock.holder);
  }

  /** Ends a grant that has no stream after a time, unless that is put off. */
  void holdFor(TestLock lock, TestLock.Grant grant, long millis) {
    grant.endsAt = System.nanoTime() + millis * 1_000_000;
    later(
        millis,
        () -> {
          if (lock.holder == grant && System.nanoTime() - grant.endsAt >= 0) {
            release(lock);
          }
        });
  }

  /** Ends the grant of a lock by its holder's will. */
  void release(TestLock lock) {
    if (lock.holder.lingerMillis > 0) {
      lock.lingersUntil = System.nanoTime() + lock.holder.lingerMillis * 1_000_000;
    }
    lock.drop();
    grantNext(lock);
  }
}
