package io.github.lockbroker;

import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.internal.core.Failure;
import java.time.Duration;

/** Makes the errors that users see of the core's failures, and the other way round. */
final class Failures {
  private Failures() {}

  static LockBrokerException unavailable(String lock, String text) {
    return new LockBrokerException(Kind.UNAVAILABLE, lock, text);
  }

  static LockBrokerException unexpected(String lock, String text) {
    return new LockBrokerException(Kind.UNEXPECTED, lock, text);
  }

  static LockBrokerException closed(String lock) {
    return closed(lock, "close was called");
  }

  static LockBrokerException closed(String lock, String why) {
    return new LockBrokerException(Kind.CLOSED, lock, why);
  }

  static LockBrokerException released(String lock) {
    return new LockBrokerException(Kind.RELEASED, lock, "release or close was called");
  }

  /** Makes the error of a call, or of one lock of a Session, that failed. */
  static LockBrokerException toException(String lock, Failure failure, Throwable cause) {
    // The broker names the lock in its text, and so does this error.
    String prefix = "lock \"" + lock + "\": ";
    String text = failure.message();
    text = text.startsWith(prefix) ? text.substring(prefix.length()) : text;
    Kind kind =
        switch (failure.code()) {
          case INVALID_ARGUMENT -> Kind.INVALID;
          case UNAVAILABLE, HANDSHAKE -> Kind.UNAVAILABLE;
          case RESOURCE_EXHAUSTED -> Kind.EXHAUSTED;
          case PERMISSION_DENIED, UNAUTHENTICATED -> Kind.DENIED;
          default -> Kind.UNEXPECTED;
        };
    if (kind == Kind.UNEXPECTED) {
      text = "status " + failure.code() + ": " + text;
    }
    Duration retryAfter =
        failure.retryAfter() == null ? null : Duration.ofNanos(failure.retryAfter());
    return new LockBrokerException(kind, lock, text, failure.reason(), retryAfter, cause);
  }

  /** Tells the core of a call that failed. */
  static Failure toFailure(LockBrokerException error) {
    Failure.Code code =
        switch (error.kind()) {
          case UNAVAILABLE, HANDSHAKE, PROTOCOL, TLS -> Failure.Code.UNAVAILABLE;
          case INVALID -> Failure.Code.INVALID_ARGUMENT;
          case EXHAUSTED -> Failure.Code.RESOURCE_EXHAUSTED;
          case DENIED -> Failure.Code.PERMISSION_DENIED;
          default -> Failure.Code.INTERNAL;
        };
    return new Failure(code, error.getMessage(), error.errorReason(), null);
  }
}
