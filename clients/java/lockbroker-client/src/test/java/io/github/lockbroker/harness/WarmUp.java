package io.github.lockbroker.harness;

import io.github.lockbroker.LockBroker;
import io.github.lockbroker.testing.TestBroker;
import org.junit.platform.launcher.LauncherSession;
import org.junit.platform.launcher.LauncherSessionListener;

/** Loads the classes once, before many tests that look at the clock do it at the same time. */
public final class WarmUp implements LauncherSessionListener {
  @Override
  public void launcherSessionOpened(LauncherSession session) {
    try (TestBroker broker = new TestBroker();
        LockBroker client = LockBroker.connect(broker.url())) {
      client.get("warm");
      client.tryLock("warm").orElseThrow().close();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }
}
