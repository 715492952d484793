package io.github.lockbroker.testee;

import com.google.gson.JsonObject;
import java.util.concurrent.CompletableFuture;

/**
 * A block of a lock that is under way.
 *
 * @param leave completed with true if it is to fail
 * @param ended completed with what came out
 */
record Scope(CompletableFuture<Boolean> leave, CompletableFuture<JsonObject> ended) {
  Scope() {
    this(new CompletableFuture<>(), new CompletableFuture<>());
  }

  /** What a block throws that is to fail. */
  static final class Failed extends RuntimeException {
    private static final long serialVersionUID = 1;

    Failed() {
      super("the block fails, as it was told");
    }
  }
}
