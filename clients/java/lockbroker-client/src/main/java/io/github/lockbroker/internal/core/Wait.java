package io.github.lockbroker.internal.core;

/**
 * The way to wait for a lock.
 *
 * @param until the end of the wait; null to wait for as long as it takes
 * @param pollInterval the least time between two of the broker's polls; null for its choice
 */
public record Wait(Long until, Long pollInterval) {}
