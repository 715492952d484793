package io.github.lockbroker.internal;

import io.github.lockbroker.internal.core.Moments;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Reads the clock of leases. It runs on while the machine is suspended (docs/safety.md, A2), as
 * System.nanoTime() does not on Linux.
 *
 * <p>It is nanoTime plus the time that the machine was suspended. Linux tells that in /proc/uptime,
 * in steps of 10 ms; what a step leaves open counts as suspended, so a lease ends too early rather
 * than too late.
 *
 * <p>Elsewhere the time of day stands in. Setting it forward loses locks. Setting it back hides the
 * suspend that it happens in, and less than a tenth of a second of later ones.
 */
public final class Clock {
  /** The step of /proc/uptime. */
  private static final long STEP = 10 * Moments.MILLISECOND;

  /** The longest wait for the next step, to know it exactly. */
  private static final long CALIBRATION = 5 * STEP;

  private static final long BEGAN = System.nanoTime();
  private static final Clock CLOCK = new Clock();

  /** The file that tells the time since the machine started; null if there is none. */
  private final RandomAccessFile uptime;

  private final byte[] text = new byte[64];

  /** Guards what is read. It is no monitor, since reading a file would pin a virtual thread. */
  private final ReentrantLock lock = new ReentrantLock();

  private final Suspends suspends;

  /** Finds suspends: in them the other clock gets ahead of nanoTime. */
  static final class Suspends {
    /** A step back of the other clock that is longer means that somebody has set it. */
    private static final long SET_BACK = 100 * Moments.MILLISECOND;

    /** The most by which the other clock is ahead without a suspend that is still to be added. */
    private long ahead;

    /** The time that the machine was suspended. It only grows. */
    private long total;

    Suspends(long ahead) {
      this.ahead = ahead;
    }

    /** Takes what the other clock is ahead by now, and returns the time of all suspends. */
    long add(long now) {
      if (now > ahead) {
        total += now - ahead + STEP;
        ahead = now + STEP;
      } else if (now < ahead - SET_BACK) {
        // Otherwise the next suspend would be hidden until it has made up for this.
        ahead = now;
      }
      return total;
    }
  }

  private Clock() {
    RandomAccessFile file = null;
    long ahead = 0;
    try {
      file = new RandomAccessFile("/proc/uptime", "r");
      ahead = calibrate(file);
    } catch (IOException e) {
      file = null;
    }
    uptime = file;
    suspends = new Suspends(file == null ? wall() - System.nanoTime() : ahead);
  }

  /** Reads the clock, in nanoseconds since the process began to read it. It never goes back. */
  public static long now() {
    return CLOCK.read();
  }

  /** Returns the time from now to a moment; 0 if it has passed. */
  public static long remaining(long moment) {
    return Moments.since(moment, now());
  }

  /** Reports whether a moment has come. */
  public static boolean hasPassed(long moment) {
    return now() >= moment;
  }

  private long read() {
    lock.lock();
    try {
      return readBoth();
    } finally {
      lock.unlock();
    }
  }

  private long readBoth() {
    // The other clock first: what passes in between must not look like a suspend.
    long other;
    try {
      other = uptime == null ? wall() : readUptime(uptime);
    } catch (IOException e) {
      throw new IllegalStateException(
          "lockbroker: /proc/uptime cannot be read any more, and no other clock runs on in suspend",
          e);
    }
    long now = System.nanoTime();
    return now - BEGAN + suspends.add(other - now);
  }

  /** Returns what /proc/uptime is ahead of nanoTime, exact at the beginning of one of its steps. */
  private long calibrate(RandomAccessFile file) throws IOException {
    long first = readUptime(file);
    long begun = System.nanoTime();
    long before = begun;
    long now = first;
    while (now == first && before - begun < CALIBRATION) {
      before = System.nanoTime();
      now = readUptime(file);
    }
    return now - before;
  }

  /** Reads seconds with two decimals, and returns nanoseconds. */
  private long readUptime(RandomAccessFile file) throws IOException {
    file.seek(0);
    int length = file.read(text);
    String all = new String(text, 0, Math.max(0, length), StandardCharsets.US_ASCII);
    int point = all.indexOf('.');
    int end = all.indexOf(' ');
    if (point < 1 || end < point) {
      throw new IOException("/proc/uptime has no time: " + all);
    }
    long hundredths =
        Long.parseLong(all.substring(0, point)) * 100
            + Long.parseLong((all.substring(point + 1, end) + "00").substring(0, 2));
    return hundredths * STEP;
  }

  private static long wall() {
    return System.currentTimeMillis() * Moments.MILLISECOND;
  }
}
