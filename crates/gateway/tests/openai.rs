//! The gateway against a provider on loopback that does what a script says, and generators in this process.

mod fake_openai;

use std::sync::Arc;
use std::time::Duration;

use fake_openai::{FakeOpenAi, Reply, Step, delta, done, event, finish, usage};
use futures::StreamExt;
use ibid_core::{
    BoxFuture, FinishReason, Generate, GenerateRequest, Generated, GenerationStream, Message, ModelError, Role,
    TenantKey, Usage,
};
use ibid_gateway::{Gateway, GatewayError, OpenAiConfig, Route, Secret};
use ibid_runtime::{Ctx, Priority, Stopped, SystemClock};
use serde_json::json;

const KEY: &str = "sk-very-secret-1";
const PROMPT: &str = "what is said of the zebra?";
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(150);

fn config(base_url: &str) -> OpenAiConfig {
    OpenAiConfig {
        name: "far".to_owned(),
        base_url: base_url.to_owned(),
        model: "far-1".to_owned(),
        api_key: Some(Secret::new(KEY.to_owned())),
        connect_timeout: LONG,
        first_token_timeout: LONG,
        between_tokens_timeout: LONG,
        total_timeout: LONG,
    }
}

fn ctx(timeout: Option<Duration>) -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()), Priority::Query, timeout)
}

fn request() -> GenerateRequest {
    GenerateRequest {
        tenant: TenantKey(1),
        generator: String::new(),
        messages: vec![
            Message { role: Role::System, content: "be brief".to_owned() },
            Message { role: Role::User, content: PROMPT.to_owned() },
        ],
        question: PROMPT.to_owned(),
        sources: Arc::new([]),
        tokens_max: 64,
        temperature: 0.0,
    }
}

async fn open(config: OpenAiConfig, ctx: &Ctx) -> Result<GenerationStream, ModelError> {
    Gateway::new(vec![Route::OpenAi(config)]).unwrap().generate(ctx, request()).await
}

/// The whole reply: its text, the rest of the pieces, and the error that ended it.
async fn collect(stream: Result<GenerationStream, ModelError>) -> (String, Vec<Generated>, Option<ModelError>) {
    let (mut text, mut rest) = (String::new(), Vec::new());
    let mut stream = match stream {
        Ok(stream) => stream,
        Err(error) => return (text, rest, Some(error)),
    };
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(Generated::Delta(piece)) => text.push_str(&piece),
            Ok(piece @ (Generated::Usage(_) | Generated::Done(_))) => rest.push(piece),
            Err(error) => return (text, rest, Some(error)),
        }
    }
    (text, rest, None)
}

async fn ask(reply: Reply) -> (String, Vec<Generated>, Option<ModelError>) {
    let fake = FakeOpenAi::start(vec![reply]).await;
    collect(open(config(&fake.base_url), &ctx(None)).await).await
}

#[tokio::test]
async fn a_reply_cut_at_every_byte_arrives_whole() {
    let mut bytes = b": keep-alive\n\n".to_vec();
    bytes.extend(event(&json!({ "choices": [{ "delta": { "role": "assistant", "content": "" } }] })));
    bytes.extend(delta("Größe: "));
    bytes.extend(b":\r\n\r\n");
    bytes.extend(delta("3 \u{1f993} 【doc_1】"));
    bytes.extend(finish("length"));
    bytes.extend(usage(12, 7));
    bytes.extend(done());
    let reply = bytes.iter().fold(Reply::stream(), |reply, byte| reply.then(Step::Send(vec![*byte])));
    let fake = FakeOpenAi::start(vec![reply]).await;
    let (text, rest, error) = collect(open(config(&fake.base_url), &ctx(None)).await).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(text, "Größe: 3 \u{1f993} 【doc_1】");
    let used = Usage { input_tokens: 12, output_tokens: 7, reported: true };
    assert_eq!(rest, [Generated::Usage(used), Generated::Done(FinishReason::Length)]);

    let sent = &fake.requests()[0];
    assert!(sent.head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{}", sent.head);
    assert!(sent.head.contains(&format!("authorization: Bearer {KEY}")), "{}", sent.head);
    let expected = json!({
        "model": "far-1",
        "messages": [{ "role": "system", "content": "be brief" }, { "role": "user", "content": PROMPT }],
        "max_tokens": 64, "temperature": 0.0, "stream": true, "stream_options": { "include_usage": true },
    });
    assert_eq!(sent.body, expected);
}

#[tokio::test]
async fn a_provider_that_counts_nothing_is_estimated() {
    let reply = Reply::stream().then(Step::Send(delta("12345"))).then(Step::Send(finish("eos")));
    let (text, rest, error) = ask(reply).await;
    assert!(error.is_none(), "a finish without [DONE] is an end: {error:?}");
    let used = Usage { input_tokens: 9, output_tokens: 2, reported: false };
    assert_eq!((text.as_str(), rest), ("12345", vec![Generated::Usage(used), Generated::Done(FinishReason::Stop)]));
}

#[tokio::test]
async fn a_status_says_who_can_help_and_quotes_nothing() {
    let body =
        json!({ "error": { "message": format!("{PROMPT} {KEY}"), "code": "some_code", "type": KEY } }).to_string();
    for (status, headers, expected) in [
        (400, vec![], "Refused"),
        (401, vec![], "Refused"),
        (403, vec![], "Refused"),
        (404, vec![], "Refused"),
        (307, vec![("location", "http://127.0.0.1:9/".to_owned())], "Refused"),
        (429, vec![("retry-after", "17".to_owned())], "Overloaded"),
        (500, vec![], "Unavailable"),
        (503, vec![], "Unavailable"),
    ] {
        let (_, _, error) = ask(Reply::status(status, headers, &body)).await;
        let error = error.unwrap();
        let shown = format!("{error} {error:?}");
        assert!(format!("{error:?}").starts_with(expected), "{status}: {shown}");
        assert!(shown.contains("some_code") && shown.contains(&status.to_string()), "{shown}");
        assert!(!shown.contains("zebra") && !shown.contains(KEY), "{shown}");
        assert_eq!(shown.contains("retry after 17"), status == 429, "{shown}");
    }
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_an_error_after_its_text() {
    let start = || Reply::stream().then(Step::Send(delta("half")));
    let limited = json!({ "error": { "message": PROMPT, "code": 429 } });
    for (reply, variant, detail) in [
        (start(), "Unavailable", "ended before its finish"),
        (start().then(Step::Cut), "Unavailable", "connection broke"),
        (start().then(Step::Send(b"data: {]\n\n".to_vec())), "Unavailable", "not what was agreed"),
        (start().then(Step::Send(b"data: \xff\xff\n\n".to_vec())), "Unavailable", "not UTF-8"),
        (
            start().then(Step::Send(event(&json!({ "error": { "type": "server_error" } })))),
            "Unavailable",
            "server_error",
        ),
        (start().then(Step::Send(event(&limited))), "Overloaded", "429"),
    ] {
        let (text, rest, error) = ask(reply).await;
        let shown = format!("{:?}", error.unwrap());
        assert!(shown.starts_with(variant) && shown.contains(detail), "{shown}");
        assert_eq!((text.as_str(), rest), ("half", vec![]));
    }
}

#[tokio::test]
async fn every_wait_has_an_end() {
    let started = || Reply::stream().then(Step::Send(delta("a"))).then(Step::Hang);
    let silent = || Reply(vec![Step::Hang]);
    let short_first = |url: &str| OpenAiConfig { first_token_timeout: SHORT, ..config(url) };
    let short_between = |url: &str| OpenAiConfig { between_tokens_timeout: SHORT, ..config(url) };
    let short_total = |url: &str| OpenAiConfig { total_timeout: SHORT, ..config(url) };
    type Configure<'a> = &'a dyn Fn(&str) -> OpenAiConfig;
    let cases: [(Reply, Configure<'_>, Option<Duration>, &str); 6] = [
        (silent(), &short_first, None, "no first token within 150 ms"),
        (Reply::stream().then(Step::Hang), &short_first, None, "no first token within 150 ms"),
        (started(), &short_between, None, "no next token within 150 ms"),
        (started(), &short_total, None, "no end of the reply within 150 ms"),
        (silent(), &config, Some(SHORT), "Stopped(Deadline)"),
        (started(), &config, Some(SHORT), "Stopped(Deadline)"),
    ];
    for (reply, configure, timeout, expected) in cases {
        let fake = FakeOpenAi::start(vec![reply]).await;
        let (_, _, error) = collect(open(configure(&fake.base_url), &ctx(timeout)).await).await;
        let shown = format!("{:?}", error.unwrap());
        assert!(shown.contains(expected), "{shown}, expected {expected}");
        tokio::time::timeout(LONG, fake.hung_up(1)).await.expect("the connection is closed after a timeout");
    }
}

#[tokio::test]
async fn who_leaves_closes_the_connection() {
    let reply = Reply::stream().then(Step::Send(delta("a"))).then(Step::Hang);
    let fake = FakeOpenAi::start(vec![reply]).await;
    let mut dropped = open(config(&fake.base_url), &ctx(None)).await.unwrap();
    assert_eq!(dropped.next().await.unwrap().unwrap(), Generated::Delta("a".to_owned()));
    drop(dropped);
    tokio::time::timeout(LONG, fake.hung_up(1)).await.expect("a dropped reply closes its connection");

    let asked = ctx(None);
    let stopped = open(config(&fake.base_url), &asked).await;
    asked.stop();
    let (_, _, error) = collect(stopped).await;
    assert!(matches!(error, Some(ModelError::Stopped(Stopped::Cancelled))), "{error:?}");
    tokio::time::timeout(LONG, fake.hung_up(2)).await.expect("a stopped request closes its connection");
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_unavailable() {
    // Nobody listens on the discard port of loopback.
    let (_, _, error) = collect(open(config("http://127.0.0.1:9"), &ctx(None)).await).await;
    assert!(
        matches!(&error, Some(ModelError::Unavailable { detail, .. }) if detail == "cannot be connected to"),
        "{error:?}"
    );
}

#[tokio::test]
async fn generators_are_asked_by_name() {
    let (near, far) =
        (FakeOpenAi::start(vec![Reply::text(&["near"])]).await, FakeOpenAi::start(vec![Reply::text(&["far"])]).await);
    let route =
        |name: &str, fake: &FakeOpenAi| Route::OpenAi(OpenAiConfig { name: name.to_owned(), ..config(&fake.base_url) });
    let inner = Gateway::new(vec![route("inner", &near)]).unwrap();
    let gateway = Gateway::new(vec![Route::Local("near".to_owned(), Arc::new(inner)), route("far", &far)]).unwrap();
    assert_eq!(gateway.generators(), ["near", "far"]);
    let ctx = ctx(None);
    for (name, expected) in [("", "near"), ("near", "near"), ("far", "far")] {
        let asked = GenerateRequest { generator: name.to_owned(), ..request() };
        let (text, _, error) = collect(gateway.generate(&ctx, asked).await).await;
        assert_eq!((text.as_str(), error.is_none()), (expected, true), "{name:?}");
    }
    let unknown = GenerateRequest { generator: "inner".to_owned(), ..request() };
    let Err(ModelError::Refused { detail, .. }) = gateway.generate(&ctx, unknown).await.map(|_| ()) else {
        panic!("an unknown name is refused")
    };
    assert_eq!(detail, "there is no such generator, expected one of: near, far");
}

/// A generator in this process that is busy with others.
#[derive(Debug)]
struct Busy;

impl Generate for Busy {
    fn generators(&self) -> Vec<String> {
        vec!["busy".to_owned()]
    }

    fn generate<'a>(&'a self, _: &'a Ctx, _: GenerateRequest) -> BoxFuture<'a, Result<GenerationStream, ModelError>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_generator_in_this_process_is_waited_for_as_long_as_the_caller_waits() {
    let gateway = Gateway::new(vec![Route::Local("busy".to_owned(), Arc::new(Busy))]).unwrap();
    let late = ctx(Some(Duration::from_millis(20)));
    let asked = tokio::time::timeout(LONG, gateway.generate(&late, request())).await.expect("nobody waits any more");
    assert!(matches!(asked.map(drop), Err(ModelError::Stopped(Stopped::Deadline))));
}

#[test]
fn a_gateway_that_cannot_work_is_not_built_and_its_key_is_not_shown() {
    let far = || config("http://h/v1");
    assert!(matches!(Gateway::new(vec![]), Err(GatewayError::NoRoute)));
    assert!(matches!(
        Gateway::new(vec![Route::OpenAi(far()), Route::OpenAi(far())]),
        Err(GatewayError::DuplicateName { .. })
    ));
    let wrong = [
        OpenAiConfig { base_url: format!("https://u:{KEY}@h/v1"), ..far() },
        OpenAiConfig { api_key: Some(Secret::new(format!("{KEY}\n"))), ..far() },
        OpenAiConfig { name: String::new(), ..far() },
    ];
    for config in wrong {
        let error = Gateway::new(vec![Route::OpenAi(config)]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(KEY), "{error}");
    }
    let shown = format!("{:?} {:?}", far(), Gateway::new(vec![Route::OpenAi(far())]).unwrap());
    assert!(!shown.contains(KEY), "{shown}");
}
