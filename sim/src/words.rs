//! Words for a trace. Ids are capabilities and print nothing by themselves; those of a simulation are small numbers.

use lockbroker_core::lock::{GrantId, LingerId};
use lockbroker_core::store::{ItemState, LockStatus, Reply, Request};

/// Returns which id it is.
pub(crate) fn number(id: u64) -> u64 {
    id - if id >= GrantId::from_random(0).get() {
        GrantId::from_random(0).get()
    } else {
        LingerId::from_random(0).get()
    }
}

pub(crate) fn state(state: ItemState) -> String {
    match state {
        ItemState::Held(id) => format!("held {}", number(id.get())),
        ItemState::Lingering(id) if id.is_revocation() => {
            format!("revoked {}", id.get() - LingerId::from_random(0).into_revocation().get())
        }
        ItemState::Lingering(id) => format!("lingering {}", number(id.get())),
    }
}

pub(crate) fn request(request: &Request) -> String {
    match request {
        Request::Grant { id, ttl } => format!("grant {} for {ttl} s", number(id.get())),
        Request::HandOver { from, to, ttl } => {
            format!("hand over {} to {} for {ttl} s", number(from.get()), number(to.get()))
        }
        Request::Renew { state: of, ttl, .. } => format!("renew {} for {ttl} s", state(*of)),
        Request::Replace { from, to, ttl } => {
            format!("replace {} by {} for {ttl} s", number(from.get()), number(to.get()))
        }
        Request::Linger { from, to, ttl, certain } => {
            format!("linger {} as {} for {ttl} s, certain: {certain}", number(from.get()), number(to.get()))
        }
        Request::Occupy { id, ttl, besides } => format!("occupy {} for {ttl} s, {besides:?}", number(id.get())),
        Request::Share { id, ttl, slots, under } => {
            let under = under.map_or_else(String::new, |id| format!(", under {}", number(id.get())));
            format!("share {} for {ttl} s, {slots:?}{under}", number(id.get()))
        }
        Request::Find { from, upto } => format!("find a permit from {from} to {upto}"),
        Request::Remove { state: of, .. } => format!("remove {}", state(*of)),
        Request::Look => "look".to_owned(),
        Request::Stands(id) => format!("stands {}", number(id.get())),
        Request::Watch { kept, ttl } => format!("watch for {ttl} s, kept: {kept}"),
        Request::Observe { .. } => "observe".to_owned(),
        Request::KeepValue { id, ttl, .. } => format!("keep the value of {} for {ttl} s", number(id.get())),
        Request::Proclaim { id, .. } => format!("give {} another value", number(id.get())),
    }
}

pub(crate) fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Status(Ok(LockStatus::Taken { state: of, expires_in, .. })) => {
            format!("{}, {expires_in:?} left", state(*of))
        }
        reply => format!("{reply:?}"),
    }
}
