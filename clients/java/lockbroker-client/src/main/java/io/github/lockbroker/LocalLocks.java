package io.github.lockbroker;

import java.lang.ref.Reference;
import java.lang.ref.ReferenceQueue;
import java.lang.ref.WeakReference;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** The locks of {@link LockBroker#asLock}: one for each name that somebody uses. */
final class LocalLocks {
  private final LockBroker client;
  private final ConcurrentHashMap<String, Named> byName = new ConcurrentHashMap<>();
  private final ReferenceQueue<LocalLock> forgotten = new ReferenceQueue<>();

  /**
   * Keeps the locks that are locked from being collected. A new one of the same name would wait for
   * the old one for ever.
   */
  final Set<LocalLock> locked = ConcurrentHashMap.newKeySet();

  private static final class Named extends WeakReference<LocalLock> {
    final String name;

    Named(LocalLock lock, ReferenceQueue<LocalLock> forgotten) {
      super(lock, forgotten);
      this.name = lock.name();
    }
  }

  LocalLocks(LockBroker client) {
    this.client = client;
  }

  LocalLock get(String name) {
    for (Reference<?> each; (each = forgotten.poll()) != null; ) {
      Named named = (Named) each;
      byName.remove(named.name, named);
    }
    while (true) {
      Named present = byName.get(name);
      LocalLock lock = present == null ? null : present.get();
      if (lock != null) {
        return lock;
      }
      LocalLock made = new LocalLock(client, this, name);
      Named named = new Named(made, forgotten);
      boolean isMine =
          present == null
              ? byName.putIfAbsent(name, named) == null
              : byName.replace(name, present, named);
      if (isMine) {
        return made;
      }
    }
  }
}
