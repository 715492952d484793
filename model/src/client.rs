//! The steps of clients, and the ways in which streams break.

use lockbroker_core::request::StreamEnd;

use crate::model::Model;
use crate::state::{Client, DOWNGRADING, State};

impl Model {
    /// Returns true if the client may begin something at a broker: it has no stream there.
    fn may_begin(state: &State, client: usize, broker: usize) -> bool {
        state.cores[broker].is_some() && state.links[broker][client].is_none()
    }

    pub(crate) fn may_ask(&self, state: &State, client: usize, broker: usize) -> bool {
        state.clients[client].at.is_none()
            && state.clients[client].calls.is_none()
            && (self.bounds.asks.is_none() || state.left.asks[client] > 0)
            && self.bounds.asks_at[client][broker]
            && Model::may_begin(state, client, broker)
    }

    pub(crate) fn ask(&self, state: &mut State, client: usize, broker: usize) {
        let asks = &mut state.left.asks[client];
        *asks = asks.saturating_sub(1);
        state.clients[client].at = Some(broker as u8);
        self.begin(state, broker, client);
    }

    /// Ends the client's stream. That is its word: it wants the lock no more.
    pub(crate) fn hang_up(&self, state: &mut State, broker: usize, client: usize) {
        if state.links[broker][client].is_some_and(|link| link.connected) {
            self.end_stream(state, broker, client, StreamEnd::Closed);
        }
    }

    pub(crate) fn leave(&self, state: &mut State, client: usize) {
        let gone = state.clients[client];
        state.clients[client] = Client { calls: gone.calls, ..Client::default() };
        for broker in [gone.at, gone.moving_to].into_iter().flatten() {
            self.hang_up(state, broker as usize, client);
        }
    }

    pub(crate) fn may_renew(&self, state: &State, client: usize, broker: usize) -> bool {
        let held = &state.clients[client];
        held.leased && held.calls.is_none() && state.cores[broker].is_some()
    }

    /// Renews a lease at a broker, which may not be the one that granted it. A client that calls too late takes the answer for
    /// what it says.
    pub(crate) fn renew_lease(&self, state: &mut State, client: usize, broker: usize) {
        let held = &mut state.clients[client];
        held.calls = Some(broker as u8);
        self.call_renew(state, broker, client);
    }

    pub(crate) fn may_reattach(&self, state: &State, client: usize, broker: usize) -> bool {
        state.left.reattaches > 0 && !state.clients[client].leased && Model::holds_elsewhere(state, client, broker)
    }

    fn holds_elsewhere(state: &State, client: usize, broker: usize) -> bool {
        let held = &state.clients[client];
        held.valid > 0
            && held.moving_to.is_none()
            && held.at.is_some_and(|at| at as usize != broker)
            && Model::may_begin(state, client, broker)
    }

    pub(crate) fn reattach(&self, state: &mut State, client: usize, broker: usize) {
        state.left.reattaches -= 1;
        let held = &mut state.clients[client];
        held.moving_to = Some(broker as u8);
        held.moved = true;
        if self.bounds.downgrades[client] && held.place == 0 {
            // From when it asks.
            held.place = DOWNGRADING;
        }
        self.begin(state, broker, client);
    }

    pub(crate) fn may_release_elsewhere(&self, state: &State, client: usize, broker: usize) -> bool {
        let held = &state.clients[client];
        let lease = held.leased && held.valid > 0 && state.cores[broker].is_some();
        state.left.releases > 0 && (lease || Model::holds_elsewhere(state, client, broker))
    }

    /// Calls Release at a broker that does not have the client's lock. Its stream stays as it is.
    pub(crate) fn release_elsewhere(&self, state: &mut State, client: usize, broker: usize) {
        state.left.releases -= 1;
        let held = state.clients[client];
        state.clients[client] = Client { calls: held.calls, ..Client::default() };
        let at = held.at.and_then(|at| state.links[at as usize][client].as_mut());
        if let Some(link) = at {
            link.connected = false;
        }
        self.call_release(state, broker, client, &held);
    }

    /// Returns true if the stream may stop carrying anything, so that neither side knows.
    pub(crate) fn may_break(&self, state: &State, broker: usize, client: usize) -> bool {
        state.left.breaks > 0 && state.links[broker][client].is_some_and(|link| link.connected && link.live)
    }

    pub(crate) fn break_stream(state: &mut State, broker: usize, client: usize) {
        state.left.breaks -= 1;
        if let Some(link) = &mut state.links[broker][client] {
            link.connected = false;
        }
    }

    /// Returns true if the broker may take the client to be silent. Where nothing connects them any more it is right,
    /// sooner or later. Elsewhere that is a fault: pings that go unanswered for a while, or a reset of the broker's
    /// half alone.
    pub(crate) fn may_fall_silent(&self, state: &State, broker: usize, client: usize) -> bool {
        let link = state.links[broker][client];
        link.is_some_and(|link| link.live && (!link.connected || state.left.breaks > 0))
    }

    pub(crate) fn fall_silent(&self, state: &mut State, broker: usize, client: usize) {
        let connected = state.links[broker][client].is_some_and(|link| link.connected);
        if connected {
            state.left.breaks -= 1;
        }
        let by = match connected && (!self.rules.reset_is_silence || self.bounds.kept[client]) {
            true => StreamEnd::Closed,
            false => StreamEnd::Unresponsive,
        };
        self.end_stream(state, broker, client, by);
    }
}
