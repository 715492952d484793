package io.github.lockbroker.internal.core;

/**
 * Tells what a lock is granted with.
 *
 * @param permit null for a lock that is not shared
 */
public record LockGrant(String lockId, long fencingToken, Integer permit) {}
