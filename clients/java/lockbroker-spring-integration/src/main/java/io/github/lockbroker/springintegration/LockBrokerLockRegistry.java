package io.github.lockbroker.springintegration;

import io.github.lockbroker.LockBroker;
import java.util.Objects;
import java.util.concurrent.locks.Lock;
import org.springframework.integration.support.locks.LockRegistry;

/**
 * Hands out locks of lockbroker to Spring Integration: to its aggregators, its file and message
 * stores, and its {@code LockRegistryLeaderInitiator}.
 *
 * <p>The locks are those of {@link LockBroker#asLock}: reentrant for each thread, renewed by
 * themselves, and free at once when the process ends. A lock that was lost makes the next {@code
 * lock} of its holder and the last {@code unlock} throw a {@link
 * io.github.lockbroker.LostException}; the leader initiator then revokes the leadership.
 */
public final class LockBrokerLockRegistry implements LockRegistry {
  private final LockBroker client;
  private final String prefix;

  /**
   * Makes a registry whose locks are named as their keys.
   *
   * @param client the client, which the registry does not close
   */
  public LockBrokerLockRegistry(LockBroker client) {
    this(client, "");
  }

  /**
   * Makes a registry.
   *
   * @param client the client, which the registry does not close
   * @param prefix is put before each key, to tell this program's locks from others'. Together they
   *     have up to 128 bytes
   */
  public LockBrokerLockRegistry(LockBroker client, String prefix) {
    this.client = Objects.requireNonNull(client);
    this.prefix = Objects.requireNonNull(prefix);
  }

  /**
   * Returns the lock of a key.
   *
   * @param lockKey is named by its {@code toString()}, which must be the same in all programs
   * @return the lock; the same for the same key while somebody uses it
   */
  @Override
  public Lock obtain(Object lockKey) {
    // Without this check, null would be the lock "null".
    return client.asLock(prefix + Objects.requireNonNull(lockKey));
  }
}
