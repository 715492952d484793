package io.github.lockbroker;

/**
 * A lock was not acquired, for a reason that is no failure: somebody else has it, mostly. Of
 * several that were asked for together, {@link #lock} names the one for which none was acquired.
 */
public final class NotAcquiredException extends LockBrokerException {
  private static final long serialVersionUID = 1;

  /** The reason. */
  private final NotAcquiredReason reason;

  /** The label of the present holder. */
  private final String owner;

  NotAcquiredException(String lock, NotAcquiredReason reason, String owner) {
    super(
        Kind.NOT_ACQUIRED,
        lock,
        reason.text() + (owner.isEmpty() ? "" : " (holder: " + owner + ")"));
    this.reason = reason;
    this.owner = owner;
  }

  /**
   * Returns the reason for which it was not acquired.
   *
   * @return the reason
   */
  public NotAcquiredReason reason() {
    return reason;
  }

  /**
   * Returns the label of the present holder.
   *
   * @return the label; empty if it has none or it is not known
   */
  public String owner() {
    return owner;
  }

  @Override
  NotAcquiredException about(String asked) {
    // Of several locks it is about another than the one that was asked for.
    return new NotAcquiredException(lock(), reason, owner);
  }
}
