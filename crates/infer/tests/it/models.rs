//! What the shipped models answer.

use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use ibid_core::{Embed, ModelError, Passage, Purpose, Rerank, Tokenize};
use ibid_infer::{CrossEncoder, Embedder};
use ibid_runtime::{Ctx, ManualClock, Pool, Priority, Stopped};
use proptest::prelude::*;
use serde::Deserialize;

use crate::{EMBEDDER, RERANKER, ctx, id, pool, shipped};

/// Small enough that the tests' calls take several batches.
const BATCH_TOKENS_MAX: usize = 512;

fn embedder(pool: &Pool) -> Embedder {
    shipped().load_embedder(&id(EMBEDDER), pool, BATCH_TOKENS_MAX).unwrap()
}

fn reranker(pool: &Pool) -> CrossEncoder {
    shipped().load_reranker(&id(RERANKER), pool, BATCH_TOKENS_MAX).unwrap()
}

#[derive(Deserialize)]
struct GoldenVectors {
    texts: Vec<String>,
    vectors: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct GoldenLogits {
    pairs: Vec<(String, String)>,
    logits: Vec<f32>,
}

fn difference_max<'a>(a: impl IntoIterator<Item = &'a f32>, b: impl IntoIterator<Item = &'a f32>) -> f32 {
    a.into_iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// `models/golden/make_golden.py` wrote the file.
#[test]
fn vectors_are_those_of_sentence_transformers() {
    let golden: GoldenVectors = serde_json::from_str(include_str!("golden_embedder.json")).unwrap();
    let vectors = block_on(embedder(&pool()).embed(&ctx(), Purpose::Passage, &golden.texts)).unwrap();
    assert_eq!(vectors.len(), golden.vectors.len());
    for ((ours, theirs), text) in vectors.iter().zip(&golden.vectors).zip(&golden.texts) {
        assert_eq!(ours.len(), theirs.len());
        let difference = difference_max(ours, theirs);
        assert!(difference < 1e-5, "{difference} for {text:?}");
    }
    println!("largest difference {:e}", difference_max(vectors.iter().flatten(), golden.vectors.iter().flatten()));
}

/// `models/golden/make_golden.py` wrote the file.
#[test]
fn logits_are_those_of_sentence_transformers() {
    let golden: GoldenLogits = serde_json::from_str(include_str!("golden_reranker.json")).unwrap();
    let (pool, ctx) = (pool(), ctx());
    let reranker = reranker(&pool);
    let mut logits = Vec::new();
    for (question, text) in &golden.pairs {
        let passage = Passage { context: String::new(), text: text.clone() };
        logits.extend(block_on(reranker.score(&ctx, question, &[passage])).unwrap());
    }
    let difference = difference_max(&logits, &golden.logits);
    assert!(difference < 1e-4, "{difference}: {logits:?}");
    println!("largest difference {difference:e}");
}

#[test]
fn a_result_does_not_feel_the_texts_beside_it() {
    let texts: Vec<String> = (0..40).map(|n| "one more word, ".repeat(1 + n * 7 % 60)).collect();
    let passages: Vec<Passage> =
        texts.iter().map(|text| Passage { context: "Words".to_owned(), text: text.clone() }).collect();
    let (pool, ctx) = (pool(), ctx());
    let (embedder, reranker) = (embedder(&pool), reranker(&pool));
    let together = block_on(embedder.embed(&ctx, Purpose::Passage, &texts)).unwrap();
    let scores = block_on(reranker.score(&ctx, "how many words?", &passages)).unwrap();
    for n in [0, 1, 17, 39] {
        let alone = block_on(embedder.embed(&ctx, Purpose::Passage, &texts[n..=n])).unwrap();
        assert!(alone[0] == together[n], "vector of text {n}");
        let score = block_on(reranker.score(&ctx, "how many words?", &passages[n..=n])).unwrap();
        assert!(score[0].to_bits() == scores[n].to_bits(), "score of passage {n}");
    }

    // Nor strangers' texts, which share its passes and give way to it in the middle of theirs.
    let ingest = ctx.at(Priority::Ingest);
    let strangers: Vec<String> = (0..60).map(|n| "nobody knows them. ".repeat(1 + n * 11 % 40)).collect();
    let (_, passages, _, question, beside) = block_on(async {
        futures::join!(
            embedder.embed(&ingest, Purpose::Passage, &strangers),
            embedder.embed(&ingest, Purpose::Passage, &texts),
            reranker.score(&ctx, "who knows them?", &passages),
            embedder.embed(&ctx, Purpose::Passage, &texts[5..6]),
            reranker.score(&ctx, "how many words?", &passages[3..9]),
        )
    });
    assert!(passages.unwrap() == together, "vectors among strangers");
    assert!(question.unwrap() == together[5..6], "the vector of a text that overtook strangers");
    assert!(beside.unwrap() == scores[3..9], "scores among strangers");
}

#[test]
fn the_passage_is_cut_and_the_question_is_not() {
    let (pool, ctx) = (pool(), ctx());
    let reranker = reranker(&pool);
    let score = |question: &str, text: &str| {
        let passage = Passage { context: String::new(), text: text.to_owned() };
        block_on(reranker.score(&ctx, question, &[passage])).unwrap()[0]
    };
    let question = "word ".repeat(200);
    // 256 tokens: 200 of the question, 3 special ones, 53 left.
    assert!(score(&question, &"text ".repeat(53)) == score(&question, &"text ".repeat(500)));
    assert!(score(&question, &"text ".repeat(52)) != score(&question, &"text ".repeat(53)));
    // Of a longer question 224 tokens are left, so that every passage has a part.
    let endless = "word ".repeat(1_000);
    assert!(score(&endless, "text") == score(&"word ".repeat(222), "text"));
    assert!(score(&endless, "text") != score(&endless, "cat"));
}

#[test]
fn pairs_scored_in_pieces_have_the_scores_of_one_call() {
    let (pool, ctx) = (pool(), ctx());
    let reranker = reranker(&pool);
    let passages: Vec<Passage> =
        (1..9).map(|n| Passage { context: "Words".to_owned(), text: "one more word, ".repeat(n) }).collect();
    let whole = block_on(reranker.score(&ctx, "how many words?", &passages)).unwrap();
    let pairs = block_on(reranker.pairs(&ctx, "how many words?", &passages)).unwrap();
    let pieces: Vec<f32> =
        [0..1, 1..6, 6..8].into_iter().flat_map(|range| block_on(pairs.score(range)).unwrap()).collect();
    assert!(whole == pieces);
    let expected = |range| pairs.expected(range).unwrap();
    assert!(expected(0..8) > expected(0..4) && expected(0..0) == Duration::ZERO);
}

#[test]
fn what_a_text_says_is_never_a_special_token() {
    let pool = pool();
    let mut starts = Vec::new();
    embedder(&pool).token_starts("a [SEP] b", &mut starts);
    // a, [, sep (two wordpieces or one), ], b
    assert!(starts.len() >= 5, "{starts:?}");
}

#[test]
fn an_empty_text_and_no_text_have_vectors() {
    let (pool, ctx) = (pool(), ctx());
    let embedder = embedder(&pool);
    assert!(block_on(embedder.embed(&ctx, Purpose::Query, &[])).unwrap().is_empty());
    let vectors = block_on(embedder.embed(&ctx, Purpose::Query, &[String::new()])).unwrap();
    let norm: f32 = vectors[0].iter().map(|x| x * x).sum();
    assert!((norm - 1.0).abs() < 1e-5);
    assert!(block_on(reranker(&pool).score(&ctx, "", &[])).unwrap().is_empty());
}

#[test]
fn who_has_left_and_who_is_too_many_get_typed_errors() {
    let pool = pool();
    let (embedder, texts) = (embedder(&pool), ["late".to_owned()]);
    let late = Ctx::new(Arc::new(ManualClock::at(0)), Priority::Query, Some(Duration::ZERO));
    let error = block_on(embedder.embed(&late, Purpose::Query, &texts)).unwrap_err();
    assert!(matches!(error, ModelError::Stopped(Stopped::Deadline)), "{error}");

    let full = Pool::new(1, 0).unwrap();
    let error = block_on(self::embedder(&full).embed(&ctx(), Purpose::Query, &texts)).unwrap_err();
    assert!(matches!(error, ModelError::Overloaded { .. }), "{error}");
}

#[test]
fn tokens_start_where_their_first_byte_stands() {
    #[track_caller]
    fn check(embedder: &Embedder, text: &str, expected: &[&str]) {
        let mut starts = vec![7];
        embedder.token_starts(text, &mut starts);
        assert_eq!(starts.remove(0), 7, "tokens are appended");
        let ends = starts.iter().skip(1).map(|byte| *byte as usize).chain([text.len()]);
        let tokens: Vec<&str> = starts.iter().zip(ends).map(|(start, end)| text[*start as usize..end].trim()).collect();
        assert_eq!(tokens, expected);
    }
    let embedder = embedder(&pool());
    check(&embedder, "", &[]);
    check(&embedder, "  Hello,\tworld  ", &["Hello", ",", "world"]);
    check(&embedder, "Größe über Köln", &["Gr", "ö", "ße", "über", "Köln"]);
    check(&embedder, "機械 学习x", &["機", "械", "学", "习", "x"]);
    check(&embedder, "🙂🙂 ok", &["🙂🙂", "ok"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn token_starts_ascend_on_character_boundaries(texts in proptest::collection::vec("\\PC{0,200}", 32)) {
        let embedder = embedder(&pool());
        for text in texts {
            let mut starts = Vec::new();
            embedder.token_starts(&text, &mut starts);
            prop_assert!(starts.is_sorted());
            prop_assert!(starts.iter().all(|byte| text.is_char_boundary(*byte as usize) && (*byte as usize) < text.len()));
        }
    }
}
