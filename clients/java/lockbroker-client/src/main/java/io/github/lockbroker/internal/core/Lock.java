package io.github.lockbroker.internal.core;

import io.github.lockbroker.internal.core.Link.Place;
import io.github.lockbroker.internal.core.Message.Event;
import java.util.List;

/**
 * A lock as the client has it, from the call that wants it to its end. Every transition is here. A
 * lock that has been refused or lost is gone; one whose release its stream cannot confirm goes to
 * {@link Elsewhere}.
 *
 * <pre>
 *           place           acquired          place              acquired
 * WANTED ──────────▶ ASKED ──────────▶ HELD ──────────▶ MOVING ──────────▶ HELD
 *   ▲                  │                 │  ◀──────────    │
 *   └──────────────────┘                 │ end   failed    │ end
 *     leave, try later                   ▼                 ▼      acquired, failed
 *                                    RELEASING ◀──────── GIVEN_UP
 * </pre>
 */
final class Lock {
  enum State {
    /** To be asked for as soon as there is a link. */
    WANTED,
    /** Asked for, at home. */
    ASKED,
    /** Held at home. That link is the one that counts. */
    HELD,
    /**
     * Held at home, and its reattach asked for at to. There is one at a time: a second would not
     * know the lock id that the first one's answer brings.
     */
    MOVING,
    /** Given up while it was moving. It is released by the lock id that the answer brings. */
    GIVEN_UP,
    /** Given up; its end has been sent and not been answered. */
    RELEASING
  }

  /** Is left to be done beyond the lock after a transition. */
  sealed interface Next {}

  /** Nothing. */
  record Stay() implements Next {}

  /** Forget the lock. */
  record Gone() implements Next {}

  /** Ask the current link for it. */
  record Ask() implements Next {}

  /** Ask again after a pause; null: of the usual length. */
  record AskLater(Long after) implements Next {}

  /** Take the link out of use: the broker grants on it and renews nothing. */
  record Retire(long link) implements Next {}

  /** Release it at any broker, within its validity. */
  record ReleaseElsewhere(long until) implements Next {}

  private static final Next STAY = new Stay();
  private static final Next GONE = new Gone();
  private static final Next ASK = new Ask();

  final long key;

  /** What it was asked for with, and the value that it was given last. */
  LockSpec spec;

  private final Wait wait;

  /**
   * The id of the grant; before it is granted that of the grant to take over. Empty: a new one is
   * wanted.
   */
  String lockId;

  /** The ids of the locks that go with it, in the order of {@link LockSpec#others}. */
  List<String> also = List.of();

  /** Null until the lock is held, and if it is not shared. */
  Integer permit;

  /** It is held alone and to be shared. A reattach does that, also on the link where it is. */
  private boolean wantsPermit;

  /** True if a reattach that was to share it has not been answered. */
  private boolean mayBeShared;

  State state = State.WANTED;

  /** The place of the lock; null while it is wanted. */
  Place home;

  /** The place at which its reattach was asked for, in MOVING and GIVEN_UP. */
  private Place to;

  Lock(Input.Acquire wanted) {
    key = wanted.key();
    spec = wanted.spec();
    wait = wanted.waiting();
    lockId = wanted.adopt();
  }

  /** Reports whether a call waits for the answer. If none does, home counts for the validity. */
  boolean isPending() {
    return state == State.WANTED || state == State.ASKED;
  }

  /** Reports whether a reattach is under way. */
  private boolean isMoving() {
    return state == State.MOVING || state == State.GIVEN_UP;
  }

  /** Asks a link for the lock if nobody has been asked, or for its reattach. */
  void place(Link link, long now, List<Output> out) {
    if (state == State.WANTED) {
      home = link.begin(this, left(now), out);
      state = State.ASKED;
    } else if (state == State.HELD && (home.link() != link.id || wantsPermit)) {
      to = link.begin(this, null, out);
      state = State.MOVING;
    }
  }

  /** Shares the lock from now on. Nothing may be written under it any more. */
  Next share(Integer limit) {
    if (permit != null) {
      return STAY;
    }
    spec = limit == null ? spec.shared() : spec.withLimit(limit);
    wantsPermit = true;
    return ASK;
  }

  /** Takes the lock ids and the permit that a grant or a reattach has brought. */
  private void take(Message.WasAcquired acquired) {
    lockId = acquired.grant().lockId();
    permit = acquired.grant().permit();
    also = acquired.also().stream().map(LockGrant::lockId).toList();
  }

  /** Gives the lock up, or the wait for it. */
  Next end(Links links, long now, List<Output> out) {
    switch (state) {
      case WANTED:
        return GONE;
      case ASKED:
        links.forget(home, out);
        return GONE;
      case HELD:
        return release(links, now, out);
      case MOVING:
        state = State.GIVEN_UP;
        return STAY;
      default:
        return STAY;
    }
  }

  private Next release(Links links, long now, List<Output> out) {
    Link link = links.get(home.link());
    if (link == null) {
      return GONE;
    }
    if (link.isOpen() && !link.isSilent(now)) {
      link.end(home.lockRef(), out);
      state = State.RELEASING;
      return STAY;
    }
    long until = link.until(home.lockRef());
    links.forget(home, out);
    return new ReleaseElsewhere(until);
  }

  /** Goes on after a reattach that was not granted. Returns after for one that is still held. */
  private Next resume(Next after, Links links, long now, List<Output> out) {
    boolean isGivenUp = state == State.GIVEN_UP;
    state = State.HELD;
    return isGivenUp ? release(links, now, out) : after;
  }

  /**
   * Leaves a link that has been taken out of use, as far as it can be left: what is held there
   * stays until it is reattached. answers says whether a release is still answered there.
   */
  Next leave(long id, boolean answers, Links links, long now, List<Output> out) {
    Link link = links.get(id);
    if (state == State.ASKED && home.link() == id) {
      links.forget(home, out);
      state = State.WANTED;
    } else if (isMoving() && to.link() == id && (link == null || !link.isOpen())) {
      // Unanswered, and nobody will ever know: the old lock id is all there is to try with.
      links.remove(to);
      mayBeShared |= wantsPermit;
      return resume(STAY, links, now, out);
    } else if (state == State.RELEASING && home.link() == id && !answers) {
      long until = link == null ? now : link.until(home.lockRef());
      links.forget(home, out);
      return new ReleaseElsewhere(until);
    }
    return STAY;
  }

  /** Takes an event of this lock from its place. */
  Next event(Place at, Event event, Links links, long now, List<Output> out) {
    switch (state) {
      case ASKED:
        return askedEvent(at, event, links, now, out);
      case MOVING, GIVEN_UP:
        if (to.equals(at)) {
          return movingEvent(event, links, now, out);
        }
        if (event instanceof Message.WasLost || event instanceof Message.WasReleased) {
          // The reattach makes the old broker lose the lock: the answer to it decides. It must
          // come within what the old broker has told so far, for that one knows of it no more.
          Link link = links.get(at.link());
          if (link != null) {
            link.validity.settle(at.lockRef());
          }
        }
        return STAY;
      case HELD:
        if (event instanceof Message.WasLost lost && !also.isEmpty()) {
          // Of several, the broker keeps the others from everybody for as long as they were valid.
          links.remove(home);
          out.add(new Output.Lost(key, lost.reason()));
          return GONE;
        } else if (event instanceof Message.WasLost lost) {
          return lose(lost.reason(), links, out);
        } else if (event instanceof Message.WasReleased) {
          return lose(Loss.RELEASED, links, out);
        }
        return STAY;
      case RELEASING:
        return releasingEvent(event, links, out);
      default:
        return STAY;
    }
  }

  private Next askedEvent(Place at, Event event, Links links, long now, List<Output> out) {
    Link link = links.get(at.link());
    if (link == null) {
      return STAY;
    }
    if (event instanceof Message.WasAcquired acquired) {
      // Nothing covers it: the broker has acknowledged no heartbeat for too long. It goes back,
      // and a stream that works is asked.
      if (link.until(at.lockRef()) <= now) {
        return new Retire(at.link());
      }
      // A broker that does not know of several locks, or permits, takes the first alone.
      if (acquired.also().size() != spec.others().size()) {
        links.forget(at, out);
        String why = "the broker does not know how to acquire several locks or permits together";
        out.add(new Output.Failed(key, new Failure(Failure.Code.UNIMPLEMENTED, why, "", null)));
        return GONE;
      }
      state = State.HELD;
      home = at;
      take(acquired);
      out.add(new Output.Granted(key, acquired.grant(), acquired.also()));
      return ASK;
    }
    if (event instanceof Message.HasFailed failed) {
      // A broker that goes away tells its waiters so, perhaps before it tells that it does.
      if (wait != null && failed.failure().code() == Failure.Code.UNAVAILABLE) {
        links.remove(at);
        state = State.WANTED;
        return new AskLater(failed.failure().retryAfter());
      }
      out.add(new Output.Failed(key, failed.failure()));
    } else if (event instanceof Message.WasRefused refused) {
      out.add(new Output.Refused(key, refused.refusal()));
    } else if (event instanceof Message.WasLost lost) {
      out.add(new Output.Lost(key, lost.reason()));
    } else {
      return STAY;
    }
    links.remove(at);
    return GONE;
  }

  private Next movingEvent(Event event, Links links, long now, List<Output> out) {
    if (event instanceof Message.WasAcquired acquired) {
      // An answer counts only if what it brings is still good. (That the old validity has not run
      // out is seen before any input.)
      Link link = links.get(to.link());
      boolean isWhole = acquired.also().size() == also.size();
      if (!isWhole || link == null || link.until(to.lockRef()) <= now) {
        return lose(Loss.EXPIRED, links, out);
      }
      links.remove(home);
      boolean isGivenUp = state == State.GIVEN_UP;
      state = State.HELD;
      home = to;
      take(acquired);
      wantsPermit &= permit == null;
      mayBeShared = false;
      if (isGivenUp) {
        return release(links, now, out);
      }
      out.add(new Output.Moved(key, lockId, also, permit));
      if (wantsPermit) {
        // Whatever keeps the broker from a permit may pass.
        return new AskLater(null);
      }
      // The link may have been retired while it answered.
      return ASK;
    }
    if (event instanceof Message.HasFailed failed) {
      links.remove(to);
      Next after = resume(new AskLater(failed.failure().retryAfter()), links, now, out);
      if (wantsPermit && !mayBeShared && failed.failure().code().isFinal()) {
        wantsPermit = false;
        spec = spec.exclusive();
        out.add(new Output.NotShared(key, failed.failure()));
      }
      return after;
    }
    return lose(Loss.GONE, links, out);
  }

  private Next releasingEvent(Event event, Links links, List<Output> out) {
    if (event instanceof Message.WasReleased || event instanceof Message.WasRefused) {
      out.add(new Output.Released(key));
    } else if (event instanceof Message.WasLost lost) {
      out.add(new Output.Lost(key, lost.reason()));
    } else if (event instanceof Message.HasFailed failed) {
      out.add(new Output.Failed(key, failed.failure()));
    } else {
      return STAY;
    }
    links.remove(home);
    return GONE;
  }

  /** Ends the lock as lost, wherever it is. */
  Next lose(Loss reason, Links links, List<Output> out) {
    if (isPending()) {
      return STAY;
    }
    links.forget(home, out);
    if (isMoving()) {
      links.forget(to, out);
    }
    out.add(new Output.Lost(key, reason));
    return GONE;
  }

  /** Returns the wait, less the time that has passed; null to try once. */
  private Request.WaitLeft left(long now) {
    if (wait == null) {
      return null;
    }
    Long left = wait.until() == null ? null : Moments.since(wait.until(), now);
    return new Request.WaitLeft(left, wait.pollInterval());
  }
}
