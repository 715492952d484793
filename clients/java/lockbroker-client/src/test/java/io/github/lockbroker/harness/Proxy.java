package io.github.lockbroker.harness;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;

/** Passes connections on to a broker, and spoils them on command. */
public final class Proxy implements AutoCloseable {
  /** Where it listens. */
  public final String url;

  private final String target;
  private final ServerSocket listener;

  /** The client's side and the broker's side of each connection. */
  private final List<Socket[]> connections = new ArrayList<>();

  private boolean isHole;

  /** The time for which it waits before it passes a new connection on. */
  private volatile long delayMillis;

  /** Starts one before a broker. */
  public Proxy(RealBroker broker) {
    this(broker.address);
  }

  /** Starts one before a HOST:PORT. */
  public Proxy(String address) {
    target = address;
    try {
      listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    url = "http://127.0.0.1:" + listener.getLocalPort();
    start(this::serve);
  }

  private static void start(Runnable work) {
    Thread thread = new Thread(work, "proxy");
    thread.setDaemon(true);
    thread.start();
  }

  private void serve() {
    try {
      while (true) {
        Socket here = listener.accept();
        Thread.sleep(delayMillis);
        String[] parts = target.split(":");
        Socket there;
        try {
          there = new Socket(parts[0], Integer.parseInt(parts[1]));
        } catch (IOException e) {
          here.close();
          continue;
        }
        synchronized (this) {
          connections.add(new Socket[] {here, there});
        }
        start(() -> pass(here, there));
        start(() -> pass(there, here));
      }
    } catch (IOException | InterruptedException e) {
      // It is closed.
    }
  }

  private void pass(Socket from, Socket to) {
    byte[] buffer = new byte[16 << 10];
    try {
      for (int length; (length = from.getInputStream().read(buffer)) >= 0; ) {
        awaitOpen();
        to.getOutputStream().write(buffer, 0, length);
      }
      awaitOpen();
      to.shutdownOutput();
    } catch (IOException | InterruptedException e) {
      // One of the two is closed. If the other is to know, the test says so.
    }
  }

  private synchronized void awaitOpen() throws InterruptedException {
    while (isHole) {
      wait();
    }
  }

  /** Lets nothing pass any more, as a network that is cut does. */
  public synchronized void hole() {
    isHole = true;
  }

  /** Ends {@link #hole}. */
  public synchronized void open() {
    isHole = false;
    notifyAll();
  }

  /** Waits for a while before it passes new connections on. */
  public void delay(long millis) {
    delayMillis = millis;
  }

  /** Closes all connections in good order on both sides, as a proxy does that is loaded anew. */
  public synchronized void cut() throws IOException {
    for (Socket[] connection : connections) {
      for (Socket side : connection) {
        if (!side.isClosed()) {
          side.shutdownOutput();
        }
      }
    }
    connections.clear();
  }

  /** Resets the clients' connections only: the broker hears nothing. */
  public synchronized void resetClients() {
    for (Socket[] connection : connections) {
      try {
        connection[0].setSoLinger(true, 0);
        connection[0].close();
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }

  @Override
  public synchronized void close() throws IOException {
    listener.close();
    for (Socket[] connection : connections) {
      connection[0].close();
      connection[1].close();
    }
    open();
  }
}
