package io.github.lockbroker;

import java.time.Duration;
import java.util.Optional;

/**
 * A failure. {@link NotAcquiredException} and {@link LostException} are the two that a program
 * expects; {@link #kind} tells the others apart.
 */
public class LockBrokerException extends RuntimeException {
  private static final long serialVersionUID = 1;

  /** The kind of a failure, by which a program decides. */
  public enum Kind {
    /** Somebody else has the lock: a {@link NotAcquiredException}. */
    NOT_ACQUIRED("not acquired"),
    /** The lock was lost: a {@link LostException}. */
    LOST("lost"),
    /** The address of a broker is none. Nothing was sent. */
    ENDPOINT("no endpoint"),
    /** A certificate or key for TLS cannot be used. Nothing was sent. */
    TLS("cannot use TLS"),
    /**
     * The broker's certificate is not accepted here, or this client's is not accepted there. It
     * would be the same again.
     */
    HANDSHAKE("cannot agree on TLS"),
    /**
     * No broker listens there, or one side speaks TLS and the other does not. It would be the same
     * again.
     */
    PROTOCOL("not a broker's protocol"),
    /** The request is wrong, and would be again: a name, an owner or a duration out of bounds. */
    INVALID("invalid request"),
    /**
     * No broker could be reached or none answered in time, or the broker cannot reach its store.
     * Try again later.
     */
    UNAVAILABLE("unavailable"),
    /** The store is full, or the broker has as many locks or waiters as it may have. */
    EXHAUSTED("no room"),
    /** The broker does not allow it. */
    DENIED("not allowed"),
    /** An answer that a broker does not give. Is it one that listens there, of this version? */
    UNEXPECTED("unexpected answer"),
    /** The lock has been released here. */
    RELEASED("released"),
    /** The client has been closed, or has failed and logged why. */
    CLOSED("client closed");

    private final String text;

    Kind(String text) {
      this.text = text;
    }

    /**
     * Returns the kind in words.
     *
     * @return a few words, which may change
     */
    public String text() {
      return text;
    }
  }

  /** The kind. */
  private final Kind kind;

  /** The lock's name; empty where it is about no lock. */
  private final String lock;

  /** The message without kind and lock. */
  private final String text;

  /** The broker's reason; empty if no broker gave one. */
  private final String reason;

  /** The time after which another try makes sense; null if the broker said none. */
  private final Duration retryAfter;

  /** The lock whose stream is broken; null if this says no such thing. */
  private transient Hold broken;

  LockBrokerException(Kind kind, String lock, String text) {
    this(kind, lock, text, "", null, null);
  }

  LockBrokerException(
      Kind kind, String lock, String text, String reason, Duration retryAfter, Throwable cause) {
    super((lock.isEmpty() ? "" : "lock \"" + lock + "\": ") + kind.text() + ": " + text, cause);
    this.kind = kind;
    this.lock = lock;
    this.text = text;
    this.reason = reason;
    this.retryAfter = retryAfter;
  }

  /**
   * Returns the kind of the failure.
   *
   * @return the kind
   */
  public Kind kind() {
    return kind;
  }

  /**
   * Returns the lock's name.
   *
   * @return the name; empty where it is about no lock
   */
  public String lock() {
    return lock;
  }

  /**
   * Returns the broker's reason, for programs.
   *
   * @return one of {@link ErrorReason}, or of a later version; empty if no broker gave one
   */
  public String errorReason() {
    return reason;
  }

  /**
   * Returns the time after which another try makes sense.
   *
   * @return the time, if the broker said one
   */
  public Optional<Duration> retryAfter() {
    return Optional.ofNullable(retryAfter);
  }

  /** Returns a check's answer while the stream of a lock is broken. */
  static LockBrokerException broken(Hold hold) {
    String text = "the stream to the broker is broken and the lock not reattached yet";
    LockBrokerException made = new LockBrokerException(Kind.UNAVAILABLE, hold.name, text);
    made.broken = hold;
    return made;
  }

  /** Reports whether a check of this lock threw this, because its stream was broken. */
  boolean isBreakOf(Hold hold) {
    return broken == hold;
  }

  /** Returns the same about a lock, with the trace of the thread that throws it. */
  LockBrokerException about(String lock) {
    return new LockBrokerException(kind, lock, text, reason, retryAfter, getCause());
  }
}
