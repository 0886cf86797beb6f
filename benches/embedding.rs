//! The shipped embedder beside candle's own BERT on the same weights: passages a second, and one question.
//!
//! Corpus: one word repeated, so that lengths are exact: 16 passages of 128 tokens; 16 of 8 to 256 (seed 7); one question of
//! 12. Both compute on one pool of a thread for each core. Ours includes tokenizing, pooling and the pool's queue; candle's
//! begins at the tokens and ends at the hidden states, a text at a time. The least cosine between the two models'
//! vectors is printed beside.
//! Leaves out: what other words do to the tokenizer, several calls side by side, other models.
//!
//! Run: `cargo bench -p ibid --bench embedding`

mod beside;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};
use futures::executor::block_on;
use ibid_core::{Embed, ModelId, Purpose};
use ibid_infer::{Candle, Device, Embedder, ModelStore, Tokens};
use ibid_runtime::{Ctx, Pool, Priority, SystemClock};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const MODEL: &str = "all-MiniLM-L6-v2-int8";
const PASSAGES: usize = 16;
const BATCH_TOKENS_MAX: usize = 2_048;
const SEED: u64 = 7;

fn main() {
    let mut criterion = beside::criterion();
    let models = Models::load();
    let mut rng = StdRng::seed_from_u64(SEED);
    models.time(&mut criterion, "passages of 128 tokens", Purpose::Passage, &[128; PASSAGES]);
    let mixed: [usize; PASSAGES] = std::array::from_fn(|_| rng.random_range(8..=256));
    models.time(&mut criterion, "passages of 8 to 256 tokens", Purpose::Passage, &mixed);
    models.time(&mut criterion, "a question of 12 tokens", Purpose::Query, &[12]);
    criterion.final_summary();
}

struct Models {
    pool: Pool,
    ours: Embedder,
    candle: Candle,
}

impl Models {
    fn load() -> Models {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/models"));
        let pool = Pool::new(num_cpus::get(), 64).expect("threads");
        let id = ModelId::new(MODEL).expect("a valid name");
        let store = ModelStore::new(vec![folder.to_owned()]);
        let ours = store.load_embedder(&id, &pool, BATCH_TOKENS_MAX).expect("the model comes with the repository");
        let candle = Candle::open(&folder.join(MODEL), Device::Cpu).expect("the model comes with the repository");
        println!("{} threads", pool.threads());
        Models { pool, ours, candle }
    }

    /// Times both on texts of these lengths, in tokens.
    fn time(&self, criterion: &mut Criterion, name: &str, purpose: Purpose, lengths: &[usize]) {
        let ctx = Ctx::new(Arc::new(SystemClock::new()), Priority::Query, None);
        let texts: Vec<String> = lengths.iter().map(|length| "the ".repeat(length - 2)).collect();
        let tokens: Vec<Tokens> = lengths.iter().map(|length| tokens(*length)).collect();
        let ours = || block_on(self.ours.embed(&ctx, purpose, &texts)).expect("a model that is loaded");
        let candle = || self.pool.install(|| self.candle.encode(&tokens)).expect("tokens of the vocabulary");

        let vectors_and_states = ours().into_iter().zip(candle());
        let cosines = vectors_and_states.map(|(vector, states)| cosine_to_mean(&vector, &states));
        println!("{name}: least cosine between ours and candle {:.6}", cosines.fold(1.0, f32::min));

        let mut group = criterion.benchmark_group(name);
        group.sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(5));
        group.throughput(Throughput::Elements(texts.len() as u64));
        let ours = beside::time(&mut group, "ours", || (), |()| ours());
        let candle = beside::time(&mut group, "candle", || (), |()| candle());
        beside::print_ratio(&ours, &candle);
    }
}

/// `[CLS] the the .. [SEP]`
fn tokens(length: usize) -> Tokens {
    let mut ids = vec![1996; length];
    (ids[0], ids[length - 1]) = (101, 102);
    Tokens { second: length, ids }
}

/// The cosine of `vector` and the mean of the rows of `states`.
fn cosine_to_mean(vector: &[f32], states: &[f32]) -> f32 {
    let mut sum = vec![0.0; vector.len()];
    for row in states.chunks_exact(vector.len()) {
        sum.iter_mut().zip(row).for_each(|(sum, state)| *sum += state);
    }
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(vector, &sum) / (dot(vector, vector) * dot(&sum, &sum)).sqrt()
}
