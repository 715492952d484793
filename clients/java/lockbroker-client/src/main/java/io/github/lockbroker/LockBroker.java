package io.github.lockbroker;

import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.internal.Clock;
import io.github.lockbroker.internal.core.Input;
import io.github.lockbroker.internal.core.LockSpec;
import io.github.lockbroker.internal.core.Moments;
import io.github.lockbroker.v1.GetLockRequest;
import io.github.lockbroker.v1.GetLockResponse;
import java.lang.System.Logger.Level;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.Lock;

/**
 * The client of lockbroker, a service that hands out named locks. Any thread may use it, many at
 * once; one client per program is enough.
 *
 * <pre>{@code
 * try (var client = LockBroker.connect("unix:/run/lockbroker/lb.sock");
 *     var lock = client.lock("reports", Wait.atMost(Duration.ofSeconds(10)));
 *     var interrupts = lock.interruptOnLoss()) {
 *   work(lock.fencingToken());
 *   lock.check();
 * }
 * }</pre>
 *
 * <p>All locks of a client share one stream to a broker. When the process ends, in whatever way,
 * the stream ends and the locks are released. While the process lives, the client sends heartbeats.
 * When the broker goes away or falls silent, the client moves its locks to another broker, and they
 * are not free in between.
 *
 * <p>A lock over a network is advisory: a holder that is stopped for longer than its lock's ttl
 * wakes up without the lock. Let whatever must not be corrupted check the fencing token, {@link
 * HeldLock#fencingToken}.
 */
public final class LockBroker implements AutoCloseable {
  /** The place where a broker listens unless it is told otherwise. */
  private static final String DEFAULT_SERVER = "http://127.0.0.1:28551";

  private static final Duration DEFAULT_ANSWER_TIMEOUT = Duration.ofSeconds(5);

  private final Network network;
  private final Brokers brokers;
  private final Session session;
  private final String owner;
  private final long answerTimeout;
  private final AtomicLong lastKey = new AtomicLong();
  private final LocalLocks localLocks = new LocalLocks(this);
  private final Leases leases;

  /** The ttl of all locks; null for the broker's. */
  private final Long ttl;

  private LockBroker(Builder builder, List<Endpoint> endpoints, TlsFiles files) {
    this.network = new Network();
    this.owner = builder.owner;
    this.answerTimeout = Wire.nanos(builder.answerTimeout);
    this.brokers = new Brokers(endpoints, files, network, answerTimeout);
    this.ttl = Wire.nanos(builder.ttl);
    this.session = new Session(brokers, network, ttl, answerTimeout);
    this.leases = new Leases(brokers, network, answerTimeout);
    if (builder.releaseAtExit) {
      AtExit.add(session);
    }
  }

  /**
   * Makes a client of the brokers that the environment names, as the command line does:
   * LOCKBROKER_SERVER (by default {@code http://127.0.0.1:28551}), LOCKBROKER_CLIENT_TLS_CA,
   * LOCKBROKER_CLIENT_TLS_CERT and LOCKBROKER_CLIENT_TLS_KEY.
   *
   * @return the client, which connects only when it is first asked for something
   * @throws LockBrokerException of the kind ENDPOINT or TLS
   */
  public static LockBroker connect() {
    return builder().connect();
  }

  /**
   * Makes a client of the brokers at server.
   *
   * @param server as {@link Builder#server} takes it
   * @return the client, which connects only when it is first asked for something
   * @throws LockBrokerException of the kind ENDPOINT
   */
  public static LockBroker connect(String server) {
    return builder().server(server).connect();
  }

  /**
   * Makes a client with settings.
   *
   * @return the settings, each at its default
   */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Waits for a lock until it is granted or the thread is interrupted. It waits through a broker
   * that goes away, at the next one, and through a store that is away. A thread that is interrupted
   * leaves the queue at once.
   *
   * @param name 1 to 128 bytes without control characters
   * @param options properties of the lock
   * @return the lock, to be closed
   * @throws InterruptedException if the thread is interrupted; then nothing is held
   * @throws LockBrokerException of another kind than NOT_ACQUIRED
   */
  public HeldLock lock(String name, LockOption... options) throws InterruptedException {
    return lock(name, Wait.forever(), options);
  }

  /**
   * Waits for a lock as {@link #lock(String, LockOption...)} does, for a limited time. A wait that
   * is shorter than {@link Builder#answerTimeout} may take that long to find out that there is no
   * broker.
   *
   * @param name 1 to 128 bytes without control characters
   * @param wait the way to wait
   * @param options properties of the lock
   * @return the lock, to be closed
   * @throws NotAcquiredException if the wait is over
   * @throws InterruptedException if the thread is interrupted; then nothing is held
   * @throws LockBrokerException of another kind
   */
  public HeldLock lock(String name, Wait wait, LockOption... options) throws InterruptedException {
    return await(wanted(name, waiting(wait), "", options));
  }

  /**
   * Asks for a lock, once.
   *
   * @param name 1 to 128 bytes without control characters
   * @param options properties of the lock
   * @return the lock, to be closed; empty if somebody else has it
   * @throws InterruptedException if the thread is interrupted; then nothing is held
   * @throws LockBrokerException of another kind than NOT_ACQUIRED
   */
  public Optional<HeldLock> tryLock(String name, LockOption... options)
      throws InterruptedException {
    try {
      return Optional.of(await(wanted(name, null, "", options)));
    } catch (NotAcquiredException e) {
      return Optional.empty();
    }
  }

  /**
   * Takes over the grant that a lock id names, from whoever holds it: another process, say, that
   * has handed it on. Its fencing token and its linger stay. The former holder is told that it has
   * lost the lock.
   *
   * <p>The lock id of a lease makes the lease a lock. To go on with it as a lease, use {@link
   * #adoptLease}.
   *
   * @param name the lock's name
   * @param lockId from {@link HeldLock#lockId}
   * @param options {@link LockOption#keepOnDisconnect}, if it is wanted: the others stay as they
   *     were granted
   * @return the lock, to be closed
   * @throws NotAcquiredException if the grant has ended, or has moved on to another lock id
   * @throws InterruptedException if the thread is interrupted; then the grant may have ended
   * @throws LockBrokerException of another kind
   */
  public HeldLock adopt(String name, String lockId, LockOption... options)
      throws InterruptedException {
    if (lockId.isEmpty()) {
      throw new LockBrokerException(Kind.INVALID, name, "there is no lock id to adopt");
    }
    Bounds.check(name, "lock id", lockId);
    return await(wanted(name, null, lockId, options));
  }

  /**
   * Takes a lock as a lease: a lock that stands for its ttl, without a stream. It is for work that
   * goes on where this process does not: see {@link Lease#renew} and {@link #adoptLease}. Neither
   * the close of this client nor the end of the process releases it.
   *
   * <p>It asks once, unless {@link LeaseOption#waitAtMost} says otherwise. If no answer comes, the
   * same request is made again, at the next broker too, for up to {@link Builder#answerTimeout}
   * beyond the wait: it never takes the lock twice.
   *
   * @param name 1 to 128 bytes without control characters
   * @param options properties of the lease
   * @return the lease, to be released, or renewed for as long as it is wanted
   * @throws NotAcquiredException if the lock is not free, or the wait is over
   * @throws InterruptedException if the thread is interrupted; then nothing is held
   * @throws LockBrokerException of the kind UNAVAILABLE if no broker answers: the lock may stand
   *     for its ttl then, and nobody has it; or of another kind
   */
  public Lease lease(String name, LeaseOption... options) throws InterruptedException {
    Bounds.check(name);
    Leases.Terms terms = new Leases.Terms(new LockSpec(name, null, owner), ttl, 0);
    for (LeaseOption option : options) {
      terms = option.set(terms);
    }
    Bounds.check(terms.spec());
    return leases.acquire(terms);
  }

  /**
   * Goes on with a lease that a lock id names: that of another process, say. Renews it at once. Its
   * former holder is not told, and its fencing token is not known here.
   *
   * @param name the lock's name
   * @param lockId from {@link Lease#lockId}
   * @return the lease, to be released, or renewed for as long as it is wanted
   * @throws LostException if the lease is lost
   * @throws InterruptedException if the thread is interrupted; the lease is as good as before then
   * @throws LockBrokerException of the kind UNAVAILABLE if no broker answers; or of another kind
   */
  public Lease adoptLease(String name, String lockId) throws InterruptedException {
    Bounds.check(name);
    Bounds.check(name, "lock id", lockId);
    return leases.adopt(name, lockId);
  }

  /**
   * Works for as long as it takes under a lock: waits for the lock without end, and runs work in
   * this thread. If the lock is lost meanwhile, interrupts the thread; if work then throws, logs
   * what it throws at the level DEBUG, waits for the lock again and runs work anew. For a leader,
   * say, that is to be one as long as the program runs.
   *
   * <p>If work throws what {@link HeldLock#check} of this lock throws while the stream to the
   * broker is broken, waits for the reattach and runs work anew under the same lock; if the lock is
   * lost instead, waits for it again.
   *
   * <p>An interrupt by the program ends it: work throws InterruptedException, and so does this.
   * Only one that comes between the interrupt of a loss and the moment at which work takes that
   * cannot be told from it.
   *
   * @param <T> the result of work
   * @param <X> what work throws
   * @param name 1 to 128 bytes without control characters
   * @param work the work, which may be run several times
   * @param options properties of the lock
   * @return the result of work
   * @throws X if work throws it while the lock is held, or after an interrupt by the program
   * @throws LostException if the lock was lost and work returned all the same: its last step may
   *     not have been under the lock
   * @throws InterruptedException if the thread is interrupted while it waits for the lock, or for
   *     its reattach
   */
  public <T, X extends Exception> T hold(String name, LockedWork<T, X> work, LockOption... options)
      throws X, InterruptedException {
    // Before it waits for the lock.
    Objects.requireNonNull(work);
    HeldLock lock = lock(name, options);
    while (true) {
      Interruption interruption = new Interruption();
      OnLost interrupts = lock.interruptOnLoss(interruption);
      T result;
      try {
        result = work.run(lock);
      } catch (Exception e) {
        boolean wasInterrupted = isInterrupt(e);
        boolean byTheLoss = interruption.end(wasInterrupted);
        interrupts.close();
        if (!wasInterrupted && lock.isBreak(e) && isHeldAgain(lock)) {
          Session.LOGGER.log(Level.DEBUG, "work under a lock that has been reattached since", e);
          continue;
        }
        if (wasLost(lock) && (byTheLoss || !wasInterrupted)) {
          Session.LOGGER.log(Level.DEBUG, "work under a lost lock", e);
          lock = lock(name, options);
          continue;
        }
        throw e;
      } catch (Error e) {
        interruption.end(false);
        wasLost(lock);
        throw e;
      }
      interruption.end(false);
      lock.close();
      return result;
    }
  }

  /** Reports whether work throws this because its thread was interrupted. */
  private static boolean isInterrupt(Throwable error) {
    for (Throwable cause = error; cause != null; cause = cause.getCause()) {
      if (cause instanceof InterruptedException) {
        return true;
      }
    }
    return false;
  }

  /** Waits for the reattach of a lock, or its loss. Closes the lock if it cannot. */
  private static boolean isHeldAgain(HeldLock lock) throws InterruptedException {
    try {
      lock.awaitHeld();
      return true;
    } catch (LostException e) {
      return false;
    } catch (InterruptedException | LockBrokerException e) {
      wasLost(lock);
      throw e;
    }
  }

  /** Closes the lock of work that has failed. Reports whether it had been lost. */
  private static boolean wasLost(HeldLock lock) {
    try {
      lock.close();
      return false;
    } catch (LostException e) {
      return true;
    }
  }

  /**
   * Returns a lock for code that wants one of Java's own. It is reentrant: a thread that has it may
   * lock it again, and has to unlock it as often. Only the last unlock releases it. It is the same
   * for all callers of this client and this name.
   *
   * <p>A lost lock shows when it is locked again and when it is unlocked for the last time: both
   * throw {@link LostException}. The unlock has then unlocked it, for other threads of this
   * program, too. There are no conditions.
   *
   * <p>{@code tryLock} with a time waits for that time. If no broker answers, it takes up to {@link
   * Builder#answerTimeout} more, and throws as UNAVAILABLE.
   *
   * <p>While the stream to the broker is broken, a thread that has the lock and locks it again
   * waits for the reattach; {@code tryLock} throws as UNAVAILABLE.
   *
   * @param name 1 to 128 bytes without control characters
   * @return the lock
   */
  public Lock asLock(String name) {
    return localLocks.get(name);
  }

  /**
   * Releases the grant that a lock id names, whoever holds it and at whichever broker. Its holder,
   * if there is one, is told. If the grant has ended, changes nothing and says so.
   *
   * @param name the lock's name
   * @param lockId from {@link HeldLock#lockId}
   * @return what it did
   * @throws InterruptedException if the thread is interrupted; then the release may still happen
   * @throws LockBrokerException of the kind UNAVAILABLE if no broker answers in time, and then the
   *     release may still happen; INVALID if it is no lock id; or of another kind
   */
  public ReleaseOutcome release(String name, String lockId) throws InterruptedException {
    Bounds.check(name);
    Bounds.check(name, "lock id", lockId);
    return brokers.release(name, lockId);
  }

  /**
   * Looks at a lock without touching it.
   *
   * @param name the lock's name
   * @return what a broker knows of it
   * @throws InterruptedException if the thread is interrupted
   * @throws LockBrokerException if no broker answers, or says that it cannot
   */
  public LockInfo get(String name) throws InterruptedException {
    return get(name, "");
  }

  /**
   * Looks at a lock without touching it, and at one grant of it.
   *
   * @param name the lock's name
   * @param lockId if it names the present grant and the broker keeps that, the answer says for how
   *     long it is valid
   * @return what a broker knows of it
   * @throws InterruptedException if the thread is interrupted
   * @throws LockBrokerException if no broker answers, or says that it cannot
   */
  public LockInfo get(String name, String lockId) throws InterruptedException {
    Bounds.check(name);
    Bounds.check(name, "lock id", lockId);
    return look(GetLockRequest.newBuilder().setName(name).setLockId(lockId).build());
  }

  /**
   * Looks at one permit of a lock that is shared. {@link #get(String)} tells how many are held.
   *
   * @param name the lock's name
   * @param permit 0 to 4,095
   * @return what a broker knows of it
   * @throws InterruptedException if the thread is interrupted
   * @throws LockBrokerException of the kind INVALID if there is no such permit; if no broker
   *     answers, or says that it cannot
   */
  public LockInfo getPermit(String name, int permit) throws InterruptedException {
    Bounds.check(name);
    return look(GetLockRequest.newBuilder().setName(name).setPermit(permit).build());
  }

  private LockInfo look(GetLockRequest request) throws InterruptedException {
    String name = request.getName();
    long sent = Clock.now();
    GetLockResponse answer = brokers.call(name, stub -> stub.getLock(request));
    LockState state =
        switch (answer.getState()) {
          case STATE_FREE -> LockState.FREE;
          case STATE_HELD -> LockState.HELD;
          case STATE_LINGERING -> LockState.LINGERING;
          case STATE_REVOKED -> LockState.REVOKED;
          default -> throw Failures.unexpected(name, "a lock without a state");
        };
    Long free = Wire.nanos(answer.hasFreeWithin(), answer.getFreeWithin());
    Long expires = Wire.nanos(answer.hasExpiresAfterRequest(), answer.getExpiresAfterRequest());
    Long heldFor = Wire.nanos(answer.hasHeldFor(), answer.getHeldFor());
    long token = answer.getFencingToken();
    return new LockInfo(
        state,
        answer.getOwner(),
        Duration.ofNanos(free == null ? 0 : free),
        Duration.ofNanos(expires == null ? 0 : Clock.remaining(Moments.after(sent, expires))),
        token > 0 ? OptionalLong.of(token) : OptionalLong.empty(),
        Optional.ofNullable(heldFor).map(Duration::ofNanos),
        answer.getEtag(),
        answer.getSharedCount());
  }

  /**
   * Observes a lock: tells who has it, with which value, and whenever that changes. For those who
   * follow a leader, say.
   *
   * <pre>{@code
   * try (var leader = client.observe("leader")) {
   *   while (true) {
   *     Observed seen = leader.next();
   *     // seen.state(), seen.value(), seen.fencingToken()
   *   }
   * }
   * }</pre>
   *
   * @param name 1 to 128 bytes without control characters
   * @return what tells it, to be closed. It asks nobody before its first call
   */
  public Observation observe(String name) {
    Bounds.check(name);
    return new Observation(brokers, name);
  }

  /**
   * Releases everything that the client holds, ends all its calls, and closes its connections.
   * Waits until a broker has confirmed the releases, for {@link Builder#answerTimeout} at most, and
   * a moment for the connections. It may be called again.
   */
  @Override
  public void close() {
    brokers.endCalls();
    session.close(answerTimeout);
    session.awaitEnd();
    brokers.close();
    network.close();
  }

  /** Waits for a lock though the thread is interrupted; then it stays interrupted. */
  HeldLock lockUninterruptibly(String name, Wait wait) {
    Input.Acquire wanted = wanted(name, wait == null ? null : waiting(wait), "");
    CompletableFuture<Session.Grant> answer = session.begin(wanted);
    return Uninterrupted.run(() -> guard(wanted, answer));
  }

  private HeldLock await(Input.Acquire wanted) throws InterruptedException {
    if (Thread.interrupted()) {
      throw new InterruptedException();
    }
    try {
      return guard(wanted, session.begin(wanted));
    } catch (InterruptedException e) {
      // If a grant is on its way, it is released too.
      session.giveUp(wanted.key());
      throw e;
    }
  }

  private HeldLock guard(Input.Acquire wanted, CompletableFuture<Session.Grant> answer)
      throws InterruptedException {
    String name = wanted.spec().name();
    try {
      return new HeldLock(session, wanted, answer.get());
    } catch (ExecutionException e) {
      throw ((LockBrokerException) e.getCause()).about(name);
    }
  }

  private Input.Acquire wanted(
      String name,
      io.github.lockbroker.internal.core.Wait waiting,
      String adopt,
      LockOption... options) {
    Bounds.check(name);
    LockSpec spec = new LockSpec(name, null, owner);
    for (LockOption option : options) {
      spec = option.set(spec);
    }
    Bounds.check(spec);
    if (!adopt.isEmpty() && spec.weight() > 1) {
      String why = "a weight is for permits that are asked for, and this grant has its own";
      throw new LockBrokerException(LockBrokerException.Kind.INVALID, name, why);
    }
    return new Input.Acquire(lastKey.incrementAndGet(), spec, waiting, adopt);
  }

  /** Returns the way to wait, from now; null to ask once. */
  private static io.github.lockbroker.internal.core.Wait waiting(Wait wait) {
    Long limit = Wire.nanos(wait.limit());
    if (limit != null && limit <= 0) {
      return null;
    }
    Long until = limit == null ? null : (Long) Moments.after(Clock.now(), limit);
    return new io.github.lockbroker.internal.core.Wait(until, Wire.nanos(wait.pollInterval()));
  }

  /** Settings of a client. */
  public static final class Builder {
    private String server;
    private Duration ttl;
    private String owner = "";
    private Duration answerTimeout = DEFAULT_ANSWER_TIMEOUT;
    private Path authorities;
    private Path certificate;
    private Path key;
    private boolean releaseAtExit;

    private Builder() {}

    /**
     * Sets where the brokers listen.
     *
     * @param server {@code http://HOST:PORT}, {@code https://HOST:PORT}, {@code HOST:PORT} or
     *     {@code unix:/PATH}. Several brokers of one store, with commas between them, are asked in
     *     turn: one that does not answer costs its share of the time, and no more. Default: what
     *     the environment says, with the files for TLS
     * @return this
     */
    public Builder server(String server) {
      this.server = Objects.requireNonNull(server);
      return this;
    }

    /**
     * Sets the ttl of all locks of the client: for so long a lock outlives a holder that falls
     * silent.
     *
     * @param ttl 5 s up to the broker's --max-ttl, to the millisecond. Default: the broker's, 15 s
     * @return this
     */
    public Builder ttl(Duration ttl) {
      this.ttl = Objects.requireNonNull(ttl);
      return this;
    }

    /**
     * Sets the label of all locks that have none of their own. It is shown to others who ask for
     * the lock.
     *
     * @param label up to 128 bytes without control characters. Default: none
     * @return this
     */
    public Builder owner(String label) {
      this.owner = Objects.requireNonNull(label);
      return this;
    }

    /**
     * Sets the longest time that a broker's answer may take, connecting included, beyond the wait
     * that was asked for. After that a call fails as UNAVAILABLE.
     *
     * @param timeout more than 0. Default: 5 s
     * @return this
     */
    public Builder answerTimeout(Duration timeout) {
      this.answerTimeout = Objects.requireNonNull(timeout);
      return this;
    }

    /**
     * Sets whether a shutdown hook releases all locks of the client when the program ends, for up
     * to a second. Without it the system closes the connection when the process is gone.
     *
     * <p>Java runs all hooks at once, and other threads go on meanwhile: say yes only if nothing
     * works under a lock once the program is ending. A server that finishes its tasks in a hook of
     * its own would do so without the locks.
     *
     * @param isWanted default: false
     * @return this
     */
    public Builder releaseAtExit(boolean isWanted) {
      this.releaseAtExit = isWanted;
      return this;
    }

    /**
     * Sets the authorities that may sign the broker's certificate, for an https:// endpoint.
     *
     * @param file in PEM; it is read again for every connection. Default: those that Java trusts
     * @return this
     */
    public Builder tlsAuthorities(Path file) {
      this.authorities = Objects.requireNonNull(file);
      return this;
    }

    /**
     * Sets the client's certificate and its private key, for an https:// endpoint. Both are read
     * again for every connection. Default: none.
     *
     * @param certificate in PEM, with those that lead to its authority
     * @param key in PEM, as PRIVATE KEY (PKCS #8)
     * @return this
     */
    public Builder tlsIdentity(Path certificate, Path key) {
      this.certificate = Objects.requireNonNull(certificate);
      this.key = Objects.requireNonNull(key);
      return this;
    }

    /**
     * Makes the client.
     *
     * @return the client, which connects only when it is first asked for something
     * @throws LockBrokerException of the kind ENDPOINT, TLS or INVALID
     */
    public LockBroker connect() {
      if (answerTimeout.isNegative() || answerTimeout.isZero()) {
        String text = "an answer timeout of " + answerTimeout + " leaves no time for an answer";
        throw new LockBrokerException(Kind.INVALID, "", text);
      }
      String where = server;
      if (where == null) {
        where = environment("LOCKBROKER_SERVER", DEFAULT_SERVER, Kind.ENDPOINT);
        authorities = file("LOCKBROKER_CLIENT_TLS_CA", authorities);
        certificate = file("LOCKBROKER_CLIENT_TLS_CERT", certificate);
        key = file("LOCKBROKER_CLIENT_TLS_KEY", key);
      }
      TlsFiles files = new TlsFiles(authorities, certificate, key);
      List<Endpoint> endpoints = Endpoint.parseAll(where, files);
      if (!files.isEmpty()) {
        // Read again for every connection; what is wrong now is told now.
        files.read();
      }
      return new LockBroker(this, endpoints, files);
    }

    private static Path file(String variable, Path set) {
      String value = environment(variable, null, Kind.TLS);
      return set != null || value == null ? set : Path.of(value);
    }

    /**
     * Reads a variable. One that is set and empty is an error: without it, other locks would be
     * taken than the others take.
     */
    private static String environment(String variable, String otherwise, Kind kind) {
      String value = System.getenv(variable);
      if (value != null && value.isBlank()) {
        String text = variable + " is empty: unset it, or give it a value";
        throw new LockBrokerException(kind, "", text);
      }
      return value == null ? otherwise : value;
    }
  }
}
