package io.github.lockbroker.internal.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Tests of the core beyond the vectors. */
class CoreTest {
  private static final long MS = Moments.MILLISECOND;

  private final Core core =
      new Core(new Core.Settings(List.of("one"), 5 * Moments.SECOND), () -> 0.5, 0);

  private void open() {
    core.handle(0, wanted(1));
    core.handle(0, new Input.Dialled(1, null));
    core.handle(0, new Input.Received(1, new Message.Opened(15_000 * MS, 13_000 * MS, 5000 * MS)));
  }

  private static Input wanted(long key) {
    return new Input.Acquire(key, new LockSpec("lock " + key, null, ""), new Wait(null, null), "");
  }

  private static Input event(long ref, Message.Event event) {
    return new Input.Received(1, new Message.LockEvent(ref, event));
  }

  private static Failure failure(Failure.Code code) {
    return new Failure(code, "as the test wants it", "", null);
  }

  /** A steady stream of new waiters, each refused, must not put off the first one for ever. */
  @Test
  void newFailuresDoNotPutOffOthers() {
    open();
    List<Output> out = new ArrayList<>();
    long now = 0;
    long ref = 1;
    for (long key = 2; key < 20; key++) {
      Failure unavailable = failure(Failure.Code.UNAVAILABLE);
      out.addAll(core.handle(now, event(ref, new Message.HasFailed(unavailable))));
      now += 100 * MS;
      List<Output> asked = core.handle(now, wanted(key));
      ref += asked.stream().filter(CoreTest::isBegin).count();
      out.addAll(asked);
    }
    long first = out.stream().filter(each -> isBegin(each, "lock 1")).count();
    assertTrue(first > 0, "the first was not asked again in " + now / MS + " ms");
  }

  private static boolean isBegin(Output output) {
    return output instanceof Output.Send send && send.request() instanceof Request.Begin;
  }

  private static boolean isBegin(Output output, String name) {
    return output instanceof Output.Send send
        && send.request() instanceof Request.Begin begin
        && begin.spec().name().equals(name);
  }

  @ParameterizedTest
  @EnumSource(Failure.Code.class)
  void aReleaseElsewhereGivesUpOnlyOnFinalAnswers(Failure.Code code) {
    open();
    core.handle(0, event(1, new Message.WasAcquired(new LockGrant("id", 1, null), List.of())));
    core.handle(MS, new Input.Ended(1, failure(Failure.Code.UNAVAILABLE)));
    assertTrue(
        core.handle(2 * MS, new Input.End(1))
            .contains(new Output.ReleaseElsewhere(1, "lock 1", "id")));
    List<Output> out = core.handle(3 * MS, new Input.ReleasedElsewhere(1, failure(code)));
    boolean isFinal =
        switch (code) {
          case INVALID_ARGUMENT, PERMISSION_DENIED, UNAUTHENTICATED, UNIMPLEMENTED, HANDSHAKE ->
              true;
          default -> false;
        };
    assertEquals(isFinal, out.contains(new Output.Failed(1, failure(code))), code.name());
    assertEquals(isFinal ? null : "releasing_elsewhere", core.state(1));
  }
}
