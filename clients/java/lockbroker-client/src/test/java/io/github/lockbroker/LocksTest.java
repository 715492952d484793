package io.github.lockbroker;

import static io.github.lockbroker.harness.Eventually.eventually;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.lockbroker.LockBrokerException.Kind;
import io.github.lockbroker.harness.Child;
import io.github.lockbroker.harness.RealBroker;
import io.github.lockbroker.harness.Scenario;
import io.github.lockbroker.v1.GetLockRequest;
import io.github.lockbroker.v1.GetLockResponse;
import io.github.lockbroker.v1.LockServiceGrpc;
import io.github.lockbroker.v1.LockSpec;
import io.github.lockbroker.v1.WaitAcquireRequest;
import io.grpc.Context;
import io.grpc.Deadline;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** What a client does with one broker. The tests share it: they take locks of different names. */
class LocksTest extends Scenario {
  private static RealBroker broker;

  @BeforeAll
  static void start() {
    broker = RealBroker.start();
  }

  @AfterAll
  static void stop() {
    broker.close();
  }

  private LockBroker connect() {
    return connect(broker.url);
  }

  @Test
  void excludesOthersAndIsReleased() throws Exception {
    LockBroker one = connect(LockBroker.builder().server(broker.url).owner("one"));
    LockBroker two = connect();
    HeldLock lock = acquire(one, "excludes");
    NotAcquiredException held = refused(two, "excludes");
    assertEquals(NotAcquiredReason.HELD, held.reason());
    assertEquals("one", held.owner());
    assertEquals("excludes", held.lock());
    lock.check();
    assertEquals(Duration.ofSeconds(15), lock.ttl());
    // 15 s, less what the broker keeps, less two thirtieths.
    long left = lock.remaining().toMillis();
    assertTrue(left > 5000 && left <= 12_000, left + " ms");
    assertEquals(36, lock.lockId().length());
    assertFalse(lock.toString().contains(lock.lockId()));
    LockInfo info = two.get("excludes", lock.lockId());
    assertEquals(LockState.HELD, info.state());
    assertEquals("one", info.owner());
    assertTrue(info.remaining().toSeconds() >= 5, info.toString());
    lock.release();
    failsAs(Kind.RELEASED, lock::check);
    assertEquals(Duration.ZERO, lock.remaining());
    try (HeldLock again = two.tryLock("excludes").orElseThrow()) {
      assertTrue(again.fencingToken() > lock.fencingToken());
    }
    assertEquals(LockState.FREE, one.get("excludes").state());
  }

  @Test
  void servesWaitersInOrder() throws Exception {
    LockBroker client = connect();
    List<Integer> order = Collections.synchronizedList(new ArrayList<>());
    List<CompletableFuture<?>> all = new ArrayList<>();
    try (HeldLock first = acquire(client, "order")) {
      for (int number = 0; number < 5; number++) {
        int mine = number;
        all.add(
            begin(
                () -> {
                  try (HeldLock lock = acquire(client, "order")) {
                    return order.add(mine);
                  }
                }));
        awaitPlace("order", number + 2);
      }
    }
    for (CompletableFuture<?> each : all) {
      soon(each);
    }
    assertEquals(List.of(0, 1, 2, 3, 4), order);
  }

  /** Waits until somebody who queues for a lock gets that place. */
  static void awaitPlace(RealBroker broker, String name, int place) {
    var channel = broker.channel();
    var request =
        WaitAcquireRequest.newBuilder().setLock(LockSpec.newBuilder().setName(name)).build();
    eventually(
        "place " + place + " in the queue for " + name,
        () -> {
          try (Context.CancellableContext call = Context.ROOT.withCancellation()) {
            int queued =
                call.call(
                    () ->
                        LockServiceGrpc.newBlockingStub(channel)
                            .waitAcquire(request)
                            .next()
                            .getEvent()
                            .getQueued()
                            .getPosition());
            return queued == place;
          }
        });
    channel.shutdownNow();
  }

  private static void awaitPlace(String name, int place) {
    awaitPlace(broker, name, place);
  }

  @Test
  void endsAWaitAfterItsLimit() throws Exception {
    LockBroker client = connect();
    try (HeldLock lock = acquire(client, "max wait")) {
      long begun = System.nanoTime();
      NotAcquiredException over =
          assertThrows(
              NotAcquiredException.class,
              () -> client.lock("max wait", Wait.atMost(Duration.ofMillis(300))));
      assertEquals(NotAcquiredReason.MAX_WAIT, over.reason());
      long took = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - begun);
      assertTrue(took > 250 && took < 3000, took + " ms");
      refused(client, "max wait");
    }
  }

  @Test
  void leavesTheQueueWhenInterrupted() throws Exception {
    LockBroker client = connect();
    try (HeldLock lock = acquire(client, "interrupted")) {
      CompletableFuture<Throwable> thrown = new CompletableFuture<>();
      Thread waiter =
          thread(
              () -> {
                try {
                  client.lock("interrupted").close();
                } catch (Throwable e) {
                  thrown.complete(e);
                }
              });
      awaitPlace("interrupted", 2);
      waiter.interrupt();
      assertEquals(InterruptedException.class, soon(thrown).getClass());
      awaitPlace("interrupted", 1);
      Thread.currentThread().interrupt();
      assertThrows(InterruptedException.class, () -> client.tryLock("interrupted"));
    }
  }

  @Test
  void refusesALockThatLingers() throws Exception {
    LockBroker client = connect();
    acquire(client, "lingers", LockOption.linger(Duration.ofSeconds(4))).close();
    assertEquals(NotAcquiredReason.LINGERING, refused(client, "lingers").reason());
    assertEquals(LockState.LINGERING, client.get("lingers").state());
    acquire(client, "lingers").close();
  }

  @Test
  void releasesOnce() throws Exception {
    LockBroker client = connect();
    HeldLock lock = acquire(client, "twice");
    inParallel(
        8,
        number ->
            () -> {
              lock.release();
              return null;
            });
    HeldLock other = acquire(client, "twice");
    lock.close();
    other.check();
    other.close();
  }

  @Test
  void releasesThoughInterrupted() throws Exception {
    LockBroker client = connect();
    HeldLock lock = acquire(client, "interrupted release");
    Thread.currentThread().interrupt();
    lock.release();
    assertTrue(Thread.interrupted(), "the interrupt is gone");
    assertEquals(LockState.FREE, client.get("interrupted release").state());
  }

  @Test
  void aStaleIdReleasesNothing() throws Exception {
    LockBroker client = connect();
    HeldLock lock = acquire(client, "stale");
    String stale = lock.lockId();
    lock.close();
    assertEquals(ReleaseOutcome.NOT_HELD, client.release("stale", stale));
    try (HeldLock other = acquire(client, "stale")) {
      assertEquals(ReleaseOutcome.HELD_BY_ANOTHER, client.release("stale", stale));
      failsAs(Kind.INVALID, () -> client.release("stale", "no id"));
      NotAcquiredException gone =
          assertThrows(NotAcquiredException.class, () -> client.adopt("stale", stale));
      assertEquals(NotAcquiredReason.NOT_REATTACHABLE, gone.reason());
    }
  }

  @Test
  void theEndOfTheBlockReleases() throws Exception {
    LockBroker client = connect();
    assertThrows(
        IllegalStateException.class,
        () -> {
          try (HeldLock lock = acquire(client, "block")) {
            refused(client, "block");
            throw new IllegalStateException("of the work");
          }
        });
    assertEquals(LockState.FREE, client.get("block").state());
    isLost(
        LostReason.RELEASED,
        () -> {
          try (HeldLock lock = acquire(client, "block")) {
            CompletableFuture<LostReason> loss = loss(lock);
            client.release("block", lock.lockId());
            soon(loss);
          }
        });
  }

  @Test
  void aReleaseByIdIsALoss() throws Exception {
    HeldLock lock = acquire(connect(), "by id");
    CompletableFuture<LostReason> loss = loss(lock);
    assertEquals(ReleaseOutcome.RELEASED, connect().release("by id", lock.lockId()));
    assertEquals(LostReason.RELEASED, soon(loss));
    // Also for those who come late.
    assertEquals(LostReason.RELEASED, soon(loss(lock)));
    isLost(LostReason.RELEASED, lock::check);
    isLost(LostReason.RELEASED, lock::release);
    isLost(LostReason.RELEASED, lock::close);
    assertEquals(Duration.ZERO, lock.remaining());
  }

  @Test
  void callbacksMayUseTheClient() throws Exception {
    LockBroker client = connect();
    HeldLock lock = acquire(client, "callback");
    HeldLock other = acquire(client, "callback, beside");
    CompletableFuture<Long> again = new CompletableFuture<>();
    lock.onLost(
        reason -> {
          try {
            other.release();
            again.complete(client.tryLock("callback").orElseThrow().fencingToken());
          } catch (Exception e) {
            again.completeExceptionally(e);
          }
        });
    client.release("callback", lock.lockId());
    assertTrue(soon(again) > lock.fencingToken());
  }

  @Test
  void aCallbackIsNotCalledAfterTheRelease() throws Exception {
    LockBroker client = connect();
    HeldLock lock = acquire(client, "no callback");
    CompletableFuture<LostReason> loss = loss(lock);
    lock.close();
    client.close();
    lock.onLost(loss::complete);
    assertFalse(loss.isDone());
  }

  @Test
  void anotherProcessAdoptsTheLock() throws Exception {
    HeldLock lock = acquire(connect(), "adopted");
    CompletableFuture<LostReason> loss = loss(lock);
    Child child = startChild(broker.url, Map.of());
    String held = child.tell("adopt adopted " + lock.lockId());
    assertTrue(held.startsWith("held " + lock.fencingToken() + " "), held);
    assertEquals(LostReason.TAKEN_OVER, soon(loss));
    assertEquals("ok check", child.tell("check"));
    failsAs(Kind.INVALID, () -> connect().adopt("adopted", ""));
  }

  @Test
  void holdsAThousandLocksOnOneConnection() throws Exception {
    LockBroker client = connect();
    HeldLock[] locks = new HeldLock[1000];
    var pool = Executors.newFixedThreadPool(50);
    List<java.util.concurrent.Future<?>> all = new ArrayList<>();
    for (int number = 0; number < locks.length; number++) {
      int mine = number;
      all.add(pool.submit(() -> locks[mine] = acquire(client, "thousand " + mine)));
    }
    for (var each : all) {
      each.get(60, TimeUnit.SECONDS);
    }
    Set<String> ids = ConcurrentHashMap.newKeySet();
    for (HeldLock lock : locks) {
      lock.check();
      ids.add(lock.lockId());
    }
    assertEquals(locks.length, ids.size());
    all.clear();
    for (HeldLock lock : locks) {
      all.add(pool.submit(lock::close));
    }
    for (var each : all) {
      each.get(60, TimeUnit.SECONDS);
    }
    pool.shutdown();
  }

  @Test
  void threadsOfOneClientExcludeEachOther() throws Exception {
    LockBroker client = connect();
    AtomicInteger inside = new AtomicInteger();
    inParallel(
        20,
        number ->
            () -> {
              for (int time = 0; time < 5; time++) {
                try (HeldLock lock = acquire(client, "threads")) {
                  assertEquals(1, inside.incrementAndGet());
                  Thread.yield();
                  inside.decrementAndGet();
                }
              }
              return null;
            });
  }

  @Test
  void aGuardBelongsToNoThread() throws Exception {
    LockBroker client = connect();
    HeldLock lock = soon(begin(() -> acquire(client, "any thread")));
    soon(
        begin(
            () -> {
              lock.check();
              lock.close();
              return null;
            }));
    assertEquals(LockState.FREE, client.get("any thread").state());
  }

  @Test
  void refusesBadInputAndSaysWhat() throws Exception {
    LockBroker client = connect();
    LockBrokerException error = failsAs(Kind.INVALID, () -> client.tryLock(""));
    assertEquals(ErrorReason.INVALID_FIELD, error.errorReason());
    failsAs(Kind.INVALID, () -> client.lock("x".repeat(129)));
    LockOption owner = LockOption.owner("a\nb");
    LockBrokerException named = failsAs(Kind.INVALID, () -> client.tryLock("bad owner", owner));
    assertTrue(named.getMessage().contains("\"bad owner\""), named.getMessage());
    LockOption linger = LockOption.linger(Duration.ofSeconds(-1));
    failsAs(Kind.INVALID, () -> client.tryLock("bad linger", linger));
    Wait poll = Wait.forever().pollingEvery(Duration.ofHours(2));
    failsAs(Kind.INVALID, () -> client.lock("bad poll", poll));
    failsAs(Kind.INVALID, () -> client.get("\0"));
    LockBroker.Builder ttl = LockBroker.builder().server(broker.url).ttl(Duration.ofSeconds(1));
    failsAs(Kind.INVALID, () -> connect(ttl).tryLock("bad ttl"));
    // The client goes on.
    acquire(client, "good").close();
  }

  @Test
  void closeReleasesEverything() throws Exception {
    LockBroker client = connect();
    LockBroker observer = connect();
    HeldLock lock = acquire(client, "closed");
    HeldLock blocker = acquire(observer, "closed, waited for");
    CompletableFuture<HeldLock> waiting = begin(() -> client.lock("closed, waited for"));
    awaitPlace("closed, waited for", 2);
    client.close();
    client.close();
    LockBrokerException error =
        (LockBrokerException)
            assertThrows(java.util.concurrent.ExecutionException.class, () -> soon(waiting))
                .getCause();
    assertEquals(Kind.CLOSED, error.kind());
    failsAs(Kind.CLOSED, lock::check);
    lock.close();
    assertEquals(LockState.FREE, observer.get("closed").state());
    awaitPlace("closed, waited for", 1);
    blocker.close();
    failsAs(Kind.CLOSED, () -> client.tryLock("closed"));
    failsAs(Kind.CLOSED, () -> client.get("closed"));
  }

  @Test
  void aCollectedLockIsHeldAndToldOf() throws Exception {
    Set<String> told = ConcurrentHashMap.newKeySet();
    Logger logger = Logger.getLogger("io.github.lockbroker");
    Handler handler =
        new Handler() {
          @Override
          public void publish(LogRecord line) {
            told.add(line.getMessage() + List.of(line.getParameters()));
          }

          @Override
          public void flush() {}

          @Override
          public void close() {}
        };
    logger.addHandler(handler);
    LockBroker client = connect();
    acquire(client, "collected");
    eventually(
        "the lock is collected",
        () -> {
          System.gc();
          return told.stream().anyMatch(line -> line.matches(".*nobody can release.*collected.*"));
        });
    logger.removeHandler(handler);
    // Its work may go on, so it is held.
    refused(client, "collected");
    client.close();
    acquire(connect(), "collected").close();
  }

  @Test
  void aSurroundingDeadlineDoesNotEndTheSession() throws Exception {
    LockBroker client = connect();
    var timer = Executors.newSingleThreadScheduledExecutor();
    Context.CancellableContext call =
        Context.current().withDeadline(Deadline.after(200, TimeUnit.MILLISECONDS), timer);
    HeldLock lock = call.call(() -> acquire(client, "deadline"));
    CountDownLatch isOver = new CountDownLatch(1);
    call.addListener(context -> isOver.countDown(), Runnable::run);
    assertTrue(isOver.await(10, TimeUnit.SECONDS));
    Thread.sleep(100);
    lock.check();
    refused(client, "deadline");
    assertEquals(LockState.HELD, call.call(() -> client.get("deadline").state()));
    lock.close();
    timer.shutdown();
  }

  @Test
  void theStubsCanBeUsedBesideTheClient() throws Exception {
    try (HeldLock lock = acquire(connect(), "beside stubs")) {
      var channel = broker.channel();
      GetLockResponse answer =
          LockServiceGrpc.newBlockingStub(channel)
              .getLock(GetLockRequest.newBuilder().setName("beside stubs").build());
      channel.shutdownNow();
      assertEquals(GetLockResponse.State.STATE_HELD, answer.getState());
    }
  }

  @Test
  void holdWorksAnewAfterALoss() throws Exception {
    LockBroker client = connect();
    AtomicInteger times = new AtomicInteger();
    String result =
        client.hold(
            "leader",
            lock -> {
              if (times.incrementAndGet() == 1) {
                connect().release("leader", lock.lockId());
                new CountDownLatch(1).await();
              }
              return "led " + times.get();
            });
    assertEquals("led 2", result);
    assertFalse(Thread.interrupted());
    IllegalStateException failure = new IllegalStateException("of the work");
    LockedWork<Void, RuntimeException> failing =
        lock -> {
          throw failure;
        };
    assertEquals(
        failure, assertThrows(IllegalStateException.class, () -> client.hold("leader", failing)));
    LockedWork<Void, Exception> losing =
        lock -> {
          CompletableFuture<LostReason> loss = loss(lock);
          client.release("leader", lock.lockId());
          try {
            soon(loss);
          } catch (InterruptedException e) {
            // It goes on all the same.
          }
          return null;
        };
    isLost(LostReason.RELEASED, () -> client.hold("leader", losing));
    assertEquals(LockState.FREE, client.get("leader").state());
  }

  /** A broker would end the whole Session for such a message, and with it all locks. */
  @Test
  void refusesLongTextsBeforeTheyAreSent() throws Exception {
    LockBroker client = connect();
    HeldLock lock = acquire(client, "beside long texts");
    String id = lock.lockId();
    String longText = "x".repeat(5000);
    tooLong("name has 5000 bytes", () -> client.tryLock(longText));
    tooLong("name has 1026 bytes", () -> client.tryLock("\u20ac".repeat(342)));
    tooLong("name has 5000 bytes", () -> client.asLock(longText).lock());
    tooLong("name has 5000 bytes", () -> client.adopt(longText, id));
    tooLong("name has 5000 bytes", () -> client.get(longText));
    tooLong("name has 5000 bytes", () -> client.release(longText, id));
    tooLong("owner has 5000 bytes", () -> client.tryLock("long", LockOption.owner(longText)));
    tooLong("lock id has 5000 bytes", () -> client.adopt("long", longText));
    tooLong("lock id has 5000 bytes", () -> client.get("long", longText));
    tooLong("lock id has 5000 bytes", () -> client.release("long", longText));
    LockBroker.Builder owner = LockBroker.builder().server(broker.url).owner(longText);
    tooLong("owner has 5000 bytes", () -> connect(owner).lock("long"));
    // The broker itself refuses what it can read.
    failsAs(Kind.INVALID, () -> client.tryLock("x".repeat(1024)));
    failsAs(Kind.INVALID, () -> client.tryLock("x", LockOption.owner("x".repeat(1024))));
    failsAs(Kind.INVALID, () -> client.adopt("x", "x".repeat(1024)));
    lock.check();
    assertEquals(id, lock.lockId());
    assertEquals(LockState.HELD, connect().get("beside long texts").state());
    lock.release();
  }

  /** UTF-8 has nothing for it, and a question mark in its place would be another name. */
  @Test
  void refusesHalfACharacter() throws Exception {
    LockBroker client = connect();
    String id = "00000000-0000-0000-0000-000000000000";
    for (String half : List.of("\ud83d", "a\udd12", "\udd12\ud83d", "\ud83d".repeat(2000))) {
      halved("name", () -> client.tryLock(half));
      halved("name", () -> client.asLock(half).lock());
      halved("name", () -> client.adopt(half, id));
      halved("name", () -> client.get(half));
      halved("name", () -> client.release(half, id));
      halved("owner", () -> client.tryLock("half", LockOption.owner(half)));
      halved("lock id", () -> client.adopt("half", half));
      halved("lock id", () -> client.get("half", half));
      halved("lock id", () -> client.release("half", half));
    }
    acquire(client, "\ud83d\udd12", LockOption.owner("\ud83d\udd12")).close();
  }

  private static void halved(String which, org.junit.jupiter.api.function.Executable call) {
    LockBrokerException error = failsAs(Kind.INVALID, call);
    String says = "the " + which + " has half a surrogate pair";
    assertTrue(error.getMessage().contains(says), error.getMessage());
  }

  private static void tooLong(String says, org.junit.jupiter.api.function.Executable call) {
    LockBrokerException error = failsAs(Kind.INVALID, call);
    assertTrue(error.getMessage().contains(says), error.getMessage());
    assertTrue(error.getMessage().contains("at most 128 bytes"), error.getMessage());
  }

  @Test
  void takesTheLongestDurations() throws Exception {
    Duration longest = Duration.ofSeconds(Long.MAX_VALUE);
    LockBroker client = connect(LockBroker.builder().server(broker.url).answerTimeout(longest));
    client.lock("long durations", Wait.atMost(longest)).close();
    assertEquals(LockState.FREE, client.get("long durations").state());
    assertTrue(client.asLock("long durations").tryLock(Long.MAX_VALUE, TimeUnit.DAYS));
    client.asLock("long durations").unlock();
    failsAs(Kind.INVALID, () -> client.tryLock("long linger", LockOption.linger(longest)));
    failsAs(Kind.INVALID, () -> client.lock("poll", Wait.forever().pollingEvery(longest)));
    LockBroker.Builder ttl = LockBroker.builder().server(broker.url).ttl(longest);
    failsAs(Kind.INVALID, () -> connect(ttl).tryLock("long ttl"));
    client.close();
  }

  /** Nothing tells the two apart once both are there: the program's comes first here. */
  @Test
  void holdEndsAtTheProgramsInterrupt() throws Exception {
    LockBroker client = connect();
    AtomicInteger times = new AtomicInteger();
    LockedWork<Void, Exception> interrupted =
        lock -> {
          times.incrementAndGet();
          Thread.currentThread().interrupt();
          CompletableFuture<LostReason> loss = new CompletableFuture<>();
          lock.onLost(loss::complete);
          begin(() -> client.release("stopped leader", lock.lockId()));
          while (!loss.isDone()) {
            Thread.onSpinWait();
          }
          Thread.sleep(10_000);
          return null;
        };
    assertThrows(InterruptedException.class, () -> client.hold("stopped leader", interrupted));
    assertEquals(1, times.get());
    assertFalse(Thread.interrupted());
    // The work takes the interrupt of the loss, and then the program's comes.
    LockedWork<Void, Exception> later =
        lock -> {
          client.release("stopped leader", lock.lockId());
          try {
            Thread.sleep(10_000);
          } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw e;
          }
          return null;
        };
    assertThrows(InterruptedException.class, () -> client.hold("stopped leader", later));
  }
}
