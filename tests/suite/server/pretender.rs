//! A broker that grants everything and keeps nothing but a count.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use clap::Parser;
use lockbroker::broker::{Overview, Waiter};
use lockbroker::config::{ListenAddress, ServeArgs, TransportOptions};
use lockbroker::metrics::Metrics;
use lockbroker::proto::lock_admin_server::LockAdmin;
use lockbroker::proto::lock_service_client::LockServiceClient;
use lockbroker::proto::lock_service_server::LockService;
use lockbroker::proto::*;
use lockbroker::server::{self, Lifecycle, Listener, Listeners, Part, Watched};
use lockbroker::store::Listing;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// What the service does, for the test to watch and to change.
#[derive(Clone)]
pub(crate) struct Pretender {
    /// How many streams are open.
    pub(crate) held: watch::Sender<usize>,
    /// Whether a shard is open.
    pub(crate) ready: watch::Sender<bool>,
    /// The grace of the `drain` that was called.
    pub(crate) draining: watch::Sender<Option<Duration>>,
    /// How many `GetLock` calls wait for `looks_answered`.
    pub(crate) looks: watch::Sender<usize>,
    pub(crate) looks_answered: watch::Sender<bool>,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) broker: Pretender,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) ended: JoinHandle<()>,
}

impl Server {
    /// Runs with the given flags of `serve`.
    pub(crate) async fn start(flags: &str) -> Server {
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let ListenAddress::Tcp(address) = listener.address().unwrap() else { panic!("no TCP address") };
        let broker = Pretender {
            held: watch::channel(0).0,
            ready: watch::channel(true).0,
            draining: watch::channel(None).0,
            looks: watch::channel(0).0,
            looks_answered: watch::channel(false).0,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let (options, service) = (options(flags), broker.clone());
        let ended = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            let metrics = Metrics::default();
            let listeners = Listeners { grpc: vec![listener], ..Listeners::default() };
            server::run(listeners, service.clone(), service, &options, &metrics, shutdown).await.unwrap();
        });
        Server { address, broker, stop: Some(stop), ended }
    }

    /// A new connection.
    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> LockServiceClient<Channel> {
        LockServiceClient::new(self.channel().await)
    }

    /// Waits until `count` streams are open.
    pub(crate) async fn holds(&self, count: usize) {
        until(&self.broker.held, |held| *held == count).await;
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

/// Waits until what `sender` says is as `wanted`.
pub(crate) async fn until<T: std::fmt::Debug>(sender: &watch::Sender<T>, wanted: impl FnMut(&T) -> bool) {
    let mut receiver = sender.subscribe();
    // Long, for a machine that does much else.
    let waited = tokio::time::timeout(Duration::from_secs(180), receiver.wait_for(wanted)).await;
    assert!(waited.is_ok(), "still {:?}", sender.borrow());
}

fn options(flags: &str) -> TransportOptions {
    #[derive(Parser)]
    struct Serve {
        #[command(flatten)]
        args: ServeArgs,
    }
    let words = std::iter::once("serve").chain(flags.split_whitespace());
    Serve::parse_from(words).args.resolve().unwrap().transport
}

impl Lifecycle for Pretender {
    fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    fn drain(&self, grace: Duration) {
        self.draining.send_replace(Some(grace));
    }

    fn abandon(&self) {}

    async fn drained(&self) {
        self.held.subscribe().wait_for(|held| *held == 0).await.unwrap();
    }
}

impl Watched for Pretender {
    fn overview(&self) -> Overview {
        Overview::default()
    }

    async fn locks(&self, _: Listing) -> Result<Part<server::Lock>, String> {
        Err("it has none".to_owned())
    }

    async fn waiters(&self, _: &str, _: usize) -> Part<Waiter> {
        Part { rows: Vec::new(), total: 0 }
    }
}

#[tonic::async_trait]
impl LockService for Pretender {
    type AcquireStream = Held<AcquireResponse>;
    type WaitAcquireStream = Held<WaitAcquireResponse>;
    type SessionStream = Held<SessionResponse>;
    type ObserveStream = Held<ObserveResponse>;

    async fn acquire(&self, _: Request<AcquireRequest>) -> Result<Response<Self::AcquireStream>, Status> {
        Ok(Response::new(Held::new(self, AcquireResponse::default())))
    }

    async fn wait_acquire(&self, _: Request<WaitAcquireRequest>) -> Result<Response<Self::WaitAcquireStream>, Status> {
        Ok(Response::new(Held::new(self, WaitAcquireResponse::default())))
    }

    async fn session(
        &self,
        _: Request<tonic::Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Ok(Response::new(Held::new(self, SessionResponse::default())))
    }

    async fn release(&self, _: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        tracing::Span::current().record("lock", "a name");
        Ok(Response::new(ReleaseResponse::default()))
    }

    async fn acquire_lease(&self, _: Request<AcquireLeaseRequest>) -> Result<Response<AcquireLeaseResponse>, Status> {
        Err(Status::unimplemented("not pretended"))
    }

    async fn renew_lease(&self, _: Request<RenewLeaseRequest>) -> Result<Response<RenewLeaseResponse>, Status> {
        Err(Status::unimplemented("not pretended"))
    }

    async fn get_lock(&self, request: Request<GetLockRequest>) -> Result<Response<GetLockResponse>, Status> {
        if request.get_ref().name.is_empty() {
            // With a reason, as the broker's own: what has none is explained on the way.
            let details = ErrorDetails::with_error_info("INVALID_FIELD", "lockbroker", HashMap::new());
            return Err(Status::with_error_details(Code::InvalidArgument, "no name", details));
        }
        self.looks.send_modify(|looks| *looks += 1);
        until(&self.looks_answered, |answered| *answered).await;
        Ok(Response::new(GetLockResponse::default()))
    }

    async fn update_lock(&self, _: Request<UpdateLockRequest>) -> Result<Response<UpdateLockResponse>, Status> {
        Err(Status::unimplemented("not pretended"))
    }

    async fn observe(&self, _: Request<ObserveRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        Err(Status::unimplemented("not pretended"))
    }
}

/// It lists and revokes nothing.
#[tonic::async_trait]
impl LockAdmin for Pretender {
    type ListLocksStream = Held<ListLocksResponse>;
    type ListWaitersStream = Held<ListWaitersResponse>;

    async fn list_locks(&self, _: Request<ListLocksRequest>) -> Result<Response<Self::ListLocksStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_waiters(&self, _: Request<ListWaitersRequest>) -> Result<Response<Self::ListWaitersStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn revoke_lock(&self, _: Request<RevokeLockRequest>) -> Result<Response<RevokeLockResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// A stream with one message that stays open until it is dropped.
pub(crate) struct Held<T> {
    first: Option<T>,
    held: watch::Sender<usize>,
}

impl<T> Held<T> {
    fn new(broker: &Pretender, first: T) -> Held<T> {
        broker.held.send_modify(|held| *held += 1);
        Held { first: Some(first), held: broker.held.clone() }
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        self.held.send_modify(|held| *held -= 1);
    }
}

impl<T: Unpin> Stream for Held<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => Poll::Pending,
        }
    }
}
