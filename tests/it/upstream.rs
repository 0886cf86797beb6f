//! Answers by a provider: prompt, citations, failures, hanging up. The provider is scripted; all else is real.

use std::time::Duration;

use ibid::proto::answer_response::Event;
use ibid::proto::{AnswerRequest, AnswerResponse, Citation, Done, FinishReason, Scope};
use tonic::{Code, Status, Streaming};

use crate::fake_openai::{FakeOpenAi, Reply, Step, delta};
use crate::harness::{Client, TestServer, reason};

const REFUNDS: &str = "# Refunds\n\nWe are fair. Refunds are paid within 14 days to the card that was charged.\n";
const PARCELS: &str = "# Parcels\n\nA parcel that is lost is sent again at no cost.\n";
const QUESTION: &str = "Within how many days are refunds paid?";
const PROMPT: &str = "the prompt as the provider saw it";

/// A server whose default generator is called `fake` and answers with `replies`.
async fn with_provider(replies: Vec<Reply>) -> (TestServer, FakeOpenAi) {
    let fake = FakeOpenAi::start(replies).await;
    let file = format!("[[generator]]\nname = \"fake\"\nbase_url = \"{}\"\nmodel = \"scripted\"\n", fake.base_url);
    (TestServer::start_with(&file).await, fake)
}

async fn ask(client: &Client) -> Streaming<AnswerResponse> {
    let request = AnswerRequest { question: QUESTION.into(), generator: "fake".to_owned(), ..Default::default() };
    client.answers().answer(request).await.unwrap().into_inner()
}

async fn all(client: &Client) -> Vec<Event> {
    let mut stream = ask(client).await;
    let mut events = Vec::new();
    while let Some(event) = stream.message().await.unwrap() {
        events.push(event.event.unwrap());
    }
    events
}

fn text(events: &[Event]) -> String {
    let delta = |event: &Event| if let Event::Delta(delta) = event { Some(delta.text.clone()) } else { None };
    events.iter().filter_map(delta).collect()
}

fn done(events: &[Event]) -> &Done {
    let Some(Event::Done(done)) = events.last() else { panic!("{events:?}") };
    done
}

/// The status that the answer ended with.
fn error(events: &[Event]) -> Status {
    let Some(Event::Error(error)) = events.last() else { panic!("{events:?}") };
    let details = prost::Message::encode_to_vec(error);
    Status::with_details(Code::from(error.code), error.message.clone(), details.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cites_what_is_stored_and_the_prompt_holds_this_tenants_sources() {
    let reply = Reply::text(&[
        "Refunds are paid within 14 days [do",
        "c_1]. A lost parcel is sent again at no cost [doc_2]",
        " [doc_9].",
    ]);
    let (server, fake) = with_provider(vec![reply]).await;
    let client = server.default_tenant().await;
    client.put("refunds.md", REFUNDS).await.unwrap();
    client.put("parcels.md", PARCELS).await.unwrap();
    let (other, _) = server.tenant("acme", &[Scope::Ingest]).await;
    other.put("secret.md", "# Refunds\n\nRefunds are paid within 99 days, says Zebedee.\n").await.unwrap();

    let events = all(&client).await;
    let text = text(&events);
    assert_eq!(text, "Refunds are paid within 14 days [doc_1]. A lost parcel is sent again at no cost [doc_2].");
    let cited = |event: &Event| if let Event::Citation(citation) = event { Some(citation.clone()) } else { None };
    let citations: Vec<Citation> = events.iter().filter_map(cited).collect();
    let claims: Vec<(&str, &str)> = citations
        .iter()
        .map(|citation| {
            let claim = citation.answer_span.unwrap();
            (citation.document_id.as_str(), &text[claim.start_byte as usize..claim.end_byte as usize])
        })
        .collect();
    let expected =
        [("refunds.md", "Refunds are paid within 14 days"), ("parcels.md", "A lost parcel is sent again at no cost")];
    assert_eq!(claims, expected);
    for citation in &citations {
        let (stored, content) = client.get(&citation.document_id).await.unwrap();
        let span = citation.source_span.unwrap();
        assert_eq!(citation.quote, content[span.start_byte as usize..span.end_byte as usize]);
        assert_eq!(citation.quote_blake3, blake3::hash(&citation.quote).as_bytes()[..]);
        assert_eq!(citation.revision, stored.document.unwrap().revision);
    }
    assert_eq!(citations[0].quote, "Refunds are paid within 14 days");
    assert_eq!(citations[1].quote, "A parcel that is lost is sent again at no cost.");
    let Event::Usage(usage) = &events[events.len() - 2] else { panic!("{events:?}") };
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.reported), (10, 5, true));
    let done = done(&events);
    assert_eq!((done.finish_reason(), done.generator.as_str()), (FinishReason::Stop, "fake"));
    assert_eq!((done.unknown_markers, done.extractive), (1, false));

    let requests = fake.requests();
    assert_eq!(requests.len(), 1);
    let body = &requests[0].body;
    assert_eq!((&body["model"], &body["stream"]), (&"scripted".into(), &true.into()));
    let prompt = body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
    let fence = prompt.split(' ').nth(1).unwrap();
    for (number, source) in [(1, "Refunds are paid within 14 days"), (2, "A parcel that is lost")] {
        let start = prompt.find(&format!("source {fence} [doc_{number}]\n")).unwrap();
        let block = prompt[start..].split(&format!("\nend {fence}\n")).next().unwrap();
        assert!(block.contains(source), "{prompt}");
    }
    assert!(prompt.ends_with(&format!("Question: {QUESTION}")), "{prompt}");
    assert!(!body.to_string().contains("Zebedee") && !body.to_string().contains("acme"), "{body}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_there_is_told_here_in_our_words() {
    let broken = Reply::status(500, Vec::new(), PROMPT);
    let cut = Reply::stream().then(Step::Send(delta("Within 14 days [doc_1]."))).then(Step::Cut);
    let (server, fake) = with_provider(vec![broken, cut]).await;
    let client = server.default_tenant().await;

    let events = all(&client).await;
    assert_eq!(text(&events), "I don't have that information.");
    assert_eq!(done(&events).finish_reason(), FinishReason::NoSource);
    assert!(fake.requests().is_empty(), "nobody is asked without a source");

    client.put("refunds.md", REFUNDS).await.unwrap();
    for expected in ["", "Within 14 days [doc_1]."] {
        let events = all(&client).await;
        assert_eq!(text(&events), expected);
        let error = error(&events);
        assert_eq!((error.code(), reason(&error).as_str()), (Code::Unavailable, "MODEL_UNAVAILABLE"));
        assert!(!format!("{error:?}").contains(PROMPT), "{error:?}");
    }
    assert_eq!(fake.requests().len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_ends_the_call_to_the_provider() {
    let endless = Reply::stream().then(Step::Send(delta("Within 14 days "))).then(Step::Hang);
    let (server, fake) = with_provider(vec![endless]).await;
    let client = server.default_tenant().await;
    client.put("refunds.md", REFUNDS).await.unwrap();

    let mut stream = ask(&client).await;
    while !matches!(stream.message().await.unwrap().unwrap().event, Some(Event::Delta(_))) {}
    drop(stream);
    tokio::time::timeout(Duration::from_secs(5), fake.hung_up(1)).await.expect("the provider is still asked");
    server.stop().await;
}
