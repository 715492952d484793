package io.github.lockbroker.harness;

import io.github.lockbroker.HeldLock;
import io.github.lockbroker.LockBroker;
import io.github.lockbroker.LockBrokerException;
import io.github.lockbroker.Wait;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Semaphore;

/** A client in a process of its own. It does what it is told, a line a command. */
public final class Child extends Program {
  /** The ttl of its locks, as java.time.Duration writes it. */
  public static final String TTL = "LOCKBROKER_TEST_TTL";

  /** Is set if a shutdown hook releases its locks. */
  public static final String RELEASE_AT_EXIT = "LOCKBROKER_TEST_RELEASE_AT_EXIT";

  /** A JVM that starts keeps a processor busy. Not all start at once. */
  private static final Semaphore STARTS = new Semaphore(2);

  private Child(String server, Map<String, String> environment, String... flags) {
    super(environment, command(server, flags));
    line(line -> line.equals("ready") ? line : null);
  }

  /** Starts one, and waits until it has a client. An empty server is one by the environment. */
  public static Child start(String server, Map<String, String> environment, String... flags) {
    STARTS.acquireUninterruptibly();
    try {
      return new Child(server, environment, flags);
    } finally {
      STARTS.release();
    }
  }

  private static List<String> command(String server, String... flags) {
    List<String> command = new ArrayList<>();
    command.add(System.getProperty("java.home") + "/bin/java");
    command.addAll(List.of("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"));
    command.addAll(List.of(flags));
    command.addAll(
        List.of("-cp", System.getProperty("java.class.path"), Child.class.getName(), server));
    return command;
  }

  /** Sends a command, and returns the line that answers it. */
  public String tell(String command) {
    forget();
    write(command);
    return line(line -> line.matches("(ok|error|held).*") ? line : null);
  }

  /**
   * Runs as that client.
   *
   * @param arguments the server
   */
  public static void main(String[] arguments) throws IOException {
    LockBroker.Builder builder = LockBroker.builder();
    if (!arguments[0].isEmpty()) {
      builder.server(arguments[0]);
    }
    if (System.getenv(TTL) != null) {
      builder.ttl(Duration.parse(System.getenv(TTL)));
    }
    builder.releaseAtExit(System.getenv(RELEASE_AT_EXIT) != null);
    LockBroker client = builder.connect();
    try {
      // Loads the classes. On a busy machine that takes longer than a broker may take to answer.
      client.get("ready");
    } catch (LockBrokerException | InterruptedException e) {
      // The commands will tell.
    }
    HeldLock[] lock = new HeldLock[1];
    System.out.println("ready");
    var reader = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line; (line = reader.readLine()) != null; ) {
      try {
        System.out.println(answer(client, lock, line.split(" ")));
      } catch (Exception e) {
        System.out.println("error " + e.getMessage());
      }
      if (line.equals("return")) {
        return;
      }
    }
  }

  private static String answer(LockBroker client, HeldLock[] lock, String[] words)
      throws Exception {
    switch (words[0]) {
      case "lock":
        lock[0] = client.lock(words[1], Wait.atMost(Duration.ofSeconds(10)));
        return "held " + lock[0].fencingToken() + " " + lock[0].lockId();
      case "adopt":
        lock[0] = client.adopt(words[1], words[2]);
        return "held " + lock[0].fencingToken() + " " + lock[0].lockId();
      case "check":
        lock[0].check();
        break;
      case "release":
        lock[0].release();
        break;
      case "exit":
        System.exit(3);
        break;
      default:
        break;
    }
    return "ok " + words[0];
  }
}
