//! Streams of documents.

use ibid::proto::ingest_request::Step;
use ibid::proto::ingest_response::Outcome;
use ibid::proto::{IngestCommit, IngestRequest, IngestResponse};
use tonic::{Code, Status};

use crate::harness::{Client, TestServer, header};

fn upload(document_id: &str, parts: &[&[u8]]) -> Vec<IngestRequest> {
    let steps = std::iter::once(Step::Header(header(document_id)))
        .chain(parts.iter().map(|part| Step::Part(part.to_vec().into())))
        .chain([Step::Commit(IngestCommit {})]);
    steps.map(|step| IngestRequest { step: Some(step) }).collect()
}

async fn ingest(client: &Client, requests: Vec<IngestRequest>) -> Result<Vec<IngestResponse>, Status> {
    let mut acks = client.documents().ingest(futures::stream::iter(requests)).await?.into_inner();
    let mut all = Vec::new();
    while let Some(ack) = acks.message().await? {
        all.push(ack);
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_come_in_commit_order_and_a_refusal_does_not_end_the_stream() {
    let server = TestServer::start().await;
    let client = server.default_tenant().await;
    let mut requests = upload("a.md", &[b"alpha ", b"beta"]);
    requests.extend(upload("b.md", &[b"bad \xff"]));
    requests.extend(upload("", &[b"nameless"]));
    requests.extend((0..40).flat_map(|n| upload(&format!("n{n}.md"), &[b"gamma"])));

    let acks = ingest(&client, requests).await.unwrap();
    let ordinals: Vec<u64> = acks.iter().map(|ack| ack.ordinal).collect();
    assert_eq!(ordinals, (0..=43).collect::<Vec<u64>>());
    assert!(acks[0].outcome.is_none() && acks[0].documents_credit > 0);
    let id = |ack: &IngestResponse| match ack.outcome.as_ref().unwrap() {
        Outcome::Result(result) => result.document_id.clone(),
        Outcome::Error(error) => format!("refused {}", error.code),
    };
    let ids: Vec<String> = acks[1..].iter().map(id).collect();
    assert_eq!(ids[..4], ["a.md", "refused 3", "refused 3", "n0.md"]);
    assert_eq!(ids[42], "n39.md");
    assert_eq!(client.get("a.md").await.unwrap().1, b"alpha beta");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_out_of_place_ends_the_stream() {
    let server = TestServer::start().await;
    let client = server.default_tenant().await;
    let part = IngestRequest { step: Some(Step::Part("lost".into())) };
    assert_eq!(ingest(&client, vec![part]).await.unwrap_err().code(), Code::InvalidArgument);
    let mut cut_off = upload("a.md", &[b"alpha"]);
    cut_off.pop();
    assert_eq!(ingest(&client, cut_off).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(client.get("a.md").await.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}
