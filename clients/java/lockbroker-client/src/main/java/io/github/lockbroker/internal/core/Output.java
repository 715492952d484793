package io.github.lockbroker.internal.core;

import java.util.List;

/** Something to do. Outputs are carried out in their order. */
public sealed interface Output {
  /** Asks for a new connection to the endpoint with that number; {@link Input.Dialled} answers. */
  record Dial(long link, int endpoint) implements Output {}

  /** Asks to send a message. */
  record Send(long link, Request request) implements Output {}

  /** Asks to close a connection, or to give up making it. Nothing of it counts any more. */
  record Hangup(long link) implements Output {}

  /**
   * A call has its lock.
   *
   * @param also the locks that it has together with that, in the order of {@link LockSpec#others}
   */
  record Granted(long key, LockGrant grant, List<LockGrant> also) implements Output {}

  /**
   * A lock has been reattached. It is the same grant, with another id.
   *
   * @param also the ids of the locks that it has together with that
   * @param permit null for a lock that is not shared
   */
  record Moved(long key, String lockId, List<String> also, Integer permit) implements Output {}

  /** A lock that was to be shared is held alone, as before. */
  record NotShared(long key, Failure failure) implements Output {}

  /** A call does not get its lock. */
  record Refused(long key, Refusal refusal) implements Output {}

  /** A call has failed, or a release. */
  record Failed(long key, Failure failure) implements Output {}

  /** A lock is no longer held. */
  record Lost(long key, Loss reason) implements Output {}

  /** A lock has been released. */
  record Released(long key) implements Output {}

  /** Asks to call Release at any broker; {@link Input.ReleasedElsewhere} answers. */
  record ReleaseElsewhere(long key, String name, String lockId) implements Output {}
}
