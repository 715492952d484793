package io.github.lockbroker;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.harness.Authority;
import io.github.lockbroker.harness.Authority.Identity;
import io.github.lockbroker.harness.RealBroker;
import io.github.lockbroker.harness.Scenario;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** TLS: what is accepted, and what is said if it is not. */
class TlsTest extends Scenario {
  @TempDir static Path folder;
  private static Authority authority;
  private static Authority stranger;
  private static Identity mine;
  private static RealBroker mutual;
  private static RealBroker simple;

  @BeforeAll
  static void start() {
    authority = new Authority(folder, "authority");
    stranger = new Authority(folder, "stranger");
    Identity broker = authority.sign("broker");
    mine = authority.sign("client");
    mutual = startTls(broker, "--tls-client-ca", authority.file.toString());
    simple = startTls(broker);
  }

  @AfterAll
  static void stop() {
    mutual.close();
    simple.close();
  }

  private static RealBroker startTls(Identity identity, String... more) {
    String[] arguments = new String[4 + more.length];
    arguments[0] = "--tls-cert";
    arguments[1] = identity.certificate().toString();
    arguments[2] = "--tls-key";
    arguments[3] = identity.key().toString();
    System.arraycopy(more, 0, arguments, 4, more.length);
    return RealBroker.start(arguments);
  }

  private LockBroker.Builder to(String server) {
    return LockBroker.builder().server(server).tlsAuthorities(authority.file);
  }

  @Test
  void bothSidesAccept() throws Exception {
    LockBroker.Builder[] builders = {
      to(mutual.url).tlsIdentity(mine.certificate(), mine.key()),
      to(simple.url.replace("127.0.0.1", "localhost"))
    };
    for (LockBroker.Builder builder : builders) {
      LockBroker client = connect(builder);
      acquire(client, "tls").close();
      assertEquals(LockState.FREE, client.get("tls").state());
    }
  }

  /** Checks what a lock and a single call fail with. It is known soon. */
  private void refuses(LockBroker.Builder builder, Kind kind, String says) {
    LockBroker client = connect(builder);
    long begun = System.nanoTime();
    LockBrokerException lock = failsAs(kind, () -> client.tryLock("refused"));
    assertTrue(System.nanoTime() - begun < Duration.ofMillis(4900).toNanos(), "it took too long");
    assertTrue(lock.getMessage().contains(says), lock.getMessage());
    assertEquals("refused", lock.lock());
    LockBrokerException get = failsAs(kind, () -> client.get("refused"));
    assertTrue(get.getMessage().contains(says), get.getMessage());
  }

  @Test
  void aClientWithoutACertificateIsRefused() {
    refuses(to(mutual.url), Kind.HANDSHAKE, "tlsIdentity");
  }

  @Test
  void aStrangersCertificateIsRefused() {
    Identity theirs = stranger.sign("strange client");
    refuses(
        to(mutual.url).tlsIdentity(theirs.certificate(), theirs.key()),
        Kind.HANDSHAKE,
        "--tls-client-ca");
  }

  @Test
  void aBrokerOfAnUnknownAuthorityIsRefused() {
    refuses(LockBroker.builder().server(simple.url), Kind.HANDSHAKE, "tlsAuthorities");
    refuses(to(simple.url).tlsAuthorities(stranger.file), Kind.HANDSHAKE, "tlsAuthorities");
  }

  @Test
  void aBrokerWithAnotherNameIsRefused() {
    RealBroker misnamed =
        closing(startTls(authority.sign("elsewhere", "elsewhere.example", "10.0.0.1")));
    refuses(to(misnamed.url), Kind.HANDSHAKE, "subjectAltName");
  }

  @Test
  void oneSideSpeaksTls() {
    RealBroker plain = startBroker();
    refuses(to("https://" + plain.address), Kind.PROTOCOL, "http://");
    refuses(LockBroker.builder().server("http://" + simple.address), Kind.PROTOCOL, "https://");
  }

  /** A certificate that is renewed is shown by the next connection, without a new client. */
  @Test
  void theFilesAreReadAgain() throws Exception {
    Identity theirs = stranger.sign("renewed");
    Path certificate = folder.resolve("current.pem");
    Path key = folder.resolve("current-key.pem");
    Files.copy(theirs.certificate(), certificate);
    Files.copy(theirs.key(), key);
    LockBroker client = connect(to(mutual.url).tlsIdentity(certificate, key));
    failsAs(Kind.HANDSHAKE, () -> client.tryLock("renewed"));
    Files.copy(mine.certificate(), certificate, StandardCopyOption.REPLACE_EXISTING);
    Files.copy(mine.key(), key, StandardCopyOption.REPLACE_EXISTING);
    acquire(client, "renewed").close();
    assertEquals(LockState.FREE, client.get("renewed").state());
  }

  @Test
  void whatIsNoCertificateIsRefused() throws Exception {
    Path nowhere = folder.resolve("nowhere.pem");
    Path text = Files.writeString(folder.resolve("text.pem"), "no certificate");
    failsAs(Kind.TLS, () -> to("https://host:1").tlsAuthorities(nowhere).connect());
    failsAs(Kind.TLS, () -> to("https://host:1").tlsAuthorities(text).connect());
    failsAs(Kind.TLS, () -> to("https://host:1").tlsIdentity(text, mine.key()).connect());
    failsAs(Kind.TLS, () -> to("https://host:1").tlsIdentity(mine.certificate(), text).connect());
    failsAs(Kind.ENDPOINT, () -> to("host:1").connect());
  }
}
