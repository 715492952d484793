package io.github.lockbroker;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.lockbroker.harness.Scenario;
import io.github.lockbroker.testing.TestBroker;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A store that refuses those who had the lock before: the only protection of a stopped holder. */
class FencingTest extends Scenario {
  @TempDir Path folder;

  /** Writes the report, unless somebody with a higher token has written it. */
  static boolean write(Connection database, String text, long token) throws SQLException {
    String update = "UPDATE reports SET text = ?, token = ? WHERE id = 1 AND token <= ?";
    try (PreparedStatement statement = database.prepareStatement(update)) {
      statement.setString(1, text);
      statement.setLong(2, token);
      statement.setLong(3, token);
      return statement.executeUpdate() == 1;
    }
  }

  @Test
  void aStoppedHolderWritesNothing() throws Exception {
    TestBroker broker = closing(new TestBroker());
    LockBroker client = connect(broker.url());
    Connection database =
        closing(DriverManager.getConnection("jdbc:sqlite:" + folder.resolve("reports.db")));
    try (var statement = database.createStatement()) {
      statement.execute("CREATE TABLE reports (id INTEGER, text TEXT, token INTEGER)");
      statement.execute("INSERT INTO reports VALUES (1, '', 0)");
    }
    HeldLock stopped = acquire(client, "report");
    assertTrue(write(database, "first", stopped.fencingToken()));
    assertTrue(write(database, "first again", stopped.fencingToken()));
    broker.lose("report", LostReason.EXPIRED);
    HeldLock next = acquire(client, "report");
    assertTrue(write(database, "second", next.fencingToken()));
    // It wakes up, and does not know.
    assertFalse(write(database, "late", stopped.fencingToken()));
    try (var statement = database.createStatement();
        var rows = statement.executeQuery("SELECT text FROM reports")) {
      assertEquals("second", rows.getString(1));
    }
  }
}
