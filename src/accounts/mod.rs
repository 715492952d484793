//! Counts what each caller has here whom a quota of the policy names, and refuses it more than that allows.
//!
//! An account belongs to one identity, and lives on when the policy is read again. The service finds the account of a request
//! and how often it may ask. The core says when a lock of an account begins and ends: there all ends of a lock come together.

mod figures;

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use self::figures::{Figures, Shown};
use crate::broker::{Account, Cause, Failure, Mode};
use crate::metrics::Metrics;
use crate::policy::{CallerLimits, Identity, Policy, Rate};
use crate::reloaded::Reloaded;

/// The accounts of one broker. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    policy: OnceLock<Reloaded<Policy>>,
    books: Mutex<Books>,
}

/// The accounts by their numbers, from 1 on. One that is not used makes room for another only when there are no more numbers.
#[derive(Debug, Default)]
struct Books {
    numbers: HashMap<Identity, Account>,
    entries: Vec<Entry>,
}

/// What one identity has here.
#[derive(Debug)]
struct Entry {
    identity: Identity,
    /// As they were when it last asked.
    limits: CallerLimits,
    /// Its locks, with those that it waits for.
    locks: usize,
    /// Those that it waits for.
    waits: usize,
    /// The streams on which it observes locks.
    observers: usize,
    /// When as many may be asked for at once as the burst says. Each request moves it.
    rested_at: Option<Instant>,
    refused: [u64; KINDS.len()],
}

/// What a quota limits, as the metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Locks,
    Waiters,
    Observers,
    Rate,
}

const KINDS: [(Kind, &str); 4] =
    [(Kind::Locks, "locks"), (Kind::Waiters, "waiters"), (Kind::Observers, "observers"), (Kind::Rate, "rate")];

/// A stream on which a lock is observed, as it counts for an account. Dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct ObserverShare(Accounts, Account);

impl Accounts {
    /// Makes accounts that are counted among `metrics`.
    pub(crate) fn new(metrics: &Metrics) -> Accounts {
        let accounts = Accounts::default();
        for (name, help, what) in [
            ("quota_limit", "How much of what the label says a caller may have, by the policy", Shown::Limit),
            ("quota_used", "How much of what the label says a caller has", Shown::Used),
            ("quota_refused", "Requests refused for the quota of their caller", Shown::Refused),
        ] {
            metrics.declare(name, help, Figures(accounts.clone(), what));
        }
        accounts
    }

    /// Lets `policy` say who has a quota. Without one nobody has.
    pub(crate) fn follow(&self, policy: Reloaded<Policy>) {
        // A broker has one policy.
        let _ = self.0.policy.set(policy);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Nothing panics while it is locked.
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the account that a request of `caller` counts for, if it has one. Counts the request, unless it is a reattach: that
    /// is of a lock which the caller has already.
    ///
    /// # Errors
    /// The caller asks more often than it may.
    pub(crate) fn admit(&self, caller: &[Identity], mode: &Mode) -> Result<Option<Account>, Failure> {
        self.count(caller, |entry| match mode {
            Mode::Reattach(_) => Ok(()),
            Mode::Once | Mode::Wait { .. } => entry.ask(Instant::now()),
        })
    }

    /// Counts a request of `caller` that is about a lock and asks for none.
    ///
    /// # Errors
    /// The caller asks more often than it may.
    pub(crate) fn ask(&self, caller: &[Identity]) -> Result<(), Failure> {
        self.count(caller, |entry| entry.ask(Instant::now())).map(drop)
    }

    /// Counts a stream on which `caller` is to observe a lock, until what it returns is dropped. It is a request, too.
    ///
    /// # Errors
    /// The caller asks more often than it may, or observes on as many streams as it may.
    pub(crate) fn observe(&self, caller: &[Identity]) -> Result<Option<ObserverShare>, Failure> {
        let account = self.count(caller, |entry| entry.ask(Instant::now()).and_then(|()| entry.observe()))?;
        Ok(account.map(|account| ObserverShare(self.clone(), account)))
    }

    /// Returns the account of `caller`, if it has one, and counts there what it asks for.
    fn count(
        &self,
        caller: &[Identity],
        count: impl FnOnce(&mut Entry) -> Result<(), Failure>,
    ) -> Result<Option<Account>, Failure> {
        let Some(policy) = self.0.policy.get().map(Reloaded::now) else { return Ok(None) };
        let Some((identity, limits)) = policy.quota(caller) else { return Ok(None) };
        let mut books = self.books();
        let Some(account) = books.account(identity, limits) else { return Ok(None) };
        books.entry(account).map_or(Ok(()), count)?;
        Ok(Some(account))
    }

    /// Counts a lock that is asked for, and the wait for it if it is to wait.
    ///
    /// # Errors
    /// The account has as many as it may. A reattach is never refused.
    pub(crate) fn charge(&self, account: Account, mode: &Mode) -> Result<(), Failure> {
        self.books().entry(account).map_or(Ok(()), |entry| entry.charge(mode))
    }

    /// Takes note that a wait is over.
    pub(crate) fn wait_is_over(&self, account: Account) {
        if let Some(entry) = self.books().entry(account) {
            debug_assert!(entry.waits > 0, "each wait is over once");
            entry.waits = entry.waits.saturating_sub(1);
        }
    }

    /// Takes note that a lock is gone.
    pub(crate) fn lock_is_gone(&self, account: Account) {
        if let Some(entry) = self.books().entry(account) {
            debug_assert!(entry.locks > 0, "each lock is gone once");
            entry.locks = entry.locks.saturating_sub(1);
        }
    }
}

impl Drop for ObserverShare {
    fn drop(&mut self) {
        let ObserverShare(accounts, account) = self;
        if let Some(entry) = accounts.books().entry(*account) {
            entry.observers = entry.observers.saturating_sub(1);
        }
    }
}

impl Books {
    fn entry(&mut self, Account(number): Account) -> Option<&mut Entry> {
        self.entries.get_mut(usize::from(number.get()) - 1)
    }

    /// Returns the account of an identity, which has these limits now. None if all numbers are taken by others that have
    /// locks, or observe some.
    fn account(&mut self, identity: &Identity, limits: CallerLimits) -> Option<Account> {
        if let Some(account) = self.numbers.get(identity).copied() {
            self.entry(account)?.limits = limits;
            return Some(account);
        }
        let fresh = Entry::new(identity.clone(), limits);
        let index = if self.entries.len() < usize::from(u16::MAX) {
            self.entries.push(fresh);
            self.entries.len() - 1
        } else {
            let index = self.entries.iter().position(|entry| entry.locks + entry.observers == 0)?;
            let old = std::mem::replace(&mut self.entries[index], fresh);
            self.numbers.remove(&old.identity);
            index
        };
        let account = Account(NonZeroU16::new(u16::try_from(index + 1).ok()?)?);
        self.numbers.insert(identity.clone(), account);
        Some(account)
    }
}

impl Entry {
    fn new(identity: Identity, limits: CallerLimits) -> Entry {
        Entry { identity, limits, locks: 0, waits: 0, observers: 0, rested_at: None, refused: [0; KINDS.len()] }
    }

    /// Counts a request that is made now.
    fn ask(&mut self, now: Instant) -> Result<(), Failure> {
        let Some(Rate { per_second, burst }) = self.limits.max_rate else { return Ok(()) };
        let each = Duration::from_secs_f64(1.0 / per_second);
        let rested_at = self.rested_at.map_or(now, |at| at.max(now)) + each;
        let early = (rested_at - now).saturating_sub(each * burst.get());
        if early.is_zero() {
            self.rested_at = Some(rested_at);
            return Ok(());
        }
        let why = format!(
            "{} asks more than {per_second} times a second, which is its max_rate in the policy (with a burst of {burst}): \
             ask again later, or ask the operator for more",
            self.identity
        );
        Err(self.refuse(Kind::Rate, Cause::QuotaRate, why, Some(early)))
    }

    fn charge(&mut self, mode: &Mode) -> Result<(), Failure> {
        let CallerLimits { max_locks, max_waiters, .. } = self.limits;
        let waits = matches!(mode, Mode::Wait { .. });
        if let Some(limit) = max_locks.filter(|limit| self.locks >= limit.get())
            && !matches!(mode, Mode::Reattach(_))
        {
            let why = format!(
                "{} has {} locks at this broker (held, waited for, lingering, or being acquired or released), and its \
                 max_locks in the policy is {limit}: release some, or ask the operator for more",
                self.identity, self.locks
            );
            return Err(self.refuse(Kind::Locks, Cause::QuotaLocks, why, None));
        }
        if let Some(limit) = max_waiters.filter(|limit| waits && self.waits >= *limit) {
            let why = format!(
                "{} waits for {} locks at this broker, and its max_waiters in the policy is {limit}: wait for fewer at a time, \
                 or ask the operator for more",
                self.identity, self.waits
            );
            return Err(self.refuse(Kind::Waiters, Cause::QuotaWaiters, why, None));
        }
        self.locks += 1;
        self.waits += usize::from(waits);
        Ok(())
    }

    fn observe(&mut self) -> Result<(), Failure> {
        if let Some(limit) = self.limits.max_observers.filter(|limit| self.observers >= *limit) {
            let why = format!(
                "{} observes locks on {} streams at this broker, and its max_observers in the policy is {limit}: end some, or ask \
                 the operator for more",
                self.identity, self.observers
            );
            return Err(self.refuse(Kind::Observers, Cause::QuotaObservers, why, None));
        }
        self.observers += 1;
        Ok(())
    }

    fn refuse(&mut self, kind: Kind, cause: Cause, why: String, retry_after: Option<Duration>) -> Failure {
        self.refused[kind as usize] += 1;
        Failure::Exhausted { why: why.into(), cause, retry_after }
    }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroUsize};

    use super::*;

    const WAIT: Mode = Mode::Wait { max_wait: None, poll_interval: None };

    fn limits(max_locks: usize, max_waiters: usize) -> CallerLimits {
        let max_locks = NonZeroUsize::new(max_locks);
        CallerLimits { max_locks, max_waiters: Some(max_waiters), max_observers: Some(1), max_rate: None }
    }

    fn account(accounts: &Accounts, uid: u32, limits: CallerLimits) -> Account {
        accounts.books().account(&Identity::Uid(uid), limits).unwrap()
    }

    fn used(accounts: &Accounts, account: Account) -> (usize, usize) {
        let mut books = accounts.books();
        let entry = books.entry(account).unwrap();
        (entry.locks, entry.waits)
    }

    #[test]
    fn each_account_has_its_own_counts_and_a_reattach_is_never_refused() {
        let accounts = Accounts::default();
        let [one, two] = [1, 2].map(|uid| account(&accounts, uid, limits(2, 1)));
        let cause = |account, mode| accounts.charge(account, mode).unwrap_err().cause();
        accounts.charge(one, &WAIT).unwrap();
        assert_eq!(cause(one, &WAIT), Cause::QuotaWaiters);
        accounts.charge(one, &Mode::Once).unwrap();
        assert_eq!((cause(one, &Mode::Once), cause(one, &WAIT)), (Cause::QuotaLocks, Cause::QuotaLocks));
        accounts.charge(two, &Mode::Once).unwrap();
        let held = crate::lock::LockId {
            grant: crate::lock::GrantId::from_random(1),
            token: crate::lock::FencingToken::FIRST,
            linger: Duration::ZERO,
            permit: None,
            min_hold: Duration::ZERO,
        };
        accounts.charge(one, &Mode::Reattach(held)).unwrap();
        assert_eq!((used(&accounts, one), used(&accounts, two)), ((3, 1), (1, 0)));
        accounts.wait_is_over(one);
        (0..3).for_each(|_| accounts.lock_is_gone(one));
        assert_eq!(used(&accounts, one), (0, 0));
        // A policy that was read again has other limits for the same account.
        accounts.charge(one, &Mode::Once).unwrap();
        assert_eq!(account(&accounts, 1, limits(1, 1)), one);
        let refused = accounts.charge(one, &Mode::Once).unwrap_err();
        assert!(refused.why().starts_with("uid:1 has 1 locks at this broker"), "{}", refused.why());
    }

    #[test]
    fn a_burst_is_let_in_and_then_as_many_as_the_rate_says() {
        let accounts = Accounts::default();
        let rate = Rate { per_second: 10.0, burst: NonZeroU32::new(3).unwrap() };
        let one = account(&accounts, 1, CallerLimits { max_rate: Some(rate), max_locks: None, ..limits(1, 1) });
        let mut books = accounts.books();
        let entry = books.entry(one).unwrap();
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        (0..3).for_each(|_| entry.ask(at(0)).unwrap());
        let Failure::Exhausted { cause, retry_after, .. } = entry.ask(at(40)).unwrap_err() else { panic!("a limit") };
        assert_eq!((cause, retry_after), (Cause::QuotaRate, Some(Duration::from_millis(60))));
        entry.ask(at(100)).unwrap();
        assert!(entry.ask(at(199)).is_err());
        entry.ask(at(200)).unwrap();
        // A long pause saves up no more than a burst.
        (0..3).for_each(|_| entry.ask(at(60_000)).unwrap());
        assert!(entry.ask(at(60_000)).is_err());
    }

    #[test]
    fn numbers_of_accounts_without_locks_are_used_again() {
        let accounts = Accounts::default();
        let kept = account(&accounts, 0, limits(1, 1));
        accounts.charge(kept, &Mode::Once).unwrap();
        let observes = account(&accounts, 1, limits(1, 1));
        accounts.books().entry(observes).unwrap().observe().unwrap();
        (2..70_000).for_each(|uid| assert!(![kept, observes].contains(&account(&accounts, uid, limits(1, 1)))));
        drop(ObserverShare(accounts.clone(), observes));
        assert_eq!(account(&accounts, 70_000, limits(1, 1)), observes);
        assert_eq!(used(&accounts, kept), (1, 0));
        assert_eq!(account(&accounts, 0, limits(1, 1)), kept);
        assert_eq!(accounts.books().numbers.len(), usize::from(u16::MAX));
    }
}
