package io.github.lockbroker;

import io.github.lockbroker.internal.core.Moments;
import io.github.lockbroker.internal.core.Request;
import io.github.lockbroker.v1.SessionResponse;
import java.net.SocketAddress;
import java.net.UnixDomainSocketAddress;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Loads the classes that a connection needs. In a new JVM on a busy machine that takes a second or
 * more, which would count as the time that a broker takes to answer.
 */
final class Loading {
  private static final long LONGEST = 10 * Moments.SECOND;

  /** A socket that is not there: trying to connect to it loads all that a connection needs. */
  private static final String NOWHERE = "/nonexistent/lockbroker";

  private static final AtomicBoolean HAS_BEGUN = new AtomicBoolean();
  private static final CompletableFuture<Void> DONE = new CompletableFuture<>();

  private Loading() {}

  /** Loads them, if this is the first client of the program, or waits until another has. */
  static void load(Network network) throws InterruptedException {
    if (!HAS_BEGUN.compareAndSet(false, true)) {
      await();
      return;
    }
    try {
      Endpoint nowhere = Endpoint.parseAll("unix:" + NOWHERE, TlsFiles.NONE).get(0);
      SessionResponse.parseFrom(new byte[0]);
      Wire.toRequest(new Request.Open(), LONGEST).toByteArray();
      List<SocketAddress> addresses = List.of(UnixDomainSocketAddress.of(NOWHERE));
      Dial.begin(network, nowhere, TlsFiles.NONE, () -> addresses, LONGEST)
          .get(LONGEST, TimeUnit.NANOSECONDS);
    } catch (ExecutionException | TimeoutException | java.io.IOException e) {
      // It fails by design. If something is wrong, the first real connection tells it.
      return;
    } catch (RuntimeException | LinkageError e) {
      Session.LOGGER.log(System.Logger.Level.DEBUG, "loading classes", e);
    } finally {
      DONE.complete(null);
    }
  }

  /** Waits until they are loaded, and not for long. A session's thread has begun to load them. */
  static void await() throws InterruptedException {
    try {
      DONE.get(LONGEST, TimeUnit.NANOSECONDS);
    } catch (ExecutionException | TimeoutException e) {
      // Then the time counts as the broker's.
      return;
    }
  }
}
