//! Revocations: the one fault that a holder has to be told of.

use std::time::{Duration, Instant};

use lockbroker::proto::RevokeLockRequest;
use lockbroker::proto::lock_admin_client::LockAdminClient;
use lockbroker::proto::revoke_lock_response::Outcome;
use rand::seq::IndexedRandom;
use tokio::time::{sleep, timeout};
use tonic::transport::Endpoint;

use super::Nemesis;
use crate::checker::AFTERMATH;
use crate::clients::LISTEN_ON;
use crate::history::{Kind, Revocation, TTL, Target};
use crate::world::{BROKERS, Prey};

/// The time for which a holder may hear late of a revocation.
const HEARD: Duration = Duration::from_millis(2_500);

impl Nemesis<'_> {
    /// Revokes one of several that a client has together. Spares that client and its broker all other faults, so that a missing
    /// notice has no excuse.
    pub(super) async fn revoke_of_several(&mut self) {
        let world = self.world;
        let is_whole = |prey: &Prey| {
            let broker = world.signposts.broker_of(prey.client);
            let on = [Some(Target::Client(prey.client)), broker.map(Target::Broker)];
            prey.is_one_of_several && !on.into_iter().flatten().any(|target| world.notes.is_struck(target))
        };
        let whole = || world.held.lock().unwrap().iter().filter(|prey| is_whole(prey)).copied().collect::<Vec<_>>();
        // Not for long: the run may be about to end.
        let give_up = Instant::now() + AFTERMATH;
        let client = loop {
            match whole().choose(&mut self.rng) {
                Some(prey) => break prey.client,
                None if Instant::now() > give_up => return,
                None => sleep(Duration::from_millis(20)).await,
            }
        };
        let Some(broker) = world.signposts.broker_of(client) else { return };
        *world.spared.lock().unwrap() = Some((client, broker));
        // What was over before counts for a while.
        sleep(AFTERMATH).await;
        let its_own = whole().into_iter().filter(|prey| prey.client == client).collect::<Vec<_>>();
        if let Some(prey) = its_own.choose(&mut self.rng) {
            self.revoke(*prey, broker, false).await;
            sleep(LISTEN_ON).await;
        }
        *world.spared.lock().unwrap() = None;
    }

    pub(super) fn spares_client(&self, client: usize) -> bool {
        self.world.spared.lock().unwrap().is_some_and(|(spared, _)| spared == client)
    }

    pub(super) fn spares_broker(&self, broker: usize) -> bool {
        self.world.spared.lock().unwrap().is_some_and(|(_, spared)| spared == broker)
    }

    /// Returns a broker that has a lock and is not spared.
    pub(super) async fn find_broker(&mut self) -> usize {
        let (_, broker, _) = self.find_prey(None).await;
        if self.spares_broker(broker) { (broker + 1) % BROKERS } else { broker }
    }

    /// Takes a lock from whoever has it, if nothing else is done to that broker. Its holder may hear late of it.
    pub(super) async fn revoke(&mut self, prey: Prey, broker: usize, hears_late: bool) {
        let world = self.world;
        let Prey { client, name, permit, .. } = prey;
        let Ok(broker) = world.brokers[broker].try_lock() else { return };
        let url = broker.url();
        drop(broker);
        // Its holder may believe in it until its validity is over, and the name stays closed for as long.
        let link = &world.client_links[client];
        let late = hears_late.then_some(Target::Client(client));
        let fault = world.notes.fault(Kind::Revoked, late.into_iter().chain([Target::Name(name)]).collect());
        if hears_late {
            link.delay(self.millis(1_000..2_500));
        }
        let number = permit.map(|permit| permit as i32);
        let request = RevokeLockRequest { name: world.names[name].clone(), permit: number, ..Default::default() };
        let call = async {
            let channel = Endpoint::from_shared(url).unwrap().connect().await?;
            Ok::<_, Box<dyn std::error::Error>>(LockAdminClient::new(channel).revoke_lock(request).await?)
        };
        // The broker or its memcached may be away.
        let sent = Instant::now();
        if let Ok(Ok(answer)) = timeout(Duration::from_secs(2), call).await
            && answer.into_inner().outcome() == Outcome::Revoked
        {
            let revocation = Revocation { name, permit, sent, answered: Instant::now() };
            world.notes.revocations.lock().unwrap().push(revocation);
        }
        sleep(HEARD).await;
        if hears_late {
            link.delay(Duration::ZERO);
        }
        sleep(TTL - HEARD).await;
        drop(fault);
    }
}
