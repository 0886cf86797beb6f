//! The best 10 by cosine: the exact scan, a walk through a frozen graph, and both within a scope.
//!
//! Corpus: vectors around random centres, 1,000 to a cluster, questions from the same clusters (seed 7). The scan: 20,000 of
//! 384 dimensions, as bytes a second to be set against the memory's, beside a plain loop over the same floats. The graph:
//! 10,000 of 128 dimensions, `m` 16, `ef_construction` 200, `ef_search` 96, built serially so that it is the same graph
//! each time, beside a scan of the same vectors. Scopes of 10 % and 1 %, spread over all clusters, on the index with the
//! graph, beside the search without a scope on the one that is scanned. Recall@10 against the exact list is printed beside.
//! Leaves out: several segments, removed vectors, scopes far from the question, data without clusters (the same graph search
//! had a recall of 0.88 there), the building of the graph.
//!
//! Run: `cargo bench -p ibid --bench vector`

mod beside;

use std::sync::Arc;

use criterion::{Criterion, Throughput};
use ibid_core::Label;
use ibid_runtime::{Ctx, Priority, SystemClock};
use ibid_vector::{Build, Config, VectorIndex};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use roaring::RoaringBitmap;

const K: usize = 10;
const QUESTIONS: usize = 200;
const CLUSTER_VECTORS: usize = 1_000;
const SEED: u64 = 7;

fn main() {
    let mut criterion = beside::criterion();
    scan(&mut criterion, 20_000, 384);
    walk(&mut criterion, 10_000, 128);
    criterion.final_summary();
}

fn scan(criterion: &mut Criterion, count: usize, dimension: usize) {
    let (ctx, corpus) = (ctx(), Corpus::new(count, dimension));
    let scanned = corpus.index(usize::MAX);
    let floats = corpus.unit_floats();
    let by_loop = |question: &[f32]| best_by_loop(&floats, question);
    print_recall("a plain loop", &corpus, by_loop, |question| search(&ctx, &scanned, question, None));

    let mut group = criterion.benchmark_group(format!("{count} vectors of {dimension}"));
    group.throughput(Throughput::BytesDecimal((count * dimension * size_of::<f32>()) as u64));
    let scan = beside::time(&mut group, "scan", corpus.cycle(), |question| search(&ctx, &scanned, question, None));
    let plain = beside::time(&mut group, "a plain loop", corpus.cycle(), by_loop);
    beside::print_ratio(&scan, &plain);
}

fn walk(criterion: &mut Criterion, count: usize, dimension: usize) {
    let (ctx, corpus) = (ctx(), Corpus::new(count, dimension));
    let (scanned, walked) = (corpus.index(usize::MAX), corpus.index(2));
    let mut group = criterion.benchmark_group(format!("{count} vectors of {dimension}"));
    let scan = beside::time(&mut group, "scan", corpus.cycle(), |question| search(&ctx, &scanned, question, None));

    let scope = |step| (0..count as Label).step_by(step).collect::<RoaringBitmap>();
    let (tenth, hundredth) = (scope(10), scope(100));
    for (name, allowed) in [("graph", None), ("within 10 %", Some(&tenth)), ("within 1 %", Some(&hundredth))] {
        let found = |question: &[f32]| search(&ctx, &walked, question, allowed);
        print_recall(name, &corpus, found, |question| search(&ctx, &scanned, question, allowed));
        let timed = beside::time(&mut group, name, corpus.cycle(), found);
        beside::print_ratio(&timed, &scan);
    }
}

type Found = Vec<(Label, f32)>;

fn search(ctx: &Ctx, index: &VectorIndex, question: &[f32], allowed: Option<&RoaringBitmap>) -> Found {
    index.snapshot().search(ctx, question, K, allowed).expect("a vector that has a cosine")
}

fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()), Priority::Query, None)
}

/// The scan without its instructions: `floats` are rows of length one.
fn best_by_loop(floats: &[f32], question: &[f32]) -> Found {
    let length = dot(question, question).sqrt();
    let rows = floats.chunks_exact(question.len());
    let mut cosines: Found = (0..).zip(rows.map(|row| dot(row, question) / length)).collect();
    cosines.select_nth_unstable_by(K, |a, b| b.1.total_cmp(&a.1));
    cosines.truncate(K);
    cosines
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Prints the share of the labels of `exact` that `found` has, over all questions.
fn print_recall(name: &str, corpus: &Corpus, found: impl Fn(&[f32]) -> Found, exact: impl Fn(&[f32]) -> Found) {
    let labels = |found: Found| found.into_iter().map(|(label, _)| label).collect::<RoaringBitmap>();
    let (mut hits, mut all) = (0, 0);
    for question in &corpus.questions {
        let exact = labels(exact(question));
        hits += labels(found(question)).intersection_len(&exact);
        all += exact.len();
    }
    println!("{name}: recall@{K} {:.4}", hits as f64 / all as f64);
}

struct Corpus {
    dimension: usize,
    vectors: Vec<Vec<f32>>,
    questions: Vec<Vec<f32>>,
}

impl Corpus {
    fn new(count: usize, dimension: usize) -> Corpus {
        let mut rng = StdRng::seed_from_u64(SEED);
        let mut random = |reach: f32| -> Vec<f32> { (0..dimension).map(|_| rng.random_range(-reach..reach)).collect() };
        let centres: Vec<Vec<f32>> = (0..count / CLUSTER_VECTORS).map(|_| random(1.0)).collect();
        let mut around = |number: usize| -> Vec<f32> {
            let centre = &centres[number % centres.len()];
            centre.iter().zip(random(0.7)).map(|(centre, noise)| centre + noise).collect()
        };
        let vectors = (0..count).map(&mut around).collect();
        let questions = (0..QUESTIONS).map(&mut around).collect();
        Corpus { dimension, vectors, questions }
    }

    /// All vectors, labels from 0, in one segment, which has a graph if there are `graph_from` vectors.
    fn index(&self, graph_from: usize) -> VectorIndex {
        let config = Config {
            dimension: self.dimension,
            graph_from,
            m: 16,
            ef_construction: 200,
            ef_search: 96,
            seal_from: 1,
            build: Build::Serial,
        };
        let index = VectorIndex::new(config).expect("settings in range");
        index.apply(&[], (0..).zip(self.vectors.clone()).collect()).expect("vectors that have a cosine");
        index.maintain(&ctx()).expect("nobody stops it");
        index
    }

    /// All vectors at length one, row after row.
    fn unit_floats(&self) -> Vec<f32> {
        let unit = |vector: &Vec<f32>| {
            let length = dot(vector, vector).sqrt();
            vector.iter().map(move |x| x / length).collect::<Vec<_>>()
        };
        self.vectors.iter().flat_map(unit).collect()
    }

    /// The questions, over and over.
    fn cycle<'c>(&'c self) -> impl FnMut() -> &'c [f32] {
        let mut questions = self.questions.iter().map(Vec::as_slice).cycle();
        move || questions.next().expect("a cycle has no end")
    }
}
