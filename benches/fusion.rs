//! Reciprocal rank fusion of two lists: of 50 chunks each, as a search fuses them, and of 1,000.
//!
//! Corpus: chunk ids in a shuffled order (seed 7); the two lists share half of their chunks. Compares the hash map that
//! `rrf` sums in with sorting all entries by chunk and summing neighbours; both must give the same list.
//! Leaves out: more than two lists, and what a search spends on the rest of the path.
//!
//! Run: `cargo bench -p ibid --bench fusion`

mod beside;

use criterion::{Criterion, Throughput};
use ibid_core::{ChunkId, CollectionKey, DocumentKey, PartitionKey, TenantKey};
use ibid_retrieve::{Fused, rrf};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

const K: f32 = 60.0;
const SEED: u64 = 7;

fn main() {
    let mut criterion = beside::criterion();
    for length in [50, 1_000] {
        fuse(&mut criterion, length);
    }
    criterion.final_summary();
}

fn fuse(criterion: &mut Criterion, length: usize) {
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut chunks: Vec<ChunkId> = (0..length * 3 / 2).map(chunk).collect();
    chunks.shuffle(&mut rng);
    let (mut words, mut meaning) = (chunks[..length].to_vec(), chunks[length / 2..].to_vec());
    words.shuffle(&mut rng);
    meaning.shuffle(&mut rng);
    let lists = [(1.0, &words[..]), (1.0, &meaning[..])];
    assert_eq!(rrf(&lists, K), rrf_by_sorting(&lists, K));

    let mut group = criterion.benchmark_group(format!("two lists of {length}"));
    group.throughput(Throughput::Elements(2 * length as u64));
    let hashing = beside::time(&mut group, "rrf", || (), |()| rrf(&lists, K));
    let sorting = beside::time(&mut group, "rrf by sorting", || (), |()| rrf_by_sorting(&lists, K));
    beside::print_ratio(&hashing, &sorting);
}

/// What [`rrf`] computes, for lists of positive weight.
fn rrf_by_sorting(lists: &[(f32, &[ChunkId])], k: f32) -> Vec<Fused> {
    let of_list = |(weight, chunks): &(f32, &'_ [ChunkId])| {
        let weight = *weight;
        let ranked = (1_u32..).zip(chunks.to_vec());
        ranked.map(move |(rank, chunk)| Fused { chunk, rrf: weight / (k + rank as f32) })
    };
    let mut entries: Vec<Fused> = lists.iter().flat_map(of_list).collect();
    // Stable, so that a chunk's parts are summed in the lists' order.
    entries.sort_by_key(|entry| entry.chunk);
    let same_chunk = entries.chunk_by(|one, next| one.chunk == next.chunk);
    let sum = |parts: &[Fused]| Fused { chunk: parts[0].chunk, rrf: parts.iter().map(|part| part.rrf).sum() };
    let mut fused: Vec<Fused> = same_chunk.map(sum).collect();
    fused.sort_by(|a, b| b.rrf.total_cmp(&a.rrf));
    fused
}

fn chunk(number: usize) -> ChunkId {
    let partition = PartitionKey { tenant: TenantKey(1), collection: CollectionKey(1) };
    ChunkId::of(partition, DocumentKey([0; 16]), &number.to_string(), 0)
}
