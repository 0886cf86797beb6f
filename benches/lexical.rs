//! BM25 over 20,000 chunks: a search, the same within a scope of 1 %, and what a written batch costs.
//!
//! Corpus: chunks of 40 to 160 words, drawn by Zipf's law from 30,000 invented ones (seed 7). 200 questions of four words by
//! the same law, without the 100 most frequent, which stand for stop words; the best 50 are asked for. A batch of 64
//! chunks replaces the one before it, as a document's new revision does.
//! Compares: the scope with none, a batch of 64 with batches of one, memory with a folder.
//! Leaves out: stems and stop words, searches in several segments and beside deleted chunks, merges.
//!
//! Run: `cargo bench -p ibid --bench lexical`

mod beside;

use std::sync::Arc;

use criterion::{Criterion, Throughput};
use ibid_core::{Label, Language};
use ibid_lexical::{Analysis, Changes, Entry, LexicalIndex, Snapshot, Storage};
use ibid_runtime::{Ctx, Priority, SystemClock};
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use roaring::RoaringBitmap;

const CHUNKS: u32 = 20_000;
const VOCABULARY: usize = 30_000;
const STOP_WORDS: usize = 100;
const QUESTIONS: usize = 200;
const N: usize = 50;
const BATCH_CHUNKS: u32 = 64;
const SEED: u64 = 7;

fn main() {
    let mut criterion = beside::criterion();
    let mut corpus = Corpus::new();
    let add: Vec<Entry> = (0..CHUNKS).map(|label| corpus.entry(label)).collect();
    let questions: Vec<String> = (0..QUESTIONS).map(|_| corpus.question()).collect();
    let batch: Vec<Entry> = (CHUNKS..CHUNKS + BATCH_CHUNKS).map(|label| corpus.entry(label)).collect();
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let in_memory = index(&Storage::Memory, add.clone());
    let in_folder = index(&Storage::Folder(folder.path().to_owned()), add);

    search(&mut criterion, &in_memory.snapshot(), &questions);
    write(&mut criterion, &in_memory, &in_folder, &batch);
    criterion.final_summary();
}

fn search(criterion: &mut Criterion, snapshot: &Snapshot, questions: &[String]) {
    let ctx = Ctx::new(Arc::new(SystemClock::new()), Priority::Query, None);
    let scope: RoaringBitmap = (0..CHUNKS).step_by(100).collect();
    let find = |question: &str, n, allowed: Option<&RoaringBitmap>| {
        snapshot.search(&ctx, question, n, allowed).expect("an intact index")
    };
    for question in questions {
        let mut all = find(question, CHUNKS as usize, None);
        all.retain(|(label, _)| scope.contains(*label));
        all.truncate(N);
        assert_eq!(find(question, N, Some(&scope)), all, "a scope changes neither scores nor order");
    }

    let mut group = criterion.benchmark_group("BM25 over 20,000 chunks");
    let mut time = |name: &str, allowed: Option<&RoaringBitmap>| {
        let mut questions = questions.iter().cycle();
        let next = || questions.next().expect("a cycle has no end");
        beside::time(&mut group, name, next, |question| find(question, N, allowed))
    };
    let all = time("search", None);
    let scoped = time("search within 1 %", Some(&scope));
    beside::print_ratio(&scoped, &all);
}

fn write(criterion: &mut Criterion, in_memory: &LexicalIndex, in_folder: &LexicalIndex, batch: &[Entry]) {
    let mut group = criterion.benchmark_group("write 64 chunks beside 20,000");
    group.throughput(Throughput::Elements(batch.len() as u64));
    let mut time = |name: &str, index: &LexicalIndex, commit_chunks: usize| {
        let commits = || {
            let commits = batch.chunks(commit_chunks);
            commits.map(|add| Changes { remove: Vec::new(), add: add.to_vec() }).collect::<Vec<_>>()
        };
        let write = |commits: Vec<Changes>| {
            commits.into_iter().for_each(|changes| index.write(changes, 1).expect("a disk with room"));
        };
        beside::time(&mut group, name, commits, write)
    };
    let one_commit = time("one commit", in_memory, batch.len());
    let one_each = time("a commit each", in_memory, 1);
    let on_disk = time("one commit to a folder", in_folder, batch.len());
    let each_on_disk = time("a commit each to a folder", in_folder, 1);
    beside::print_ratio(&one_commit, &one_each);
    beside::print_ratio(&one_commit, &on_disk);
    beside::print_ratio(&one_each, &each_on_disk);
}

fn index(storage: &Storage, add: Vec<Entry>) -> LexicalIndex {
    let analysis = Analysis { language: Language::None, stemming: false, stop_words: false };
    let index = LexicalIndex::open(storage, analysis).expect("a new index").index;
    index.write(Changes { remove: Vec::new(), add }, 0).expect("a disk with room");
    index
}

struct Corpus {
    rng: StdRng,
    ranks: WeightedIndex<f64>,
}

impl Corpus {
    fn new() -> Corpus {
        let frequencies = (1..=VOCABULARY).map(|rank| 1.0 / rank as f64);
        let ranks = WeightedIndex::new(frequencies).expect("positive weights");
        Corpus { rng: StdRng::seed_from_u64(SEED), ranks }
    }

    fn entry(&mut self, label: Label) -> Entry {
        let length = self.rng.random_range(40..=160);
        Entry { label, title: self.words(3), headings: self.words(4), text: self.words(length) }
    }

    fn words(&mut self, count: usize) -> String {
        let words = (0..count).map(|_| word(self.ranks.sample(&mut self.rng)));
        words.collect::<Vec<_>>().join(" ")
    }

    fn question(&mut self) -> String {
        let ranks = std::iter::repeat_with(|| self.ranks.sample(&mut self.rng));
        let words = ranks.filter(|rank| *rank >= STOP_WORDS).take(4).map(word);
        words.collect::<Vec<_>>().join(" ")
    }
}

/// The word of this rank: its digits to the base of 100 as syllables.
fn word(mut rank: usize) -> String {
    let mut word = String::new();
    loop {
        let syllable = rank % 100;
        word.push(char::from(b"bcdfghjklmnpqrstvwxz"[syllable / 5]));
        word.push(char::from(b"aeiou"[syllable % 5]));
        rank /= 100;
        if rank == 0 {
            return word;
        }
    }
}
