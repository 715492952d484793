//! The steps of clients, and the ways in which streams break.

use crate::model::Model;
use crate::state::{Doing, Keeper, State, Stream};

impl Model {
    pub(crate) fn may_ask(&self, state: &State, client: usize, broker: usize) -> bool {
        state.clients[client].at.is_none()
            && (self.bounds.asks.is_none() || state.left.asks[client] > 0)
            && self.bounds.asks_at[client][broker]
            && !state.brokers[broker].dead
            && state.keepers[broker][client] == Keeper::default()
    }

    pub(crate) fn ask(&self, state: &mut State, client: usize, broker: usize) {
        let asks = &mut state.left.asks[client];
        *asks = asks.saturating_sub(1);
        state.clients[client].at = Some(broker as u8);
        state.keepers[broker][client] = Keeper { doing: Doing::Wants, connected: true, ..Keeper::default() };
    }

    /// Ends the client's stream. That is its word: it wants the lock no more.
    pub(crate) fn hang_up(&self, state: &mut State, broker: usize, client: usize) {
        let busy = state.is_busy(broker, client);
        let keeper = &mut state.keepers[broker][client];
        if !keeper.connected {
            return;
        }
        keeper.connected = false;
        if matches!(keeper.doing, Doing::Wants | Doing::Holds | Doing::Reattaches) {
            keeper.stream = Stream::Word;
            if keeper.doing == Doing::Wants && !busy {
                *keeper = Keeper::default();
            }
        }
    }

    pub(crate) fn leave(&self, state: &mut State, client: usize) {
        let gone = std::mem::take(&mut state.clients[client]);
        for broker in [gone.at, gone.moving_to].into_iter().flatten() {
            self.hang_up(state, broker as usize, client);
        }
    }

    pub(crate) fn may_reattach(&self, state: &State, client: usize, broker: usize) -> bool {
        let held = &state.clients[client];
        state.left.reattaches > 0
            && held.valid > 0
            && held.moving_to.is_none()
            && held.at.is_some_and(|at| at as usize != broker)
            && !state.brokers[broker].dead
            && state.keepers[broker][client] == Keeper::default()
    }

    pub(crate) fn reattach(&self, state: &mut State, client: usize, broker: usize) {
        state.left.reattaches -= 1;
        let next = match self.rules.reattach_new_id {
            true => state.fresh_id(),
            false => state.clients[client].id,
        };
        let held = &mut state.clients[client];
        held.moving_to = Some(broker as u8);
        held.moved = true;
        let id = held.id;
        state.keepers[broker][client] =
            Keeper { doing: Doing::Reattaches, connected: true, id, next, ..Keeper::default() };
    }

    pub(crate) fn may_release_elsewhere(&self, state: &State, client: usize, broker: usize) -> bool {
        let held = &state.clients[client];
        state.left.releases > 0
            && held.valid > 0
            && held.moving_to.is_none()
            && held.at.is_some_and(|at| at as usize != broker)
            && !state.brokers[broker].dead
            && state.keepers[broker][client] == Keeper::default()
    }

    /// Calls Release at a broker that does not keep the client's lock. Its stream stays as it is.
    pub(crate) fn release_elsewhere(&self, state: &mut State, client: usize, broker: usize) {
        state.left.releases -= 1;
        let lingers = self.bounds.linger[client] > 0;
        let next = if lingers { state.fresh_id() } else { 0 };
        let held = std::mem::take(&mut state.clients[client]);
        state.keepers[broker][client] = Keeper { doing: Doing::Releases, id: held.id, next, ..Keeper::default() };
        if let Some(at) = held.at {
            state.keepers[at as usize][client].connected = false;
        }
    }

    /// Returns true if the stream may stop carrying anything, so that neither side knows.
    pub(crate) fn may_break(&self, state: &State, broker: usize, client: usize) -> bool {
        let keeper = &state.keepers[broker][client];
        state.left.breaks > 0 && keeper.connected && keeper.stream == Stream::Live
    }

    /// Returns true if the broker may take the client to be silent. Where nothing connects them any more it is right,
    /// sooner or later. Elsewhere that is a fault: pings that go unanswered for a while, or a reset of the broker's
    /// half alone.
    pub(crate) fn may_fall_silent(&self, state: &State, broker: usize, client: usize) -> bool {
        let keeper = &state.keepers[broker][client];
        let has_stream = matches!(keeper.doing, Doing::Wants | Doing::Holds | Doing::Reattaches);
        has_stream && keeper.stream == Stream::Live && (!keeper.connected || state.left.breaks > 0)
    }

    pub(crate) fn fall_silent(&self, state: &mut State, broker: usize, client: usize) {
        let busy = state.is_busy(broker, client);
        let keeper = &mut state.keepers[broker][client];
        if keeper.connected {
            state.left.breaks -= 1;
        }
        keeper.stream = if keeper.connected && !self.rules.reset_is_silence { Stream::Word } else { Stream::Silence };
        keeper.connected = false;
        if keeper.doing == Doing::Wants && !busy {
            *keeper = Keeper::default();
        }
    }
}
