package io.github.lockbroker;

import java.util.OptionalInt;

/**
 * One of the locks of a {@link HeldLock}, as {@link HeldLock#locks} found it.
 *
 * @param name the lock's name
 * @param lockId the lock id, as {@link HeldLock#lockId}
 * @param fencingToken the fencing token, as {@link HeldLock#fencingToken}. Tokens of different
 *     names say nothing about each other
 * @param permit the permit, as {@link HeldLock#permit}
 */
public record GrantedLock(String name, String lockId, long fencingToken, OptionalInt permit) {
  /** Describes the lock, without its lock id. */
  @Override
  public String toString() {
    return "lock \"" + name + "\" (token " + fencingToken + ")";
  }
}
