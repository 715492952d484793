//! Lists what can happen in a state, and makes it happen.

use super::adopters::Step;
use super::state::{Adopter, Broker, Hold, Op, SERVERS, Server, Stamp, State, Stray};
use super::{Model, PRESENT, each, properties};

/// One step of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Tick,
    /// A memcached loses its memory.
    Lose {
        server: u8,
    },
    /// The server that is to be dead goes for good.
    GoesDown,
    Ask {
        client: u8,
    },
    Leave {
        client: u8,
    },
    /// A client goes to the other broker with its lock.
    Reattach {
        client: u8,
    },
    BrokerDies {
        broker: u8,
    },
    BrokerStarts {
        broker: u8,
    },
    /// Reads S, N and the fences.
    Look {
        broker: u8,
        server: u8,
    },
    Begin {
        broker: u8,
        server: u8,
        late: bool,
    },
    Note {
        broker: u8,
        server: u8,
        late: bool,
    },
    Flip {
        broker: u8,
        server: u8,
        late: bool,
    },
    Open {
        broker: u8,
        server: u8,
        late: bool,
    },
    /// Asks for the lock, renews it, or makes it linger.
    Work {
        broker: u8,
        client: u8,
        server: u8,
        op: Op,
        late: bool,
    },
    /// A command that was given up lands.
    Lands {
        stray: u8,
        op: Op,
    },
    /// It never does.
    Never {
        stray: u8,
        op: Op,
    },
    /// A broker deletes an item that nobody keeps.
    CleanUp {
        server: u8,
    },
    Adopt {
        adopter: u8,
        step: Step,
    },
    /// The same, but its command lands later or never, and the adopter does not know.
    AdoptLate {
        adopter: u8,
        step: Step,
    },
    AdopterDies {
        adopter: u8,
    },
}

impl Action {
    /// Returns true for work that a prompt world does before time goes on.
    fn is_work(&self) -> bool {
        use Action::*;
        match self {
            Begin { late, .. } | Note { late, .. } | Flip { late, .. } | Open { late, .. } | Work { late, .. } => !late,
            Look { .. } | CleanUp { .. } | Adopt { .. } => true,
            _ => false,
        }
    }
}

impl Model {
    pub(crate) fn possible(&self, state: &State, actions: &mut Vec<Action>) {
        if properties::is_violated(&self.bounds, state) {
            // The trace has what it is for.
            return;
        }
        let first = actions.len();
        for number in 0..2u8 {
            self.client_actions(state, number, actions);
            self.broker_actions(state, number, actions);
            self.adopter_actions(state, number, actions);
        }
        self.network_actions(state, actions);
        for server in 0..SERVERS as u8 {
            let shown = state.servers[server as usize];
            if state.left.losses > 0 && shown != Server::default() && self.may_lose(state, server) {
                actions.push(Action::Lose { server });
            }
            let believed = |id| state.is_kept(id) || state.ids.contains(&id) || state.orphans.contains(&id);
            if shown.item.is_some_and(|item| !item.lingers && !believed(item.id)) {
                actions.push(Action::CleanUp { server });
            }
        }
        if self.bounds.dead.is_some() && !state.down {
            actions.push(Action::GoesDown);
        }
        if !self.bounds.prompt || !actions[first..].iter().any(Action::is_work) {
            actions.push(Action::Tick);
        }
    }

    /// Returns true if this memory may be lost now: by A11 some present server goes on to speak of the change, while there is a
    /// broker that has not heard of it, or that may start.
    fn may_lose(&self, state: &State, server: u8) -> bool {
        let has_begun = state.servers.iter().any(|shown| shown.stamp().is_some_and(|stamp| stamp.plan != PRESENT));
        let speaks = |other: usize| {
            let shown = state.servers[other];
            shown.notice != 0 || shown.stamp().is_some_and(|stamp| stamp.plan != PRESENT)
        };
        let is_remembered = each(self.present()).filter(|other| *other != usize::from(server)).any(speaks);
        let all_know = state.brokers.iter().all(|broker| broker.as_ref().is_some_and(|broker| broker.aware != 0));
        !self.is_gone(state, server) && (!has_begun || is_remembered || all_know || !self.rules.somebody_remembers)
    }

    fn is_gone(&self, state: &State, server: u8) -> bool {
        state.down && self.bounds.dead == Some(server as usize)
    }

    fn client_actions(&self, state: &State, client: u8, actions: &mut Vec<Action>) {
        let number = client as usize;
        let at = usize::from(state.at[number]);
        if state.left.reattaches > 0 && state.valid[number] > 0 {
            let there = state.brokers[1 - at].as_ref();
            if there.is_some_and(|there| there.holds[number] == Hold::None) {
                actions.push(Action::Reattach { client });
            }
        }
        let Some(broker) = &state.brokers[at] else { return };
        if broker.holds[number] == Hold::None && state.valid[number] == 0 && state.left.asks[number] > 0 {
            actions.push(Action::Ask { client });
        }
        if self.bounds.leaves && matches!(broker.holds[number], Hold::Held { .. }) {
            actions.push(Action::Leave { client });
        }
    }

    fn broker_actions(&self, state: &State, number: u8, actions: &mut Vec<Action>) {
        let Some(broker) = &state.brokers[number as usize] else {
            return actions.push(Action::BrokerStarts { broker: number });
        };
        if state.left.deaths > 0 {
            actions.push(Action::BrokerDies { broker: number });
        }
        let lates: &[bool] = if state.strays.len() < self.bounds.strays { &[false, true] } else { &[false] };
        for server in each(self.known_to(broker)) {
            let at = server as u8;
            if self.look(state, number as usize, server).is_some_and(|after| after != *broker) {
                actions.push(Action::Look { broker: number, server: at });
            }
            if self.is_down(state, server, Some(number as usize)) {
                continue;
            }
            let shown = state.servers[server].stamp();
            let (begins, flips) = (self.begins(broker, server), self.flips(broker, server));
            let (notes, opens) = (self.notes(broker, server), self.opens(broker, server));
            for &late in lates {
                // A command that finds another S than the one that it is for changes nothing, unless it comes later.
                if begins.is_some() && (late || shown.is_none()) {
                    actions.push(Action::Begin { broker: number, server: at, late });
                }
                if notes && (late || state.servers[server].notice == 0) {
                    actions.push(Action::Note { broker: number, server: at, late });
                }
                if flips.is_some() && (late || shown == flips) {
                    actions.push(Action::Flip { broker: number, server: at, late });
                }
                if opens.is_some() && (late || shown == opens && !state.servers[server].open) {
                    actions.push(Action::Open { broker: number, server: at, late });
                }
            }
        }
        for (client, server, op) in self.wants(state, broker) {
            let at = server as u8;
            let lates = lates.iter().filter(|_| !self.is_down(state, server, Some(number as usize)));
            let client = client as u8;
            actions.extend(lates.map(|late| Action::Work { broker: number, client, server: at, op, late: *late }));
        }
    }

    fn adopter_actions(&self, state: &State, adopter: u8, actions: &mut Vec<Action>) {
        if adopter == 1 && self.bounds.rival.is_none() {
            return;
        }
        let number = adopter as usize;
        for step in self.steps(state, number) {
            let mut after = state.clone();
            self.adopt(&mut after, number, step);
            if after != *state {
                actions.push(Action::Adopt { adopter, step });
            }
            let has_command = self.command(&mut state.clone(), number, step).is_some();
            if has_command && state.strays.len() < self.bounds.strays {
                actions.push(Action::AdoptLate { adopter, step });
            }
        }
        if state.left.adopter_deaths > 0 && state.adopters[number] != Adopter::default() {
            actions.push(Action::AdopterDies { adopter });
        }
    }

    fn network_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (index, stray) in state.strays.iter().enumerate() {
            let (op, number) = (stray.op, index as u8);
            actions.push(Action::Never { stray: number, op });
            if !self.is_down(state, stray.server as usize, None) {
                actions.push(Action::Lands { stray: number, op });
            }
        }
    }

    /// Changes the state by `action`, and does not make it canonical yet.
    pub(crate) fn apply(&self, state: &mut State, action: Action) {
        match action {
            Action::Tick => self.tick(state),
            Action::Lose { server } => {
                state.left.losses -= 1;
                state.servers[server as usize] = Server::default();
            }
            Action::GoesDown => {
                state.down = true;
                if self.rules.dead_is_down {
                    let dead = self.bounds.dead.expect("one goes");
                    state.servers[dead] = Server::default();
                }
            }
            Action::Ask { client } => {
                state.left.asks[client as usize] -= 1;
                let client = client as usize;
                if let Some(broker) = &mut state.brokers[usize::from(state.at[client])] {
                    broker.holds[client] = Hold::Asked;
                }
            }
            Action::Leave { client } => self.let_go(state, state.at[client as usize].into(), client as usize),
            Action::Reattach { client } => self.reattach(state, client as usize),
            Action::BrokerDies { broker } => self.die(state, broker),
            Action::BrokerStarts { broker } => state.brokers[broker as usize] = Some(Broker::default()),
            Action::Look { broker, server } => {
                state.brokers[broker as usize] = self.look(state, broker as usize, server as usize);
            }
            Action::Begin { broker, server, late } => {
                let epoch = state.fresh_epoch();
                let of = |broker: &Broker| self.begins(broker, server as usize);
                let plan = state.brokers[broker as usize].as_ref().and_then(of).expect("it begins an epoch");
                self.command_by(state, broker, server, Op::Begin { stamp: Stamp { epoch, plan } }, late);
            }
            Action::Flip { broker, server, late } => {
                let epoch = state.fresh_epoch();
                let acts = state.brokers[broker as usize].as_ref().expect("it flips");
                let from = self.flips(acts, server as usize).expect("there is one to flip").epoch;
                self.command_by(state, broker, server, Op::Flip { from, to: epoch }, late);
            }
            Action::Note { broker, server, late } => {
                let plan = state.brokers[broker as usize].as_ref().expect("it notes").aware;
                self.command_by(state, broker, server, Op::Notice { plan }, late);
            }
            Action::Open { broker, server, late } => {
                let of = |broker: &Broker| self.opens(broker, server as usize);
                let stamp = state.brokers[broker as usize].as_ref().and_then(of).expect("it opens an epoch");
                let start = self.start(state, 0);
                self.command_by(state, broker, server, Op::Open { epoch: stamp.epoch, start }, late);
            }
            Action::Work { broker, client, server, op, late: true } => {
                state.strays.push(Stray { server, op });
                // A hand-over that was given up is cleaned up under both ids.
                if let Some(broker) = &mut state.brokers[broker as usize]
                    && let Hold::HandingOver { .. } = broker.holds[client as usize]
                {
                    broker.holds[client as usize] = Hold::None;
                }
            }
            Action::Work { broker, client, server, op, late: false } => {
                self.ask(state, broker as usize, client as usize, server as usize, op);
            }
            Action::Lands { stray, .. } => {
                let Stray { server, op } = state.strays.remove(stray as usize);
                self.execute(state, server as usize, op, 0);
            }
            Action::Never { stray, .. } => {
                state.strays.remove(stray as usize);
            }
            Action::CleanUp { server } => state.servers[server as usize].item = None,
            Action::Adopt { adopter, step } => self.adopt(state, adopter as usize, step),
            Action::AdoptLate { adopter, step } => {
                let (server, op) = self.command(state, adopter as usize, step).expect("it has a command");
                state.strays.push(Stray { server: server as u8, op });
            }
            Action::AdopterDies { adopter } => {
                state.left.adopter_deaths -= 1;
                state.adopters[adopter as usize] = Adopter::default();
            }
        }
        state.forget();
    }

    /// A broker sends a command that is answered at once, or that lands later or never.
    fn command_by(&self, state: &mut State, broker: u8, server: u8, op: Op, late: bool) {
        if late {
            state.strays.push(Stray { server, op });
        } else {
            self.execute(state, server as usize, op, 0);
            state.brokers[broker as usize] = self.look(state, broker as usize, server as usize);
        }
    }

    fn adopt(&self, state: &mut State, adopter: usize, step: Step) {
        if let Some((server, op)) = self.command(state, adopter, step) {
            self.execute(state, server, op, 0);
        }
        self.note(state, adopter, step);
    }

    fn die(&self, state: &mut State, broker: u8) {
        state.left.deaths -= 1;
        let Some(dead) = state.brokers[broker as usize].take() else { return };
        state.orphans.extend(dead.holds.iter().flat_map(|hold| hold.ids()).filter(|id| *id != 0));
    }

    /// A client goes to the other broker, and no word of that comes to the one that it leaves.
    fn reattach(&self, state: &mut State, client: usize) {
        state.left.reattaches -= 1;
        let (from, to, left) = (state.ids[client], state.fresh_id(), state.valid[client]);
        let at = 1 - state.at[client];
        state.at[client] = at;
        if let Some(broker) = &mut state.brokers[usize::from(at)] {
            broker.holds[client] = Hold::Moving { from, to, left };
        }
    }

    fn tick(&self, state: &mut State) {
        for server in &mut state.servers {
            server.item = server.item.map(|mut item| {
                item.left -= 1;
                item
            });
            server.item = server.item.filter(|item| item.left > 0);
        }
        for stray in &mut state.strays {
            match &mut stray.op {
                // Its time is absolute.
                Op::Copy { item } => item.left = item.left.saturating_sub(1),
                Op::Linger { left, .. } => *left = (*left - 1).max(1),
                _ => {}
            }
        }
        for client in 0..2 {
            if state.valid[client] == 0 {
                state.closed[client] = state.closed[client].saturating_sub(1);
            }
            state.valid[client] = state.valid[client].saturating_sub(1);
        }
        let longest = self.bounds.present.max_ttl.max(self.bounds.next.max_ttl);
        // Older ones are no more than what the wall clock is sure to show.
        state.drawn.iter_mut().for_each(|(_, age)| *age = (*age + 1).min(longest));
        for number in 0..2 {
            self.age_broker(state, number);
            let plan = self.aim(number);
            self.age_adopter(&mut state.adopters[number], plan);
        }
    }
}
