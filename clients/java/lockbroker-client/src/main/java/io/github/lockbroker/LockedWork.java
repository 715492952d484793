package io.github.lockbroker;

/**
 * Work under a lock.
 *
 * @param <T> its result
 * @param <X> what it throws
 */
@FunctionalInterface
public interface LockedWork<T, X extends Exception> {
  /**
   * Does the work.
   *
   * @param lock the lock, which is held
   * @return the result
   * @throws X if it fails
   */
  T run(HeldLock lock) throws X;
}
