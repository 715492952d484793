//! A store on which commands take two steps, in any order, as memcached carries them out.

use std::collections::BTreeMap;
use std::time::Duration;

use lockbroker_core::lock::{FencingToken, GrantId, Permit};
use lockbroker_core::store::{
    Besides, Change, Granted, ItemState, LockStatus, Reply, Request, Seats, Shared, Slots, StoreError, Watch,
};
use lockbroker_core::{RequestId, Time};

/// A command under way: not begun, half done, or answered and on its way back.
pub(crate) struct Under {
    pub(crate) broker: usize,
    pub(crate) id: RequestId,
    pub(crate) permit: Option<Permit>,
    pub(crate) request: Request,
    pub(crate) step: u8,
    pub(crate) created: bool,
    pub(crate) reply: Option<Reply>,
    pub(crate) given_up: bool,
}

#[derive(Default)]
pub(crate) struct Store {
    pub(crate) items: BTreeMap<Option<u16>, (u64, Time)>,
    pub(crate) slots: u16,
    pub(crate) token: u64,
}

impl Store {
    pub(crate) fn live(&mut self, of: Option<u16>, now: Time) -> Option<u64> {
        self.items.retain(|_, (_, expires)| *expires > now);
        self.items.get(&of).map(|(id, _)| *id)
    }

    pub(crate) fn token(&mut self) -> FencingToken {
        self.token += 1;
        FencingToken::new(self.token).unwrap()
    }

    pub(crate) fn change(&mut self, of: Option<u16>, from: u64, to: u64, ttl: u32, now: Time) -> Change {
        match self.live(of, now) {
            None => Change::Gone,
            Some(id) if id != from => Change::TakenOver,
            Some(_) => {
                self.items.insert(of, (to, now + Duration::from_secs(ttl.into())));
                Change::Done
            }
        }
    }

    /// Takes one step of a command.
    pub(crate) fn carry(&mut self, under: &mut Under, now: Time) {
        let of = under.permit.map(Permit::get);
        let expires = |ttl: u32| now + Duration::from_secs(ttl.into());
        let reply = match (under.request.clone(), under.step) {
            (Request::Grant { id, ttl }, 0) => match self.live(of, now) {
                Some(_) => Some(Reply::Granted(Ok(Granted::No))),
                None => {
                    self.items.insert(of, (id.get(), expires(ttl)));
                    None
                }
            },
            (Request::Grant { .. }, _) => Some(Reply::Granted(Ok(match self.slots {
                0 => Granted::Yes(self.token()),
                _ => Granted::Intent(Besides::UNKNOWN),
            }))),
            (Request::HandOver { from, to, ttl }, _) => {
                Some(Reply::Granted(Ok(match self.change(of, from.get(), to.get(), ttl, now) {
                    Change::Done => Granted::Yes(self.token()),
                    _ => Granted::No,
                })))
            }
            (Request::Occupy { id, ttl, .. }, 0) => match self.change(of, id.get(), id.get(), ttl, now) {
                Change::Done => None,
                _ => Some(Reply::Granted(Ok(Granted::No))),
            },
            (Request::Occupy { besides, .. }, _) => Some(Reply::Granted(Ok(self.occupied(besides, now)))),
            (Request::Share { id, ttl, slots, .. }, 0) => {
                let permit = of.unwrap();
                match slots {
                    Slots::Ensure if self.slots == 0 => self.slots = permit + 1,
                    Slots::Raise(from) if self.slots == from => self.slots = permit + 1,
                    _ => {}
                }
                if self.live(of, now).is_none() {
                    self.items.insert(of, (id.get(), expires(ttl)));
                    under.created = true;
                }
                None
            }
            (Request::Share { under: gate, .. }, _) => {
                let (created, slots) = (under.created, self.slots);
                Some(Reply::Shared(Ok(if self.live(None, now) != gate.map(GrantId::get) {
                    Shared::Closed { created }
                } else if slots <= of.unwrap() {
                    Shared::Uncovered { slots, created }
                } else if created {
                    Shared::Yes(self.token())
                } else {
                    Shared::Taken { slots }
                })))
            }
            (Request::Find { from, upto }, _) => {
                let found = (from..upto.min(from + 64)).find(|permit| self.live(Some(*permit), now).is_none());
                Some(Reply::Found(Ok(found.and_then(Permit::new))))
            }
            (Request::Renew { state, ttl, .. }, _) => {
                Some(Reply::Changed(Ok(self.change(of, state.number(), state.number(), ttl, now))))
            }
            (Request::Replace { from, to, ttl }, _) => {
                Some(Reply::Changed(Ok(self.change(of, from.get(), to.get(), ttl, now))))
            }
            (Request::Remove { state, .. }, _) => {
                let change = self.change(of, state.number(), state.number(), 1, now);
                if change == Change::Done {
                    self.items.remove(&of);
                }
                Some(Reply::Changed(Ok(change)))
            }
            (Request::Look, _) => Some(Reply::Status(Ok(match self.live(of, now) {
                None => LockStatus::Free,
                Some(number) => LockStatus::Taken {
                    state: ItemState::of_number(number).unwrap(),
                    label: Box::default(),
                    expires_in: Duration::ZERO,
                },
            }))),
            (Request::Stands(id), _) => Some(Reply::Stands(Ok(self.live(of, now) == Some(id.get())))),
            (Request::Watch { .. }, _) => Some(Reply::Watching(Watch::No)),
            (other, _) => panic!("{other:?}"),
        };
        under.step += 1;
        under.reply = reply;
    }

    pub(crate) fn occupied(&mut self, besides: Besides, now: Time) -> Granted {
        let slots = self.slots;
        let window: Vec<u16> = besides.window().map(Permit::get).take_while(|permit| *permit < slots).collect();
        let last = besides.window().last().map_or(besides.from, |last| last.get() + 1);
        if let Some(seats) = besides.seats {
            let free = window.iter().filter(|permit| self.live(Some(**permit), now).is_none()).count() as u16;
            let exist = slots.min(seats.limit);
            let looked_at = last.min(exist);
            let free = seats.free + free;
            if free + (seats.limit - exist) >= seats.weight {
                return Granted::Yes(self.token());
            }
            let all = looked_at == exist;
            let (from, free) = if all { (0, 0) } else { (looked_at, free) };
            let seats = Some(Seats { free, ..seats });
            return Granted::Intent(Besides { from, upto: Some(slots), held: all, seats });
        }
        match window.iter().find(|permit| self.live(Some(**permit), now).is_some()) {
            None if last >= slots => Granted::Yes(self.token()),
            held => Granted::Intent(Besides {
                from: held.copied().unwrap_or(last),
                upto: Some(slots),
                held: held.is_some(),
                seats: None,
            }),
        }
    }
}

pub(crate) fn failed(request: &Request) -> Reply {
    let error = StoreError::uncertain("lost");
    match request {
        Request::Grant { .. } | Request::HandOver { .. } | Request::Occupy { .. } => Reply::Granted(Err(error)),
        Request::Share { .. } => Reply::Shared(Err(error)),
        Request::Find { .. } => Reply::Found(Err(error)),
        Request::Look => Reply::Status(Err(error)),
        Request::Stands(_) => Reply::Stands(Err(error)),
        Request::Watch { .. } => Reply::Watching(Watch::No),
        _ => Reply::Changed(Err(error)),
    }
}
