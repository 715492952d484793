//! What the four commands do to the items.

use lockbroker_core::command::{
    Cas, Command, Create, InPlace, Key, Left, Mode, Refusal, Reply, Shown, Stale, Ttl, Value, Want,
};

use super::items::{Context, Item, Items, NewItem};
use super::memory::value_bytes;

const NO_MEMORY: Reply = Reply::Refused(Refusal::NoMemory);

impl Items {
    /// Carries out a command.
    pub(super) fn execute(&mut self, command: &Command, context: &mut Context<'_>) -> Reply {
        match command {
            Command::Get { key, bump, touch, want } => self.get(key, *bump, *touch, *want, context),
            Command::Delete { key, compare, in_place } => self.delete(key, *compare, *in_place, context),
            Command::Set { key, mode, ttl, new_cas, value } => self.set(key, *mode, *ttl, *new_cas, value, context),
            Command::Arithmetic { key, delta, create, compare, new_cas, want } => {
                let ask = Ask { delta: *delta, create: *create, compare: *compare, new_cas: *new_cas, want: *want };
                self.arithmetic(key, &ask, context)
            }
        }
    }

    fn get(&mut self, key: &Key, bump: bool, touch: Option<Ttl>, want: Want, context: &Context<'_>) -> Reply {
        let second = context.second;
        let Some(item) = self.find(key, second) else { return Reply::Missing };
        if let Some(ttl) = touch {
            item.dies = context.dies(ttl);
        }
        let mut shown = show(item, want, second);
        shown.value = want.value.then(|| item.value.clone());
        shown.stale = item.stale;
        if item.stale == Stale::First {
            item.stale = Stale::Again;
        }
        if bump {
            item.bump(second);
        }
        item.being_read = true;
        Reply::Done(shown)
    }

    fn delete(&mut self, key: &Key, compare: Option<Cas>, change: Option<InPlace>, context: &Context<'_>) -> Reply {
        let Some(item) = self.find(key, context.second) else { return Reply::Missing };
        if compare.is_some_and(|cas| cas.0 != item.cas) {
            return Reply::Exists;
        }
        match change {
            // Needs no memory.
            Some(InPlace { ttl, new_cas }) => {
                item.dies = ttl.map_or(item.dies, |ttl| context.dies(ttl));
                item.stale = Stale::First;
                let cas = new_cas.map_or_else(|| self.next_cas(), |cas| cas.0);
                self.known(key).cas = cas;
            }
            None => self.unlink(key),
        }
        Reply::Done(Shown::default())
    }

    fn set(
        &mut self,
        key: &Key,
        mode: Mode,
        ttl: Ttl,
        new_cas: Option<Cas>,
        value: &Value,
        context: &mut Context<'_>,
    ) -> Reply {
        let dies = context.dies(ttl);
        let width = value_bytes(value);
        // Before it looks at the mode, and before the memory of what was there is free.
        let Some(class) = self.allocate(key, width, context) else {
            if self.find(key, context.second).is_some() {
                self.unlink(key);
            }
            // 1.6.38 counts on all the same, 1.6.45 does not.
            if new_cas.is_none() && !context.choices.odd() {
                self.next_cas();
            }
            return NO_MEMORY;
        };
        let cas = new_cas.map_or_else(|| self.next_cas(), |cas| cas.0);
        let found = self.find(key, context.second);
        let refusal = match (mode, found) {
            (Mode::Always, _) | (Mode::IfMissing, None) => None,
            (Mode::IfMissing, Some(item)) => {
                item.used = context.second;
                Some(Reply::NotStored)
            }
            (Mode::IfCas(_), None) => Some(Reply::Missing),
            // 0 means none, and none is not what the item carries.
            (Mode::IfCas(wanted), Some(item)) => (wanted.0 == 0 || wanted.0 != item.cas).then_some(Reply::Exists),
        };
        if let Some(reply) = refusal {
            self.give_back(class);
            return reply;
        }
        self.insert(key.clone(), NewItem { class, cas, dies, value: value.clone(), width }, context.second);
        Reply::Done(Shown::default())
    }

    fn arithmetic(&mut self, key: &Key, ask: &Ask, context: &mut Context<'_>) -> Reply {
        let second = context.second;
        let Some(item) = self.find(key, second) else {
            return match ask.create {
                Some(create) => self.create(key, create, ask, context),
                None => Reply::Missing,
            };
        };
        if item.width == 0 {
            return Reply::Refused(Refusal::NotANumber);
        }
        if ask.compare.is_some_and(|cas| cas.0 != 0 && cas.0 != item.cas) {
            return Reply::Exists;
        }
        let Some(number) = number_in(&item.value) else { return Reply::Refused(Refusal::NotANumber) };
        let number = number.wrapping_add(ask.delta);
        let width = value_bytes(&Value::Number(number));
        // A number that has grown needs another item. So does one of which something else has hold.
        let mut another = width > item.width;
        another = another || (item.may_be_in_use(second) && context.choices.odd());
        let (dies, mut shown) = (item.dies, show(item, ask.want, second));
        let stored = if another {
            self.replace_number(key, number, dies, context)
        } else {
            Some(self.change_number(key, number, ask.new_cas, second))
        };
        let Some(cas) = stored else { return NO_MEMORY };
        // Where there is another item now, `E` lands on the old one: so the answer shows a number that no item carries.
        shown.cas = ask.want.cas.then(|| ask.new_cas.unwrap_or(Cas(cas)));
        shown.value = ask.want.value.then_some(Value::Number(number));
        Reply::Done(shown)
    }

    fn change_number(&mut self, key: &Key, number: u64, new_cas: Option<Cas>, second: u32) -> u64 {
        // It counts on even where it is told what to take.
        let next = self.next_cas();
        let item = self.known(key);
        item.value = Value::Number(number);
        item.used = second;
        item.cas = new_cas.map_or(next, |cas| cas.0);
        item.cas
    }

    fn replace_number(&mut self, key: &Key, number: u64, dies: u32, context: &mut Context<'_>) -> Option<u64> {
        let value = Value::Number(number);
        let width = value_bytes(&value);
        let class = self.allocate(key, width, context)?;
        let cas = self.next_cas();
        self.insert(key.clone(), NewItem { class, cas, dies, value, width }, context.second);
        Some(cas)
    }

    fn create(&mut self, key: &Key, create: Create, ask: &Ask, context: &mut Context<'_>) -> Reply {
        let value = Value::Number(create.initial);
        let width = value_bytes(&value);
        let dies = context.dies(create.ttl);
        let Some(class) = self.allocate(key, width, context) else { return NO_MEMORY };
        let cas = ask.new_cas.map_or_else(|| self.next_cas(), |cas| cas.0);
        self.insert(key.clone(), NewItem { class, cas, dies, value: value.clone(), width }, context.second);
        let item = self.known(key);
        let mut shown = show(item, ask.want, context.second);
        shown.value = ask.want.value.then_some(value);
        Reply::Done(shown)
    }
}

/// What `ma` asks for.
#[derive(Debug)]
struct Ask {
    delta: u64,
    create: Option<Create>,
    compare: Option<Cas>,
    new_cas: Option<Cas>,
    want: Want,
}

/// Shows number and time left of an item.
fn show(item: &Item, want: Want, second: u32) -> Shown {
    let left = match item.dies {
        0 => Left::Forever,
        dies => Left::Seconds(dies.wrapping_sub(second)),
    };
    Shown { cas: want.cas.then_some(Cas(item.cas)), left: want.left.then_some(left), ..Shown::default() }
}

/// Reads a number as `ma` does: digits up to a blank or the end.
fn number_in(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Text(text) => {
            let digits = text.split(' ').next()?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
        }
    }
}
