package io.github.lockbroker.internal.core;

import java.util.ArrayList;
import java.util.List;

/** All streams of a client. */
final class Links {
  final List<Link> all = new ArrayList<>();

  /** Returns a link; null if there is none with this id. */
  Link get(long id) {
    for (Link link : all) {
      if (link.id == id) {
        return link;
      }
    }
    return null;
  }

  /** Returns the one that takes new locks; null if there is none. */
  Link current() {
    for (Link link : all) {
      if (link.phase == Link.Phase.CURRENT) {
        return link;
      }
    }
    return null;
  }

  /** Takes a lock off its link without a word. */
  void remove(Link.Place at) {
    Link link = get(at.link());
    if (link != null) {
      link.locks.remove(at.lockRef());
    }
  }

  /** Ends a lock, and ignores whatever the broker says of it from now on. */
  void forget(Link.Place at, List<Output> out) {
    Link link = get(at.link());
    if (link != null) {
      link.locks.remove(at.lockRef());
      link.end(at.lockRef(), out);
    }
  }
}
