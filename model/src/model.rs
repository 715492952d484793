//! The model: what can happen in a state, and what comes of it.

use std::sync::Arc;

use crate::arrival::is_answer;
use crate::coverage::Coverage;
use crate::memcached::Loss;
use crate::properties;
use crate::rules::{Bounds, Rules};
use crate::state::{Broker, Client, Doing, Fence, Keeper, Left, Op, Owner, Phase, State, Stream};

/// One configuration, with all rules or some left out.
#[derive(Clone, Debug)]
pub struct Model {
    pub bounds: Bounds,
    pub rules: Rules,
    /// The steps that have been reached, for all threads of the checker.
    pub coverage: Arc<Coverage>,
}

/// One step of the world. Brokers and clients are named by their number, batches by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Tick,
    ItemDies,
    PermitDies,
    Ask {
        client: u8,
        broker: u8,
    },
    Leave {
        client: u8,
    },
    Reattach {
        client: u8,
        broker: u8,
    },
    ReleaseElsewhere {
        client: u8,
        broker: u8,
    },
    StreamBreaks {
        broker: u8,
        client: u8,
    },
    StreamSilent {
        broker: u8,
        client: u8,
    },
    Attempt {
        broker: u8,
        client: u8,
    },
    Renew {
        broker: u8,
        client: u8,
    },
    HandOver {
        broker: u8,
        client: u8,
    },
    Release {
        broker: u8,
        client: u8,
    },
    Swap {
        broker: u8,
        client: u8,
    },
    SwapGivenUp {
        broker: u8,
        client: u8,
    },
    EndLinger {
        broker: u8,
        client: u8,
    },
    RenewLinger {
        broker: u8,
        client: u8,
    },
    Scrub {
        broker: u8,
        id: u8,
    },
    Probe {
        broker: u8,
        op: Op,
    },
    ProbeGivenUp {
        broker: u8,
        op: Op,
    },
    /// The next command of a batch that somebody waits for.
    Command {
        flight: u8,
        op: Op,
    },
    /// The next command of a batch that a loss of memory cuts in two.
    Cut {
        flight: u8,
        op: Op,
    },
    /// A command that was given up lands.
    LateCommand {
        flight: u8,
        op: Op,
    },
    /// It never will.
    NoCommand {
        flight: u8,
        op: Op,
    },
    Answer {
        flight: u8,
        op: Op,
    },
    GiveUp {
        flight: u8,
        op: Op,
    },
    Lose(Loss),
    BrokerDies {
        broker: u8,
    },
    BrokerStarts {
        broker: u8,
    },
    MemcachedStops,
    MemcachedGoesOn,
    MemcachedCatchesUp,
}

impl Action {
    /// Returns true if the step can have an effect now. A step that cannot, since others have the lock or the shard is
    /// closed, is tried again later, and time has to go on.
    pub(crate) fn is_useful(&self, model: &Model, state: &State) -> bool {
        use Action::*;
        let memcached = &state.memcached;
        let item = |client: u8| {
            let slot = if model.is_shared(client as usize) { memcached.permit } else { memcached.item };
            slot.map(|item| item.id)
        };
        let id = |broker: u8, client: u8| state.keepers[broker as usize][client as usize].id;
        match *self {
            Attempt { .. } => memcached.items().next().is_none(),
            Renew { broker, client } => item(client).is_none_or(|item| item == id(broker, client)),
            RenewLinger { client, .. } => item(client).is_none(),
            Release { broker, client } if model.creates_linger(state, broker, client) => true,
            HandOver { broker, client }
            | Release { broker, client }
            | Swap { broker, client }
            | EndLinger { broker, client } => {
                item(client) == Some(id(broker, client)) || state.brokers[broker as usize].phase.is_open()
            }
            _ => true,
        }
    }

    /// Returns true for work that a prompt world does before time goes on.
    fn is_work(&self) -> bool {
        use Action::*;
        matches!(
            self,
            Attempt { .. }
                | Renew { .. }
                | HandOver { .. }
                | Release { .. }
                | Swap { .. }
                | EndLinger { .. }
                | RenewLinger { .. }
                | Scrub { .. }
                | Probe { .. }
                | Command { .. }
                | Answer { .. }
        )
    }
}

impl Model {
    pub fn new(bounds: Bounds, rules: Rules) -> Model {
        Model { bounds, rules, coverage: Arc::default() }
    }

    fn initial(&self) -> State {
        let bounds = &self.bounds;
        let phase = if bounds.new_server { Phase::Unread } else { Phase::Open(1) };
        let broker =
            || Broker { dead: false, phase, seen: 0, reference: 0, clock_known: !bounds.new_server, quarantine: None };
        let mut state = State {
            memcached: Default::default(),
            brokers: [broker(), broker()],
            keepers: [[Keeper::default(); 2]; 2],
            clients: [Client::default(); 2],
            flights: Vec::new(),
            unwanted: Vec::new(),
            left: Left {
                losses: bounds.loss_count,
                breaks: bounds.breaks,
                deaths: bounds.deaths,
                stops: bounds.stops,
                reattaches: bounds.reattaches,
                releases: bounds.releases_elsewhere,
                draws: bounds.tokens.unwrap_or(0),
                asks: [bounds.asks.unwrap_or(0); 2],
            },
            ghost: Default::default(),
        };
        if !bounds.new_server {
            state.memcached.epoch = Some(1);
            state.memcached.fences.push(Fence { epoch: 1, token: 0, fresh: false });
        }
        state
    }

    pub(crate) fn possible(&self, state: &State, actions: &mut Vec<Action>) {
        if properties::is_violated(state) {
            // The trace has what it is for.
            return;
        }
        for (index, flight) in state.flights.iter().enumerate().filter(|(_, flight)| self.may_cut(state, flight)) {
            actions.push(Action::Cut { flight: index as u8, op: flight.op });
        }
        if state.ghost.cutting {
            actions.extend(self.losses(state).into_iter().map(Action::Lose));
            return;
        }
        let first = actions.len();
        self.client_actions(state, actions);
        self.broker_actions(state, actions);
        self.network_actions(state, actions);
        self.fault_actions(state, actions);
        if Model::may_die(state.memcached.item) {
            actions.push(Action::ItemDies);
        }
        if Model::may_die(state.memcached.permit) {
            actions.push(Action::PermitDies);
        }
        let lagging = !state.memcached.stopped && state.memcached.lag > 0;
        let work = self.bounds.prompt
            && actions[first..].iter().any(|action| action.is_work() && action.is_useful(self, state));
        if !lagging && !work {
            actions.push(Action::Tick);
        }
    }

    fn client_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for client in 0..2u8 {
            let c = client as usize;
            for broker in 0..2u8 {
                let b = broker as usize;
                if self.may_ask(state, c, b) {
                    actions.push(Action::Ask { client, broker });
                }
                if self.may_reattach(state, c, b) {
                    actions.push(Action::Reattach { client, broker });
                }
                if self.may_release_elsewhere(state, c, b) {
                    actions.push(Action::ReleaseElsewhere { client, broker });
                }
                if self.may_break(state, b, c) {
                    actions.push(Action::StreamBreaks { broker, client });
                }
                if self.may_fall_silent(state, b, c) {
                    actions.push(Action::StreamSilent { broker, client });
                }
            }
            if state.clients[c].at.is_some() && !self.bounds.stay {
                actions.push(Action::Leave { client });
            }
        }
    }

    fn broker_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for broker in 0..2u8 {
            let b = broker as usize;
            for client in 0..2u8 {
                let c = client as usize;
                if self.may_attempt(state, b, c) {
                    actions.push(Action::Attempt { broker, client });
                }
                if self.may_renew(state, b, c) {
                    actions.push(Action::Renew { broker, client });
                }
                match (self.may_hand_over(state, b, c), self.may_release(state, b, c)) {
                    (true, _) => actions.push(Action::HandOver { broker, client }),
                    (false, true) => actions.push(Action::Release { broker, client }),
                    (false, false) => {}
                }
                if self.may_swap(state, b, c) {
                    actions.push(Action::Swap { broker, client });
                    actions.push(Action::SwapGivenUp { broker, client });
                }
                if Model::may_end_linger(state, b, c) {
                    actions.push(Action::EndLinger { broker, client });
                }
                if self.may_renew_linger(state, b, c) {
                    actions.push(Action::RenewLinger { broker, client });
                }
            }
            let reachable = self.bounds.slow_probes || !state.memcached.stopped;
            if let Some(op) = self.probe(state, b).filter(|_| reachable) {
                actions.push(Action::Probe { broker, op });
                let moves_on = matches!(op, Op::Begin(_) | Op::Open(..));
                if moves_on && state.strays() < self.bounds.strays as usize {
                    actions.push(Action::ProbeGivenUp { broker, op });
                }
            }
        }
        if !state.memcached.stopped {
            let unwanted = state.unwanted.iter().filter(|(_, id)| state.memcached.carries(*id));
            actions.extend(unwanted.map(|&(broker, id)| Action::Scrub { broker, id }));
        }
    }

    fn network_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let room = state.strays() < self.bounds.strays as usize;
        for (index, flight) in state.flights.iter().enumerate() {
            let (op, index) = (flight.op, index as u8);
            let answers = !state.memcached.stopped;
            match flight.owner {
                Owner::Nobody => {
                    if answers {
                        actions.push(Action::LateCommand { flight: index, op });
                    }
                    actions.push(Action::NoCommand { flight: index, op });
                }
                _ if is_answer(flight) => actions.push(Action::Answer { flight: index, op }),
                _ if answers => actions.push(Action::Command { flight: index, op }),
                _ => {}
            }
            let landed = self.has_landed(flight);
            if flight.owner != Owner::Nobody && self.bounds.strays > 0 && (room || landed) {
                actions.push(Action::GiveUp { flight: index, op });
            }
        }
    }

    fn fault_actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(self.losses(state).into_iter().map(Action::Lose));
        for broker in 0..2u8 {
            match state.brokers[broker as usize].dead {
                true if self.bounds.restarts => actions.push(Action::BrokerStarts { broker }),
                false if state.left.deaths > 0 => actions.push(Action::BrokerDies { broker }),
                _ => {}
            }
        }
        let memcached = &state.memcached;
        match (memcached.stopped, memcached.lag) {
            (true, _) => actions.push(Action::MemcachedGoesOn),
            (false, 0) if state.left.stops > 0 => actions.push(Action::MemcachedStops),
            (false, 0) => {}
            (false, _) => actions.push(Action::MemcachedCatchesUp),
        }
    }

    /// Changes the state by `action`, and does not make it canonical yet.
    pub(crate) fn apply(&self, state: &mut State, action: Action) {
        let at = |broker: u8, client: u8| (broker as usize, client as usize);
        match action {
            Action::Tick => self.tick(state),
            Action::ItemDies => state.memcached.item = None,
            Action::PermitDies => state.memcached.permit = None,
            Action::Ask { client, broker } => self.ask(state, client as usize, broker as usize),
            Action::Leave { client } => self.leave(state, client as usize),
            Action::Reattach { client, broker } => self.reattach(state, client as usize, broker as usize),
            Action::ReleaseElsewhere { client, broker } => {
                self.release_elsewhere(state, client as usize, broker as usize);
            }
            Action::StreamBreaks { broker, client } => {
                state.left.breaks -= 1;
                state.keepers[broker as usize][client as usize].connected = false;
            }
            Action::StreamSilent { broker, client } => self.fall_silent(state, broker as usize, client as usize),
            Action::Attempt { broker, client } => self.attempt(state, broker as usize, client as usize),
            Action::Renew { broker, client } => self.renew(state, broker as usize, client as usize),
            Action::HandOver { broker, client } => self.hand_over(state, broker as usize, client as usize),
            Action::Release { broker, client } => {
                let (b, c) = at(broker, client);
                self.note_expiry(state, b, c);
                self.release(state, b, c);
            }
            Action::Swap { broker, client } => self.swap(state, broker as usize, client as usize),
            Action::SwapGivenUp { broker, client } => {
                self.give_reattach_up(state, broker as usize, client as usize);
            }
            Action::EndLinger { broker, client } => {
                let (b, c) = at(broker, client);
                let keeper = &mut state.keepers[b][c];
                keeper.doing = Doing::Releases;
                let id = keeper.id;
                self.send(state, Owner::Keeper(broker, client), Op::Remove { id });
            }
            Action::RenewLinger { broker, client } => self.renew_linger(state, broker as usize, client as usize),
            Action::Scrub { broker, id } => {
                state.memcached.delete(id);
                state.unwanted.retain(|unwanted| *unwanted != (broker, id));
            }
            Action::Probe { broker, op } if self.bounds.slow_probes => self.send(state, Owner::Probe(broker), op),
            Action::Probe { broker, op } => self.probe_at_once(state, broker, op),
            Action::ProbeGivenUp { op, .. } => state.flights.push(crate::canon::stray(op, false)),
            Action::Command { flight, .. } | Action::LateCommand { flight, .. } => {
                self.advance(state, flight as usize);
            }
            Action::Cut { flight, .. } => self.cut(state, flight as usize),
            Action::NoCommand { flight, .. } => {
                state.flights.remove(flight as usize);
            }
            Action::Answer { flight, .. } => {
                let flight = state.flights.remove(flight as usize);
                self.arrive(state, flight);
            }
            Action::GiveUp { flight, .. } => {
                let flight = state.flights.remove(flight as usize);
                self.give_up(state, flight);
            }
            Action::Lose(loss) => self.lose(state, loss),
            Action::BrokerDies { broker } => self.die(state, broker),
            Action::BrokerStarts { broker } => {
                let known = &mut state.brokers[broker as usize];
                *known = Broker { dead: false, reference: u8::MAX / 2, ..known.clone() };
            }
            Action::MemcachedStops => {
                state.left.stops -= 1;
                state.memcached.stopped = true;
            }
            Action::MemcachedGoesOn => state.memcached.stopped = false,
            Action::MemcachedCatchesUp => Model::catch_up(state),
        }
    }

    fn tick(&self, state: &mut State) {
        self.pass_time_in_memcached(state);
        for known in &mut state.brokers {
            if let Phase::Closed(_, left) = &mut known.phase {
                *left = left.saturating_sub(1);
            }
            known.quarantine = known.quarantine.map(|left| left.saturating_sub(1));
        }
        for keeper in state.keepers.iter_mut().flatten() {
            keeper.lease = keeper.lease.saturating_sub(1);
            keeper.protected = keeper.protected.saturating_sub(1);
        }
        for (client, linger) in state.clients.iter_mut().zip(&mut state.ghost.linger) {
            if client.valid == 0 {
                *linger = linger.saturating_sub(1);
            }
            client.valid = client.valid.saturating_sub(1);
        }
        let max_ttl = self.bounds.max_ttl();
        let ghost = &mut state.ghost;
        ghost.drawn.iter_mut().for_each(|(_, age)| *age += 1);
        let long_ago = ghost.drawn.iter().filter(|(_, age)| *age >= max_ttl).map(|(token, _)| *token).max();
        ghost.drawn_long_ago = ghost.drawn_long_ago.max(long_ago.unwrap_or(0));
        ghost.drawn.retain(|(_, age)| *age < max_ttl);
    }

    /// Notes a lease that ran out although its client was there and everybody was prompt. Excused is what is not
    /// promised: a memcached that is away for too long, a broker that dies between a grant and its undoing, and a
    /// keeper that re-asserts what was released through another broker.
    fn note_expiry(&self, state: &mut State, broker: usize, client: usize) {
        let keeper = &state.keepers[broker][client];
        let held = &state.clients[client];
        let kept = keeper.doing == Doing::Holds && keeper.stream == Stream::Live && keeper.connected && keeper.told;
        let (left, most) = (&state.left, &self.bounds);
        let excused = left.stops < most.stops || left.deaths < most.deaths || left.releases < most.releases_elsewhere;
        if self.bounds.prompt && !excused && kept && held.id == keeper.id && !held.moved {
            state.ghost.lease_lost = true;
        }
    }

    /// Kills a broker: what it has sent may still land, and all that it knew is gone.
    fn die(&self, state: &mut State, broker: u8) {
        state.left.deaths -= 1;
        let mut strays = Vec::new();
        state.flights.retain(|flight| {
            let of_the_dead = match flight.owner {
                Owner::Keeper(owner, _) | Owner::Probe(owner) => owner == broker,
                Owner::Nobody => false,
            };
            if of_the_dead && !self.has_landed(flight) {
                strays.push(crate::canon::stray(flight.op, flight.shared));
            }
            !of_the_dead
        });
        let room = (self.bounds.strays as usize).saturating_sub(state.strays());
        state.flights.extend(strays.into_iter().take(room));
        state.unwanted.retain(|(owner, _)| *owner != broker);
        state.keepers[broker as usize] = Default::default();
        state.brokers[broker as usize] =
            Broker { dead: true, phase: Phase::Unread, seen: 0, reference: 0, clock_known: false, quarantine: None };
    }
}

impl stateright::Model for Model {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.initial().canonical()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.possible(state, actions);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        self.apply(&mut state, action);
        let after = state.canonical();
        self.coverage.note(&self.bounds, before, &after, action);
        (after != *before).then_some(after)
    }

    fn properties(&self) -> Vec<stateright::Property<Model>> {
        properties::all()
    }
}
