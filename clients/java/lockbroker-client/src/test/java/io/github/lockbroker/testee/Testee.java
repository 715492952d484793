package io.github.lockbroker.testee;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.github.lockbroker.HeldLock;
import io.github.lockbroker.Lease;
import io.github.lockbroker.LockBroker;
import io.github.lockbroker.NotAcquiredException;
import io.github.lockbroker.Observation;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** The testee of tests/conformance: it does as the driver tells it, and says what happened. */
public final class Testee {
  final Map<String, LockBroker> clients = new ConcurrentHashMap<>();
  final Map<String, HeldLock> locks = new ConcurrentHashMap<>();
  final Map<String, Lease> leases = new ConcurrentHashMap<>();
  final Map<String, Observation> observations = new ConcurrentHashMap<>();
  final Map<String, Scope> scopes = new ConcurrentHashMap<>();

  /** The threads of the calls that are under way. */
  final Map<Long, Thread> calls = new ConcurrentHashMap<>();

  private final PrintStream out =
      new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);

  private Testee() {}

  /**
   * Takes commands until the end of its input.
   *
   * @param arguments are the script's: it has chosen the classes by them
   */
  public static void main(String[] arguments) throws IOException {
    Testee testee = new Testee();
    String hello = "{'client': 'lockbroker for Java', 'features': ['collect', 'deadline']}";
    testee.say(Answers.of("hello", JsonParser.parseString(hello)));
    Commands commands = new Commands(testee);
    var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line; (line = lines.readLine()) != null; ) {
      JsonObject told = JsonParser.parseString(line).getAsJsonObject();
      Thread thread = new Thread(() -> testee.run(commands, told), "command");
      thread.setDaemon(true);
      testee.calls.put(told.get("id").getAsLong(), thread);
      thread.start();
    }
    testee.clients.values().forEach(LockBroker::close);
    System.exit(0);
  }

  private void run(Commands commands, JsonObject told) {
    long id = told.get("id").getAsLong();
    JsonObject said;
    try {
      said = commands.run(new Command(told));
    } catch (Exception e) {
      said = Answers.failed(e);
      if (told.has("also") && e instanceof NotAcquiredException refused) {
        said.getAsJsonObject("not_acquired").addProperty("lock", refused.lock());
      }
    } finally {
      calls.remove(id);
    }
    if (said != null) {
      answer(id, said);
    }
  }

  void answer(long id, JsonObject said) {
    said.addProperty("id", id);
    say(said);
  }

  void say(JsonObject line) {
    out.println(line);
  }
}
