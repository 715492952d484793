package io.github.lockbroker;

/** A lock was lost. Somebody else may have had it since. */
public final class LostException extends LockBrokerException {
  private static final long serialVersionUID = 1;

  /** The way in which it was lost. */
  private final LostReason why;

  LostException(String lock, LostReason why) {
    super(Kind.LOST, lock, why.toString());
    this.why = why;
  }

  /**
   * Returns the way in which it was lost.
   *
   * @return the reason
   */
  public LostReason why() {
    return why;
  }

  @Override
  LostException about(String lock) {
    return new LostException(lock, why);
  }
}
