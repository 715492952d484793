package io.github.lockbroker.testing;

import io.github.lockbroker.LostReason;
import io.github.lockbroker.v1.NotAcquired;

/** Somebody who asks a test's broker for locks, and is told what becomes of them. */
interface TestAsker {
  void acquired(TestLock lock, TestLock.Grant grant);

  void refuse(long ref, NotAcquired.Reason reason, String owner);

  void lost(long ref, LostReason reason);

  void released(long ref);

  void forget(long ref);
}
