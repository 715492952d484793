//! Grant ids, linger ids, fencing tokens, and the opaque string that carries them to clients.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use data_encoding::HEXLOWER;

use super::Permit;
use super::lease::{MAX_LINGER, MAX_MIN_HOLD, MAX_TTL, MIN_TTL};

/// The lowest number of a held lock's id. Lower numbers belong to lingers.
const FIRST_GRANT: u64 = 10_000_000_000_000_000_000;
/// 2^64-1 is the sentinel that no item ever has.
const LAST_GRANT: u64 = u64::MAX - 1;
const FIRST_LINGER: u64 = FIRST_GRANT / 10;
/// From here on a linger keeps a revoked lock closed.
const FIRST_REVOCATION: u64 = FIRST_LINGER * 9;

/// Names one grant: random, from 1e19 to 2^64-2, never used again. Never printed: it is a capability.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(u64);

impl GrantId {
    /// Makes an id of a number that must come from a cryptographic generator: a client that could guess ids could release
    /// others' locks. All ids are all but equally likely: some come twice as often as others.
    pub fn from_random(number: u64) -> GrantId {
        GrantId(FIRST_GRANT + number % (LAST_GRANT - FIRST_GRANT + 1))
    }

    /// Returns the id with this number, or none if the number is not a grant's.
    pub fn new(number: u64) -> Option<GrantId> {
        (FIRST_GRANT..=LAST_GRANT).contains(&number).then_some(GrantId(number))
    }

    /// Returns the number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantId(..)")
    }
}

/// Names one linger: random, from 1e18 to below 1e19. From 9e18 on it is a revocation: what keeps a revoked lock closed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LingerId(u64);

impl LingerId {
    /// Makes the id of a linger after a release, of a random number.
    pub fn from_random(number: u64) -> LingerId {
        LingerId(FIRST_LINGER + number % (FIRST_REVOCATION - FIRST_LINGER))
    }

    /// Makes the id of a revocation, as random as this one's.
    pub fn into_revocation(self) -> LingerId {
        LingerId(FIRST_REVOCATION + self.0 % (FIRST_GRANT - FIRST_REVOCATION))
    }

    /// Returns true if a revoked lock is kept closed by it.
    pub fn is_revocation(self) -> bool {
        self.0 >= FIRST_REVOCATION
    }

    /// Returns the id with this number, or none if the number is not a linger's.
    pub fn new(number: u64) -> Option<LingerId> {
        (FIRST_LINGER..FIRST_GRANT).contains(&number).then_some(LingerId(number))
    }

    /// Returns the number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for LingerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LingerId(..)")
    }
}

/// Rises strictly with every grant of one name; below 2^53, so that every language's numbers hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FencingToken(u64);

impl FencingToken {
    /// One more than the greatest token.
    pub const LIMIT: u64 = 1 << 53;
    /// The least token.
    pub const FIRST: FencingToken = FencingToken(1);

    /// Returns the token with this number, or none if it is out of range.
    pub fn new(number: u64) -> Option<FencingToken> {
        (1..FencingToken::LIMIT).contains(&number).then_some(FencingToken(number))
    }

    /// Returns the number.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// Names the call that a lease came from: a digest of its request id, its caller and what it asked for. The same call made again
/// has the same key. It is never 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallKey(NonZeroU64);

impl CallKey {
    /// Makes the key of a digest.
    pub fn of_digest(number: u64) -> CallKey {
        CallKey(NonZeroU64::new(number).unwrap_or(NonZeroU64::MAX))
    }

    /// Returns the number.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Debug for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallKey(..)")
    }
}

/// The id that a client gets for a lock. It names the grant, its fencing token, its linger and its `min_hold` in milliseconds,
/// so any broker can reattach or release the lock with it. Written as 36 hexadecimal digits in lower case: 16 of the grant,
/// 14 of the token, 6 of the linger. If there is a `min_hold`, `m` and 6 digits of that follow, and if it is a permit's, `p` and 3
/// digits of its number.
///
/// A lock id from a client proves nothing by itself: the broker compares the grant with the store, and never counts
/// the token as one that it has seen.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LockId {
    /// The grant.
    pub grant: GrantId,
    /// Its fencing token.
    pub token: FencingToken,
    /// Its linger, in whole milliseconds.
    pub linger: Duration,
    /// The part of its `min_hold` that was left when the last command was sent that granted or renewed it before the id was made,
    /// in whole milliseconds. Since then it has only become less (R31).
    pub min_hold: Duration,
    /// The permit, if the lock is shared.
    pub permit: Option<Permit>,
}

/// The id that a client gets for a lease: that of its lock, and its ttl, which stays the same (R29). Written as the lock id, `t`,
/// and 8 hexadecimal digits of the ttl in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId {
    /// The lock's id.
    pub lock: LockId,
    /// The lease's ttl, in whole milliseconds.
    pub ttl: Duration,
}

impl LeaseId {
    /// Returns the text that clients get.
    pub fn expose(&self) -> String {
        self.lock.expose() + &section('t', self.ttl.as_millis(), 8)
    }
}

impl FromStr for LeaseId {
    type Err = MalformedLockId;

    fn from_str(text: &str) -> Result<LeaseId, MalformedLockId> {
        let (lock, ttl) = parse(text)?;
        Ok(LeaseId { lock, ttl: ttl.ok_or(MalformedLockId)? })
    }
}

/// Names what a lock is now, a grant or a linger, for those who may not know its id. Nobody can work out the id of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Etag(u64);

impl Etag {
    /// Makes it of the first bytes of a digest of the id.
    pub fn of_digest(digest: u64) -> Etag {
        Etag(digest)
    }

    /// Returns the text that people get: 16 hexadecimal digits in lower case.
    pub fn shown(self) -> String {
        HEXLOWER.encode(&self.0.to_be_bytes())
    }
}

impl FromStr for Etag {
    type Err = MalformedEtag;

    fn from_str(text: &str) -> Result<Etag, MalformedEtag> {
        hexadecimal(text, 16).map(Etag).ok_or(MalformedEtag)
    }
}

/// A text that is no etag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not an etag: those have 16 hexadecimal digits, as get and list show them")]
pub struct MalformedEtag;

/// Reads a number of so many hexadecimal digits in lower case, 16 at the most.
fn hexadecimal(text: &str, digits: usize) -> Option<u64> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_number = text.len() == digits && text.bytes().all(is_digit);
    is_number.then(|| u64::from_str_radix(text, 16).ok())?
}

/// A text that is no lock id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a lock id: those begin with 36 hexadecimal digits and come from `acquired`")]
pub struct MalformedLockId;

impl LockId {
    /// Returns the text that clients get. There is no `Display`, so that no log line prints the id by accident.
    pub fn expose(&self) -> String {
        let millis = u32::try_from(self.linger.as_millis()).unwrap_or(u32::MAX);
        let mut bytes = [0; 18];
        bytes[..8].copy_from_slice(&self.grant.0.to_be_bytes());
        bytes[8..15].copy_from_slice(&self.token.0.to_be_bytes()[1..]);
        bytes[15..].copy_from_slice(&millis.to_be_bytes()[1..]);
        let digits = HEXLOWER.encode(&bytes);
        let min_hold = (!self.min_hold.is_zero()).then(|| section('m', self.min_hold.as_millis(), 6));
        let permit = self.permit.map(|permit| section('p', permit.get().into(), 3));
        digits + &min_hold.unwrap_or_default() + &permit.unwrap_or_default()
    }
}

impl fmt::Debug for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut id = f.debug_struct("LockId");
        id.field("token", &self.token).field("linger", &self.linger).field("min_hold", &self.min_hold);
        id.finish_non_exhaustive()
    }
}

impl FromStr for LockId {
    type Err = MalformedLockId;

    fn from_str(text: &str) -> Result<LockId, MalformedLockId> {
        match parse(text)? {
            (lock, None) => Ok(lock),
            (_, Some(_)) => Err(MalformedLockId),
        }
    }
}

/// Returns a section that stands behind the digits of a lock id: its letter, and so many digits of a number.
fn section(letter: char, number: u128, digits: usize) -> String {
    format!("{letter}{number:0digits$x}")
}

/// Reads a lock id, and the ttl that stands behind that of a lease.
fn parse(text: &str) -> Result<(LockId, Option<Duration>), MalformedLockId> {
    // Then it can be cut at any byte.
    let text = text.is_ascii().then_some(text).ok_or(MalformedLockId)?;
    let (digits, rest) = text.split_at_checked(36).ok_or(MalformedLockId)?;
    let number = |text: &str| hexadecimal(text, text.len()).ok_or(MalformedLockId);
    let linger = Duration::from_millis(number(&digits[30..])?);
    let (min_hold, rest) = take_section('m', 6, rest)?;
    let (permit, rest) = take_section('p', 3, rest)?;
    let (ttl, rest) = take_section('t', 8, rest)?;
    let [min_hold, ttl] = [min_hold, ttl].map(|millis| millis.map(Duration::from_millis));
    let min_hold_fits = min_hold.is_none_or(|span| !span.is_zero() && span <= MAX_MIN_HOLD);
    let ttl_fits = ttl.is_none_or(|ttl| (MIN_TTL..=MAX_TTL).contains(&ttl));
    if linger > MAX_LINGER || !min_hold_fits || !ttl_fits || !rest.is_empty() {
        return Err(MalformedLockId);
    }
    let lock = LockId {
        grant: GrantId::new(number(&digits[..16])?).ok_or(MalformedLockId)?,
        token: FencingToken::new(number(&digits[16..30])?).ok_or(MalformedLockId)?,
        linger,
        min_hold: min_hold.unwrap_or_default(),
        permit: permit.map(permit_of).transpose()?,
    };
    Ok((lock, ttl))
}

/// Reads a section, if it stands at the beginning of a text, and returns what follows.
fn take_section(letter: char, digits: usize, text: &str) -> Result<(Option<u64>, &str), MalformedLockId> {
    let Some(rest) = text.strip_prefix(letter) else { return Ok((None, text)) };
    let (number, rest) = rest.split_at_checked(digits).ok_or(MalformedLockId)?;
    let number = hexadecimal(number, digits).ok_or(MalformedLockId)?;
    Ok((Some(number), rest))
}

fn permit_of(number: u64) -> Result<Permit, MalformedLockId> {
    u16::try_from(number).ok().and_then(Permit::new).ok_or(MalformedLockId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::MAX_PERMITS;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_lock_id_comes_back_as_it_went(
            grant in FIRST_GRANT..=LAST_GRANT,
            token in 1..FencingToken::LIMIT,
            linger in 0u64..=3_600_000,
            min_hold in prop_oneof![Just(0u64), 1u64..=3_600_000],
            ttl in 5_000u64..=3_600_000,
            permit in prop::option::of(0..MAX_PERMITS),
        ) {
            let [linger, min_hold, ttl] = [linger, min_hold, ttl].map(Duration::from_millis);
            let permit = permit.and_then(Permit::new);
            let id = LockId { grant: GrantId(grant), token: FencingToken(token), linger, min_hold, permit };
            let sections = usize::from(!min_hold.is_zero()) * 7 + usize::from(permit.is_some()) * 4;
            prop_assert_eq!(id.expose().len(), 36 + sections);
            prop_assert_eq!(id.expose().parse::<LockId>(), Ok(id));
            prop_assert_eq!(id.expose().parse::<LeaseId>(), Err(MalformedLockId));
            let lease = LeaseId { lock: id, ttl };
            prop_assert_eq!(lease.expose().parse::<LeaseId>(), Ok(lease));
            prop_assert_eq!(lease.expose().parse::<LockId>(), Err(MalformedLockId));
        }

        #[test]
        fn any_other_text_is_refused(text in prop_oneof![".*", "[89a-f][0-9a-f]{15}00[0-9a-f]{12}00[0-9a-f]{4}[mpt0-9a-f]{0,20}"]) {
            if let Ok(id) = text.parse::<LockId>() {
                prop_assert_eq!(id.expose(), text.as_str());
            }
            if let Ok(id) = text.parse::<LeaseId>() {
                prop_assert_eq!(id.expose(), text.as_str());
            }
        }
    }

    #[test]
    fn a_text_of_other_letters_is_refused() {
        // A letter of four bytes stands across the end of the token.
        let text = format!("{}🕴{}", "0".repeat(29), "0".repeat(10));
        assert_eq!(text.parse::<LockId>(), Err(MalformedLockId));
        assert_eq!(text.parse::<LeaseId>(), Err(MalformedLockId));
    }

    #[test]
    fn sections_stand_in_one_order_and_within_their_limits() {
        let digits = format!("{:016x}{:014x}{:06x}", FIRST_GRANT, 1, 0);
        let parses = |rest: &str| parse(&format!("{digits}{rest}")).is_ok();
        for good in ["", "m000001", "m36ee80", "t00001388", "m000001t0036ee80", "p000", "pfff", "m000001p001t0036ee80"]
        {
            assert!(parses(good), "{good}");
        }
        let twice = ["m000001m000001", "t00001388t00001388", "t00001388m000001", "p001m000001", "p001p001"];
        let beyond = [
            "m000000",
            "m36ee81",
            "t00001387",
            "t0036ee81",
            "m00001",
            "m0000001",
            "m+00001",
            "t0000138é",
            "x",
            "p00",
            "p0000",
            "p1000",
        ];
        for bad in twice.iter().chain(&beyond) {
            assert!(!parses(bad), "{bad}");
        }
    }

    #[test]
    fn random_ids_stay_in_their_ranges() {
        for number in [0, 1, LAST_GRANT - FIRST_GRANT, LAST_GRANT - FIRST_GRANT + 1, u64::MAX - 1, u64::MAX] {
            assert!(GrantId::new(GrantId::from_random(number).get()).is_some());
            let linger = LingerId::from_random(number);
            assert!(LingerId::new(linger.get()).is_some() && !linger.is_revocation());
            let revocation = linger.into_revocation();
            assert!(LingerId::new(revocation.get()).is_some() && revocation.is_revocation());
        }
        assert!(GrantId::new(u64::MAX).is_none());
        assert!(GrantId::new(FIRST_GRANT - 1).is_none());
        assert!(LingerId::new(FIRST_GRANT).is_none());
    }

    #[test]
    fn debugging_shows_no_capability() {
        let id = LockId {
            grant: GrantId::from_random(0xc0ff_ee00_c0ff_ee00),
            token: FencingToken(7),
            linger: Duration::ZERO,
            min_hold: Duration::ZERO,
            permit: None,
        };
        assert!(!format!("{id:?}").contains(&format!("{:x}", id.grant.0)));
        assert!(!format!("{:?}", id.grant).contains(&id.grant.0.to_string()));
    }
}
