package io.github.lockbroker.shedlock;

import io.github.lockbroker.HeldLock;
import io.github.lockbroker.LockBroker;
import io.github.lockbroker.LockBrokerException;
import io.github.lockbroker.internal.Daemons;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import net.javacrumbs.shedlock.core.ExtensibleLockProvider;
import net.javacrumbs.shedlock.core.LockConfiguration;
import net.javacrumbs.shedlock.core.SimpleLock;
import net.javacrumbs.shedlock.support.LockException;

/**
 * Locks ShedLock's tasks on lockbroker.
 *
 * <p>A lock is held while its task runs and its process lives, for {@code lockAtMostFor} at most.
 * Unlike with a database, it is free at once when the process ends, so {@code lockAtMostFor} may be
 * long: it only ends a task that hangs. A task that ends before {@code lockAtLeastFor} keeps its
 * lock until then, as long as its process lives and the client is open.
 *
 * <p>A lock that was lost while its task ran makes {@code unlock} throw a {@link
 * io.github.lockbroker.LostException}: another process may have run the task, too.
 */
public final class LockBrokerLockProvider implements ExtensibleLockProvider {
  /** Releases may have to wait for a broker; these do not wait for one another. */
  private static final int RELEASES_AT_ONCE = 4;

  private final LockBroker client;

  /** Ends locks at their time. */
  private final ScheduledThreadPoolExecutor timer =
      new ScheduledThreadPoolExecutor(RELEASES_AT_ONCE, Daemons.named("lockbroker-shedlock"));

  /**
   * Makes a provider.
   *
   * @param client the client, which the provider does not close
   */
  public LockBrokerLockProvider(LockBroker client) {
    this.client = Objects.requireNonNull(client);
    timer.setKeepAliveTime(1, TimeUnit.SECONDS);
    timer.allowCoreThreadTimeOut(true);
    timer.setRemoveOnCancelPolicy(true);
  }

  /**
   * Asks for a lock, once.
   *
   * @param configuration the name and the times
   * @return the lock; empty if somebody else has it
   * @throws LockBrokerException if no broker answers, or says that it cannot
   */
  @Override
  public Optional<SimpleLock> lock(LockConfiguration configuration) {
    try {
      Optional<HeldLock> lock = client.tryLock(configuration.getName());
      return lock.map(held -> new Lease(configuration, held, timer));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new LockException("interrupted", e);
    }
  }
}
