//! The rules of the protocol, each of which can be left out, and the bounds within which a configuration is explored.

/// The rules that the model obeys. Each one is there to close a hole: with one of them left out, the checker must
/// find that hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A batch counts only if its witness shows the epoch that was known before.
    pub witness: bool,
    /// The witness is the last command of its batch; left out, it comes before the lock's command.
    pub witness_last: bool,
    /// The witness is S, which nobody writes; left out, it is F<e>, which every grant writes.
    pub witness_unwritten: bool,
    /// The witness and the clock are read with `u`, which leaves the time of S as it is; left out, a flush spares an S
    /// that was read in this tick.
    pub witness_unread: bool,
    /// A grant is sent only to a shard that is known to be open.
    pub grant_only_if_open: bool,
    /// A lease that is over is not renewed by an answer that comes later. Only permits rest on it.
    pub lost_is_final: bool,
    /// Every command that creates S has an epoch of its own; left out, each broker has one.
    pub fresh_epoch: bool,
    /// A shard whose epoch has no fences grants nothing for a while; left out, it is opened at once.
    pub quarantine: bool,
    /// The quarantine is as long as the longest ttl; left out, it is two margins shorter.
    pub quarantine_length: bool,
    /// The quarantine begins anew with every epoch; left out, it goes on from the first loss that the broker saw.
    pub quarantine_per_epoch: bool,
    /// The quarantine counts from the arrival of an answer; left out, from the sending of the batch that first showed
    /// the epoch.
    pub quarantine_from_arrival: bool,
    /// A lease is shorter than its item may live.
    pub margin: bool,
    /// A lease counts from before the command was sent, and an answer only while that lease is good; left out, the
    /// lease begins with the answer.
    pub answer_in_time: bool,
    /// A renewal names the id that it acts for.
    pub renewal_compares: bool,
    /// A release names the id that it acts for.
    pub release_compares: bool,
    /// A hand-over names the id that it acts for.
    pub hand_over_compares: bool,
    /// A reattach gives the grant a new id.
    pub reattach_new_id: bool,
    /// The new id of a reattach that came to nothing is never deleted.
    pub reattach_never_undone: bool,
    /// Silence releases no fresh reattach, and no renewal makes its item's life shorter, while the client may still
    /// believe what the broker before told it.
    pub reattach_protected: bool,
    /// Silence releases only when what the client was told has run out.
    pub silence_waits: bool,
    /// A stream that ends in the eyes of its broker alone is silence; left out, it is the client's word.
    pub reset_is_silence: bool,
    /// Answers of a memcached whose clock lags do not count.
    pub clock_lag: bool,
    /// A broker takes the clock of a memcached that it has just met for right only when it has seen it run.
    pub clock_learned: bool,
    /// The fencing token is drawn after the lock is held.
    pub fence_after_lock: bool,
    /// A new epoch's tokens begin above all that was drawn before; left out, they begin where the first did.
    pub fence_start: bool,
    /// "Another mark" and "no item" are no last word while the shard is closed.
    pub closed_is_unsettled: bool,
    /// A kept lease is created again while the shard is closed.
    pub reassert: bool,
    /// A linger is created again while the shard is closed.
    pub reassert_linger: bool,
    /// The item of a held lock lives for the linger as well.
    pub item_outlives_linger: bool,
    /// A lock that is told to linger has a T that is no shorter than the one that it had, so that a lagging clock
    /// cuts nothing off.
    pub linger_never_shortens: bool,
    /// A release that finds no item while the shard is closed creates its linger.
    pub release_creates_linger: bool,
    /// A client that ends a stream with a reattach unanswered has released the lock, and a release lingers.
    pub moving_release_lingers: bool,
    /// A revoked lock stays closed until its holder can no longer believe in it.
    pub revoked_waits: bool,
    /// The item of a revoked lock outlives the validity of its holder; left out, it lives for as long as the look showed that
    /// it would.
    pub revoked_lives: bool,
    /// A renewal of a lease creates nothing at a broker where the lease is not known to be good.
    pub lease_not_recreated: bool,
    /// To a lock that is to be kept, the end of its stream is silence, however the stream ended.
    pub kept_on_close: bool,
    /// A lock that is let go before the end of its `min_hold` stays closed until then.
    pub min_hold_kept: bool,
    /// The item of a lock outlives its `min_hold`.
    pub min_hold_in_item: bool,
    /// What is left of a `min_hold` for its item counts from the last command that counted; left out, from now.
    pub min_hold_never_cut: bool,
    /// The item of a permit stands before the lock's is looked at.
    pub permit_before_look: bool,
    /// The item of the lock stands before permits are looked for.
    pub lock_before_look: bool,
    /// A permit that is taken under the lock's own item counts only if that is ours; left out, whatever stands there.
    pub gate_compares: bool,
    /// The item of a lock that becomes a shared one keeps others out until its permit stands.
    pub lock_outlives_downgrade: bool,
    /// A grant that does not count, or of which it is not known what became of it, is deleted.
    pub scrub: bool,
}

impl Rules {
    /// The protocol as it is.
    pub const ALL: Rules = Rules {
        witness: true,
        witness_last: true,
        witness_unwritten: true,
        witness_unread: true,
        grant_only_if_open: true,
        lost_is_final: true,
        fresh_epoch: true,
        quarantine: true,
        quarantine_length: true,
        quarantine_per_epoch: true,
        quarantine_from_arrival: true,
        margin: true,
        answer_in_time: true,
        renewal_compares: true,
        release_compares: true,
        hand_over_compares: true,
        reattach_new_id: true,
        reattach_never_undone: true,
        reattach_protected: true,
        silence_waits: true,
        reset_is_silence: true,
        clock_lag: true,
        clock_learned: true,
        fence_after_lock: true,
        fence_start: true,
        closed_is_unsettled: true,
        reassert: true,
        reassert_linger: true,
        item_outlives_linger: true,
        linger_never_shortens: true,
        release_creates_linger: true,
        moving_release_lingers: true,
        revoked_waits: true,
        revoked_lives: true,
        lease_not_recreated: true,
        kept_on_close: true,
        min_hold_kept: true,
        min_hold_in_item: true,
        min_hold_never_cut: true,
        permit_before_look: true,
        lock_before_look: true,
        gate_compares: true,
        lock_outlives_downgrade: true,
        scrub: true,
    };
}

/// Memory losses that may happen in a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Everything goes: a restart.
    pub whole: bool,
    /// S goes and nothing else does.
    pub state: bool,
    /// The fences of the present epoch go and nothing else does.
    pub fences: bool,
    /// Everything goes but what was written in this tick, any part of which may be spared.
    pub flush: bool,
}

/// The bounds of a configuration. Times are in ticks.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The configuration's name.
    pub name: &'static str,
    /// The ttls of the two clients; the longer one is the longest that there is.
    pub ttl: [u8; 2],
    /// The lingers of the clients.
    pub linger: [u8; 2],
    /// The `min_hold`s of the clients.
    pub min_hold: [u8; 2],
    /// The brokers at which each of them asks for the lock.
    pub asks_at: [[bool; 2]; 2],
    /// The number of times that each of them asks; without end if not set.
    pub asks: Option<u8>,
    /// True if memcached is new; false if it runs with an open epoch.
    pub new_server: bool,
    /// The kinds of losses of memory.
    pub losses: Losses,
    /// The number of losses of memory.
    pub loss_count: u8,
    /// The number of commands that were given up and may be under way at one time.
    pub strays: u8,
    /// The number of streams that break, by halves or in the eyes of their broker only.
    pub breaks: u8,
    /// The number of brokers that die.
    pub deaths: u8,
    /// True if they come back.
    pub restarts: bool,
    /// The number of times that memcached stops and goes on.
    pub stops: u8,
    /// The number of times that a client moves to the other broker.
    pub reattaches: u8,
    /// The number of times that a client calls Release at the other broker.
    pub releases_elsewhere: u8,
    /// The number of times that an operator revokes the lock, at either broker.
    pub revocations: u8,
    /// The clients that take leases: they have no stream, and renew by calls at either broker.
    pub leases: [bool; 2],
    /// The clients whose locks are to be kept when their streams end. Streams of theirs that break are closed, as by a proxy.
    pub kept: [bool; 2],
    /// If set, tokens are followed, and this many drawn.
    pub tokens: Option<u8>,
    /// The clients that ask for a permit each.
    pub shared: [bool; 2],
    /// The number of permits that there may be.
    pub permits: u16,
    /// How many permits each of them needs free at once.
    pub weight: [u8; 2],
    /// The clients that have the lock alone, and share it from each reattach on.
    pub downgrades: [bool; 2],
    /// True if no client leaves of its own accord.
    pub stay: bool,
    /// True if anything may happen between the commands of a batch, also where it makes no difference.
    pub apart: bool,
    /// Probes take their time as batches do; elsewhere they are answered at once, or given up and land late.
    pub slow_probes: bool,
    /// Brokers and memcached do all that they have to do before time goes on. What is given up is tried again before
    /// that, and may still land at any time.
    pub prompt: bool,
    /// True for some 50,000 states and more: explored by night, and not with every change. Not where nothing quicker has
    /// such a fault.
    pub slow: bool,
}

impl Bounds {
    /// Client 0 asks at broker 0, client 1 at broker 1, and nothing goes wrong.
    pub const QUIET: Bounds = Bounds {
        name: "quiet",
        ttl: [3, 2],
        linger: [0, 0],
        min_hold: [0, 0],
        asks_at: [[true, false], [false, true]],
        asks: None,
        new_server: false,
        losses: Losses { whole: false, state: false, fences: false, flush: false },
        loss_count: 0,
        strays: 0,
        breaks: 0,
        deaths: 0,
        restarts: false,
        stops: 0,
        reattaches: 0,
        releases_elsewhere: 0,
        revocations: 0,
        leases: [false; 2],
        kept: [false; 2],
        tokens: None,
        shared: [false; 2],
        permits: 1,
        weight: [1; 2],
        downgrades: [false; 2],
        stay: false,
        apart: false,
        slow_probes: false,
        prompt: false,
        slow: false,
    };

    /// Returns true if anybody asks for a permit.
    pub fn shares(&self) -> bool {
        self.shared.iter().chain(&self.downgrades).any(|shares| *shares)
    }

    /// Returns the longest ttl of all.
    pub fn max_ttl(&self) -> u8 {
        self.ttl[0].max(self.ttl[1])
    }
}

/// The time by which an item may die before its T is over: the ticks of memcached's clock and the one that it may
/// skip.
pub const MARGIN: u8 = 1;
