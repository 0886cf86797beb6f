//! Passages a second of the shipped embedder, beside candle's own BERT on the same weights.
//!
//! Passages of exactly 128 tokens (126 times one word), 32 a call, alternating calls in one process, on a pool of one
//! thread a core; ours includes tokenizing, pooling and the pool's queue, candle's does not. Then one question of 12 tokens,
//! and the time to load. Leaves out: longer texts, mixed lengths, other processors.
//!
//! Run: `cargo bench -p ibid-infer --bench encoder`

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use ibid_core::{Embed, ModelId, Purpose};
use ibid_infer::{ModelStore, Reference, Tokens};
use ibid_runtime::{Clock, Ctx, Pool, Priority, SystemClock};

const MODEL: &str = "all-MiniLM-L6-v2-int8";
const PASSAGES: usize = 32;
const ROUNDS: usize = 7;
const BATCH_TOKENS_MAX: usize = 2_048;

fn main() {
    let models = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models"));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = Pool::new(threads, 64).expect("threads");
    let store = ModelStore::new(vec![models.to_owned()]);
    let id = ModelId::new(MODEL).expect("a name");
    let clock = SystemClock::new();
    let timed = |work: &mut dyn FnMut()| {
        let start = clock.monotonic();
        work();
        clock.monotonic() - start
    };
    let start = clock.monotonic();
    let embedder = store.load_embedder(&id, &pool, BATCH_TOKENS_MAX).expect("the shipped model");
    println!("load: {:.0} ms; {threads} threads", (clock.monotonic() - start).as_secs_f64() * 1e3);
    let reference = Reference::load(&models.join(MODEL)).expect("the shipped model");

    let ctx = Ctx::new(Arc::new(SystemClock::new()), Priority::Query, None);
    let texts = vec!["the ".repeat(126); PASSAGES];
    let mut ids = vec![1996; 128];
    (ids[0], ids[127]) = (101, 102);
    let tokens = vec![Tokens { second: 128, ids }; PASSAGES];
    let (mut ours, mut candle) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(timed(&mut || drop(block_on(embedder.embed(&ctx, Purpose::Passage, &texts)).expect("vectors"))));
        candle.push(timed(&mut || drop(pool.install(|| reference.encode(&tokens)).expect("states"))));
    }
    let (ours, candle) = (PASSAGES as f64 / median(ours), PASSAGES as f64 / median(candle));
    println!("ours {ours:.1} passages/s, candle {candle:.1} passages/s, ratio {:.2}", ours / candle);

    let question = ["how does a plant turn light into sugar?".to_owned()];
    let times =
        (0..200).map(|_| timed(&mut || drop(block_on(embedder.embed(&ctx, Purpose::Query, &question)).expect("one"))));
    println!("one question: p50 {:.2} ms", median(times.collect()) * 1e3);
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}
