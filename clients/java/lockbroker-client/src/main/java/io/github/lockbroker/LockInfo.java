package io.github.lockbroker;

import java.time.Duration;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * A lock as others see it.
 *
 * @param state the state of the lock
 * @param owner the holder's label; empty if it has none or it is not known, and for a lock that is
 *     shared: each permit has one of its own
 * @param freeWithin the lock is free this long after the broker looked, at the latest, if nobody
 *     renews it; 0 when free
 * @param remaining the time for which the given lock id stays valid, counted from when the answer
 *     came; 0 if no lock id was given, or if this broker does not keep the lock
 * @param fencingToken the holder's fencing token, if it is known
 * @param heldFor the time since the lock was granted or last reattached, if it is known. Where
 *     another broker granted it, this is as exact as the wall clocks of the two
 * @param etag names what the lock is now, for those who revoke it. It is no secret. Empty when
 *     free, and for a lock that is shared: each permit has one of its own
 * @param sharedCount the number of permits that are held, if the lock is shared, and neither a lock
 *     id nor a permit was asked about
 */
public record LockInfo(
    LockState state,
    String owner,
    Duration freeWithin,
    Duration remaining,
    OptionalLong fencingToken,
    Optional<Duration> heldFor,
    String etag,
    int sharedCount) {}
