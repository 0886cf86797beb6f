//! The gateway against a provider on loopback that does what a script says, and generators in this process.

mod fake_openai;

use std::sync::Arc;
use std::time::Duration;

use fake_openai::{FakeOpenAi, Reply, Step, delta, done, event, finish, usage};
use futures::StreamExt;
use ibid_core::{
    BoxFuture, Caller, FinishReason, Generate, GenerateRequest, Generated, GenerationStream, Message, ModelError,
    Origin, Role, TenantKey, Usage,
};
use ibid_gateway::{
    BudgetConfig, DeploymentConfig, Gateway, GatewayConfig, GatewayError, GatewayParts, LastResortConfig, ModelConfig,
    OpenAiConfig, Policy, ProviderConfig, RatesConfig, Routing, Secret, Timeouts, TokensParameter,
};
use ibid_runtime::{Ctx, MemoryDisk, Priority, Stopped, SystemClock, SystemRandom};
use serde_json::json;

const KEY: &str = "sk-very-secret-1";
const PROMPT: &str = "what is said of the zebra?";
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(150);

fn config(base_url: &str) -> DeploymentConfig {
    let provider = OpenAiConfig {
        base_url: base_url.to_owned(),
        model: "far-1".to_owned(),
        api_key: Some(Secret::new(KEY.to_owned())),
        tokens_parameter: TokensParameter::MaxTokens,
    };
    let timeouts = Timeouts { connect: LONG, first_token: LONG, between_tokens: LONG, total: LONG };
    DeploymentConfig::plain("far", ProviderConfig::OpenAi(provider), timeouts)
}

/// A gateway whose deployments are public names of their own.
fn build(deployments: Vec<DeploymentConfig>) -> Result<Gateway, GatewayError> {
    let model = |one: DeploymentConfig| ModelConfig {
        name: one.name.clone(),
        deployments: vec![one],
        routing: Routing::Weight,
        fallbacks: Vec::new(),
        context_fallbacks: Vec::new(),
    };
    let config = GatewayConfig {
        models: deployments.into_iter().map(model).collect(),
        policy: Policy::default(),
        rates: RatesConfig::default(),
        cache: None,
        budget: BudgetConfig::default(),
        last_resort: LastResortConfig::default(),
        attempts_max: 1,
    };
    let (disk, random) = (Arc::new(MemoryDisk::new()), Arc::new(SystemRandom));
    Gateway::new(config, GatewayParts { disk, random, alerts: None, observer: None })
}

fn with(base_url: &str, change: impl FnOnce(&mut Timeouts)) -> DeploymentConfig {
    let mut config = config(base_url);
    change(&mut config.timeouts);
    config
}

fn ctx(timeout: Option<Duration>) -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()), Priority::Query, timeout)
}

fn request() -> GenerateRequest {
    GenerateRequest {
        tenant: TenantKey(1),
        caller: Caller::default(),
        origin: Origin::default(),
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

async fn open(config: DeploymentConfig, ctx: &Ctx) -> Result<GenerationStream, ModelError> {
    build(vec![config]).unwrap().generate(ctx, request()).await
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
            Ok(piece @ (Generated::Usage(_) | Generated::Done(_) | Generated::ToolCall(_))) => rest.push(piece),
            Ok(Generated::Call(_)) => {}
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
    let used = Usage { input_tokens: 12, cached_tokens: 0, output_tokens: 7, reported: true };
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
    let used = Usage { input_tokens: 9, cached_tokens: 0, output_tokens: 2, reported: false };
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
        (429, vec![("retry-after", "17".to_owned())], "RateLimited"),
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
        (start().then(Step::Send(event(&limited))), "RateLimited", "429"),
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
    let short_first = |url: &str| with(url, |timeouts| timeouts.first_token = SHORT);
    let short_between = |url: &str| with(url, |timeouts| timeouts.between_tokens = SHORT);
    let short_total = |url: &str| with(url, |timeouts| timeouts.total = SHORT);
    type Configure<'a> = &'a dyn Fn(&str) -> DeploymentConfig;
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
    let route = |name: &str, fake: &FakeOpenAi| DeploymentConfig { name: name.to_owned(), ..config(&fake.base_url) };
    let inner = build(vec![route("inner", &near)]).unwrap();
    let gateway = build(vec![local("near", Arc::new(inner)), route("far", &far)]).unwrap();
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

fn local(name: &str, generate: Arc<dyn Generate>) -> DeploymentConfig {
    DeploymentConfig { name: name.to_owned(), provider: ProviderConfig::Local(generate), ..config("http://h/v1") }
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
    let gateway = build(vec![local("busy", Arc::new(Busy))]).unwrap();
    let late = ctx(Some(Duration::from_millis(20)));
    let asked = tokio::time::timeout(LONG, gateway.generate(&late, request())).await.expect("nobody waits any more");
    assert!(matches!(asked.map(drop), Err(ModelError::Stopped(Stopped::Deadline))));
}

#[test]
fn a_gateway_that_cannot_work_is_not_built_and_its_key_is_not_shown() {
    let far = || config("http://h/v1");
    assert!(matches!(build(vec![]), Err(GatewayError::NoRoute)));
    assert!(matches!(build(vec![far(), far()]), Err(GatewayError::DuplicateName { .. })));
    let provider = |base_url: &str, key: &str| {
        let (base_url, model) = (base_url.to_owned(), "far-1".to_owned());
        let (api_key, tokens_parameter) = (Some(Secret::new(key.to_owned())), TokensParameter::MaxTokens);
        ProviderConfig::OpenAi(OpenAiConfig { base_url, model, api_key, tokens_parameter })
    };
    let wrong = [
        DeploymentConfig { provider: provider(&format!("https://u:{KEY}@h/v1"), KEY), ..far() },
        DeploymentConfig { provider: provider("http://h/v1", &format!("{KEY}\n")), ..far() },
        DeploymentConfig { name: String::new(), ..far() },
    ];
    for config in wrong {
        let error = build(vec![config]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(KEY), "{error}");
    }
    let shown = format!("{:?} {:?}", far(), build(vec![far()]).unwrap());
    assert!(!shown.contains(KEY), "{shown}");
}
