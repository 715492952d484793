package io.github.lockbroker.harness;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.github.lockbroker.v1.GetLockRequest;
import io.github.lockbroker.v1.LockServiceGrpc;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;

/** A real broker. */
public final class RealBroker extends Program {
  private static final AtomicInteger PREFIXES = new AtomicInteger();

  /** Where it listens, as clients take it. */
  public final String url;

  /** HOST:PORT; null on a Unix socket. */
  public final String address;

  private RealBroker(List<String> command, String scheme) {
    super(Map.of(), command);
    String where = line(RealBroker::listening);
    boolean isUnix = where.startsWith("/") || where.startsWith("unix:");
    address = isUnix ? null : where;
    url = isUnix ? "unix:" + where.replaceFirst("^unix:", "") : scheme + where;
  }

  /** Starts one on a store in memory, or on that of {@link #store}. */
  public static RealBroker start(String... arguments) {
    List<String> command =
        new ArrayList<>(
            List.of(setting("LOCKBROKER_TEST_BROKER"), "serve", "--log-format", "json"));
    List<String> given = Arrays.asList(arguments);
    command.addAll(given);
    if (!given.contains("--store")) {
      command.addAll(List.of("--store", "memory"));
    }
    if (!given.contains("--listen")) {
      command.addAll(List.of("--listen", "127.0.0.1:0"));
    }
    boolean isTls = given.contains("--tls-cert");
    RealBroker broker = new RealBroker(command, isTls ? "https://" : "http://");
    if (!isTls && broker.address != null) {
      broker.awaitReady();
    }
    return broker;
  }

  /** Reads a setting that the script makes. */
  static String setting(String name) {
    String value = System.getenv(name);
    assertNotNull(value, name + " is not set: run scripts/test-clients java");
    return value;
  }

  /** Finds the address in a line of the log, whichever field has it. */
  private static String listening(String line) {
    return line.contains("\"listening\"") ? address(JsonParser.parseString(line)) : null;
  }

  private static String address(JsonElement value) {
    if (value instanceof JsonObject object) {
      return object.asMap().values().stream()
          .map(RealBroker::address)
          .filter(found -> found != null)
          .findFirst()
          .orElse(null);
    }
    boolean isText = value.isJsonPrimitive() && value.getAsJsonPrimitive().isString();
    String text = isText ? value.getAsString() : "";
    return text.matches("127\\.[0-9.]+:\\d+|/.*|unix:.*") ? text : null;
  }

  /** Makes a bare channel of gRPC, which the caller shuts down. */
  public ManagedChannel channel() {
    String[] parts = address.split(":");
    var socket = new InetSocketAddress(parts[0], Integer.parseInt(parts[1]));
    return NettyChannelBuilder.forAddress(socket)
        .proxyDetector(target -> null)
        .usePlaintext()
        .build();
  }

  private void awaitReady() {
    ManagedChannel channel = channel();
    var stub = LockServiceGrpc.newBlockingStub(channel);
    Eventually.eventually(
        "the broker is ready",
        () -> {
          try {
            stub.getLock(GetLockRequest.newBuilder().setName("ready").build());
            return true;
          } catch (StatusRuntimeException e) {
            return false;
          }
        });
    channel.shutdownNow();
  }

  /** A memcached, and the arguments for the brokers that share it. */
  public record Store(Program memcached, int port, String... arguments) implements AutoCloseable {
    @Override
    public void close() {
      memcached.close();
    }
  }

  /** Starts a memcached that grants at once. */
  public static Store store() {
    return store(freePort());
  }

  /** Starts a memcached on a port. */
  public static Store store(int port) {
    List<String> command =
        new ArrayList<>(
            List.of(
                setting("LOCKBROKER_TEST_MEMCACHED"),
                "-M",
                "-F",
                "-l",
                "127.0.0.1",
                "-p",
                String.valueOf(port),
                "-U",
                "0",
                "-t",
                "1"));
    if (System.getProperty("user.name").equals("root")) {
      command.addAll(List.of("-u", "root"));
    }
    Program memcached = new Program(Map.of(), command);
    Eventually.eventually("memcached listens", () -> listens(port));
    String[] arguments = {
      "--store", "memcached://127.0.0.1:" + port,
      "--key-prefix", "t" + PREFIXES.incrementAndGet() + ":"
    };
    // Ends the quarantine by hand.
    List<String> open = new ArrayList<>(List.of(setting("LOCKBROKER_TEST_BROKER")));
    open.addAll(List.of("shard", "open"));
    open.addAll(List.of(arguments));
    try (Program program = new Program(Map.of(), open)) {
      assertEquals(0, program.await(), "lockbroker shard open");
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
    return new Store(memcached, port, arguments);
  }

  private static boolean listens(int port) {
    try (Socket socket = new Socket("127.0.0.1", port)) {
      return socket.isConnected();
    } catch (java.io.IOException e) {
      return false;
    }
  }

  /** Returns a port that nobody uses. */
  public static int freePort() {
    try (ServerSocket socket = new ServerSocket(0)) {
      return socket.getLocalPort();
    } catch (java.io.IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
  }
}
