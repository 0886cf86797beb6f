//! How many records a second become durable, with one writer and with 64 that share each sync, beside what the disk
//! gives for one write and one `fdatasync` at a time. Records are documents of 2 KB whose text does not compress. It
//! leaves out everything in front of the ledger (hashing, validation, gRPC).
//!
//! `cargo run --release -p ibid-ledger --example group_commit -- <an empty folder on the disk in question>`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ibid_core::{
    CollectionKey, DocumentId, DocumentKey, Generation, MediaType, Metadata, PartitionKey, Readers, Revision, TenantKey,
};
use ibid_ledger::{Compressed, Config, IndexKind, Ledger, Record, StoredDocument};
use ibid_runtime::{Clock, Disk, Random, RealDisk, SeededRandom, SystemClock, SystemRandom};

const LASTS: Duration = Duration::from_secs(3);
const TEXT_BYTES: usize = 2048;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("name an empty folder on the disk in question")?);
    let clock = SystemClock::new();
    let raw = raw(&folder, &clock)?;
    println!("one write of 2 KB and one fdatasync: {raw:.0}/s");
    for kind in [IndexKind::Memory, IndexKind::Sled] {
        for writers in [1, 64] {
            let (rate, records_a_sync) = appends(&folder.join(format!("{kind:?}-{writers}")), kind, writers, &clock)?;
            let share = rate / raw;
            println!(
                "{kind:?} index, {writers} writers: {rate:.0}/s, {share:.1} x raw, {records_a_sync:.1} records a sync"
            );
        }
    }
    Ok(())
}

/// Writes and syncs a second.
fn raw(folder: &Path, clock: &dyn Clock) -> std::io::Result<f64> {
    RealDisk.create_dir_all(folder)?;
    let file = RealDisk.create(&folder.join("raw"))?;
    let (start, mut count) = (clock.monotonic(), 0);
    while clock.monotonic() - start < LASTS {
        file.write_at(count * TEXT_BYTES as u64, &[7; TEXT_BYTES])?;
        file.sync()?;
        count += 1;
    }
    Ok(rate(count, clock.monotonic() - start))
}

/// Records a second, and how many of them shared a sync.
fn appends(
    folder: &Path,
    kind: IndexKind,
    writers: u64,
    clock: &SystemClock,
) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let config = Config {
        segment_bytes_max: 256 << 20,
        room_bytes: 1 << 20,
        queue_bytes_max: 64 << 20,
        index_open_max: Duration::from_secs(30),
        index_cache_bytes: 64 << 20,
        index_changes_max: 16_384,
        master_key: None,
    };
    let (ledger, _) = Ledger::open(Arc::new(RealDisk), folder, config, kind, clock, Arc::new(SystemRandom))?;
    let before = ledger.stats();
    let (start, next) = (clock.monotonic(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let (ledger, next) = (&ledger, &next);
            scope.spawn(move || {
                let text = text(writer);
                while clock.monotonic() - start < LASTS {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    ledger.append(put(number, &text)).wait().expect("the disk takes it");
                }
            });
        }
    });
    let (took, after) = (clock.monotonic() - start, ledger.stats());
    let records = after.records - before.records;
    Ok((rate(records, took), records as f64 / (after.syncs - before.syncs) as f64))
}

fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

fn text(seed: u64) -> String {
    let mut bytes = [0; TEXT_BYTES / 2];
    SeededRandom::new(seed).fill(b"text", &mut bytes);
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn put(number: u64, text: &str) -> Record {
    let mut document = [0; 16];
    document[..8].copy_from_slice(&number.to_be_bytes());
    let put = StoredDocument {
        id: DocumentId::new(&format!("document-{number}")).expect("a valid name"),
        revision: Revision(1),
        generation: Generation(number),
        created_ms: 0,
        media_type: MediaType::Plain,
        title: String::new(),
        source_uri: String::new(),
        metadata: Metadata::new(),
        readers: Readers::default(),
        content_hash: [0; 32],
        idempotency: None,
        ready: Vec::new(),
        text: Compressed::pack(text).expect("far below the limit"),
        made_from: None,
        retain_ms: None,
        first: Revision(1),
    };
    let partition = PartitionKey { tenant: TenantKey(1), collection: CollectionKey(1) };
    Record::DocumentPut { partition, document: DocumentKey(document), put: Box::new(put) }
}
