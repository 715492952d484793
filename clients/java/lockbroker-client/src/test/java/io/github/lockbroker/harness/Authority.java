package io.github.lockbroker.harness;

import java.io.IOException;
import java.io.StringWriter;
import java.math.BigInteger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.Provider;
import java.security.spec.ECGenParameterSpec;
import java.time.Duration;
import java.time.Instant;
import java.util.Date;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.asn1.x509.BasicConstraints;
import org.bouncycastle.asn1.x509.ExtendedKeyUsage;
import org.bouncycastle.asn1.x509.Extension;
import org.bouncycastle.asn1.x509.GeneralName;
import org.bouncycastle.asn1.x509.GeneralNames;
import org.bouncycastle.asn1.x509.KeyPurposeId;
import org.bouncycastle.cert.jcajce.JcaX509v3CertificateBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.openssl.jcajce.JcaPEMWriter;
import org.bouncycastle.openssl.jcajce.JcaPKCS8Generator;
import org.bouncycastle.operator.OperatorCreationException;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;

/** Signs certificates. */
public final class Authority {
  /** Its keys name their public half, too; the broker wants that. */
  private static final Provider PROVIDER = new BouncyCastleProvider();

  /** Its own certificate. */
  public final Path file;

  private final Path folder;
  private final X500Name name;
  private final KeyPair keys;
  private int serial = 1;

  /** A certificate and its key. */
  public record Identity(Path certificate, Path key) {}

  /** Makes one that keeps its files in a folder. */
  public Authority(Path folder, String name) {
    this.folder = folder;
    this.name = new X500Name("CN=" + name);
    this.keys = newKeys();
    this.file = folder.resolve(name + "-ca.pem");
    try {
      var builder = builder(this.name, keys);
      builder.addExtension(Extension.basicConstraints, true, new BasicConstraints(true));
      write(file, builder);
    } catch (IOException | OperatorCreationException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Makes a certificate for the loopback address, for servers and clients. */
  public Identity sign(String name) {
    return sign(name, "localhost", "127.0.0.1");
  }

  /** Makes one for another name and address. */
  public Identity sign(String name, String host, String address) {
    KeyPair mine = newKeys();
    Identity made = new Identity(folder.resolve(name + ".pem"), folder.resolve(name + "-key.pem"));
    try {
      var builder = builder(new X500Name("CN=" + name), mine);
      GeneralName[] names = {
        new GeneralName(GeneralName.dNSName, host), new GeneralName(GeneralName.iPAddress, address)
      };
      builder.addExtension(Extension.subjectAlternativeName, false, new GeneralNames(names));
      KeyPurposeId[] uses = {KeyPurposeId.id_kp_serverAuth, KeyPurposeId.id_kp_clientAuth};
      builder.addExtension(Extension.extendedKeyUsage, false, new ExtendedKeyUsage(uses));
      write(made.certificate, builder);
      writePem(made.key, new JcaPKCS8Generator(mine.getPrivate(), null));
    } catch (IOException | OperatorCreationException e) {
      throw new IllegalStateException(e);
    }
    return made;
  }

  private JcaX509v3CertificateBuilder builder(X500Name subject, KeyPair subjects) {
    Instant now = Instant.now();
    return new JcaX509v3CertificateBuilder(
        name,
        BigInteger.valueOf(serial++),
        Date.from(now.minus(Duration.ofHours(1))),
        Date.from(now.plus(Duration.ofHours(1))),
        subject,
        subjects.getPublic());
  }

  private void write(Path file, JcaX509v3CertificateBuilder builder)
      throws IOException, OperatorCreationException {
    var signer =
        new JcaContentSignerBuilder("SHA256withECDSA")
            .setProvider(PROVIDER)
            .build(keys.getPrivate());
    writePem(file, builder.build(signer));
  }

  private static void writePem(Path file, Object what) throws IOException {
    StringWriter text = new StringWriter();
    try (JcaPEMWriter writer = new JcaPEMWriter(text)) {
      writer.writeObject(what);
    }
    Files.writeString(file, text.toString());
  }

  private static KeyPair newKeys() {
    try {
      KeyPairGenerator generator = KeyPairGenerator.getInstance("EC", PROVIDER);
      generator.initialize(new ECGenParameterSpec("secp256r1"));
      return generator.generateKeyPair();
    } catch (GeneralSecurityException e) {
      throw new IllegalStateException(e);
    }
  }
}
