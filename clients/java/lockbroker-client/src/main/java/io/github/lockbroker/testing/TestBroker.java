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
import java.util.OptionalInt;
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
 * <p>It grants permits of shared locks, too, each time the lowest that is free, and shares a lock
 * by {@link io.github.lockbroker.HeldLock#downgrade()}. It does not know of locks that are asked
 * for together, by {@link io.github.lockbroker.LockOption#also}, nor of several permits at once, by
 * {@link io.github.lockbroker.LockOption#weight}: it answers with the first alone, and the call
 * fails. Nor does it know of values and of those who observe: a {@link
 * io.github.lockbroker.LockOption#value} is ignored, and an update and an observation fail as
 * UNEXPECTED. It speaks the protocol as far as this client uses it. It checks no names and no
 * bounds, and nothing that it says is kept: for tests of a whole system, start a real broker with
 * {@code --store memory}.
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
   * Gives the lock to somebody else, alone. Clients that hold it lose it.
   *
   * @param name the lock
   * @param owner the label of somebody else
   */
  public synchronized void take(String name, String owner) {
    Objects.requireNonNull(owner);
    TestLock lock = lock(name);
    lock.loseAll(LostReason.TAKEN_OVER);
    lock.open();
    lock.holders.add(newGrant(owner, TestLock.ALONE));
  }

  /**
   * Releases the lock, whoever has it. The first who waits for it gets it. Clients that held it
   * lose it.
   *
   * @param name the lock
   */
  public synchronized void free(String name) {
    TestLock lock = lock(name);
    lock.loseAll(LostReason.GONE);
    lock.open();
    grantNext(lock);
  }

  /**
   * Makes the clients that hold the lock lose it. One that has a lease finds out when it renews it.
   *
   * @param name the lock
   * @param reason what the client is told
   * @throws IllegalStateException if no client holds it
   */
  public synchronized void lose(String name, LostReason reason) {
    Objects.requireNonNull(reason);
    TestLock lock = lock(name);
    if (lock.find(grant -> grant.session != null) == null) {
      throw new IllegalStateException("no client holds \"" + name + "\"");
    }
    lock.loseAll(reason);
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
   * Returns the label of whoever holds the lock. If several share it: of the first of them.
   *
   * @param name the lock
   * @return the label, which may be empty; nothing if nobody holds it
   */
  public synchronized Optional<String> holder(String name) {
    return lock(name).holders.stream().findFirst().map(grant -> grant.owner);
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

  private TestLock.Grant newGrant(String owner, int permit) {
    return new TestLock.Grant(newId(), ++lastToken, owner, permit);
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

  /** Gives what is free of a lock to those who wait, in their order. */
  void grantNext(TestLock lock) {
    while (!lock.waiters.isEmpty()) {
      OptionalInt permit = lock.free(lock.waiters.get(0));
      if (permit.isEmpty()) {
        break;
      }
      grant(lock, lock.waiters.remove(0), permit.getAsInt());
    }
    long left = lock.opensInMillis();
    if (left > 0 && !lock.waiters.isEmpty()) {
      later(left, () -> grantNext(lock));
    }
  }

  /** Gives a lock, or a permit of it, to who asks for it. */
  void grant(TestLock lock, TestLock.Asked asked, int permit) {
    TestLock.Grant grant = newGrant(asked.owner(), permit);
    grant.lingerMillis = asked.lingerMillis();
    if (asked.minHoldMillis() > 0) {
      grant.closedUntil = System.nanoTime() + asked.minHoldMillis() * 1_000_000;
    }
    grant.isKept = asked.isKept();
    grant.session = asked.session();
    grant.ref = asked.ref();
    lock.holders.add(grant);
    asked.session().acquired(lock, grant);
  }

  /** Ends a grant that has no stream after a time, unless that is put off. */
  void holdFor(TestLock lock, TestLock.Grant grant, long millis) {
    grant.endsAt = System.nanoTime() + millis * 1_000_000;
    later(
        millis,
        () -> {
          if (lock.holders.contains(grant) && System.nanoTime() - grant.endsAt >= 0) {
            release(lock, grant);
          }
        });
  }

  /** Ends a grant by its holder's will. */
  void release(TestLock lock, TestLock.Grant grant) {
    lock.drop(grant, grant.lingerMillis);
    grantNext(lock);
  }
}
