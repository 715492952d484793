//! The network of the test. Every client has a proxy before the brokers, like a Service in Kubernetes, and every
//! broker has one before each memcached. A fault of one proxy touches nobody else.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::clients::KINDS;
use crate::support::Proxy;

/// A broker as the network knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
    /// True if new connections may lead there.
    pub(crate) in_rotation: bool,
    /// True if clients that come from there are led there again.
    pub(crate) holds_on: bool,
}

/// Leads each client's connections to one broker after another.
#[derive(Debug)]
pub(crate) struct Signposts {
    sites: Mutex<Vec<Site>>,
    connections: Mutex<Vec<Vec<(Instant, usize)>>>,
    /// The process of an operator, whose links no nemesis is after.
    operator: AtomicU32,
}

impl Signposts {
    pub(crate) fn new(brokers: usize, clients: usize) -> Self {
        let nowhere = Site { address: ([127, 0, 0, 1], 1).into(), pid: 0, in_rotation: true, holds_on: false };
        let connections = Mutex::new(vec![Vec::new(); clients]);
        Self { sites: Mutex::new(vec![nowhere; brokers]), connections, operator: AtomicU32::new(0) }
    }

    pub(crate) fn change(&self, broker: usize, change: impl FnOnce(&mut Site)) {
        change(&mut self.sites.lock().unwrap()[broker]);
    }

    fn lead(&self, client: usize) -> Option<SocketAddr> {
        let sites = self.sites.lock().unwrap();
        let past = &mut self.connections.lock().unwrap()[client];
        let last = past.last().map(|&(_, broker)| broker);
        let broker = match last {
            Some(last) if sites[last].holds_on => last,
            _ => {
                // Not in step with the kinds of clients, which take turns too.
                let first = last.unwrap_or(client / KINDS) + 1;
                let mut candidates = (first..first + sites.len()).map(|broker| broker % sites.len());
                candidates.find(|&broker| sites[broker].in_rotation)?
            }
        };
        past.push((Instant::now(), broker));
        Some(sites[broker].address)
    }

    /// Returns the broker that a client's latest connection led to.
    pub(crate) fn broker_of(&self, client: usize) -> Option<usize> {
        self.connections.lock().unwrap()[client].last().map(|&(_, broker)| broker)
    }

    /// Returns for each client which brokers its connections led to, and since when.
    pub(crate) fn connections(&self) -> Vec<Vec<(Instant, usize)>> {
        self.connections.lock().unwrap().clone()
    }

    /// Lets a process through to every memcached.
    pub(crate) fn let_through(&self, operator: u32) {
        self.operator.store(operator, Ordering::Relaxed);
    }

    fn is_operators(&self, from: SocketAddr) -> bool {
        let operator = self.operator.load(Ordering::Relaxed);
        inode(from).is_some_and(|inode| operator > 0 && has_open(operator, &format!("socket:[{inode}]")))
    }

    fn whose_connection(&self, from: SocketAddr) -> Option<usize> {
        let pids: Vec<u32> = self.sites.lock().unwrap().iter().map(|site| site.pid).collect();
        let socket = format!("socket:[{}]", inode(from)?);
        pids.iter().position(|pid| has_open(*pid, &socket))
    }
}

/// Starts a proxy for one client.
pub(crate) async fn of_client(signposts: &Arc<Signposts>, client: usize) -> Proxy {
    let signposts = Arc::clone(signposts);
    Proxy::leading(move |_| signposts.lead(client)).await
}

/// Starts the proxies before a memcached. All brokers must know it by the same address, and yet each is to have a link
/// of its own to it. So one proxy at that address sends each broker's connections on through the broker's own proxy.
pub(crate) async fn to_store(signposts: &Arc<Signposts>, store: SocketAddr, brokers: usize) -> (Proxy, Vec<Proxy>) {
    let mut links = Vec::new();
    for _ in 0..brokers {
        links.push(Proxy::start(store).await);
    }
    let addresses: Vec<_> = links.iter().map(Proxy::address).collect();
    let signposts = Arc::clone(signposts);
    let lead = move |from| match signposts.whose_connection(from) {
        Some(broker) => Some(addresses[broker]),
        None => signposts.is_operators(from).then_some(store),
    };
    let fork = Proxy::leading(lead).await;
    (fork, links)
}

/// Returns the kernel's number of the socket of this machine that is bound to `address` and connected.
fn inode(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    let local = format!("{:08X}:{:04X}", u32::from_le_bytes(address.ip().octets()), address.port());
    let table = fs::read_to_string("/proc/self/net/tcp").ok()?;
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(1) == Some(&&*local))?;
    row.get(9).map(|inode| (*inode).to_owned())
}

fn has_open(pid: u32, what: &str) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == what))
}
