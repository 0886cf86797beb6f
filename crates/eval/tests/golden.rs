//! The metrics against trec_eval's own, as `golden/make_golden.py` recorded them.

use std::collections::BTreeMap;

use ibid_core::DocumentId;
use ibid_eval::{Judgements, Qrels, Quality, Run};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    qrels: BTreeMap<String, Judgements>,
    run: BTreeMap<String, BTreeMap<DocumentId, f32>>,
    per_query: BTreeMap<String, Quality>,
    mean: Quality,
}

#[track_caller]
fn check(query: &str, given: Quality, expected: Quality) {
    let figures = |one: Quality| [one.ndcg_at_10, one.recall_at_10, one.recall_at_100, one.mrr_at_10];
    for (given, expected) in figures(given).into_iter().zip(figures(expected)) {
        assert!((given - expected).abs() < 1e-9, "{query}: {given}, trec_eval has {expected}");
    }
}

#[test]
fn the_figures_are_those_of_trec_eval() {
    let golden: Golden = serde_json::from_str(include_str!("golden/golden.json")).unwrap();
    let qrels = Qrels::new(golden.qrels);
    let run = golden.run.into_iter().map(|(query, scores)| (query, scores.into_iter().collect()));
    let run = Run::from_scores(run).unwrap();

    let per_query = Quality::per_query(&run, &qrels);
    assert!(per_query.keys().copied().eq(golden.per_query.keys()), "the queries with something relevant, no others");
    for (query, quality) in &per_query {
        check(query, *quality, golden.per_query[*query]);
    }
    check("mean", Quality::mean(&run, &qrels), golden.mean);
}
