package io.github.lockbroker;

/** A lock was lost. Somebody else may have had it since. */
public final class LostException extends LockBrokerException {
  private static final long serialVersionUID = 1;

  /** The way in which it was lost. */
  private final LostReason reason;

  LostException(String lock, LostReason reason) {
    super(Kind.LOST, lock, reason.text());
    this.reason = reason;
  }

  /**
   * Returns the way in which it was lost.
   *
   * @return the reason
   */
  public LostReason reason() {
    return reason;
  }

  @Override
  LostException about(String lock) {
    return new LostException(lock, reason);
  }
}
