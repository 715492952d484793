package io.github.lockbroker;

import io.github.lockbroker.LockBrokerException.Kind;
import io.grpc.netty.shaded.io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslContext;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslContextBuilder;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslProvider;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.Collection;

/**
 * The files by which a client verifies its broker, and proves its own identity. They are read again
 * for every connection, so that one made after a certificate was renewed shows the new one.
 *
 * @param authorities the certificates that the broker's must come from; null: Java's own
 * @param certificate the client's certificate; null for none
 * @param key its private key; null for none
 */
record TlsFiles(Path authorities, Path certificate, Path key) {
  static final TlsFiles NONE = new TlsFiles(null, null, null);

  boolean isEmpty() {
    return equals(NONE);
  }

  /** Makes TLS settings of what the files say now. */
  SslContext read() {
    if ((certificate == null) != (key == null)) {
      throw wrong(
          "a certificate needs its key, and a key its certificate: only one of them is set", null);
    }
    // Java's own TLS says what is wrong in words that can be told on.
    SslContextBuilder builder =
        GrpcSslContexts.configure(SslContextBuilder.forClient(), SslProvider.JDK);
    if (authorities != null) {
      builder.trustManager(readAuthorities());
    }
    try {
      if (certificate != null) {
        byte[] chain = Files.readAllBytes(certificate);
        byte[] secret = Files.readAllBytes(key);
        builder.keyManager(new ByteArrayInputStream(chain), new ByteArrayInputStream(secret));
      }
      return builder.build();
    } catch (IOException | IllegalArgumentException e) {
      String which = "cannot use the certificate " + certificate + " with the key " + key;
      throw wrong(which + ", which has to be a PRIVATE KEY in PEM (PKCS #8): " + e, e);
    }
  }

  private X509Certificate[] readAuthorities() {
    try {
      byte[] pem = Files.readAllBytes(authorities);
      Collection<?> found =
          CertificateFactory.getInstance("X.509")
              .generateCertificates(new ByteArrayInputStream(pem));
      if (found.isEmpty()) {
        throw wrong(authorities + " has no certificate in PEM", null);
      }
      return found.toArray(X509Certificate[]::new);
    } catch (IOException | GeneralSecurityException e) {
      throw wrong("cannot read the authorities in " + authorities + ": " + e, e);
    }
  }

  private static LockBrokerException wrong(String text, Throwable cause) {
    return new LockBrokerException(Kind.TLS, "", text, "", null, cause);
  }
}
