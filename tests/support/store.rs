//! A store that is asked without a broker.

use std::collections::HashMap;

use lockbroker::lock::{FencingToken, GrantId, LingerId, LockName, LockValue, Owner};
use lockbroker::store::{
    Change, Granted, ItemState, LockStatus, LockStore, Note, Order, Proclaimed, Reply, Request, RequestId, Sight,
    StoreError, StoreEvent, Stored,
};
use tokio::sync::{mpsc, oneshot};

/// A store, driven by a task of its own until this is dropped.
pub struct Asked {
    orders: mpsc::UnboundedSender<(Order, Option<oneshot::Sender<Reply>>)>,
}

impl Asked {
    pub fn new(mut store: impl LockStore) -> Asked {
        let (orders, mut inbox) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut waiting = HashMap::new();
            let mut number = 0;
            loop {
                let mut events = Vec::new();
                tokio::select! {
                    () = store.drive(&mut events) => {}
                    order = inbox.recv() => match order {
                        Some((Order::Ask { item, request, lease, .. }, reply)) => {
                            number += 1;
                            waiting.insert(RequestId::outside(number), reply);
                            let order = Order::Ask { id: RequestId::outside(number), item, request, lease };
                            store.take(&mut vec![order], &mut events);
                        }
                        Some((order, _)) => store.take(&mut vec![order], &mut events),
                        None => return,
                    },
                }
                for event in events {
                    if let StoreEvent::Answer(id, reply) = event {
                        let asker: Option<Option<oneshot::Sender<Reply>>> = waiting.remove(&id);
                        // Who asked may have gone.
                        let _ = asker.flatten().expect("each request is answered once").send(reply);
                    }
                }
            }
        });
        Asked { orders }
    }

    async fn ask(&self, name: &LockName, request: Request) -> Reply {
        let (reply, answer) = oneshot::channel();
        let order =
            Order::Ask { id: RequestId::outside(0), item: name.into(), request, lease: std::time::Duration::ZERO };
        self.orders.send((order, Some(reply))).expect("the store is driven");
        answer.await.expect("each request is answered")
    }

    async fn asked_to_grant(&self, name: &LockName, request: Request) -> Result<Granted, StoreError> {
        match self.ask(name, request).await {
            Reply::Granted(granted) => granted,
            reply => panic!("{reply:?} to what grants"),
        }
    }

    async fn asked_to_change(&self, name: &LockName, request: Request) -> Result<Change, StoreError> {
        match self.ask(name, request).await {
            Reply::Changed(changed) => changed,
            reply => panic!("{reply:?} to a change"),
        }
    }

    pub async fn grant(&self, name: &LockName, id: GrantId, ttl: u32) -> Result<Granted, StoreError> {
        self.asked_to_grant(name, Request::Grant { id, ttl }).await
    }

    pub async fn hand_over(
        &self,
        name: &LockName,
        from: GrantId,
        to: GrantId,
        ttl: u32,
    ) -> Result<Granted, StoreError> {
        self.asked_to_grant(name, Request::HandOver { from, to, ttl }).await
    }

    pub async fn renew(
        &self,
        name: &LockName,
        state: ItemState,
        owner: &Owner,
        ttl: u32,
    ) -> Result<Change, StoreError> {
        self.asked_to_change(name, Request::Renew { state, owner: owner.clone(), ttl }).await
    }

    pub async fn replace(&self, name: &LockName, from: GrantId, to: GrantId, ttl: u32) -> Result<Change, StoreError> {
        self.asked_to_change(name, Request::Replace { from, to, ttl }).await
    }

    pub async fn linger(
        &self,
        name: &LockName,
        from: GrantId,
        to: LingerId,
        ttl: u32,
        certain: bool,
    ) -> Result<Change, StoreError> {
        self.asked_to_change(name, Request::Linger { from, to, ttl, certain }).await
    }

    pub async fn remove(&self, name: &LockName, state: ItemState) -> Result<Change, StoreError> {
        self.asked_to_change(name, Request::Remove { state, quiet: false }).await
    }

    pub async fn look(&self, name: &LockName) -> Result<LockStatus, StoreError> {
        match self.ask(name, Request::Look).await {
            Reply::Status(status) => status,
            reply => panic!("{reply:?} to a look"),
        }
    }

    pub async fn observe(&self, name: &LockName, known: Option<GrantId>) -> Result<Sight, StoreError> {
        match self.ask(name, Request::Observe { known }).await {
            Reply::Seen(sight) => sight.map(|sight| *sight),
            reply => panic!("{reply:?} to a look of those who observe"),
        }
    }

    pub async fn keep_value(
        &self,
        name: &LockName,
        id: GrantId,
        stored: &Stored,
        ttl: u32,
        is_first: bool,
    ) -> Result<Stored, StoreError> {
        let stored = Box::new(stored.clone());
        match self.ask(name, Request::KeepValue { id, stored, ttl, is_first }).await {
            Reply::Kept(kept) => kept.map(|kept| *kept),
            reply => panic!("{reply:?} to keeping a value"),
        }
    }

    pub async fn proclaim(
        &self,
        name: &LockName,
        id: GrantId,
        creates: Option<(FencingToken, u64)>,
        value: &LockValue,
        ttl: u32,
    ) -> Result<Proclaimed, StoreError> {
        match self.ask(name, Request::Proclaim { id, creates, value: value.clone(), ttl }).await {
            Reply::Proclaimed(proclaimed) => proclaimed,
            reply => panic!("{reply:?} to an update"),
        }
    }

    pub fn forget_value(&self, name: &LockName, id: GrantId) {
        self.orders.send((Order::Note(name.into(), Note::ForgetValue(id)), None)).expect("the store is driven");
    }

    pub fn describe(&self, name: &LockName, id: GrantId, owner: &Owner, ttl: u32) {
        let note = Note::Describe { id, owner: owner.clone(), token: FencingToken::FIRST, call: None, ttl };
        self.orders.send((Order::Note(name.into(), note), None)).expect("the store is driven");
    }
}
