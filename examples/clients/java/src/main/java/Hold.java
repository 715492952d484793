import com.google.protobuf.Duration;
import io.github.lockbroker.v1.*;
import io.grpc.*;
import io.grpc.stub.StreamObserver;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.*;

/**
 * Holds a lock while it works, and never works without it.
 *
 * <p>{@code java -cp 'target/classes:target/lib/*' Hold SERVER NAME [WAIT_SECONDS [WORK_SECONDS]]}
 *
 * <p>SERVER is http://HOST:PORT or unix:/PATH. Exit status: 0 the work is done, 1 it was stopped half-way, 2 wrong
 * usage, 69 no broker answered, 75 somebody else has the lock.
 */
public final class Hold {
  static final int TTL = 15; // For how long a grant stands without renewal, in seconds.
  static final double MARGIN = TTL / 30.0; // Stops this much early, as the broker does. The last step has this long.
  static final int SILENCE = 15; // A broker repeats `queued` every 5 s. One that says nothing for this long is gone.

  /** Seconds of a clock that runs on while the machine is suspended, as System.nanoTime() does not. */
  static double now() {
    try {
      return Double.parseDouble(Files.readString(Path.of("/proc/uptime")).split(" ")[0]);
    } catch (java.io.IOException error) {
      throw new java.io.UncheckedIOException(error);
    }
  }

  final LockServiceGrpc.LockServiceStub stub;
  final String name;
  final BlockingQueue<Runnable> events = new LinkedBlockingQueue<>(); // Run by the one who works, in `heed`.
  // From ROOT: a call made within another would inherit that one's deadline and its end.
  final Context.CancellableContext call = Context.ROOT.withCancellation();
  final double sent;
  double until = 0;
  String lockId = "";
  long token = 0;
  String stopped = null; // Why the work must not go on.
  boolean refused = false; // Somebody else has the lock.

  Hold(Channel channel, String name, long wait) {
    this.stub = LockServiceGrpc.newStub(channel);
    this.name = name;
    var request =
        WaitAcquireRequest.newBuilder()
            .setLock(LockSpec.newBuilder().setName(name))
            .setTtl(Duration.newBuilder().setSeconds(TTL))
            // 0 tries once; unset would wait for ever.
            .setWait(WaitSpec.newBuilder().setMaxWait(Duration.newBuilder().setSeconds(wait)))
            .build();
    sent = now(); // Before the call: all times that the broker tells count from here.
    // No withDeadline(): the stream would end with it, and so would the lock.
    call.run(() -> stub.waitAcquire(request, new Listener()));
  }

  /** Passes on what the broker says, and the end of the stream. gRPC calls it in threads of its own. */
  final class Listener implements StreamObserver<WaitAcquireResponse> {
    public void onNext(WaitAcquireResponse response) {
      events.add(() -> heed(response.getEvent()));
    }

    public void onError(Throwable error) {
      events.add(() -> stop(error.getMessage()));
    }

    public void onCompleted() {
      events.add(() -> stop("the stream has ended"));
    }
  }

  void heed(LockEvent event) {
    switch (event.getKindCase()) {
      case ACQUIRED -> {
        lockId = event.getAcquired().getLockId();
        token = event.getAcquired().getFencingToken();
        extend(event.getAcquired().getExpiresAfterRequest());
      }
      case RENEWED -> extend(event.getRenewed().getExpiresAfterRequest());
      case QUEUED -> System.out.println("waiting: place " + event.getQueued().getPosition());
      case NOT_ACQUIRED -> {
        refused = true;
        stop(event.getNotAcquired().getReason().name());
      }
      // DRAINING: the broker is going away. It renews for a while yet: enough to end the work.
      case LOST, RELEASED, DRAINING -> stop(event.getKindCase().name());
      default -> {} // A broker may say more than this program knows.
    }
  }

  /** Counts from the request, not from now. So what it is given grows with every renewal. */
  void extend(Duration span) {
    until = sent + span.getSeconds() + span.getNanos() / 1e9 - MARGIN;
  }

  void stop(String why) {
    if (stopped == null) stopped = why;
  }

  /** Returns when the lock is held, or when it is certain that it will not be. */
  void await() throws InterruptedException {
    while (lockId.isEmpty() && stopped == null) {
      var event = events.poll(SILENCE, TimeUnit.SECONDS);
      if (event == null) stop("no answer");
      else event.run();
    }
  }

  /** Says whether the work may go on. Ask before every step. */
  boolean held() {
    for (Runnable event; (event = events.poll()) != null; ) event.run();
    if (now() >= until) stop("no renewal came in time");
    return stopped == null;
  }

  /** Gives the lock back. Call it when the work has stopped, not before. */
  void release() {
    try {
      var request = ReleaseRequest.newBuilder().setName(name).setLockId(lockId).build();
      var stub = LockServiceGrpc.newBlockingStub(this.stub.getChannel()).withDeadlineAfter(3, TimeUnit.SECONDS);
      if (!lockId.isEmpty()) stub.release(request);
    } catch (StatusRuntimeException error) {
      System.err.println("not released: " + error.getStatus());
    }
    call.cancel(null); // Releases too, and gives up a wait.
  }

  /** The work, in steps that are short beside MARGIN. Send the token along with every write. */
  boolean work(double seconds) throws InterruptedException {
    for (long end = System.nanoTime() + (long) (seconds * 1e9); held(); Thread.sleep(20)) {
      if (System.nanoTime() >= end) return true;
      System.out.println("acting");
    }
    return false;
  }

  public static void main(String[] args) throws InterruptedException {
    long wait = 0;
    double work = 60;
    try {
      if (args.length < 2 || args.length > 4) throw new NumberFormatException();
      if (args.length > 2) wait = Long.parseLong(args[2]);
      if (args.length > 3) work = Double.parseDouble(args[3]);
    } catch (NumberFormatException wrong) {
      System.err.println("usage: java Hold SERVER NAME [WAIT_SECONDS [WORK_SECONDS]]");
      System.exit(2);
    }
    String target = args[0].replaceFirst("^http://", "");
    // Without a proxy detector, Java's proxy settings would be heeded.
    var plain = InsecureChannelCredentials.create(); // For https: TlsChannelCredentials.
    var channel = Grpc.newChannelBuilder(target, plain).proxyDetector(address -> null).build();
    var lock = new Hold(channel, args[1], wait);
    var ended = new CountDownLatch(1);
    // SIGTERM. Java waits for this thread: long enough for the work to stop and for the release.
    var hook = new Thread(() -> {
      lock.events.add(() -> lock.stop("SIGTERM"));
      try {
        ended.await(5, TimeUnit.SECONDS);
      } catch (InterruptedException ignored) {
      }
    });
    Runtime.getRuntime().addShutdownHook(hook);
    int status = 69;
    try {
      lock.await();
      if (lock.lockId.isEmpty()) {
        System.out.println("not acquired: " + lock.stopped);
        if (lock.refused) status = 75;
      } else {
        System.out.println("acquired: token " + lock.token);
        boolean done = lock.work(work);
        System.out.println(done ? "done" : "stopped: " + lock.stopped);
        status = done ? 0 : 1;
      }
    } finally {
      lock.release();
      channel.shutdownNow();
      ended.countDown();
    }
    System.exit(status);
  }
}
