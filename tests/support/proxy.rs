//! A TCP proxy that does to connections what networks do to them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    /// Set where all connections lead to one target.
    target: Option<watch::Sender<SocketAddr>>,
    weather: watch::Sender<Weather>,
    counts: Arc<Counts>,
    /// Accepts connections for as long as the proxy lives.
    accepting: JoinHandle<()>,
}

/// The conditions of every connection.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    /// Connections accepted under an earlier number are closed.
    cuts: u64,
    /// Connections accepted under an earlier number carry nothing any more, not even their end.
    losses: u64,
    /// New connections carry nothing either.
    losing: bool,
    /// The way in which they are cut.
    how: Cut,
    /// The time by which bytes arrive later.
    delay: Duration,
}

/// The ways to cut a connection.
#[derive(Clone, Copy, Debug, Default)]
enum Cut {
    /// FIN on both sides.
    #[default]
    Closed,
    /// RST on both sides.
    Reset,
    /// RST on the target's side. The client's stays open and carries nothing any more.
    TargetReset,
    /// RST on the client's side. The target's stays open and carries nothing any more.
    ClientReset,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicUsize,
    up: AtomicU64,
    lines_up: AtomicU64,
    down: AtomicU64,
}

impl Proxy {
    /// Starts a proxy on a port of its own in front of `target`. It disturbs nothing at first.
    pub async fn start(target: SocketAddr) -> Self {
        let (sender, targets) = watch::channel(target);
        let mut proxy = Self::leading(move |_| Some(*targets.borrow())).await;
        proxy.target = Some(sender);
        proxy
    }

    /// Starts a proxy that asks for each connection, by the address that it comes from, where it leads. A connection
    /// that leads nowhere is closed.
    pub async fn leading(whither: impl Fn(SocketAddr) -> Option<SocketAddr> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let weather = watch::Sender::new(Weather::default());
        let counts = Arc::new(Counts::default());
        let accepting = tokio::spawn({
            let (weather, counts) = (weather.subscribe(), Arc::clone(&counts));
            async move {
                while let Ok((client, from)) = listener.accept().await {
                    counts.accepted.fetch_add(1, Relaxed);
                    let Some(target) = whither(from) else { continue };
                    tokio::spawn(join(client, target, weather.clone(), Arc::clone(&counts)));
                }
            }
        });
        Self { address, target: None, weather, counts, accepting }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends new connections to another target; the present ones stay where they are.
    pub fn turn_to(&self, target: SocketAddr) {
        self.target.as_ref().expect("a proxy with one target").send_replace(target);
    }

    /// Closes all connections on both sides (FIN).
    pub fn cut(&self) {
        self.cut_so(Cut::Closed);
    }

    /// Closes all connections on both sides with RST.
    pub fn reset(&self) {
        self.cut_so(Cut::Reset);
    }

    /// Resets the target's half of all connections alone. The clients' half stays open, and nothing comes on it.
    pub fn reset_target(&self) {
        self.cut_so(Cut::TargetReset);
    }

    /// Resets the clients' half of all connections alone. The target's half stays open, and nothing comes on it.
    pub fn reset_clients(&self) {
        self.cut_so(Cut::ClientReset);
    }

    fn cut_so(&self, how: Cut) {
        self.weather.send_modify(|weather| (weather.cuts, weather.how) = (weather.cuts + 1, how));
    }

    /// Loses all bytes of the present connections and of new ones from now on, both ways, and the news of their end:
    /// half-open. After `heal` new connections work; these never will again.
    pub fn black_hole(&self) {
        self.weather.send_modify(|weather| (weather.losses, weather.losing) = (weather.losses + 1, true));
    }

    /// Lets new connections work again.
    pub fn heal(&self) {
        self.weather.send_modify(|weather| weather.losing = false);
    }

    /// Delays everything by this much, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Returns the number of connections that were ever accepted.
    pub fn accepted(&self) -> usize {
        self.counts.accepted.load(Relaxed)
    }

    /// Returns the number of bytes that came from clients.
    pub fn bytes_up(&self) -> u64 {
        self.counts.up.load(Relaxed)
    }

    /// Returns the number of lines that came from clients: commands, where the protocol is memcached's.
    pub fn lines_up(&self) -> u64 {
        self.counts.lines_up.load(Relaxed)
    }

    /// Returns the number of bytes that came from the target.
    pub fn bytes_down(&self) -> u64 {
        self.counts.down.load(Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

/// Serves one connection, from its acceptance until both directions have ended or it is cut.
async fn join(mut client: TcpStream, target: SocketAddr, mut weather: watch::Receiver<Weather>, counts: Arc<Counts>) {
    let since = *weather.borrow();
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    // Small frames are not held back, so that a delay is ours alone.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((client_in, client_out), (server_in, server_out)) = (client.split(), server.split());
    let up = carry(client_in, server_out, since, weather.clone(), |bytes| {
        counts.up.fetch_add(bytes.len() as u64, Relaxed);
        counts.lines_up.fetch_add(bytes.iter().filter(|&&byte| byte == b'\n').count() as u64, Relaxed);
    });
    let down = carry(server_in, client_out, since, weather.clone(), |bytes| {
        counts.down.fetch_add(bytes.len() as u64, Relaxed);
    });
    let how = tokio::select! {
        _ = async { tokio::join!(up, down) } => Cut::Closed,
        now = weather.wait_for(|now| now.cuts > since.cuts) => now.map_or(Cut::Closed, |now| now.how),
    };
    match how {
        Cut::Closed => {
            let _ = tokio::join!(client.shutdown(), server.shutdown());
            // Closing with bytes unread resets, and a reset that comes before the FIN has been read hides it.
            let mut nowhere = [tokio::io::sink(), tokio::io::sink()];
            let [one, other] = &mut nowhere;
            let rest = async { tokio::join!(tokio::io::copy(&mut client, one), tokio::io::copy(&mut server, other)) };
            let _ = tokio::time::timeout(super::SOON, rest).await;
        }
        Cut::Reset => {
            reset(client);
            reset(server);
        }
        Cut::TargetReset => {
            reset(server);
            swallow(client, weather).await;
        }
        Cut::ClientReset => {
            reset(client);
            swallow(server, weather).await;
        }
    }
}

/// Closes with RST, as what is closed with a linger of zero does.
fn reset(half: TcpStream) {
    let _ = half.set_zero_linger();
}

/// Reads and forgets what comes, until the end or the next cut.
async fn swallow(mut half: TcpStream, mut weather: watch::Receiver<Weather>) {
    let cuts = weather.borrow().cuts;
    let mut nowhere = tokio::io::sink();
    tokio::select! {
        _ = tokio::io::copy(&mut half, &mut nowhere) => {}
        now = weather.wait_for(|now| now.cuts > cuts) => {
            if now.is_ok_and(|now| matches!(now.how, Cut::Reset)) {
                reset(half);
            }
        }
    }
}

/// Carries bytes one way, each chunk `delay` after it came, until the end, which it passes on.
async fn carry(
    mut from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    since: Weather,
    weather: watch::Receiver<Weather>,
    count: impl Fn(&[u8]),
) {
    let (queue, queued) = mpsc::unbounded_channel();
    let lost = |now: &Weather| since.losing || now.losses > since.losses;
    let reading = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            // An error is an end too: the other side learns of it as FIN.
            let length = from.read(&mut buffer).await.unwrap_or(0);
            count(&buffer[..length]);
            let now = *weather.borrow();
            if lost(&now) {
                if length == 0 {
                    // Nobody is told. A cut ends this.
                    std::future::pending::<()>().await;
                }
                continue;
            }
            if length == 0 || queue.send((Instant::now() + now.delay, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
        drop(queue);
    };
    tokio::join!(reading, deliver(to, queued, || lost(&weather.borrow())));
}

async fn deliver(
    mut to: WriteHalf<'_>,
    mut queued: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>,
    lost: impl Fn() -> bool,
) {
    while let Some((when, bytes)) = queued.recv().await {
        sleep_until(when).await;
        if !lost() && to.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
