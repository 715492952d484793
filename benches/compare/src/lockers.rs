//! The peers as clients see them, all behind one interface.

use std::sync::Arc;
use std::time::Duration;

use lockbroker::cli::bench::connect;
use lockbroker::cli::bench::lane::{Held, Lane};
use lockbroker::cli::bench::session::Session;
use lockbroker::proto::WaitSpec;
use lockbroker::proto::lock_service_client::LockServiceClient;
use redis::aio::MultiplexedConnection;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

/// The ttl of leases, for which no round lasts long enough.
pub const TTL: Duration = Duration::from_secs(30);
/// The interval at which a waiter asks Redis again.
const POLL: Duration = Duration::from_millis(10);

/// A client, or a part of one that may hold locks.
pub trait Locker: Send + Sync + 'static {
    /// A lock that is held.
    type Held: Send + 'static;

    /// Acquires a lock that nobody has.
    fn acquire(&self, name: &str) -> impl Future<Output = Result<Self::Held, String>> + Send;

    /// Waits for a lock for as long as it takes.
    fn wait(&self, name: &str) -> impl Future<Output = Result<Self::Held, String>> + Send;

    /// Releases a lock, and waits until that is confirmed.
    fn release(&self, held: Self::Held) -> impl Future<Output = Result<(), String>> + Send;
}

/// Opens a Session on a connection of its own.
pub async fn session(url: &str) -> Result<Lane, String> {
    let session = Session::open(connect(url).await?, Some(TTL)).await.map_err(|status| status.to_string())?;
    Ok(Lane::Session(session.0))
}

/// Opens a connection on which each lock has a stream of its own.
pub async fn streams(url: &str) -> Result<Lane, String> {
    Ok(Lane::Stream(LockServiceClient::new(connect(url).await?), Some(TTL)))
}

impl Locker for Lane {
    type Held = Held;

    async fn acquire(&self, name: &str) -> Result<Held, String> {
        Lane::acquire(self, name).await
    }

    async fn wait(&self, name: &str) -> Result<Held, String> {
        let Lane::Session(session) = self else { return Err("waits are measured on Sessions".into()) };
        let begun = session.begin(name, Some(WaitSpec::default()));
        let lock_ref = begun.lock_ref;
        begun.granted().await.map(|()| Held::Session(lock_ref))
    }

    async fn release(&self, held: Held) -> Result<(), String> {
        Lane::release(self, held).await
    }
}

/// etcd's lock API, v3lock, with one lease for the client.
#[derive(Debug, Clone)]
pub struct Etcd {
    channel: Channel,
    lease: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LeaseGrantRequest {
    #[prost(int64, tag = "1")]
    ttl: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LeaseGrantResponse {
    #[prost(int64, tag = "2")]
    id: i64,
    #[prost(string, tag = "4")]
    error: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LockRequest {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(int64, tag = "2")]
    lease: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LockResponse {
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UnlockRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UnlockResponse {}

impl Etcd {
    /// Opens a client on a connection of its own.
    pub async fn open(url: &str) -> Result<Etcd, String> {
        Etcd::new(connect(url).await?).await
    }

    /// Clients that share one connection.
    pub async fn several(url: &str, count: usize) -> Result<Vec<Arc<Etcd>>, String> {
        let channel = connect(url).await?;
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(Arc::new(Etcd::new(channel.clone()).await?));
        }
        Ok(clients)
    }

    /// Makes a client on `channel`, with a lease that outlives every round.
    async fn new(channel: Channel) -> Result<Etcd, String> {
        let request = LeaseGrantRequest { ttl: TTL.as_secs() as i64 };
        let response: LeaseGrantResponse = call(&channel, "/etcdserverpb.Lease/LeaseGrant", request).await?;
        if !response.error.is_empty() {
            return Err(response.error);
        }
        Ok(Etcd { channel, lease: response.id })
    }
}

impl Locker for Etcd {
    type Held = Vec<u8>;

    async fn acquire(&self, name: &str) -> Result<Vec<u8>, String> {
        // The API has no other.
        self.wait(name).await
    }

    async fn wait(&self, name: &str) -> Result<Vec<u8>, String> {
        let request = LockRequest { name: name.as_bytes().to_vec(), lease: self.lease };
        let response: LockResponse = call(&self.channel, "/v3lockpb.Lock/Lock", request).await?;
        Ok(response.key)
    }

    async fn release(&self, key: Vec<u8>) -> Result<(), String> {
        call(&self.channel, "/v3lockpb.Lock/Unlock", UnlockRequest { key }).await.map(|UnlockResponse {}| ())
    }
}

async fn call<Q, R>(channel: &Channel, path: &'static str, request: Q) -> Result<R, String>
where
    Q: prost::Message + 'static,
    R: prost::Message + Default + 'static,
{
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| error.to_string())?;
    let codec: ProstCodec<Q, R> = ProstCodec::default();
    let answer = grpc.unary(Request::new(request), PathAndQuery::from_static(path), codec).await;
    answer.map(|answer| answer.into_inner()).map_err(|status| status.to_string())
}

/// Redis as its documentation has a lock: `SET NX PX` with a value of one's own, and a script, called by its hash,
/// that deletes it if it is still that. The connection is shared by all callers.
#[derive(Debug, Clone)]
pub struct Redis {
    connection: MultiplexedConnection,
    release: redis::Script,
}

impl Redis {
    pub async fn connect(port: u16) -> Result<Redis, String> {
        let client = redis::Client::open(("127.0.0.1", port)).map_err(told)?;
        let connection = client.get_multiplexed_async_connection().await.map_err(told)?;
        let compare_and_delete =
            "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
        Ok(Redis { connection, release: redis::Script::new(compare_and_delete) })
    }

    async fn try_once(&self, name: &str) -> Result<Option<(String, u64)>, String> {
        let value = unique();
        let mut set = redis::cmd("SET");
        set.arg(name).arg(value).arg("NX").arg("PX").arg(TTL.as_millis() as u64);
        let answer: Option<String> = set.query_async(&mut self.connection.clone()).await.map_err(told)?;
        Ok(answer.map(|_| (name.to_owned(), value)))
    }
}

impl Locker for Redis {
    type Held = (String, u64);

    async fn acquire(&self, name: &str) -> Result<(String, u64), String> {
        self.try_once(name).await?.ok_or_else(|| "the lock is held".into())
    }

    async fn wait(&self, name: &str) -> Result<(String, u64), String> {
        loop {
            if let Some(held) = self.try_once(name).await? {
                return Ok(held);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn release(&self, (name, value): (String, u64)) -> Result<(), String> {
        let mut script = self.release.key(name);
        let deleted: i64 = script.arg(value).invoke_async(&mut self.connection.clone()).await.map_err(told)?;
        if deleted == 1 { Ok(()) } else { Err("the lock was not held any more".into()) }
    }
}

fn told(error: redis::RedisError) -> String {
    error.to_string()
}

/// Returns a number unlike any other of this process, which is the only client.
pub fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}
