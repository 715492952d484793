//! The next link: at which endpoint it is tried, when, and for how long.

use std::time::Duration;

use super::pause::pause;
use super::types::{Failure, LinkId, Output, Request};
use crate::clock::Moment;

/// The longest time that a new connection and its Session may take to answer; less where several brokers share the
/// time.
const DIAL: Duration = Duration::from_secs(3);
/// The longest pause between two dials.
const MOST: Duration = Duration::from_secs(2);

/// Returns the longest time that one of several endpoints may take to answer, so that there is time to ask each.
pub(crate) fn share(answer_timeout: Duration, endpoints: usize) -> Duration {
    answer_timeout / u32::try_from(endpoints).unwrap_or(u32::MAX).max(1)
}

/// The progress of a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is none.
    Idle,
    /// The connection is being made.
    Connecting(Dial),
    /// `open` was sent at that moment.
    Opening(Dial, Moment),
}

/// A dial under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dial {
    link: LinkId,
    endpoint: usize,
    /// It has failed then.
    until: Moment,
}

/// Makes links.
#[derive(Debug)]
pub(super) struct Dialer {
    state: State,
    /// The longest time of one dial.
    within: Duration,
    /// The endpoint to try next.
    pub(super) endpoint: usize,
    endpoints: usize,
    last_link: LinkId,
    /// The earliest moment of the next dial.
    next: Moment,
    /// The dials since a heartbeat was acknowledged.
    tries: u32,
}

impl Dialer {
    pub(super) fn new(endpoints: usize, answer_timeout: Duration, now: Moment) -> Dialer {
        Dialer {
            state: State::Idle,
            within: share(answer_timeout, endpoints).min(DIAL),
            endpoint: 0,
            endpoints,
            last_link: 0,
            next: now,
            tries: 0,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Returns the endpoint that `link` is being dialled at.
    pub(super) fn endpoint_of(&self, link: LinkId) -> Option<usize> {
        match self.state {
            State::Connecting(dial) | State::Opening(dial, _) if dial.link == link => Some(dial.endpoint),
            _ => None,
        }
    }

    /// Dials if it is time.
    pub(super) fn dial(&mut self, now: Moment, chance: impl FnOnce() -> f64, out: &mut Vec<Output>) {
        if !self.is_idle() || now < self.next {
            return;
        }
        self.last_link += 1;
        self.next = now + pause(self.tries, MOST, chance());
        self.tries += 1;
        let dial = Dial { link: self.last_link, endpoint: self.endpoint, until: now + self.within };
        self.state = State::Connecting(dial);
        out.push(Output::Dial { link: dial.link, endpoint: dial.endpoint });
    }

    /// Opens the Session on a connection that stands. Hangs up on one that comes too late.
    pub(super) fn connected(&mut self, link: LinkId, now: Moment, out: &mut Vec<Output>) {
        match self.state {
            State::Connecting(dial) if dial.link == link => {
                self.state = State::Opening(dial, now);
                out.push(Output::Send { link, request: Request::Open });
            }
            _ => {}
        }
    }

    /// Takes the dial as done, and returns its endpoint and when `open` was sent.
    pub(super) fn opened(&mut self, link: LinkId) -> Option<(usize, Moment)> {
        match self.state {
            State::Opening(dial, sent) if dial.link == link => {
                self.state = State::Idle;
                Some((dial.endpoint, sent))
            }
            _ => None,
        }
    }

    /// Takes the dial as failed, and returns its endpoint.
    pub(super) fn failed(&mut self, link: LinkId) -> Option<usize> {
        match self.state {
            State::Connecting(dial) | State::Opening(dial, _) if dial.link == link => {
                self.state = State::Idle;
                self.turn_from(dial.endpoint);
                Some(dial.endpoint)
            }
            _ => None,
        }
    }

    /// Returns the dial that has taken too long, and its failure.
    pub(super) fn late(&self, now: Moment) -> Option<(LinkId, Failure)> {
        match self.state {
            State::Connecting(dial) | State::Opening(dial, _) if dial.until <= now => {
                Some((dial.link, Failure::unavailable(format!("no broker answered within {:?}", self.within))))
            }
            _ => None,
        }
    }

    /// Turns from an endpoint that was of no use to the next, unless it has been turned from already.
    pub(super) fn turn_from(&mut self, endpoint: usize) {
        if self.endpoint == endpoint {
            self.endpoint = (endpoint + 1) % self.endpoints;
        }
    }

    /// Starts the pauses over: a broker keeps its word.
    pub(super) fn start_over(&mut self, now: Moment) {
        self.tries = 0;
        self.next = now;
    }

    /// Returns the moment at which a dial is late, or the next one may be made.
    pub(super) fn due(&self, needed: bool) -> Option<Moment> {
        match self.state {
            State::Connecting(dial) | State::Opening(dial, _) => Some(dial.until),
            State::Idle => needed.then_some(self.next),
        }
    }
}
