package io.github.lockbroker.internal.core;

/**
 * Says why a lock was not acquired, and who has it.
 *
 * @param owner the label of the present holder; empty if it has none or it is not known
 * @param name that of the lock, of several; empty otherwise
 */
public record Refusal(Reason reason, String owner, String name) {
  /** The reason for which a lock was not acquired. */
  public enum Reason {
    /** A reason that this client does not know. */
    UNKNOWN,
    /** Somebody holds it. */
    HELD,
    /** It was released a short while ago, with a linger. */
    LINGERING,
    /** The wait is over. */
    MAX_WAIT,
    /** The grant to take over has ended. */
    NOT_REATTACHABLE,
    /** The wait was cancelled. */
    CANCELLED
  }
}
