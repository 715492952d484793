package io.github.lockbroker.internal.core;

/**
 * A failure, as a broker or the way to it tells it.
 *
 * @param code the kind, by which a program decides
 * @param message for people
 * @param reason the broker's reason, for programs; empty if it gave none
 * @param retryAfter the time after which another try makes sense; null if the broker said none
 */
public record Failure(Code code, String message, String reason, Long retryAfter) {
  /** Makes a failure that passes: nobody answers, or cannot at the moment. */
  public static Failure unavailable(String message) {
    return new Failure(Code.UNAVAILABLE, message, "", null);
  }

  /** The kind of a failure: a status of gRPC, or one of ours. */
  public enum Code {
    CANCELLED,
    UNKNOWN,
    INVALID_ARGUMENT,
    NOT_FOUND,
    ALREADY_EXISTS,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    FAILED_PRECONDITION,
    ABORTED,
    OUT_OF_RANGE,
    UNIMPLEMENTED,
    INTERNAL,
    UNAVAILABLE,
    DATA_LOSS,
    UNAUTHENTICATED,
    /** None of gRPC's: the two sides cannot agree on TLS. */
    HANDSHAKE;

    /** Reports whether a broker that refuses something with this code would refuse it again. */
    public boolean isFinal() {
      return switch (this) {
        case INVALID_ARGUMENT, PERMISSION_DENIED, UNAUTHENTICATED, UNIMPLEMENTED, HANDSHAKE -> true;
        default -> false;
      };
    }
  }
}
