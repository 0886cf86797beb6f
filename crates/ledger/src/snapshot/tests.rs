//! Snapshots of a ledger that is written and compacted meanwhile, and disks that fail at any step.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ibid_core::{CollectionKey, DocumentKey, PartitionKey, TenantKey};
use ibid_runtime::{Disk, Fault, ManualClock, MemoryDisk, Priority, SeededRandom};
use roaring::RoaringTreemap;

use super::restore::MARKER;
use super::*;
use crate::record::strategy;
use crate::{Config, IndexKind, Ledger, Record, RecordKind, Report};

const FOLDER: &str = "data";
const BACKUP: &str = "backup/of it";

fn ctx() -> Ctx {
    Ctx::new(Arc::new(ManualClock::at(7)), Priority::Ingest, None)
}

fn try_open(disk: &MemoryDisk, segment_bytes_max: u64) -> Result<(Ledger, Report), LedgerError> {
    let config = Config {
        segment_bytes_max,
        room_bytes: 400,
        queue_bytes_max: 1 << 24,
        index_open_max: Duration::from_secs(30),
        index_cache_bytes: 1 << 20,
        master_key: None,
        index_changes_max: 40,
    };
    let (disk, clock, random) = (Arc::new(disk.clone()), ManualClock::at(7), Arc::new(SeededRandom::new(1)));
    Ledger::open(disk, Path::new(FOLDER), config, IndexKind::Memory, &clock, random)
}

fn open(disk: &MemoryDisk, segment_bytes_max: u64) -> Ledger {
    let (ledger, report) = try_open(disk, segment_bytes_max).unwrap();
    assert_eq!(report.damaged, []);
    ledger
}

fn store(disk: &MemoryDisk) -> FolderStore {
    FolderStore::new(Arc::new(disk.clone()), PathBuf::from(BACKUP))
}

fn document(number: u64) -> DocumentKey {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_be_bytes());
    DocumentKey(key)
}

fn put(number: u64, revision: u64, text: &str) -> Record {
    let put = Box::new(strategy::stored(revision, text, None));
    let partition = PartitionKey { tenant: TenantKey(1), collection: CollectionKey(1) };
    Record::DocumentPut { partition, document: document(number), put }
}

fn append(ledger: &Ledger, records: impl Iterator<Item = Record>) {
    for record in records {
        ledger.append(record).wait().unwrap();
    }
}

/// A text that no compression makes shorter.
fn noise(seed: u64, bytes: usize) -> String {
    use ibid_runtime::Random;
    let mut noise = vec![0; bytes];
    SeededRandom::new(seed).fill(b"noise", &mut noise);
    noise.iter().map(|byte| char::from(b'!' + byte % 94)).collect()
}

/// All records but those that opening and closing write.
fn records(ledger: &Ledger) -> BTreeMap<Sequence, Record> {
    let mut records = BTreeMap::new();
    let damaged = ledger.scan(Sequence(1), &mut |sequence, record| {
        if record.kind() != RecordKind::IndexCheckpoint {
            records.insert(sequence, record);
        }
        ControlFlow::Continue(())
    });
    assert_eq!(damaged.unwrap(), []);
    records
}

/// Restores onto a disk of its own.
fn restored(store: &dyn SnapshotStore, manifest: &Manifest) -> MemoryDisk {
    let disk = MemoryDisk::new();
    restore(&ctx(), store, manifest, &disk, Path::new(FOLDER)).unwrap();
    disk.power_cut();
    disk
}

fn compact(ledger: &Ledger) -> Result<(), LedgerError> {
    ledger.seal()?;
    ledger.compact(&ctx(), 0, 0, 0, &RoaringTreemap::new()).map(drop)
}

#[test]
fn a_snapshot_under_writes_and_compaction_has_everything_acknowledged_before_it() {
    let disk = MemoryDisk::new();
    let ledger = open(&disk, 4_000);
    let (store, done) = (store(&disk), AtomicBool::new(false));
    let acked = std::sync::Mutex::new(BTreeMap::new());
    let mut snapshots = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=1_500 {
                let number = round % 50;
                ledger.append(put(number, round, &format!("text {round}"))).wait().unwrap();
                acked.lock().unwrap().insert(document(number).0, round);
            }
            done.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                compact(&ledger).unwrap();
            }
        });
        while !done.load(Ordering::Acquire) {
            let before = acked.lock().unwrap().clone();
            snapshots.push((before, ledger.snapshot(&ctx(), &store, 7).unwrap()));
        }
    });
    snapshots.push((acked.into_inner().unwrap(), ledger.snapshot(&ctx(), &store, 7).unwrap()));
    assert!(snapshots.len() > 3, "snapshots were made meanwhile");
    let ids: Vec<SnapshotId> = snapshots.iter().map(|(_, created)| created.manifest.id.clone()).collect();
    assert_eq!(list(&store).unwrap(), ids, "in order, though the clock stands still");
    let partition = PartitionKey { tenant: TenantKey(1), collection: CollectionKey(1) };
    for (before, created) in &snapshots {
        assert_eq!(created.manifest.damaged_records, 0);
        assert_eq!(read(&store, Some(&created.manifest.id)).unwrap(), created.manifest);
        let copy = open(&restored(&store, &created.manifest), 4_000);
        let heads: BTreeMap<[u8; 16], u64> =
            copy.heads(partition).unwrap().into_iter().map(|(key, head)| (key.0, head.current.revision.0)).collect();
        for (document, revision) in before {
            assert!(heads.get(document).is_some_and(|has| has >= revision), "{document:?}: {revision} of {heads:?}");
        }
        assert!(copy.heads(partition).unwrap().iter().all(|(_, head)| copy.read(head.current.put.unwrap()).is_ok()));
    }
    let (_, last) = snapshots.pop().unwrap();
    let copy = open(&restored(&store, &last.manifest), 4_000);
    assert_eq!(records(&copy), records(&ledger));
    assert_eq!(copy.secret(), ledger.secret());
    copy.append(put(1, 2_000, "it goes on")).wait().unwrap();
}

#[test]
fn a_second_snapshot_copies_what_was_added() {
    let disk = MemoryDisk::new();
    let ledger = open(&disk, 4 << 20);
    let store = store(&disk);
    append(&ledger, (0..100).map(|one| put(one, 1, &noise(one, 160_000))));
    let first = ledger.snapshot(&ctx(), &store, 7).unwrap();
    append(&ledger, (100..101).map(|one| put(one, 1, &noise(one, 160_000))));
    let second = ledger.snapshot(&ctx(), &store, 8).unwrap();
    let third = ledger.snapshot(&ctx(), &store, 9).unwrap();
    assert_eq!(first.bytes_written, first.manifest.bytes());
    let percent = second.bytes_written as f64 * 100.0 / second.manifest.bytes() as f64;
    println!("{} bytes, then {} ({percent:.2} %)", first.bytes_written, second.bytes_written);
    assert!(percent <= 3.0, "{percent} %");
    assert_eq!((third.blocks_written, third.bytes_written), (0, 0));
    let copy = restored(&store, &third.manifest);
    let log = Path::new(FOLDER).join("log");
    assert_eq!(copy.list(&log).unwrap(), disk.list(&log).unwrap());
    for name in disk.list(&log).unwrap() {
        // The tables of contents of the full ones are there too; room is not.
        let (copied, original) = (copy.read(&log.join(&name)).unwrap(), disk.read(&log.join(&name)).unwrap());
        let (same, room) = original.split_at(copied.len());
        assert!(copied == same && room.iter().all(|byte| *byte == 0), "{name:?}");
    }
    assert_eq!(records(&open(&copy, 4 << 20)), records(&ledger));
}

#[test]
fn a_snapshot_that_is_cut_off_anywhere_is_none_and_the_next_one_goes_on() {
    let mut cuts = 0;
    for changes in 0.. {
        let disk = MemoryDisk::new();
        let ledger = open(&disk, 1_500);
        append(&ledger, (1..12).map(|round| put(round, 1, "text")));
        let backup = store(&disk);
        ledger.snapshot(&ctx(), &backup, 7).unwrap();
        append(&ledger, (20..30).map(|round| put(round, 1, "text")));
        disk.inject(Fault::PowerFails(changes));
        let whole = ledger.snapshot(&ctx(), &backup, 8).is_ok();
        drop(ledger);
        disk.power_cut_with(&SeededRandom::new(u64::from(changes)));
        let check = |ids: &[SnapshotId]| {
            for id in ids {
                let manifest = read(&backup, Some(id)).unwrap();
                verify(&ctx(), &backup, &manifest).unwrap();
                open(&restored(&backup, &manifest), 1_500);
            }
        };
        let ids = list(&backup).unwrap();
        assert!(ids.len() == 2 || (ids.len() == 1 && !whole), "{ids:?}");
        check(&ids);
        let ledger = open(&disk, 1_500);
        let next = ledger.snapshot(&ctx(), &backup, 9).unwrap();
        // What one attempt saw, the power may take before the next.
        disk.power_cut();
        check(&list(&backup).unwrap());
        assert_eq!(read(&backup, None).unwrap(), next.manifest);
        cuts += 1;
        if whole {
            break;
        }
    }
    assert!(cuts > 20, "{cuts}");
}

#[test]
fn a_failed_write_or_sync_is_an_error_and_no_snapshot() {
    for after in 0..6 {
        for fault in [Fault::SyncFails(after), Fault::WriteTorn(after), Fault::DiskFull(after)] {
            let (disk, target) = (MemoryDisk::new(), MemoryDisk::new());
            let ledger = open(&disk, 1_500);
            append(&ledger, (1..12).map(|round| put(round, 1, "text")));
            target.inject(fault);
            let failed = ledger.snapshot(&ctx(), &store(&target), 7).is_err();
            assert_eq!(failed, list(&store(&target)).unwrap().is_empty(), "{fault:?}");
            target.forget_faults();
            let made = ledger.snapshot(&ctx(), &store(&target), 7).unwrap();
            target.power_cut();
            assert_eq!(records(&open(&restored(&store(&target), &made.manifest), 1_500)), records(&ledger));
        }
    }
}

#[test]
fn a_restore_that_is_cut_off_anywhere_never_opens() {
    let disk = MemoryDisk::new();
    let ledger = open(&disk, 1_500);
    append(&ledger, (1..12).map(|round| put(round, 1, "text")));
    let made = ledger.snapshot(&ctx(), &store(&disk), 7).unwrap();
    let mut cuts = 0;
    for changes in 0.. {
        let target = MemoryDisk::new();
        target.inject(Fault::PowerFails(changes));
        let whole = restore(&ctx(), &store(&disk), &made.manifest, &target, Path::new(FOLDER)).is_ok();
        target.power_cut_with(&SeededRandom::new(u64::from(changes)));
        match try_open(&target, 1_500) {
            Err(LedgerError::Unfinished) => assert!(!whole),
            // Nothing had been written at all, or everything.
            Ok((_, report)) if report.created => assert!(!whole),
            Ok((copy, report)) => {
                assert_eq!((records(&copy), report.damaged), (records(&ledger), vec![]));
            }
            Err(other) => panic!("{other:?}"),
        }
        cuts += 1;
        if whole {
            break;
        }
    }
    assert!(cuts > 10, "{cuts}");
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let disk = MemoryDisk::new();
    let ledger = open(&disk, 1_500);
    let made = ledger.snapshot(&ctx(), &store(&disk), 7).unwrap();
    let again = restore(&ctx(), &store(&disk), &made.manifest, &disk, Path::new(FOLDER));
    assert!(matches!(again, Err(SnapshotError::NotEmpty)));
    assert!(!disk.exists(&Path::new(FOLDER).join(MARKER)));
}

#[test]
fn a_damaged_or_missing_block_is_named_with_its_file() {
    let disk = MemoryDisk::new();
    let ledger = open(&disk, 1 << 20);
    append(&ledger, (0..4).map(|one| put(one, 1, &noise(one, 100_000))));
    let made = ledger.snapshot(&ctx(), &store(&disk), 7).unwrap();
    let block = made.manifest.files[0].blocks[1];
    let path = Path::new(BACKUP).join(block_name(block));
    disk.flip(&path, 77).unwrap();
    let file = "log/00000000000000000001.log".to_owned();
    let expected = SnapshotError::BlockDamaged { block, file: file.clone() }.to_string();
    assert_eq!(verify(&ctx(), &store(&disk), &made.manifest).unwrap_err().to_string(), expected);
    let target = MemoryDisk::new();
    let failed = restore(&ctx(), &store(&disk), &made.manifest, &target, Path::new(FOLDER));
    assert_eq!(failed.unwrap_err().to_string(), expected);
    assert!(matches!(try_open(&target, 1_500), Err(LedgerError::Unfinished)));

    disk.remove(&path).unwrap();
    let missing = verify(&ctx(), &store(&disk), &made.manifest).unwrap_err();
    assert_eq!(missing.to_string(), SnapshotError::BlockMissing { block, file }.to_string());
    // The next snapshot puts it back.
    ledger.snapshot(&ctx(), &store(&disk), 8).unwrap();
    verify(&ctx(), &store(&disk), &made.manifest).unwrap();
}

#[test]
fn a_changed_manifest_is_refused() {
    let disk = MemoryDisk::new();
    let made = open(&disk, 1_500).snapshot(&ctx(), &store(&disk), 7).unwrap();
    let id = &made.manifest.id;
    let bytes = made.manifest.encode();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(Manifest::decode(id, &changed).is_err(), "byte {at}");
    }
    let newer = Manifest { format: 3, ..made.manifest.clone() };
    let newer = Manifest::decode(id, &newer.encode());
    assert!(matches!(newer, Err(SnapshotError::Newer { found: 3, supported: 2 })));
    // Its checksum is right, what it says is not.
    for segment in [0, 1] {
        let mut odd = made.manifest.clone();
        odd.files.push(SnapshotFile { segment, bytes: 0, blocks: vec![] });
        assert!(matches!(Manifest::decode(id, &odd.encode()), Err(SnapshotError::Manifest { .. })));
    }
    let unknown = read(&store(&disk), SnapshotId::parse("0000000000001-2").as_ref());
    assert!(matches!(unknown, Err(SnapshotError::NotFound { .. })));
    for odd in ["", "7-1", "0000000000007-", "0000000000007-01", "../0000000000007-1", "0000000000007-+1"] {
        assert_eq!(SnapshotId::parse(odd), None, "{odd}");
    }
}

#[test]
fn a_record_that_is_damaged_in_the_log_is_counted() {
    let disk = MemoryDisk::new();
    let ledger = open(&disk, 1 << 20);
    append(&ledger, (0..8).map(|one| put(one, 1, &noise(one, 100_000))));
    disk.flip(&Path::new(FOLDER).join("log/00000000000000000001.log"), 300_000).unwrap();
    let made = ledger.snapshot(&ctx(), &store(&disk), 7).unwrap();
    assert_eq!(made.manifest.damaged_records, 1);
}

#[test]
fn whoever_leaves_stops_it() {
    let disk = MemoryDisk::new();
    let ledger = open(&disk, 1_500);
    let ctx = ctx();
    ctx.stop();
    let stopped = ledger.snapshot(&ctx, &store(&disk), 7);
    assert!(matches!(stopped, Err(SnapshotError::Stopped(_))));
    assert_eq!(list(&store(&disk)).unwrap(), []);
}
