package example;

import io.github.lockbroker.LockBroker;
import io.github.lockbroker.NotAcquiredException;
import io.github.lockbroker.Wait;
import java.time.Duration;

public final class Reports {
  public static void main(String[] args) throws InterruptedException {
    try (var client = LockBroker.connect(); // LOCKBROKER_SERVER, or http://127.0.0.1:28551
        var lock = client.lock("reports", Wait.atMost(Duration.ofSeconds(10)))) {
      System.out.println("working, with the token " + lock.fencingToken());
    } catch (NotAcquiredException e) {
      System.out.println("somebody else is at it: " + e.reason() + " " + e.owner());
    }
  }
}
