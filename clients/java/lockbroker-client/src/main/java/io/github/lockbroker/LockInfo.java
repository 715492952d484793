package io.github.lockbroker;

import java.time.Duration;

/**
 * A lock as others see it.
 *
 * @param state the state of the lock
 * @param owner the holder's label; empty if it has none or it is not known
 * @param freeWithin the lock is free this long after the broker looked, at the latest, if nobody
 *     renews it; 0 when free
 * @param remaining the time for which the given lock id stays valid, counted from when the answer
 *     came; 0 if no lock id was given, or if this broker does not keep the lock
 */
public record LockInfo(LockState state, String owner, Duration freeWithin, Duration remaining) {}
