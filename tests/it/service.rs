//! Health and reflection.

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::harness::{TestServer, announce};

const SERVICES: [&str; 7] = [
    "ibid.v1.AnswerService",
    "ibid.v1.CollectionService",
    "ibid.v1.DocumentService",
    "ibid.v1.KeyService",
    "ibid.v1.OperationsService",
    "ibid.v1.SearchService",
    "ibid.v1.TenantService",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_service_is_healthy_and_describes_itself() {
    let server = TestServer::start().await;
    let channel = server.channel().await;
    for service in SERVICES.into_iter().chain([""]) {
        let request = HealthCheckRequest { service: service.to_owned() };
        let health = HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner();
        assert_eq!(health.status(), ServingStatus::Serving, "{service}");
    }

    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut replies = ServerReflectionClient::new(channel)
        .server_reflection_info(futures::stream::iter([list]))
        .await
        .unwrap()
        .into_inner();
    let reply = replies.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = reply else { panic!("{reply:?}") };
    let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    names.retain(|name| name.starts_with("ibid."));
    names.sort();
    assert_eq!(names, SERVICES);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_the_log_is_seen_unless_it_is_announced() {
    let server = TestServer::start().await;
    announce("a drill");
    tracing::error!(what = "a drill", "this is");
    assert!(server.logged("a drill"));
    server.stop().await;
}
