//! Embedders and rerankers at a provider on loopback, in every protocol.

mod gates;
#[path = "upstream/upstream.rs"]
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use gates::{KEY, LONG, ctx};
use ibid_core::{Calibration, Embed, ModelError, ModelId, Passage, Purpose, Rerank};
use ibid_gateway::{EmbedProtocol, RemoteConfig, RemoteEmbedder, RemoteReranker, RerankProtocol, RetryConfig, Secret};
use ibid_runtime::SeededRandom;
use serde_json::{Value, json};
use upstream::{Reply, Step, Upstream};

fn config(base_url: &str) -> RemoteConfig {
    RemoteConfig {
        name: "far".to_owned(),
        base_url: base_url.to_owned(),
        model: "far-1".to_owned(),
        api_key: Some(Secret::new(KEY.to_owned())),
        connect_timeout: LONG,
        timeout: Duration::from_millis(300),
        retry: RetryConfig { retries_max: 1, retry_after_max: Duration::from_secs(1), ..RetryConfig::NONE },
        batch_texts_max: 2,
        random: Arc::new(SeededRandom::new(1)),
    }
}

fn says(body: &Value) -> Reply {
    Reply::status(200, vec![("content-type", "application/json".to_owned())], &body.to_string())
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn embedder(upstream: &Upstream, protocol: EmbedProtocol) -> RemoteEmbedder {
    let (id, prefixes) = (ModelId::new("far/embedder").unwrap(), ["query: ".to_owned(), String::new()]);
    RemoteEmbedder::new(config(&upstream.base_url), protocol, id, 2, prefixes).unwrap()
}

#[tokio::test]
async fn texts_become_vectors_of_length_one_in_their_order() {
    let openai = [
        json!({ "object": "list", "data": [
            { "object": "embedding", "index": 1, "embedding": [0.0, 2.0] },
            { "object": "embedding", "index": 0, "embedding": [3.0, 4.0] },
        ], "usage": { "prompt_tokens": 4, "total_tokens": 4 } }),
        json!({ "object": "list", "data": [{ "object": "embedding", "index": 0, "embedding": [1.0, 0.0] }] }),
    ];
    let tei = [json!([[3.0, 4.0], [0.0, 2.0]]), json!([[1.0, 0.0]])];
    for (protocol, replies, path, inputs) in
        [(EmbedProtocol::OpenAi, openai, "embeddings", "input"), (EmbedProtocol::Tei, tei, "embed", "inputs")]
    {
        let upstream = Upstream::start(replies.iter().map(says).collect()).await;
        let embedder = embedder(&upstream, protocol);
        let asked = texts(&["one", "", "three"]);
        let vectors = embedder.embed(&ctx(None), Purpose::Query, &asked).await.unwrap();
        assert_eq!(vectors, [[0.6, 0.8], [0.0, 1.0], [1.0, 0.0]], "{protocol:?}");
        let requests = upstream.requests();
        assert!(requests[0].head.starts_with(&format!("POST /v1/{path} ")), "{}", requests[0].head);
        assert!(requests[0].head.contains(&format!("authorization: Bearer {KEY}")));
        assert_eq!(requests[0].body[inputs], json!(["query: one", " "]));
        assert_eq!(requests[1].body[inputs], json!(["query: three"]), "two texts a request");
    }
}

fn passages() -> Vec<Passage> {
    let passage = |context: &str, text: &str| Passage { context: context.to_owned(), text: text.to_owned() };
    vec![passage("", "one"), passage("Title", "two"), passage("", "three")]
}

#[tokio::test]
async fn passages_become_logits_in_their_order() {
    let tei =
        [json!([{ "index": 1, "score": 2.5 }, { "index": 0, "score": -1.0 }]), json!([{ "index": 0, "score": 0.0 }])];
    let half = json!({ "results": [{ "index": 0, "relevance_score": 0.5 }] });
    let both = json!({ "results": [{ "index": 1, "relevance_score": 0.9 }, { "index": 0, "relevance_score": 0.1 }] });
    let relevance = [both, half];
    for (protocol, replies, documents, expected) in [
        (RerankProtocol::Tei, tei, "texts", [-1.0, 2.5, 0.0]),
        (RerankProtocol::Cohere, relevance.clone(), "documents", [-2.197_224_6, 2.197_224_6, 0.0]),
        (RerankProtocol::Jina, relevance, "documents", [-2.197_224_6, 2.197_224_6, 0.0]),
    ] {
        let upstream = Upstream::start(replies.iter().map(says).collect()).await;
        let id = ModelId::new("far/reranker").unwrap();
        let reranker = RemoteReranker::new(config(&upstream.base_url), protocol, id, Calibration::default()).unwrap();
        let (ctx, passages) = (ctx(None), passages());
        let scores = reranker.score(&ctx, "which?", &passages).await.unwrap();
        let near = scores.iter().zip(expected).all(|(score, expected): (&f32, f32)| (score - expected).abs() < 1e-4);
        assert!(near && scores.len() == 3, "{protocol:?}: {scores:?}");
        let body = &upstream.requests()[0].body;
        assert_eq!((&body["query"], &body[documents]), (&json!("which?"), &json!(["one", "Title\ntwo"])));
        assert_eq!(body.get("model").is_some(), protocol != RerankProtocol::Tei);
    }
}

#[tokio::test]
async fn what_fails_is_asked_again_and_what_is_nonsense_is_an_error_without_a_text() {
    let good = says(&json!([[1.0, 0.0]]));
    let echo = json!({ "error": { "message": format!("the zebra {KEY}"), "code": "some_code" } }).to_string();
    let vector = |row: Value| vec![says(&json!([row]))];
    type Expected = Result<(), &'static str>;
    let cases: [(&str, Vec<Reply>, Expected, usize); 13] = [
        ("500 once", vec![Reply::status(500, vec![], &echo), good.clone()], Ok(()), 2),
        (
            "429 once",
            vec![Reply::status(429, vec![("retry-after", "0.01".to_owned())], &echo), good.clone()],
            Ok(()),
            2,
        ),
        ("hangs once", vec![Reply(vec![Step::Hang]), good.clone()], Ok(()), 2),
        ("500", vec![Reply::status(500, vec![], &echo)], Err("Unavailable"), 2),
        ("401", vec![Reply::status(401, vec![], &echo)], Err("Refused"), 1),
        ("429", vec![Reply::status(429, vec![("retry-after", "60".to_owned())], &echo)], Err("RateLimited"), 1),
        ("no JSON", vec![Reply::status(200, vec![], "the zebra")], Err("Unavailable"), 2),
        ("too few", vec![says(&json!([]))], Err("a vector for each text"), 1),
        ("another length", vector(json!([1.0])), Err("have 1 numbers, expected 2"), 1),
        ("no number", vector(json!([1.0, "zebra"])), Err("no number"), 1),
        ("too large a number", vector(json!([1.0, 1e300])), Err("no number"), 1),
        ("no direction", vector(json!([0.0, 0.0])), Err("no direction"), 1),
        ("an object", vec![says(&json!({ "zebra": 1 }))], Err("a vector for each text"), 1),
    ];
    for (what, replies, expected, requests) in cases {
        let upstream = Upstream::start(replies).await;
        let embedder = embedder(&upstream, EmbedProtocol::Tei);
        let asked = texts(&["the zebra"]);
        let found = embedder.embed(&ctx(None), Purpose::Passage, &asked).await;
        match (expected, found) {
            (Ok(()), Ok(vectors)) => assert_eq!(vectors, [[1.0, 0.0]], "{what}"),
            (Err(words), Err(error)) => {
                let shown = format!("{error:?}");
                assert!(shown.contains(words), "{what}: {shown}");
                assert!(!shown.contains("zebra") && !shown.contains(KEY), "{what}: {shown}");
            }
            (expected, found) => panic!("{what}: {found:?}, expected {expected:?}"),
        }
        assert_eq!(upstream.requests().len(), requests, "{what}");
    }
}

#[tokio::test]
async fn who_leaves_is_not_waited_for() {
    let upstream = Upstream::start(vec![Reply(vec![Step::Hang])]).await;
    let embedder = embedder(&upstream, EmbedProtocol::OpenAi);
    let late = ctx(Some(Duration::from_millis(50)));
    let found = embedder.embed(&late, Purpose::Query, &texts(&["one"])).await;
    assert!(matches!(found, Err(ModelError::Stopped(_))), "{found:?}");
    tokio::time::timeout(LONG, upstream.hung_up(1)).await.expect("its connection is closed");
}
