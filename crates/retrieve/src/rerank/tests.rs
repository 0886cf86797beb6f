use futures::executor::block_on;
use ibid_core::{
    BoxFuture, Calibration, CollectionKey, CollectionName, DocumentId, DocumentKey, MediaType, Metadata, ModelId,
    PartitionKey, Revision, Span, TenantKey,
};
use ibid_runtime::ManualClock;
use proptest::prelude::*;

use super::*;

/// A model whose logit for a hit is the number in its text, and which takes as long as it says it will.
#[derive(Debug)]
struct Steady {
    model: ModelId,
    clock: Arc<ManualClock>,
    per_pair: Duration,
}

impl Rerank for Steady {
    fn model(&self) -> &ModelId {
        &self.model
    }
    fn revision(&self) -> &str {
        "1"
    }
    fn calibration(&self) -> Calibration {
        Calibration::default()
    }
    fn pairs<'a>(
        &'a self,
        _: &'a Ctx,
        _: &'a str,
        passages: &'a [Passage],
    ) -> BoxFuture<'a, Result<Box<dyn Pairs + 'a>, ModelError>> {
        Box::pin(async move { Ok(Box::new(SteadyPairs(self, passages)) as Box<dyn Pairs>) })
    }
}

#[derive(Debug)]
struct SteadyPairs<'a>(&'a Steady, &'a [Passage]);

impl Pairs for SteadyPairs<'_> {
    fn expected(&self, range: Range<usize>) -> Option<Duration> {
        Some(self.0.per_pair * u32::try_from(range.len()).unwrap())
    }
    fn score(&self, range: Range<usize>) -> BoxFuture<'_, Result<Vec<f32>, ModelError>> {
        self.0.clock.advance(self.0.per_pair * u32::try_from(range.len()).unwrap());
        Box::pin(async move { Ok(self.1[range].iter().map(|passage| passage.text.parse().unwrap()).collect()) })
    }
}

/// Hits in fused order with these logits.
fn hits(logits: &[f32]) -> Vec<Hit> {
    let partition = PartitionKey { tenant: TenantKey(1), collection: CollectionKey(1) };
    let hit = |(rank, logit): (u16, &f32)| Hit {
        collection: CollectionName::new("docs").unwrap(),
        document: DocumentId::new("a").unwrap(),
        revision: Revision(1),
        chunk: ChunkId::of(partition, DocumentKey([0; 16]), "", rank.into()),
        span: Span::of("text", 0..4).unwrap(),
        title: String::new(),
        source_uri: String::new(),
        media_type: MediaType::Plain,
        heading_path: Vec::new(),
        text: logit.to_string(),
        metadata: Metadata::new(),
        context: None,
        places: Vec::new(),
        duplicates: Vec::new(),
        passage: None,
        scores: Scores {
            rrf: Some(Ranked { rank: rank.into(), score: 1.0 / (60.0 + f32::from(rank)) }),
            ..Scores::default()
        },
    };
    (1..).zip(logits).map(hit).collect()
}

struct Run {
    hits: Vec<Hit>,
    reranked: Reranked,
    took: Duration,
}

impl Run {
    fn order(&self) -> Vec<u32> {
        self.hits.iter().map(|hit| hit.scores.rrf.unwrap().rank).collect()
    }
}

fn run(logits: &[f32], top_k: usize, weight: f32, budget_ms: Option<u64>, small_ms: Option<u64>) -> Run {
    let clock = Arc::new(ManualClock::at(0));
    let model = |name, ms| -> Arc<dyn Rerank> {
        let model = ModelId::new(name).unwrap();
        Arc::new(Steady { model, clock: Arc::clone(&clock), per_pair: Duration::from_millis(ms) })
    };
    let rerankers = Rerankers { small: small_ms.map(|ms| model("small", ms)), large: model("large", 10) };
    let ctx = Ctx::new(clock.clone(), Priority::Query, None);
    let mut hits = hits(logits);
    let settings = Settings { places: top_k, weight, budget: budget_ms.map(Duration::from_millis) };
    let reranked = block_on(rerank(&ctx, &rerankers, "how?", &mut hits, settings)).unwrap();
    Run { hits, reranked, took: ctx.elapsed() }
}

#[test]
fn a_budget_is_kept_whatever_it_is() {
    for budget in [0, 5, 10, 37, 100, 300, 1_000] {
        let alone = run(&[-2.0; 40], 40, 0.5, Some(budget), None);
        assert!(alone.took <= Duration::from_millis(budget), "{budget}: {:?}", alone.took);
        assert_eq!(u64::from(alone.reranked.large), (budget / 10).min(40), "{budget}");
        let cascade = run(&[-2.0; 40], 40, 0.5, Some(budget), Some(1));
        assert!(cascade.took <= Duration::from_millis(budget), "{budget}: {:?}", cascade.took);
    }
}

#[test]
fn the_small_one_takes_half_at_most_and_chooses_for_the_large_one() {
    // The fused order has the only relevant ones last.
    let logits: Vec<f32> = (0..40).map(|rank| if rank < 38 { -4.0 } else { 4.0 }).collect();
    let cascade = run(&logits, 2, 0.9, Some(100), Some(1));
    assert_eq!(cascade.reranked, Reranked { small: 40, large: 6 });
    assert_eq!(cascade.order()[..2], [39, 40]);
    assert!(cascade.hits[0].scores.small_logit.is_some() && cascade.hits[0].scores.rerank_logit.is_some());
    let slow = run(&logits, 2, 0.9, Some(100), Some(2));
    assert_eq!(slow.reranked, Reranked { small: 25, large: 5 });
    assert_eq!(run(&logits[20..], 2, 0.9, Some(100), Some(1)).reranked.small, 0, "nothing to choose from");
    assert_eq!(
        run(&logits, 2, 0.9, Some(200), Some(1)).reranked,
        Reranked { small: 0, large: 20 },
        "time for the large one"
    );
    assert_eq!(run(&logits, 40, 0.9, None, Some(1)).reranked, Reranked { small: 0, large: 40 }, "all the time");
}

#[test]
fn to_be_scored_never_costs_a_place() {
    // Two of four are scored: the first is irrelevant, the second relevant.
    let some = run(&[-9.0, 9.0, 9.0, 9.0], 4, 0.5, Some(20), None);
    assert_eq!(some.reranked.large, 2);
    assert_eq!(some.order(), [2, 1, 3, 4]);
    let none = run(&[-9.0, 9.0], 2, 0.5, Some(0), None);
    assert_eq!((none.order(), none.reranked, none.took), (vec![1, 2], Reranked::default(), Duration::ZERO));
    assert_eq!(none.hits[0].scores.relevance, None);
}

#[test]
fn each_score_has_its_place() {
    let all = run(&[1.0, 3.0, 2.0], 3, 1.0, None, None);
    let scores: Vec<_> = all.hits.iter().map(|hit| (hit.scores.rerank_logit, hit.scores.mixed)).collect();
    let relevance = |logit| Calibration::default().relevance(logit);
    let ranked = |rank, score| Some(Ranked { rank, score });
    let expected =
        [(1, 3.0), (2, 2.0), (3, 1.0)].map(|(rank, logit)| (ranked(rank, logit), ranked(rank, relevance(logit))));
    assert_eq!(scores, expected);
}

proptest! {
    /// Ending early gives the places that scoring all gives.
    #[test]
    fn what_ends_early_ends_where_all_ends(
        logits in prop::collection::vec(-6.0f32..12.0, 1..60),
        wanted in 1usize..12,
        weight in 0.0f32..=1.0,
        wave in 1usize..9,
    ) {
        let hits = hits(&logits);
        let all: Vec<usize> = (0..logits.len()).collect();
        let scored = |count: usize| {
            let mut head = Head::of(&hits, weight);
            for (candidate, logit) in head.candidates.iter_mut().zip(&logits).take(count) {
                candidate.relevance = Some(Calibration::default().relevance(*logit));
            }
            head
        };
        let mut count = 0;
        while count < logits.len() && !scored(count).settled(&all[count..], wanted) {
            count += wave.min(logits.len() - count);
        }
        let places = wanted.min(logits.len());
        prop_assert_eq!(&scored(count).order()[..places], &scored(logits.len()).order()[..places]);
    }
}

#[test]
fn a_clear_case_ends_early() {
    let mut logits = vec![9.0; 4];
    logits.extend([-9.0; 60]);
    let clear = run(&logits, 3, 0.5, None, None);
    assert!(clear.reranked.large < 64, "{:?}", clear.reranked);
    assert_eq!(clear.order()[..3], [1, 2, 3]);
}
