package io.github.lockbroker.internal.core;

/**
 * A lock that is asked for.
 *
 * @param linger null for the broker's default
 * @param owner the label that others see; empty for none
 */
public record LockSpec(String name, Long linger, String owner) {}
