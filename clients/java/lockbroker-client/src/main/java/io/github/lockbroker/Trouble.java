package io.github.lockbroker;

import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.internal.core.Failure;
import io.grpc.netty.shaded.io.netty.handler.ssl.NotSslRecordException;
import java.security.cert.CertPathBuilderException;
import java.security.cert.CertPathValidatorException;
import java.security.cert.CertificateException;
import java.security.cert.CertificateExpiredException;
import java.security.cert.CertificateNotYetValidException;
import java.util.Locale;
import javax.net.ssl.SSLException;

/** Finds out why there is no connection, or why it has ended, from what gRPC and Java say. */
final class Trouble {
  private Trouble() {}

  /**
   * Returns the reason for which the two sides cannot talk: they do not agree on TLS or on the
   * protocol, and would not the next time. Null if it is none of that.
   */
  static LockBrokerException disagreement(Endpoint endpoint, Throwable error) {
    for (Throwable cause = error; cause != null; cause = cause.getCause()) {
      if (cause instanceof LockBrokerException ours && ours.kind() == Kind.TLS) {
        return ours;
      }
      String text = String.valueOf(cause.getMessage());
      if (cause instanceof NotSslRecordException) {
        String help = endpoint.name() + " speaks no TLS; write http:// for plain text";
        return new LockBrokerException(Kind.PROTOCOL, "", help);
      }
      if (!endpoint.isTls() && text.contains("First received frame was not SETTINGS")) {
        return new LockBrokerException(Kind.PROTOCOL, "", notHttp2(endpoint, text));
      }
    }
    String why = endpoint.isTls() ? tls(error) : null;
    if (why == null) {
      return null;
    }
    String text = "with the broker at " + endpoint.name() + ": " + why + " (" + last(error) + ")";
    return new LockBrokerException(Kind.HANDSHAKE, "", text, "", null, error);
  }

  /** Reads the first bytes that came in the place of HTTP/2. An alert of TLS begins with 0x15. */
  private static String notHttp2(Endpoint endpoint, String text) {
    return endpoint.name()
        + (text.contains("first 5 bytes: 15")
            ? " speaks TLS; write https://"
            : " does not speak HTTP/2, as brokers do; check the address, or write https:// for"
                + " TLS");
  }

  /** Says what an error of TLS means and what to do; null if it is none. */
  private static String tls(Throwable error) {
    SSLException found = null;
    for (Throwable cause = error; cause != null; cause = cause.getCause()) {
      if (cause instanceof SSLException ssl) {
        found = ssl;
      }
      if (cause instanceof CertificateExpiredException
          || cause instanceof CertificateNotYetValidException) {
        return "the broker's certificate has expired or is not valid yet, or the clock of this"
            + " machine is wrong";
      }
      if (cause instanceof CertPathBuilderException
          || cause instanceof CertPathValidatorException) {
        return "no authority that this client trusts vouches for the broker; name its authority"
            + " with tlsAuthorities";
      }
      if (cause instanceof CertificateException && cause.getCause() == null) {
        return "the broker's certificate is for other names; name the broker as one of them, or"
            + " make a certificate with this one in its subjectAltName";
      }
    }
    return found == null ? null : alert(found);
  }

  private static String alert(SSLException error) {
    String text = String.valueOf(error.getMessage()).toLowerCase(Locale.ROOT);
    if (!text.contains("fatal alert")) {
      return null;
    }
    if (text.contains("certificate_required")) {
      // Java shows none that comes from another authority.
      return "the broker lets in only clients that show a certificate from an authority of its"
          + " --tls-client-ca; give one with tlsIdentity";
    }
    if (text.contains("certificate") || text.contains("decrypt") || text.contains("unknown_ca")) {
      return "the broker does not accept this client's certificate: it has expired, or comes from"
          + " no authority of the broker's --tls-client-ca";
    }
    return "the broker ends the handshake";
  }

  /** Says why there is no connection, or why it ended. */
  static Failure explain(Endpoint endpoint, Throwable error) {
    return explain(disagreement(endpoint, error), error);
  }

  /** Says why there is no connection, or why it ended; disagreement is null if it is none. */
  static Failure explain(LockBrokerException disagreement, Throwable error) {
    if (disagreement != null) {
      return new Failure(Failure.Code.HANDSHAKE, disagreement.getMessage(), "", null);
    }
    Failure failure = Wire.toFailure(error);
    if (failure.code() == Failure.Code.UNAVAILABLE && failure.reason().isEmpty()) {
      return Failure.unavailable(last(error));
    }
    return failure;
  }

  /** Returns the innermost cause, which says what happened. */
  private static String last(Throwable error) {
    Throwable last = error;
    while (last.getCause() != null) {
      last = last.getCause();
    }
    String text = last.getMessage();
    if (text == null || last instanceof Error) {
      return last.toString();
    }
    boolean wasClosed = text.contains("end of stream") || text.contains("connection closed");
    return wasClosed ? brokenText(text) : text;
  }

  /** Says why a connection that stood may have been closed. The broker has no way to say so. */
  private static String brokenText(String cause) {
    return "it was closed before an answer came ("
        + cause
        + "): the broker has as many clients as its --max-connections allows, or is ending, and its"
        + " log says which; or what listens there speaks TLS (https://)";
  }
}
