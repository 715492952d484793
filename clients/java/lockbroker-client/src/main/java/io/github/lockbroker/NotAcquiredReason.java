package io.github.lockbroker;

/** The reason for which a lock was not acquired. */
public enum NotAcquiredReason {
  /** Somebody holds it. */
  HELD("held"),
  /** It was released a short while ago and lingers, or it was revoked and is still closed. */
  LINGERING("closed after its release or revocation"),
  /** The wait is over. */
  MAX_WAIT("not free in time"),
  /** The grant to adopt has ended, or has moved on to another lock id. */
  NOT_REATTACHABLE("no such grant, or no longer");

  private final String text;

  NotAcquiredReason(String text) {
    this.text = text;
  }

  /**
   * Returns the reason in words.
   *
   * @return a few words, which may change
   */
  public String text() {
    return text;
  }
}
