package io.github.lockbroker.harness;

import static org.junit.jupiter.api.Assertions.fail;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;

/** A program under test. It is killed when it is closed, or when the tests end. */
public class Program implements AutoCloseable {
  private static final Set<Process> RUNNING = ConcurrentHashMap.newKeySet();

  static {
    Runtime.getRuntime()
        .addShutdownHook(new Thread(() -> RUNNING.forEach(Process::destroyForcibly)));
  }

  private final List<String> command;
  private final Process process;
  private final List<String> lines = new ArrayList<>();

  /** Starts a program, and keeps what it prints. */
  public Program(Map<String, String> environment, List<String> command) {
    this.command = command;
    ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
    builder.environment().putAll(environment);
    try {
      process = builder.start();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    RUNNING.add(process);
    Thread reader = new Thread(this::read, "reader of " + command.get(0));
    reader.setDaemon(true);
    reader.start();
  }

  private void read() {
    try (var reader =
        new BufferedReader(
            new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
      for (String line; (line = reader.readLine()) != null; ) {
        synchronized (lines) {
          lines.add(line);
          lines.notifyAll();
        }
      }
    } catch (IOException e) {
      // It has ended.
    }
    synchronized (lines) {
      lines.add(null);
      lines.notifyAll();
    }
  }

  /** Waits for a line that find likes, and returns what find makes of it. */
  public <T> T line(Function<String, T> find) {
    long end = System.nanoTime() + Eventually.SOON.toNanos();
    synchronized (lines) {
      for (int at = 0; ; at++) {
        while (at == lines.size()) {
          long left = end - System.nanoTime();
          if (left <= 0) {
            return fail(command + " does not say what is waited for: " + lines);
          }
          try {
            TimeUnit.NANOSECONDS.timedWait(lines, left);
          } catch (InterruptedException e) {
            throw new IllegalStateException(e);
          }
        }
        if (lines.get(at) == null) {
          return fail(command + " has ended: " + lines);
        }
        T found = find.apply(lines.get(at));
        if (found != null) {
          return found;
        }
      }
    }
  }

  /** Forgets what has been printed. */
  public void forget() {
    synchronized (lines) {
      lines.removeIf(line -> line != null);
    }
  }

  /** Writes a line to its standard input. */
  public void write(String line) {
    try {
      process.getOutputStream().write((line + "\n").getBytes(StandardCharsets.UTF_8));
      process.getOutputStream().flush();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Sends a signal, such as STOP. */
  public void signal(String name) {
    try {
      int code =
          new ProcessBuilder("kill", "-" + name, String.valueOf(process.pid())).start().waitFor();
      if (code != 0) {
        fail("kill -" + name + " of " + command + ": " + lines);
      }
    } catch (IOException | InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Kills it at once. */
  public void kill() {
    process.destroyForcibly();
  }

  /** Waits until it has ended, and returns its exit code. */
  public int await() throws InterruptedException {
    if (!process.waitFor(Eventually.SOON.toSeconds(), TimeUnit.SECONDS)) {
      fail(command + " does not end: " + lines);
    }
    return process.exitValue();
  }

  @Override
  public void close() {
    kill();
    try {
      process.waitFor();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    RUNNING.remove(process);
  }
}
