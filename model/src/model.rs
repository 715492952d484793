//! The model: what can happen in a state, and what comes of it.

use std::sync::Arc;
use std::time::Duration;

use lockbroker_core::lock::LockName;
use lockbroker_core::shard::machine::EpochState;
use lockbroker_core::store::Change;

use crate::broker::{TICK, changed};
use crate::coverage::Coverage;
use crate::memcached::{FINGERPRINT, Loss};
use crate::properties;
use crate::rules::{Bounds, Rules};
use crate::state::{Broker, Client, Fence, Flight, LINGER, Left, Op, Owner, State};

/// More than any look needs to come to something.
const MOST_STEPS: usize = 50;

/// One configuration, with all rules or some left out.
#[derive(Clone, Debug)]
pub struct Model {
    pub bounds: Bounds,
    pub rules: Rules,
    /// The steps that have been reached, for all threads of the checker.
    pub coverage: Arc<Coverage>,
    /// The name of the lock.
    pub(crate) name: LockName,
}

/// One step of the world. Brokers and clients are named by their number, batches by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Tick,
    ItemDies,
    PermitDies(u8),
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
    Revoke {
        broker: u8,
    },
    RenewLease {
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
    /// A broker looks by itself, at the time that it has set or later.
    TimeOut {
        broker: u8,
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
    /// A grant that nobody wants is deleted.
    CleanUp {
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
    /// Returns true if the step can have an effect now. A look by itself that cannot, since others have the lock or the
    /// shard is closed, is tried again later, and time has to go on.
    pub(crate) fn is_useful(&self, model: &Model, state: &State) -> bool {
        match *self {
            Action::TimeOut { broker } => model.comes_to_something(state, broker as usize),
            _ => true,
        }
    }

    /// Returns true for work that a prompt world does before time goes on.
    fn is_work(&self) -> bool {
        use Action::*;
        matches!(self, TimeOut { .. } | Probe { .. } | Command { .. } | CleanUp { .. } | Answer { .. })
    }
}

impl Model {
    pub fn new(bounds: Bounds, rules: Rules) -> Model {
        let name = LockName::new("lock").expect("a name");
        Model { bounds, rules, coverage: Arc::default(), name }
    }

    fn initial(&self) -> State {
        let bounds = &self.bounds;
        let memory = if bounds.new_server { EpochState::new(FINGERPRINT) } else { crate::shard::open(1) };
        let broker = Broker { memory, reference: 0, clock_known: !bounds.new_server, closed_from: None };
        let mut state = State {
            memcached: Default::default(),
            brokers: [broker.clone(), broker],
            cores: [Some(self.new_core()), Some(self.new_core())],
            links: [[None; 2]; 2],
            clients: [Client::default(); 2],
            flights: Vec::new(),
            ids: 0,
            reached: Default::default(),
            left: Left {
                losses: bounds.loss_count,
                breaks: bounds.breaks,
                deaths: bounds.deaths,
                stops: bounds.stops,
                reattaches: bounds.reattaches,
                releases: bounds.releases_elsewhere,
                revocations: bounds.revocations,
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
        for (permit, item) in state.memcached.permits.iter().enumerate() {
            if Model::may_die(*item) {
                actions.push(Action::PermitDies(permit as u8));
            }
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
                if self.may_renew(state, c, b) {
                    actions.push(Action::RenewLease { client, broker });
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
            if self.may_revoke(state, b) {
                actions.push(Action::Revoke { broker });
            }
            if Model::is_due(state, b) {
                actions.push(Action::TimeOut { broker });
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
    }

    fn network_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let room = state.strays() < self.bounds.strays as usize;
        for (index, flight) in state.flights.iter().enumerate() {
            let (op, index) = (flight.op, index as u8);
            let answers = !state.memcached.stopped;
            if Model::is_clean_up(flight) {
                // One that finds nothing is as good as none.
                if answers && self.finds(state, flight) {
                    actions.push(Action::CleanUp { flight: index, op });
                }
                continue;
            }
            match flight.owner {
                Owner::Nobody => {
                    if answers {
                        actions.push(Action::LateCommand { flight: index, op });
                    }
                    actions.push(Action::NoCommand { flight: index, op });
                }
                _ if flight.is_answer() => actions.push(Action::Answer { flight: index, op }),
                _ if answers => actions.push(Action::Command { flight: index, op }),
                _ => {}
            }
            let landed = flight.landed;
            if flight.owner != Owner::Nobody && self.bounds.strays > 0 && (room || landed) {
                actions.push(Action::GiveUp { flight: index, op });
            }
        }
    }

    fn fault_actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(self.losses(state).into_iter().map(Action::Lose));
        for broker in 0..2u8 {
            match state.cores[broker as usize].is_none() {
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
        match action {
            Action::Tick => self.tick(state),
            Action::ItemDies => state.memcached.item = None,
            Action::PermitDies(permit) => state.memcached.permits[permit as usize] = None,
            Action::Ask { client, broker } => self.ask(state, client as usize, broker as usize),
            Action::Leave { client } => self.leave(state, client as usize),
            Action::Reattach { client, broker } => self.reattach(state, client as usize, broker as usize),
            Action::ReleaseElsewhere { client, broker } => {
                self.release_elsewhere(state, client as usize, broker as usize);
            }
            Action::RenewLease { client, broker } => self.renew_lease(state, client as usize, broker as usize),
            Action::Revoke { broker } => {
                state.left.revocations -= 1;
                self.call_revoke(state, broker as usize);
            }
            Action::StreamBreaks { broker, client } => {
                Model::break_stream(state, broker as usize, client as usize);
            }
            Action::StreamSilent { broker, client } => self.fall_silent(state, broker as usize, client as usize),
            Action::TimeOut { broker } => self.time_out(state, broker as usize),
            Action::CleanUp { flight, .. } => self.clean_up(state, flight as usize),
            Action::Probe { broker, op } if self.bounds.slow_probes => self.send(state, Owner::Probe(broker), op, 0),
            Action::Probe { broker, op } => self.probe_at_once(state, broker, op),
            Action::ProbeGivenUp { op, .. } => state.flights.push(crate::canon::stray(op, 0)),
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
                state.cores[broker as usize] = Some(self.new_core());
                let known = &mut state.brokers[broker as usize];
                *known = Broker { reference: u8::MAX / 2, ..known.clone() };
            }
            Action::MemcachedStops => {
                state.left.stops -= 1;
                state.memcached.stopped = true;
            }
            Action::MemcachedGoesOn => state.memcached.stopped = false,
            Action::MemcachedCatchesUp => Model::catch_up(state),
        }
    }

    /// Returns true if an operator may revoke the lock at a broker: there is something to revoke, and the broker sees it.
    fn may_revoke(&self, state: &State, broker: usize) -> bool {
        let is_held = state.memcached.item.is_some_and(|item| item.id & LINGER == 0);
        state.left.revocations > 0 && is_held && state.cores[broker].is_some() && !state.memcached.stopped
    }

    fn tick(&self, state: &mut State) {
        self.pass_time_in_memcached(state);
        for known in &mut state.brokers {
            known.closed_from = known.closed_from.map(|ago| (ago + 1).min(self.bounds.max_ttl()));
        }
        for (client, linger) in state.clients.iter_mut().zip(&mut state.ghost.linger) {
            if client.valid == 0 || state.ghost.revoked {
                *linger = linger.saturating_sub(1);
            }
            client.valid = client.valid.saturating_sub(1);
        }
        let max_ttl = self.bounds.max_ttl();
        let ghost = &mut state.ghost;
        ghost.min_hold.iter_mut().for_each(|left| *left = left.saturating_sub(1));
        ghost.drawn.iter_mut().for_each(|(_, age)| *age += 1);
        let long_ago = ghost.drawn.iter().filter(|(_, age)| *age >= max_ttl).map(|(token, _)| *token).max();
        ghost.drawn_long_ago = ghost.drawn_long_ago.max(long_ago.unwrap_or(0));
        ghost.drawn.retain(|(_, age)| *age < max_ttl);
    }

    /// Returns true if a batch deletes a grant that nobody wants. It is one step, whenever that comes.
    pub(crate) fn is_clean_up(flight: &Flight) -> bool {
        let of_errand = matches!(flight.owner, Owner::Core(_, id) if id.is_of_errand());
        of_errand && matches!(flight.op, Op::Remove { .. })
    }

    fn finds(&self, state: &State, flight: &Flight) -> bool {
        matches!(flight.op, Op::Remove { id } if state.memcached.carries(id))
    }

    /// Deletes a grant that nobody wants, and lets its broker know.
    fn clean_up(&self, state: &mut State, index: usize) {
        let flight = state.flights.remove(index);
        if let (Op::Remove { id: item }, Owner::Core(broker, id)) = (flight.op, flight.owner) {
            state.memcached.delete(item);
            self.answer(state, broker as usize, id, changed(Change::Done));
        }
    }

    /// Returns true if a look of a broker by itself changes anything, when all that it asks is answered at once.
    fn comes_to_something(&self, before: &State, broker: usize) -> bool {
        let mut state = before.clone();
        self.time_out(&mut state, broker);
        for _ in 0..MOST_STEPS {
            let of_broker = |flight: &Flight| matches!(flight.owner, Owner::Core(owner, _) if owner as usize == broker);
            let is_next =
                |flight: &Flight| of_broker(flight) && (!Model::is_clean_up(flight) || self.finds(&state, flight));
            match state.flights.iter().position(is_next) {
                None => return self.canonical(state) != *before,
                Some(index) if state.flights[index].is_answer() => {
                    let flight = state.flights.remove(index);
                    self.arrive(&mut state, flight);
                }
                Some(_) if state.memcached.stopped => return self.canonical(state) != *before,
                Some(index) if Model::is_clean_up(&state.flights[index]) => self.clean_up(&mut state, index),
                Some(index) => self.advance(&mut state, index),
            }
        }
        // It goes round in circles.
        false
    }

    /// Kills a broker: what it has sent may still land, and all that it knew is gone.
    fn die(&self, state: &mut State, broker: u8) {
        state.left.deaths -= 1;
        let mut strays = Vec::new();
        state.flights.retain(|flight| {
            let of_the_dead = match flight.owner {
                Owner::Core(owner, _) | Owner::Probe(owner) => owner == broker,
                Owner::Nobody => false,
            };
            if of_the_dead && !flight.landed && !Model::is_clean_up(flight) {
                strays.push(crate::canon::stray(flight.op, flight.place));
            }
            !of_the_dead
        });
        let room = (self.bounds.strays as usize).saturating_sub(state.strays());
        state.flights.extend(strays.into_iter().take(room));
        state.links[broker as usize] = [None; 2];
        state.clients.iter_mut().for_each(|client| client.calls = client.calls.filter(|at| *at != broker));
        state.cores[broker as usize] = None;
        state.brokers[broker as usize] =
            Broker { memory: EpochState::new(FINGERPRINT), reference: 0, clock_known: false, closed_from: None };
    }
}

impl stateright::Model for Model {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.canonical(self.initial())]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.possible(state, actions);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        self.apply(&mut state, action);
        if state.strays() > self.bounds.strays as usize {
            return None;
        }
        let passes = if action == Action::Tick { TICK } else { Duration::ZERO };
        let reached = state.reached;
        let after = self.canonical_after(state, passes);
        self.coverage.note(&self.bounds, before, &after, (action, reached));
        (after != *before).then_some(after)
    }

    fn properties(&self) -> Vec<stateright::Property<Model>> {
        properties::all()
    }
}
