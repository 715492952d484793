package io.github.lockbroker;

/**
 * The reasons of failures, for programs, as a broker writes them. A reason keeps its meaning; later
 * versions may add some.
 */
public final class ErrorReason {
  /**
   * A field of the request is wrong, and would be again. {@code google.rpc.BadRequest} names it.
   */
  public static final String INVALID_FIELD = "INVALID_FIELD";

  /** The message is none of this service's, or is compressed and broken. */
  public static final String MALFORMED_MESSAGE = "MALFORMED_MESSAGE";

  /** The message is longer than 4 KiB, as it came or decompressed. */
  public static final String MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE";

  /** The message is compressed by something else than gzip. */
  public static final String UNSUPPORTED_ENCODING = "UNSUPPORTED_ENCODING";

  /** There is no such method. */
  public static final String UNKNOWN_METHOD = "UNKNOWN_METHOD";

  /** A health check names a service that does not exist. */
  public static final String UNKNOWN_SERVICE = "UNKNOWN_SERVICE";

  /** The policy knows nobody by this connection. */
  public static final String UNKNOWN_CALLER = "UNKNOWN_CALLER";

  /** The policy does not let this caller do that with this name. */
  public static final String POLICY_DENIED = "POLICY_DENIED";

  /** Over HTTP: a web page of another site asks, or for a host that is not known. */
  public static final String ORIGIN_REFUSED = "ORIGIN_REFUSED";

  /** The broker is going away. Ask another one. */
  public static final String BROKER_DRAINING = "BROKER_DRAINING";

  /**
   * The store did not answer, or not in time. What was asked for may still have been done, but for
   * a lock that was asked for: that is undone.
   */
  public static final String STORE_UNAVAILABLE = "STORE_UNAVAILABLE";

  /**
   * The store has lost its memory and grants nothing until every lock that went with it is over.
   */
  public static final String STORE_QUARANTINED = "STORE_QUARANTINED";

  /**
   * The broker does not use the store: it cannot keep locks, or other brokers use it otherwise. The
   * operator has to mend that.
   */
  public static final String STORE_REFUSED = "STORE_REFUSED";

  /** The store has no memory for another lock. */
  public static final String STORE_FULL = "STORE_FULL";

  /** The broker holds as many locks as it may ({@code --max-locks}). */
  public static final String MAX_LOCKS = "MAX_LOCKS";

  /** As many wait at the broker as may ({@code --max-waiters}). */
  public static final String MAX_WAITERS = "MAX_WAITERS";

  /** As many streams observe locks at the broker as may ({@code --max-observers}). */
  public static final String MAX_OBSERVERS = "MAX_OBSERVERS";

  /** As many calls are under way as may be ({@code --max-concurrent-rpcs}). */
  public static final String MAX_CONCURRENT_RPCS = "MAX_CONCURRENT_RPCS";

  /** As many streams are open as may be ({@code --max-streams}). */
  public static final String MAX_STREAMS = "MAX_STREAMS";

  /** The caller has as many locks here as its quota allows. */
  public static final String QUOTA_LOCKS = "QUOTA_LOCKS";

  /** As many of the caller's requests wait here as its quota allows. */
  public static final String QUOTA_WAITERS = "QUOTA_WAITERS";

  /** As many of the caller's streams observe locks here as its quota allows. */
  public static final String QUOTA_OBSERVERS = "QUOTA_OBSERVERS";

  /** The caller asks more often than its quota allows. */
  public static final String QUOTA_RATE = "QUOTA_RATE";

  /** The request did not come whole within 30 s, or a Session's {@code open} within 10 s. */
  public static final String REQUEST_INCOMPLETE = "REQUEST_INCOMPLETE";

  /** The call's deadline is over. */
  public static final String DEADLINE_OVER = "DEADLINE_OVER";

  /** The lock is lost: no renewal got through in time. */
  public static final String LOST_EXPIRED = "LOST_EXPIRED";

  /** The lock is lost: the store no longer has the grant. */
  public static final String LOST_GONE = "LOST_GONE";

  /** The lock is lost: the store has another grant in its place. */
  public static final String LOST_TAKEN_OVER = "LOST_TAKEN_OVER";

  /** The lock is lost: an operator revoked it. */
  public static final String LOST_REVOKED = "LOST_REVOKED";

  /** The Session's heartbeats were missing for so long that its locks are lost. */
  public static final String SESSION_SILENT = "SESSION_SILENT";

  /** The store does not list its keys: memcached runs with {@code -X}. */
  public static final String LIST_REFUSED = "LIST_REFUSED";

  /** The broker failed in a way of which it knows nothing more. */
  public static final String BROKER_FAULT = "BROKER_FAULT";

  private ErrorReason() {}
}
