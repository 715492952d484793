package io.github.lockbroker;

/** The way in which a lock was lost. */
public enum LostReason {
  /** No renewal got through in time, by the broker's clock or by the client's. */
  EXPIRED("no renewal got through in time"),
  /** The store no longer has it: it was released elsewhere, or went with the store's memory. */
  GONE("the store no longer has it"),
  /** The store has another grant in its place. */
  TAKEN_OVER("another grant took its place"),
  /** An operator revoked it. */
  REVOKED("an operator revoked it"),
  /** Somebody released it by its lock id. */
  RELEASED("it was released by its lock id");

  private final String text;

  LostReason(String text) {
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
