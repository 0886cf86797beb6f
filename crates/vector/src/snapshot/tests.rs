use std::time::Duration;

use ibid_runtime::{ManualClock, Priority};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::*;
use crate::testing::{clustered, ctx, recall, small};
use crate::{Build, VectorIndex};

const VECTORS: u32 = 8_000;
const DIMENSION: usize = 32;

/// Vectors, and after them some queries from the same clusters.
fn vectors_and_queries() -> [Vec<(Label, Vec<f32>)>; 2] {
    let mut vectors = clustered(11, VECTORS + 20, DIMENSION, 50);
    let queries = vectors.split_off(VECTORS as usize);
    [vectors, queries]
}

/// One graph over clustered vectors, a tenth of it dead, and the same vectors without a graph.
fn graph_and_oracle(build: Build) -> (Snapshot, Snapshot) {
    let config = Config { graph_from: 1_000, m: 16, ef_construction: 64, build, ..small(DIMENSION) };
    let scanned = Config { graph_from: usize::MAX, seal_from: usize::MAX, ..config };
    let (graph, oracle) = (VectorIndex::new(config).unwrap(), VectorIndex::new(scanned).unwrap());
    for index in [&graph, &oracle] {
        let [vectors, _] = vectors_and_queries();
        index.apply(&[], vectors).unwrap();
        assert_eq!(index.maintain(&ctx()).unwrap().graphs, usize::from(std::ptr::eq(index, &graph)));
        let dead: Vec<Label> = (0..VECTORS).filter(|label| label % 10 == 3).collect();
        index.apply(&dead, Vec::new()).unwrap();
    }
    (graph.snapshot(), oracle.snapshot())
}

#[derive(Debug, Clone, Copy)]
enum Spread {
    /// Drawn at random.
    Even,
    /// The nearest to the query.
    Near,
    /// The farthest from it.
    Far,
}

fn allowed(oracle: &Snapshot, query: &[f32], share: f64, spread: Spread) -> RoaringBitmap {
    let mut labels: Vec<Label> =
        oracle.search(&ctx(), query, VECTORS as usize, None).unwrap().into_iter().map(|(label, _)| label).collect();
    match spread {
        Spread::Even => labels.shuffle(&mut StdRng::seed_from_u64(5)),
        Spread::Near => {}
        Spread::Far => labels.reverse(),
    }
    labels.truncate((f64::from(VECTORS) * share) as usize);
    labels.into_iter().collect()
}

fn check_recall(build: Build) {
    let (graph, oracle) = graph_and_oracle(build);
    let [_, queries] = vectors_and_queries();
    for spread in [Spread::Even, Spread::Near, Spread::Far] {
        for share in [1.0, 0.5, 0.1, 0.01, 0.001] {
            let mut sum = 0.0;
            for (_, query) in &queries {
                let allowed = allowed(&oracle, query, share, spread);
                let found = graph.search(&ctx(), query, 10, Some(&allowed)).unwrap();
                let exact = oracle.search(&ctx(), query, 10, Some(&allowed)).unwrap();
                assert!(found.iter().all(|(label, _)| allowed.contains(*label) && oracle.contains(*label)));
                assert!(found.is_sorted_by(|a, b| a.1 > b.1 || (a.1 == b.1 && a.0 < b.0)));
                sum += recall(&found, &exact);
            }
            let recall = sum / queries.len() as f64;
            assert!(recall >= 0.95, "{build:?} {spread:?} {share}: recall@10 is {recall}");
        }
    }
}

#[test]
fn a_walk_finds_what_a_scan_finds_at_any_share_and_spread_of_the_allowed() {
    check_recall(Build::Serial);
}

#[test]
fn a_graph_built_in_parallel_is_as_good() {
    check_recall(Build::Parallel);
}

#[test]
fn a_serial_build_gives_the_same_lists_each_time() {
    let vectors = clustered(13, 1_510, DIMENSION, 30);
    let build = || {
        let index = VectorIndex::new(Config { ef_search: 16, ..small(DIMENSION) }).unwrap();
        index.apply(&[], vectors[..1_500].to_vec()).unwrap();
        assert_eq!(index.maintain(&ctx()).unwrap().graphs, 1);
        index.snapshot()
    };
    let (one, two) = (build(), build());
    for (_, query) in &vectors[1_500..] {
        let found = one.search(&ctx(), query, 16, None).unwrap();
        assert_eq!(found, two.search(&ctx(), query, 16, None).unwrap());
    }
}

#[test]
fn a_search_stops_with_its_caller_and_refuses_a_bad_query() {
    let index = VectorIndex::new(small(2)).unwrap();
    index.insert(1, &[1.0, 0.0]).unwrap();
    let late = Ctx::new(Arc::new(ManualClock::at(0)), Priority::Query, Some(Duration::ZERO));
    let stopped = index.snapshot().search(&late, &[1.0, 0.0], 1, None);
    assert!(matches!(stopped, Err(VectorError::Stopped(Stopped::Deadline))));
    let refused = index.snapshot().search(&ctx(), &[1.0], 1, None).unwrap_err();
    let expected = "vector has 1 dimensions, the index holds vectors of 2; use the model it was made with";
    assert_eq!(refused.to_string(), expected);
    assert_eq!(index.snapshot().search(&ctx(), &[1.0, 0.0], 0, None).unwrap(), []);
}
