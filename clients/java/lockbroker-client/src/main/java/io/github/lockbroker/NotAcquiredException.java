package io.github.lockbroker;

/** A lock was not acquired, for a reason that is no failure: somebody else has it, mostly. */
public final class NotAcquiredException extends LockBrokerException {
  private static final long serialVersionUID = 1;

  /** The reason. */
  private final NotAcquiredReason why;

  /** The label of the present holder. */
  private final String owner;

  NotAcquiredException(String lock, NotAcquiredReason why, String owner) {
    super(Kind.NOT_ACQUIRED, lock, why + (owner.isEmpty() ? "" : " (holder: " + owner + ")"));
    this.why = why;
    this.owner = owner;
  }

  /**
   * Returns why it was not acquired.
   *
   * @return the reason
   */
  public NotAcquiredReason why() {
    return why;
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
  NotAcquiredException about(String lock) {
    return new NotAcquiredException(lock, why, owner);
  }
}
