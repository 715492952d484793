//! The notes of elections: what those who had a lock told others by its value, and what those saw who observed it.

use std::time::Instant;

use crate::history::Notes;

/// A request for a lock with a value, and the values that its client has sent. Each has the number of the campaign and its own.
#[derive(Clone, Debug)]
pub(crate) struct Campaign {
    /// The lock's number.
    pub(crate) name: usize,
    /// The token of the grant; none if its client never had it.
    pub(crate) token: Option<i64>,
    /// The moments at which the values were sent: the first with the request, the others as updates.
    pub(crate) sent: Vec<Instant>,
    /// The number of updates that were answered.
    pub(crate) answered: usize,
}

/// What one who observed a lock was told, on one stream.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The broker that told it.
    pub(crate) broker: usize,
    /// The lock's number.
    pub(crate) name: usize,
    pub(crate) seen: Vec<Sight>,
}

/// A state of a lock that an observer was told, with a token.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) at: Instant,
    pub(crate) token: i64,
    pub(crate) value: Option<Vec<u8>>,
}

/// Returns the bytes of a campaign's value.
pub(crate) fn encode(campaign: usize, number: usize) -> Vec<u8> {
    format!("{campaign}.{number}").into()
}

/// Returns a campaign and the number of its value; none if these are no bytes of any.
pub(crate) fn decode(value: &[u8]) -> Option<(usize, usize)> {
    let (campaign, number) = std::str::from_utf8(value).ok()?.split_once('.')?;
    Some((campaign.parse().ok()?, number.parse().ok()?))
}

impl Notes {
    /// Notes a campaign whose request is sent now, and returns its number.
    pub(crate) fn campaign(&self, name: usize) -> usize {
        let mut campaigns = self.campaigns.lock().unwrap();
        campaigns.push(Campaign { name, token: None, sent: vec![Instant::now()], answered: 0 });
        campaigns.len() - 1
    }

    pub(crate) fn elected(&self, campaign: usize, token: i64) {
        self.campaigns.lock().unwrap()[campaign].token = Some(token);
    }

    /// Notes an update that is sent now, and returns its value.
    pub(crate) fn update(&self, campaign: usize) -> Vec<u8> {
        let sent = &mut self.campaigns.lock().unwrap()[campaign].sent;
        sent.push(Instant::now());
        encode(campaign, sent.len() - 1)
    }

    pub(crate) fn answered(&self, campaign: usize) {
        self.campaigns.lock().unwrap()[campaign].answered += 1;
    }

    /// Returns the value that was sent last.
    pub(crate) fn latest(&self, campaign: usize) -> Vec<u8> {
        encode(campaign, self.campaigns.lock().unwrap()[campaign].sent.len() - 1)
    }
}
