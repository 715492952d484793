//! What the health and reflection services say.

use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::pretender::Server;

const READINESS: [&str; 3] = ["", "lockbroker.v1.LockService", "readiness"];

#[tokio::test]
async fn readiness_follows_the_store_and_liveness_does_not() {
    let server = Server::start("").await;
    let channel = server.channel().await;
    for ready in [true, false, true] {
        server.broker.ready.send_replace(ready);
        let expected = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in READINESS {
            becomes(channel.clone(), service, expected).await;
        }
        assert_eq!(health(channel.clone(), "liveness").await, ServingStatus::Serving);
    }
}

#[tokio::test]
async fn a_stopping_broker_is_alive_but_not_ready() {
    let mut server = Server::start("").await;
    let mut client = server.client().await;
    let lock = client.acquire(lockbroker::proto::AcquireRequest::default()).await.unwrap();
    server.stop();
    super::pretender::until(&server.broker.draining, Option::is_some).await;
    // On a new connection: a probe that dials anew must get an answer too.
    let channel = server.channel().await;
    for service in READINESS {
        assert_eq!(health(channel.clone(), service).await, ServingStatus::NotServing);
    }
    assert_eq!(health(channel.clone(), "liveness").await, ServingStatus::Serving);
    // That a shard opens meanwhile changes nothing.
    server.broker.ready.send_replace(false);
    server.broker.ready.send_replace(true);
    assert_eq!(health(channel, "").await, ServingStatus::NotServing);
    drop(lock);
    server.ended.await.unwrap();
}

#[tokio::test]
async fn reflection_lists_the_services() {
    let server = Server::start("").await;
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(server.channel().await)
        .server_reflection_info(tokio_stream::once(list))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list");
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.iter().any(|name| name == "lockbroker.v1.LockService"), "{names:?}");
    assert!(names.iter().any(|name| name == "grpc.health.v1.Health"), "{names:?}");
}

/// Waits until the health of `service` is `expected`.
async fn becomes(channel: Channel, service: &str, expected: ServingStatus) {
    let request = HealthCheckRequest { service: service.into() };
    let mut changes = HealthClient::new(channel).watch(request).await.unwrap().into_inner();
    while changes.message().await.unwrap().unwrap().status() != expected {}
}

async fn health(channel: Channel, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.into() };
    HealthClient::new(channel).check(request).await.unwrap().into_inner().status()
}
