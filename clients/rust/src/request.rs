//! The two ways to ask for a lock, and their outcomes.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Client;
use super::error::Error;
use super::guard::{Asked, Guard};
use super::observe::check_value;
use super::session::{AcquireAnswer, Command};
use super::settings::unexpected;
use super::wire::FAR;
use crate::clock::Moment;
use crate::core::{Access, Key, LockSpec, Refusal, RefusalReason, Wait};

/// Asks for a lock, once. Made by [`Client::acquire`]; awaiting it asks.
///
/// # Errors
/// [`Error::Unavailable`] if no broker answered within the client's
/// [`answer_timeout`](super::ClientBuilder::answer_timeout), or if the broker's store is away; [`Error::Exhausted`],
/// [`Error::Invalid`] and [`Error::Denied`] as the broker says.
///
/// # Cancel safety
/// If the future is dropped, the lock is not held: a grant that arrives later is released at once.
#[must_use = "asks for nothing unless it is awaited"]
#[derive(Debug)]
pub struct Acquire {
    client: Client,
    lock: LockSpec,
    adopt: Option<String>,
}

/// Waits for a lock in a queue. Made by [`Client::wait_acquire`]; awaiting it asks. It waits through a broker that
/// goes away, at the next one, and through a store that is away.
///
/// # Errors
/// As with [`Acquire`]; [`Error::Unavailable`] comes only when the wait is over and there is no broker to say so. A wait
/// that is shorter than the client's [`answer_timeout`](super::ClientBuilder::answer_timeout) may take that long to find
/// out.
///
/// # Cancel safety
/// If the future is dropped, the place in the queue is given up, and a grant that arrives later is released at once.
#[must_use = "asks for nothing unless it is awaited"]
#[derive(Debug)]
pub struct WaitAcquire {
    client: Client,
    lock: LockSpec,
    max_wait: Option<Duration>,
    poll_interval: Option<Duration>,
}

/// The outcome of asking for a lock.
#[derive(Debug)]
#[must_use = "dropping the outcome releases the lock, but for a lease, which stands for its ttl"]
pub enum Outcome<G = Guard> {
    /// The lock is held for as long as the guard lives, or the [lease](crate::Lease) is valid.
    Acquired(G),
    /// The lock was not acquired.
    NotAcquired(NotAcquired),
}

impl<G> Outcome<G> {
    /// Returns the guard, or the lease, if the lock was acquired.
    pub fn guard(self) -> Option<G> {
        match self {
            Outcome::Acquired(guard) => Some(guard),
            Outcome::NotAcquired(_) => None,
        }
    }
}

/// The reason for which a lock was not acquired, and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotAcquired {
    /// The reason.
    pub reason: Reason,
    /// The label of the present holder; empty if it has none or it is not known.
    pub owner: String,
    /// The name of the lock. Of [several](Acquire::also) that of the one for which none was acquired.
    pub lock: String,
}

/// The reason for which a lock was not acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Somebody holds it. Or it was asked for to be shared, and as many as its limit allows share it.
    Held,
    /// It was released and its linger or its `min_hold` is not over, or it was revoked and is still closed. [`Client::get`] says
    /// which, and for how long.
    Lingering,
    /// The wait is over.
    MaxWait,
    /// The grant to [adopt](Client::adopt) has ended, or has moved on to another lock id.
    NotReattachable,
}

impl fmt::Display for NotAcquired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reason {
            Reason::Held => "held",
            Reason::Lingering => "closed after its release or revocation",
            Reason::MaxWait => "not free in time",
            Reason::NotReattachable => "no such grant, or no longer",
        })?;
        if self.owner.is_empty() { Ok(()) } else { write!(f, " (holder: {})", self.owner) }
    }
}

impl Acquire {
    pub(super) fn new(client: Client, name: &str, adopt: Option<String>) -> Acquire {
        let lock = client.lock_spec(name);
        Acquire { client, lock, adopt }
    }

    /// Sets the time after the release for which nobody can acquire the lock; up to 1 h, to the millisecond. Default:
    /// 0.
    pub fn linger(mut self, linger: Duration) -> Acquire {
        self.lock.linger = Some(linger);
        self
    }

    /// Keeps the lock until its validity is over when the connection ends, however that ends: a proxy that closes connections, as
    /// in a reload, costs no lock then. The price: if this process dies, others wait until the validity is over. Giving the lock
    /// up releases it at once all the same.
    pub fn keep_on_disconnect(mut self) -> Acquire {
        self.lock.is_kept = true;
        self
    }

    /// Sets the time after the grant for which nobody else can acquire the lock, whenever and however this client ends; up
    /// to 1 h, to the millisecond. For jobs that must not run twice on machines whose clocks differ. Default: 0.
    pub fn min_hold(mut self, min_hold: Duration) -> Acquire {
        self.lock.min_hold = Some(min_hold);
        self
    }

    /// Shares the lock: others who share it may have it at the same time, each with a permit, and nobody has it alone meanwhile. See
    /// [`Guard::permit`] and [`limit`](Acquire::limit). Default: nobody else has it.
    pub fn shared(mut self) -> Acquire {
        self.lock.share(None, None);
        self
    }

    /// Shares the lock among `limit` at a time, 1 to 4,096; another one is [`Error::Invalid`]. All who use the name should say the
    /// same. Default: 4,096, if it is [shared](Acquire::shared).
    pub fn limit(mut self, limit: u32) -> Acquire {
        self.lock.share(Some(limit), None);
        self
    }

    /// Shares the lock by so many permits at once, 1 to 16, and at most the [`limit`](Acquire::limit). All or none: whoever waits for
    /// several lets no new ones in meanwhile. [`Guard::locks`] has all of them; when one is lost, all are. Not with
    /// [`also`](Acquire::also) or [`min_hold`](Acquire::min_hold). Default: 1.
    pub fn weight(mut self, weight: u32) -> Acquire {
        self.lock.share(None, Some(weight));
        self
    }

    /// Asks for other locks together with this one, in the same way: all or none, for one guard. At most 15. Whoever asks for several
    /// waits for nobody in a circle, in whatever order the names are said. When one is lost, all are. Not with
    /// [`min_hold`](Acquire::min_hold) or a [`value`](Acquire::value).
    pub fn also(mut self, names: impl IntoIterator<Item: Into<String>>) -> Acquire {
        self.lock.also.extend(names.into_iter().map(Into::into));
        self
    }

    /// Sets the value for those who [observe](Client::observe) the lock: where a leader can be reached, say. Up to 1,024 bytes; it may
    /// be empty. [`Guard::update`] gives the lock another one. Not for a lock that is [shared](Acquire::shared). Default: none.
    pub fn value(mut self, value: impl Into<Vec<u8>>) -> Acquire {
        self.lock.value = Some(value.into());
        self
    }

    /// Sets a label that is shown to others who ask for the lock; up to 128 bytes without control characters. Default:
    /// the client's.
    pub fn owner(mut self, owner: impl Into<String>) -> Acquire {
        self.lock.owner = owner.into();
        self
    }
}

impl WaitAcquire {
    pub(super) fn new(client: Client, name: &str) -> WaitAcquire {
        let lock = client.lock_spec(name);
        WaitAcquire { client, lock, max_wait: None, poll_interval: None }
    }

    /// Sets the longest wait, exact to 50 ms, or to 150 ms while the store is slow; 0 tries once. Default: until the lock is granted.
    pub fn max_wait(mut self, max_wait: Duration) -> WaitAcquire {
        self.max_wait = Some(max_wait.min(FAR));
        self
    }

    /// Sets the least time between two of the broker's polls for a lock that another broker holds; 1 ms to 1 h.
    /// Default: the broker's choice.
    pub fn poll_interval(mut self, poll_interval: Duration) -> WaitAcquire {
        self.poll_interval = Some(poll_interval);
        self
    }

    /// Keeps the lock when the connection ends; see [`Acquire::keep_on_disconnect`].
    pub fn keep_on_disconnect(mut self) -> WaitAcquire {
        self.lock.is_kept = true;
        self
    }

    /// Sets the linger; see [`Acquire::linger`].
    pub fn linger(mut self, linger: Duration) -> WaitAcquire {
        self.lock.linger = Some(linger);
        self
    }

    /// Sets the least time for which the lock stays closed; see [`Acquire::min_hold`].
    pub fn min_hold(mut self, min_hold: Duration) -> WaitAcquire {
        self.lock.min_hold = Some(min_hold);
        self
    }

    /// Shares the lock; see [`Acquire::shared`].
    pub fn shared(mut self) -> WaitAcquire {
        self.lock.share(None, None);
        self
    }

    /// Shares the lock among so many at a time; see [`Acquire::limit`].
    pub fn limit(mut self, limit: u32) -> WaitAcquire {
        self.lock.share(Some(limit), None);
        self
    }

    /// Shares the lock by so many permits at once; see [`Acquire::weight`].
    pub fn weight(mut self, weight: u32) -> WaitAcquire {
        self.lock.share(None, Some(weight));
        self
    }

    /// Asks for other locks together with this one; see [`Acquire::also`].
    pub fn also(mut self, names: impl IntoIterator<Item: Into<String>>) -> WaitAcquire {
        self.lock.also.extend(names.into_iter().map(Into::into));
        self
    }

    /// Sets the value; see [`Acquire::value`].
    pub fn value(mut self, value: impl Into<Vec<u8>>) -> WaitAcquire {
        self.lock.value = Some(value.into());
        self
    }

    /// Sets the label; see [`Acquire::owner`].
    pub fn owner(mut self, owner: impl Into<String>) -> WaitAcquire {
        self.lock.owner = owner.into();
        self
    }
}

impl IntoFuture for Acquire {
    type Output = Result<Outcome, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { ask(&self.client, self.lock, None, self.adopt).await })
    }
}

impl IntoFuture for WaitAcquire {
    type Output = Result<Outcome, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let until = self.max_wait.map(|max_wait| Moment::now() + max_wait);
            let wait = Wait { until, poll_interval: self.poll_interval };
            ask(&self.client, self.lock, Some(wait), None).await
        })
    }
}

/// The most bytes of a name, an owner or a lock id that are sent. A broker refuses much shorter ones, each with an answer of its
/// own; but it ends a Session, with all its locks, for a message of more than 4 KiB.
const MAX_TEXT_BYTES: usize = 512;

/// The most locks that are asked for together with another.
const MOST_ALSO: usize = 15;
/// The most bytes that several may take, whose texts are sent in one message.
const MOST_TOGETHER_BYTES: usize = 3_800;
/// The bytes that one of several takes beside its name and its owner: its id, its times, and what frames them.
const BESIDE_TEXTS: usize = 100;
/// The most that can share a lock at a time.
const MAX_PERMITS: u32 = 4_096;

/// Refuses a limit that cannot be.
pub(super) fn check_limit(lock: &str, limit: Option<u32>) -> Result<(), Error> {
    match limit {
        Some(limit) if !(1..=MAX_PERMITS).contains(&limit) => {
            let message = format!("a limit of {limit}: take 1 to {MAX_PERMITS}");
            Err(Error::Invalid { lock: lock.into(), message, reason: None })
        }
        _ => Ok(()),
    }
}

/// Refuses texts that are too long to be sent, and limits that cannot be. One of 0 would be sent as none.
pub(super) fn check(spec: &LockSpec, lock_id: Option<&str>) -> Result<(), Error> {
    let invalid = |message| Err(Error::Invalid { lock: spec.name.clone(), message, reason: None });
    if let Access::Shared { limit, weight } = spec.access {
        check_limit(&spec.name, limit)?;
        let most = limit.unwrap_or(MAX_PERMITS).min(MOST_ALSO as u32 + 1);
        if !(1..=most).contains(&weight) {
            return invalid(format!("a weight of {weight}: take 1 to {most}"));
        }
        if weight > 1 && !spec.also.is_empty() {
            return invalid("a weight is for one lock alone, and others are asked for together with it".into());
        }
    }
    if spec.also.len() > MOST_ALSO {
        let others = spec.also.len();
        return invalid(format!("{others} other locks are asked for together with it: take at most {MOST_ALSO}"));
    }
    if lock_id.is_some() && spec.others().next().is_some() {
        return invalid("a lock id takes over one lock alone, and others are asked for together with it".into());
    }
    if !spec.also.is_empty() && spec.value.is_some() {
        return invalid("a value is for one lock alone, and others are asked for together with it".into());
    }
    let names = std::iter::once(spec.name.as_str()).chain(spec.others());
    let together: usize = names.map(|name| name.len() + spec.owner.len() + BESIDE_TEXTS).sum();
    if spec.others().count() > 0 && together > MOST_TOGETHER_BYTES {
        return invalid(
            "the names of the locks that are asked for together, and the owner, are too long for one message".into(),
        );
    }
    let texts = [("name", &*spec.name), ("owner", &*spec.owner), ("lock id", lock_id.unwrap_or_default())];
    let also = spec.also.iter().map(|name| ("name", &**name));
    if let Some((what, text)) = texts.into_iter().chain(also).find(|(_, text)| text.len() > MAX_TEXT_BYTES) {
        return invalid(format!("the {what} has {} bytes, and brokers take at most 128", text.len()));
    }
    check_value(&spec.name, spec.value.as_deref().unwrap_or_default())
}

async fn ask(client: &Client, spec: LockSpec, wait: Option<Wait>, adopt: Option<String>) -> Result<Outcome, Error> {
    check(&spec, adopt.as_deref())?;
    let (name, also): (Arc<str>, _) = (spec.name.as_str().into(), spec.others().map(String::from).collect());
    let asked = Asked { name: Arc::clone(&name), also, has_value: spec.value.is_some() };
    let key = client.next_key();
    let (reply, answer) = oneshot::channel();
    let mut call = Call { key, commands: &client.commands, answered: false };
    // Fails only if the task is gone, and then so is the other end of `reply`.
    let _ = client.commands.send(Command::Begin { key, spec, wait, adopt, reply });
    let answer = answer.await;
    let answer =
        answer.unwrap_or_else(|_| Err(Error::unavailable(&name, "the runtime of the client has been shut down")));
    call.answered = true;
    match answer? {
        AcquireAnswer::Granted { hold, grant } => {
            let (commands, settings) = (client.commands.clone(), Arc::clone(&client.settings));
            Ok(Outcome::Acquired(Guard::new(asked, key, grant, hold, commands, settings)))
        }
        AcquireAnswer::Refused(refusal) => not_acquired(&name, refusal).map(Outcome::NotAcquired),
    }
}

pub(super) fn not_acquired(lock: &str, Refusal { reason, owner, name }: Refusal) -> Result<NotAcquired, Error> {
    let reason = match reason {
        RefusalReason::Held => Reason::Held,
        RefusalReason::Lingering => Reason::Lingering,
        RefusalReason::MaxWait => Reason::MaxWait,
        RefusalReason::NotReattachable => Reason::NotReattachable,
        // Neither of the others was asked for.
        other @ (RefusalReason::Cancelled | RefusalReason::Unknown) => {
            return Err(unexpected(lock, format!("not acquired, {other:?}")));
        }
    };
    let lock = if name.is_empty() { lock.to_owned() } else { name };
    Ok(NotAcquired { reason, owner, lock })
}

/// A call on its way: tells the session when it is given up.
struct Call<'a> {
    key: Key,
    commands: &'a mpsc::UnboundedSender<Command>,
    answered: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        // If nobody has taken the answer, the session counts the lock as held. This releases it too.
        if !self.answered {
            let _ = self.commands.send(Command::End { key: self.key, reply: None });
        }
    }
}
