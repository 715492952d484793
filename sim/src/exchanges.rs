//! The task of a broker that drives its shards, its connections to servers, and the commands that are under way on them.

use std::net::SocketAddr;
use std::sync::Arc;

use lockbroker_core::RequestId;
use lockbroker_core::command::{Command, Key, Reply as Said};
use lockbroker_core::failure::Cause;
use lockbroker_core::lock::LockItem;
use lockbroker_core::rules::Rule;
use lockbroker_core::shard::state_item::Witness;
use lockbroker_core::shard::{Dialled, LinkId, Output, Process, Shards, Unreached, protocol};
use lockbroker_core::store::{Order, Reply, Request, StoreError};

use crate::brokers::Outside;
use crate::event::Event;
use crate::operator::OPERATOR;
use crate::options::Fault;
use crate::time::{MS, SEC};
use crate::words;
use crate::world::World;

/// The time after which a broker gives up what it has sent.
const BOUND: u64 = SEC;
/// The time for which a message to a server is under way.
const HOP: u64 = 100_000;

/// A connection of a broker, or of the operator, to a server.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    pub broker: usize,
    pub life: u32,
    pub shard: usize,
    /// The process that it leads to.
    pub process: u64,
}

/// Commands that were sent on a connection.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub link: u64,
    pub commands: Arc<[Command]>,
    /// The order in which the server carries them out.
    pub order: Arc<[usize]>,
    /// Those that were carried out, as they were answered.
    pub said: Vec<Said>,
    pub sent: u64,
    /// True once the broker has its answer, or has given it up.
    pub over: bool,
    /// The answer does not arrive.
    pub answer_lost: bool,
}

impl World {
    /// Takes a broker's order. Its task goes on when all that is ready to run has run.
    pub fn order(&mut self, broker: usize, order: Order) {
        if let Order::Ask { item, request, .. } = &order {
            self.note_request(broker, item, request);
        }
        self.brokers[broker].orders.push(order);
        self.plan_task(broker);
    }

    fn plan_task(&mut self, broker: usize) {
        let node = &mut self.brokers[broker];
        if !std::mem::replace(&mut node.task_planned, true) {
            let life = node.life;
            self.plan(self.now, Event::Task { broker, life });
        }
    }

    fn note_request(&mut self, broker: usize, item: &LockItem, request: &Request) {
        let name = self.spot_of(self.number_of(&item.name), item.permit);
        let life = self.brokers[broker].life;
        self.note("ask", [broker as u64, name as u64, 0]);
        self.say(|| words::request(request));
        self.report.asks += 1;
        if let Request::Replace { from, to, .. } = request
            && from != to
        {
            self.check.lineage.insert(to.get(), from.get());
        }
        // A downgrade: what is ours came by a reattach.
        if let Request::Share { id, under: Some(under), .. } = request
            && self.check.lineage.contains_key(&under.get())
        {
            self.check.lineage.insert(id.get(), under.get());
        }
        match request {
            Request::Grant { id, .. } | Request::HandOver { to: id, .. } | Request::Share { id, .. } => {
                self.check.askers.insert(id.get(), (broker, life, self.now));
                self.check.asked_after.insert(id.get(), self.losses(name));
            }
            Request::Linger { from, to, .. } if !to.is_revocation() => self.check_linger(name, *from),
            _ => {}
        }
    }

    /// Lets a broker's shards take a turn, and then do what is due and send what waits.
    fn shards_turn(&mut self, broker: usize, act: impl FnOnce(&mut Shards, &mut Outside<'_>)) {
        let Some(mut shards) = self.brokers[broker].shards.take() else { return };
        let mut outside = self.outside(broker);
        act(&mut shards, &mut outside);
        shards.flush(&mut outside);
        let mut outputs = Vec::new();
        while let Some(output) = shards.output() {
            outputs.push(output);
        }
        let due = shards.due();
        self.brokers[broker].shards = Some(shards);
        for output in outputs {
            self.carry_out_of_shards(broker, output);
        }
        let node = &mut self.brokers[broker];
        let Some(due) = due.filter(|_| node.shards.is_some()) else { return };
        if node.task_due.is_none_or(|known| due.nanos() < known) {
            let due = due.nanos();
            node.task_due = Some(due);
            let (at, life) = (node.clock.when(due), node.life);
            self.plan(at, Event::TaskDue { broker, life, due });
        }
    }

    /// Takes a broker's orders to its shards.
    pub fn task(&mut self, broker: usize, life: u32) {
        if self.brokers[broker].life != life {
            return;
        }
        self.brokers[broker].task_planned = false;
        let orders = std::mem::take(&mut self.brokers[broker].orders);
        self.shards_turn(broker, |shards, outside| {
            orders.into_iter().for_each(|order| shards.order(order, outside));
        });
    }

    /// Lets a broker's shards do what is due: `due` is what was planned last.
    pub fn task_due(&mut self, broker: usize, life: u32, due: u64) {
        let node = &mut self.brokers[broker];
        if node.life == life && node.task_due == Some(due) {
            node.task_due = None;
            self.shards_turn(broker, |_, _| ());
        }
    }

    fn carry_out_of_shards(&mut self, broker: usize, output: Output) {
        match output {
            Output::Answer { id, reply, .. } => self.bring(broker, id, reply),
            Output::Dial { shard, .. } => self.dial(broker, self.brokers[broker].servers[shard]),
            Output::Compare { shard } => {
                let shard = self.brokers[broker].servers[shard];
                let life = self.brokers[broker].life;
                let after = 2 * self.hop(shard);
                self.plan_in(after, Event::Compared { broker, life, shard });
            }
            Output::Send { link, commands, .. } => self.send_commands(link.0, commands),
            Output::Hangup { .. } => {}
            Output::Wake { broker: address, name } => {
                let (woken, name) = (usize::from(address.port()), self.number_of(&name));
                if !self.odd(100_000) {
                    let delay = self.delay();
                    self.plan_in(delay, Event::Hint { broker: woken, name });
                }
            }
            // Those who look do so at times of their own.
            Output::TellObserver { .. } => {}
            Output::TellKeeper { broker: address, name } => {
                let (keeper, name) = (usize::from(address.port()), self.number_of(&name));
                if !self.odd(100_000) {
                    let delay = self.delay();
                    self.plan_in(delay, Event::Told { broker: keeper, name });
                }
            }
            Output::News { shard, news } => self.say(|| format!("broker {broker}, shard {shard}: {news:?}")),
            Output::Meet { shard, address } => self.meet(broker, shard, &address),
            Output::Change(news) => self.heard_of_change(broker, &news),
            Output::Ready(_) => {}
        }
    }

    fn bring(&mut self, broker: usize, id: RequestId, reply: Reply) {
        self.note("answer", [broker as u64, 0, 0]);
        self.say(|| format!("{id:?}: {}", words::reply(&reply)));
        if let Reply::Granted(Err(StoreError::Unavailable { cause: Cause::StoreQuarantined, .. })) = &reply {
            self.report.quarantined += 1;
        }
        self.turn(broker, |core, outside| core.answered(id, reply, outside));
    }

    /// Returns how long something is under way to a server, or from there.
    fn hop(&mut self, shard: usize) -> u64 {
        match self.machines[shard].slow || self.odd(self.options.dawdle) {
            true => HOP + self.choices.spread(700) * MS,
            false => HOP,
        }
    }

    fn is_cut(&self, broker: usize, shard: usize) -> bool {
        self.machines[shard].down || self.brokers.get(broker).is_some_and(|node| node.cut[shard])
    }

    fn dial(&mut self, broker: usize, shard: usize) {
        let life = self.brokers[broker].life;
        let after = if self.is_cut(broker, shard) { [BOUND, HOP][self.among(2)] } else { 2 * self.hop(shard) };
        let until = self.now + BOUND;
        self.plan_in(after, Event::Dialled { broker, life, shard, until });
    }

    /// Tells a broker's shards of a connection, or that there is none.
    pub fn dialled(&mut self, broker: usize, life: u32, shard: usize, until: u64) {
        if self.brokers[broker].life != life {
            return;
        }
        let stopped = self.machines[shard].server.clock().is_stopped();
        if stopped && self.now < until && !self.is_cut(broker, shard) {
            // Its kernel takes the connection, and the process answers when it goes on.
            let after = (10 * MS).min(until - self.now);
            return self.plan_in(after, Event::Dialled { broker, life, shard, until });
        }
        let dialled = if self.is_cut(broker, shard) || stopped {
            Err(Unreached { why: "it cannot be reached".into(), reason: Cause::StoreUnavailable })
        } else {
            let link = self.links.len() as u64;
            let machine = &self.machines[shard];
            let process = Process { pid: machine.process, began: machine.began };
            self.links.push(Link { broker, life, shard, process: machine.process });
            let address = SocketAddr::from(([10, 0, 0, 1], 11_211 + shard as u16));
            Ok(Dialled { link: LinkId(link), address, process: Some(process), refusal: None })
        };
        self.note("dialled", [broker as u64, shard as u64, dialled.is_ok().into()]);
        let Some(known) = self.brokers[broker].shard_at(shard) else { return };
        self.shards_turn(broker, |shards, outside| shards.dialled(known, dialled, outside));
    }

    /// Tells a broker's shards what another connection shows.
    pub fn compared(&mut self, broker: usize, life: u32, shard: usize) {
        if self.brokers[broker].life != life {
            return;
        }
        let reached = !self.is_cut(broker, shard) && !self.machines[shard].server.clock().is_stopped();
        let witness: Option<Witness> =
            if reached { protocol::read_witness(&self.execute(shard, &protocol::witness())).ok() } else { None };
        let Some(known) = self.brokers[broker].shard_at(shard) else { return };
        self.shards_turn(broker, |shards, outside| shards.compared(known, witness, outside));
    }

    pub fn send_commands(&mut self, link: u64, commands: Vec<Command>) {
        let Link { broker, shard, .. } = self.links[link as usize];
        self.next_exchange += 1;
        let number = self.next_exchange;
        let exchange = Exchange {
            link,
            order: self.order_of(&commands),
            commands: commands.into(),
            said: Vec::new(),
            sent: self.now,
            over: false,
            answer_lost: false,
        };
        self.exchanges.insert(number, exchange);
        // Whatever happens, the broker gives it up then.
        self.plan_in(BOUND, Event::GivenUp { broker, exchange: number });
        let rate = if self.machines[shard].uncertain { 300_000 } else { 5_000 };
        let uncertain = self.options.has(Fault::Uncertain) && self.odd(rate);
        if self.is_cut(broker, shard) || uncertain {
            self.machines[shard].trouble = self.now;
            return self.send_into_the_dark(broker, number);
        }
        let after = self.hop(shard);
        self.plan_in(after, Event::Carry { exchange: number });
    }

    /// Returns the order in which a server carries commands out: that in which they are sent, unless a rule is left out.
    fn order_of(&self, commands: &[Command]) -> Arc<[usize]> {
        let mut order: Vec<usize> = (0..commands.len()).collect();
        let comes_first = |command: &Command| match (self.rule, command) {
            (Some(Rule::PermitBeforeLook), Command::Get { key: Key::Lock(item), .. }) => item.permit.is_none(),
            (Some(Rule::LockBeforeLook), Command::Get { key: Key::Permits, touch: None, .. }) => true,
            _ => false,
        };
        order.sort_by_key(|at| !comes_first(&commands[*at]));
        order.into()
    }

    /// Loses commands, or their answer, or brings them late.
    fn send_into_the_dark(&mut self, broker: usize, exchange: u64) {
        if let Some(exchange) = self.exchanges.get_mut(&exchange) {
            exchange.answer_lost = true;
        }
        let carried = match self.among(5) {
            0 => None,
            1 => return self.plan_in(HOP, Event::Broke { broker, exchange }),
            2 => Some(HOP),
            3 => Some(self.choices.spread(1_500) * MS),
            _ => Some(self.choices.spread(40_000) * MS),
        };
        if let Some(carried) = carried {
            self.plan_in(carried, Event::Carry { exchange });
        }
    }

    /// Carries out commands, as many as come together.
    pub fn carry_exchange(&mut self, number: u64) {
        let Some(mut exchange) = self.exchanges.remove(&number) else { return };
        let Link { broker, shard, process, .. } = self.links[exchange.link as usize];
        let machine = &mut self.machines[shard];
        if machine.process != process || (self.calm && exchange.over) {
            return self.forget_unless_waited(number, exchange);
        }
        if machine.server.clock().is_stopped() {
            machine.waiting.push(number);
            self.exchanges.insert(number, exchange);
            return;
        }
        let (commands, order) = (Arc::clone(&exchange.commands), Arc::clone(&exchange.order));
        let left = commands.len() - exchange.said.len();
        // Mostly all; now and then others' commands come between.
        let together = if self.odd(self.options.dawdle) { 1 + self.among(left) } else { left };
        for at in &order[exchange.said.len()..][..together] {
            let reply = self.carry(broker, shard, &commands[*at], exchange.sent);
            exchange.said.push(reply);
            self.note_flip(shard, &commands[*at]);
        }
        let is_done = exchange.said.len() == commands.len();
        if !is_done {
            if self.options.has(Fault::Loss) && self.odd(20_000) && self.may_lose(shard) {
                // Within a batch, where only the witness shows it.
                self.lose_memory(shard, true);
            }
            let after = 1 + self.choices.spread(300) * MS;
            self.plan_in(after, Event::Carry { exchange: number });
        } else if exchange.answer_lost || exchange.over {
            return self.forget_unless_waited(number, exchange);
        } else {
            let after = self.hop(shard);
            self.plan_in(after, Event::Said { broker, exchange: number });
        }
        self.exchanges.insert(number, exchange);
    }

    /// Keeps an exchange until the broker has given it up.
    fn forget_unless_waited(&mut self, number: u64, exchange: Exchange) {
        if !exchange.over {
            self.exchanges.insert(number, Exchange { answer_lost: true, ..exchange });
        }
    }

    /// Brings an answer.
    pub fn said(&mut self, number: u64) {
        let Some(exchange) = self.exchanges.get(&number) else { return };
        let Link { broker, shard, .. } = self.links[exchange.link as usize];
        if self.is_cut(broker, shard) || exchange.over {
            return;
        }
        let mut said: Vec<(usize, Said)> = exchange.order.iter().copied().zip(exchange.said.iter().cloned()).collect();
        said.sort_by_key(|(at, _)| *at);
        let said = said.into_iter().map(|(_, said)| said).collect();
        self.end_exchange(number, Ok(said));
    }

    /// Tells a broker that a connection broke, or that it has waited for long enough.
    pub fn broke(&mut self, number: u64, why: &str) {
        if self.exchanges.get(&number).is_some_and(|exchange| !exchange.over) {
            self.end_exchange(number, Err(why.into()));
        }
    }

    fn end_exchange(&mut self, number: u64, said: Result<Vec<Said>, Arc<str>>) {
        let Some(exchange) = self.exchanges.get_mut(&number) else { return };
        exchange.over = true;
        let link = exchange.link;
        // What it still has to do, it does.
        let is_done = exchange.said.len() == exchange.commands.len();
        if is_done {
            self.exchanges.remove(&number);
        }
        let Link { broker, life, shard, .. } = self.links[link as usize];
        self.note("said", [broker as u64, shard as u64, said.is_ok().into()]);
        if broker == OPERATOR {
            return self.operator_answered(number, said.ok());
        }
        let known = self.brokers[broker].shard_at(shard);
        if let Some(known) = known.filter(|_| self.brokers[broker].life == life) {
            self.shards_turn(broker, |shards, outside| shards.answered(known, LinkId(link), said, outside));
        }
    }

    /// Breaks the exchanges under way with a server.
    pub fn break_links(&mut self, shard: usize) {
        self.break_links_where(|link| link.shard == shard);
    }

    /// Breaks the exchanges under way on connections of which `breaks` is true.
    pub fn break_links_where(&mut self, breaks: impl Fn(&Link) -> bool) {
        let under_way = self.exchanges.iter().filter(|(_, exchange)| !exchange.over);
        let links = under_way.map(|(number, exchange)| (*number, self.links[exchange.link as usize]));
        let broken: Vec<(u64, usize)> =
            links.filter(|(_, link)| breaks(link)).map(|(number, link)| (number, link.broker)).collect();
        for (exchange, broker) in broken {
            let delay = self.delay();
            self.plan_in(delay, Event::Broke { broker, exchange });
        }
    }

    /// Returns the watcher of a broker.
    pub fn watcher(&self, broker: usize, life: u32) -> protocol::Watcher {
        let address = SocketAddr::from(([10, 0, 0, 2], broker as u16));
        protocol::Watcher { address, id: 1 + broker as u64 * 1_000 + u64::from(life) }
    }
}
