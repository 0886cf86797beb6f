//! An answer's events and its citations.

use ibid::proto::answer_response::Event;
use ibid::proto::{AnswerRequest, AnswerResponse, FinishReason};

use crate::harness::{Client, TestServer, fields};

async fn ask(client: &Client, question: &str) -> Vec<AnswerResponse> {
    let request = AnswerRequest {
        question: question.to_owned().into(),
        generator: "extractive".to_owned(),
        ..Default::default()
    };
    let mut stream = client.answers().answer(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    while let Some(event) = stream.message().await.unwrap() {
        events.push(event);
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_quotes_its_source() {
    let server = TestServer::start().await;
    let client = server.default_tenant().await;
    let refunds = "# Refunds\n\nRefunds are paid within 14 days to the card that was charged.\n";
    client.put("refunds.md", refunds).await.unwrap();

    let events = ask(&client, "Within how many days are refunds paid?").await;
    let numbers: Vec<u64> = events.iter().map(|event| event.n).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    assert!(events.iter().all(|event| event.job.len() == 32 && event.job == events[0].job && event.attempt == 1));
    let Some(Event::Retrieved(retrieved)) = &events[0].event else { panic!("{:?}", events[0]) };
    assert_eq!(retrieved.sources[0].document_id, "refunds.md");

    let mut text = String::new();
    let mut citations = Vec::new();
    for event in &events {
        match event.event.as_ref().unwrap() {
            Event::Delta(delta) => text.push_str(&delta.text),
            Event::Citation(citation) => citations.push(citation),
            Event::Retrieved(_) | Event::Usage(_) | Event::Done(_) | Event::Error(_) => {}
        }
    }
    assert!(text.contains("14 days") && text.contains("[doc_1]"), "{text}");
    let (citation, span) = (citations[0], citations[0].source_span.unwrap());
    assert_eq!(citation.quote, refunds.as_bytes()[span.start_byte as usize..span.end_byte as usize]);
    assert_eq!(citation.quote_blake3, blake3::hash(&citation.quote).as_bytes()[..]);
    let Some(Event::Done(done)) = &events.last().unwrap().event else { panic!("{:?}", events.last()) };
    assert!(done.extractive && done.finish_reason() == FinishReason::Stop && done.timings.is_some());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_source_nobody_is_asked() {
    let server = TestServer::start().await;
    let client = server.default_tenant().await;
    let events = ask(&client, "Within how many days are refunds paid?").await;
    let Some(Event::Done(done)) = &events.last().unwrap().event else { panic!("{:?}", events.last()) };
    assert_eq!((done.finish_reason(), done.generator.as_str()), (FinishReason::NoSource, ""));

    let nobody = AnswerRequest { question: "why?".into(), generator: "nobody".to_owned(), ..Default::default() };
    assert_eq!(fields(&client.answers().answer(nobody).await.unwrap_err()), ["generator"]);
    server.stop().await;
}
