//! The ledger against failing disks, damaged files and a failing index.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ibid_core::{CollectionKey, Findings, KeyId, ModelId, Revision, TenantKey};
use ibid_runtime::{Fault, ManualClock, MemoryDisk, RealDisk, SeededRandom};
use proptest::prelude::*;

use super::*;
use crate::contents::Place;
use crate::frame::{FolderId, RecordHeader, SegmentHeader};
use crate::index::{Changes, MemoryIndex};
use crate::log::{Opened, Writer};
use crate::record::strategy;
use crate::{RecordKind, Version};

const FOLDER: &str = "data";

fn config() -> Config {
    Config {
        // Three or four records, so that segments end often.
        segment_bytes_max: 1500,
        room_bytes: 400,
        queue_bytes_max: 1 << 20,
        index_open_max: Duration::from_secs(30),
        index_cache_bytes: 1 << 20,
        master_key: None,
        index_changes_max: 40,
    }
}

fn try_open(disk: &MemoryDisk) -> Result<(Ledger, Report), LedgerError> {
    try_open_with(disk, config())
}

fn try_open_with(disk: &MemoryDisk, config: Config) -> Result<(Ledger, Report), LedgerError> {
    let (disk, clock, random) = (Arc::new(disk.clone()), ManualClock::at(7), Arc::new(SeededRandom::new(1)));
    Ledger::open(disk, Path::new(FOLDER), config, IndexKind::Memory, &clock, random)
}

/// Opens, whatever faults are still planned: each strikes once.
fn open(disk: &MemoryDisk) -> (Ledger, Report) {
    (0..20).find_map(|_| try_open(disk).ok()).expect("opens once every fault is spent")
}

fn open_real(folder: &Path, kind: IndexKind) -> (Ledger, Report) {
    let (clock, random) = (ManualClock::at(7), Arc::new(SeededRandom::new(1)));
    Ledger::open(Arc::new(RealDisk), folder, config(), kind, &clock, random).unwrap()
}

/// Without room, so that a file ends with its last record.
fn sizes() -> Sizes {
    Sizes { segment_bytes_max: config().segment_bytes_max, room_bytes: 0 }
}

/// Nothing is encrypted.
fn keys(disk: &MemoryDisk) -> Arc<TenantKeys> {
    let (disk, random) = (Arc::new(disk.clone()), Arc::new(SeededRandom::new(1)));
    Arc::new(TenantKeys::open(disk, Path::new(FOLDER).join("tenant-keys"), None, random).unwrap())
}

fn open_log(disk: &MemoryDisk) -> Result<Opened, LedgerError> {
    Log::open(Arc::new(disk.clone()), Path::new(FOLDER).join("log"), sizes(), keys(disk), || [3; 32])
}

/// One group, written and synced.
fn write(writer: &mut Writer, group: &[Record]) {
    let bodies: Vec<Body> = group.iter().map(|record| Body::of(record).unwrap()).collect();
    writer.write(&bodies.iter().collect::<Vec<_>>()).unwrap();
}

fn scanned(log: &Log) -> BTreeMap<Sequence, Record> {
    let mut records = BTreeMap::new();
    let visit = &mut |sequence, record| {
        records.insert(sequence, record);
        Ok(ControlFlow::Continue(()))
    };
    log.scan(Sequence(1), visit).unwrap();
    records
}

fn damaged(log: &Log) -> Vec<Damaged> {
    log.scan(Sequence(1), &mut |_, _| Ok(ControlFlow::Continue(()))).unwrap()
}

/// Every record's segment and place.
fn places(log: &Log) -> Vec<(u32, Place)> {
    let segments = log.segments();
    segments.iter().flat_map(|segment| segment.contents.places().map(|place| (segment.number, place))).collect()
}

/// What the ledger holds, without what it writes for itself.
fn held(ledger: &Ledger) -> Vec<Record> {
    let own = [RecordKind::FolderCreated, RecordKind::IndexCheckpoint];
    scanned(&ledger.log).into_values().filter(|record| !own.contains(&record.kind())).collect()
}

fn partition() -> PartitionKey {
    PartitionKey { tenant: TenantKey(1), collection: CollectionKey(1) }
}

fn document(number: u32) -> DocumentKey {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&number.to_be_bytes());
    DocumentKey(key)
}

fn put(number: u32, text: &str) -> Record {
    let put = Box::new(strategy::stored(1, text, None));
    Record::DocumentPut { partition: partition(), document: document(number), put }
}

/// The index that was kept while writing is the one that the log gives.
fn assert_index_follows(ledger: &Ledger) {
    let (fresh, _) = replay::fall_back(&ledger.log, "compare".to_owned()).unwrap();
    let kept = ledger.kept.read().unwrap().index.clone().unwrap();
    assert_same(&entries(&*kept), &entries(&*fresh.index.unwrap()));
}

/// All but the last record applied: that one may have been compacted away.
fn entries(index: &dyn Index) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut entries = BTreeMap::new();
    index.scan_prefix(&[], &mut |key, value| drop(entries.insert(key.to_vec(), value.to_vec()))).unwrap();
    entries.remove(key::APPLIED);
    entries
}

#[track_caller]
fn assert_same(one: &BTreeMap<Vec<u8>, Vec<u8>>, other: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let differs = |one: &BTreeMap<Vec<u8>, Vec<u8>>, other: &BTreeMap<Vec<u8>, Vec<u8>>| {
        one.clone().into_iter().filter(|(key, value)| other.get(key) != Some(value)).collect::<Vec<_>>()
    };
    assert_eq!(differs(one, other), differs(other, one));
}

#[derive(Debug, Clone)]
enum Step {
    Append(Record),
    Settle,
    PowerCut,
    Reopen,
    Inject(Fault),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => strategy::document_record().prop_map(Step::Append),
        3 => Just(Step::Settle),
        1 => Just(Step::PowerCut),
        1 => Just(Step::Reopen),
        1 => (0..3u32).prop_map(|after| Step::Inject(Fault::SyncFails(after))),
        1 => (0..3u32).prop_map(|after| Step::Inject(Fault::WriteTorn(after))),
        1 => (0..3u32).prop_map(|after| Step::Inject(Fault::DiskFull(after))),
    ]
}

/// A ledger, and what it must hold.
struct Run {
    disk: MemoryDisk,
    ledger: Ledger,
    /// What the last open found, and what was acknowledged since.
    durable: Vec<Record>,
    /// Which records some of it are.
    sequences: Vec<(usize, Sequence)>,
    waiting: Vec<(Record, Pending)>,
    /// Failed in a way that leaves it open whether they are there; in order, after everything acknowledged.
    unknown: Vec<Record>,
}

impl Run {
    fn new() -> Run {
        let disk = MemoryDisk::new();
        let (ledger, report) = open(&disk);
        assert!(report.created);
        Run { disk, ledger, durable: Vec::new(), sequences: Vec::new(), waiting: Vec::new(), unknown: Vec::new() }
    }

    fn settle(&mut self) {
        for (record, pending) in self.waiting.drain(..) {
            match pending.wait() {
                Ok(sequence) => {
                    assert!(self.unknown.is_empty(), "acknowledged after a failed write");
                    self.durable.push(record);
                    self.sequences.push((self.durable.len() - 1, sequence));
                }
                Err(LedgerError::Write { .. }) => self.unknown.push(record),
                Err(LedgerError::Full | LedgerError::Poisoned) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    fn reopen(&mut self) {
        self.settle();
        self.ledger.close().ok();
        let (ledger, report) = open(&self.disk);
        self.ledger = ledger;
        assert_eq!((report.damaged, report.created), (Vec::new(), false));
        let found = held(&self.ledger);
        let all = [&self.durable[..], &self.unknown[..]].concat();
        assert!(found.len() >= self.durable.len(), "{} of {} acknowledged", found.len(), self.durable.len());
        assert!(all.starts_with(&found), "what survives is the first few of what was appended");
        self.durable = found;
        self.unknown.clear();
        for (place, sequence) in &self.sequences {
            assert!(self.ledger.read(*sequence).is_ok_and(|read| read == self.durable[*place]));
        }
        assert_index_follows(&self.ledger);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_was_acknowledged_survives_and_nothing_is_half_there(steps in prop::collection::vec(step(), 0..80)) {
        let mut run = Run::new();
        for step in steps {
            match step {
                Step::Append(record) => {
                    let pending = run.ledger.append(record.clone());
                    run.waiting.push((record, pending));
                }
                Step::Settle => {
                    run.settle();
                    assert_index_follows(&run.ledger);
                }
                Step::PowerCut => {
                    run.disk.power_cut();
                    run.reopen();
                }
                Step::Reopen => run.reopen(),
                Step::Inject(fault) => run.disk.inject(fault),
            }
        }
        run.reopen();
        run.disk.power_cut();
        run.reopen();
    }
}

/// Puts `bytes` over a file of the log, as a failing disk would.
fn overwrite(disk: &MemoryDisk, path: &Path, offset: u64, bytes: &[u8]) {
    let file = disk.open(path).unwrap();
    file.write_at(offset, bytes).unwrap();
    file.sync().unwrap();
}

fn segments(disk: &MemoryDisk) -> Vec<PathBuf> {
    let dir = Path::new(FOLDER).join("log");
    disk.list(&dir).unwrap().into_iter().map(|name| dir.join(name)).collect()
}

/// A log of `groups`, with what it holds and where.
fn written(groups: &[Vec<Record>]) -> (MemoryDisk, BTreeMap<Sequence, Record>, Vec<(u32, Place)>) {
    let disk = MemoryDisk::new();
    let mut opened = open_log(&disk).unwrap();
    let first = Record::FolderCreated { secret: *opened.log.secret(), created_ms: 0 };
    write(&mut opened.writer, &[first]);
    for group in groups {
        write(&mut opened.writer, group);
    }
    (disk, scanned(&opened.log), places(&opened.log))
}

fn groups() -> impl Strategy<Value = Vec<Vec<Record>>> {
    prop::collection::vec(prop::collection::vec(strategy::record(), 1..4), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The last group's sectors reach the platter in any order, or not at all, and the file is as long as it likes.
    #[test]
    fn a_group_that_was_never_synced_leaves_its_first_records_or_none(
        groups in groups(),
        last in prop::collection::vec(strategy::record(), 1..8),
        sectors in prop::collection::vec(any::<bool>(), 1..16),
        lost_bytes in 0..2000u64,
    ) {
        let mut all = groups;
        let (_, acknowledged, _) = written(&all);
        all.push(last);
        let (disk, whole, _) = written(&all);
        let path = segments(&disk).pop().unwrap();
        let bytes = disk.read(&path).unwrap();
        // Where the last group starts: in this file, after what the others left, or right behind the header.
        let before = {
            let (disk, ..) = written(&all[..all.len() - 1]);
            if segments(&disk).contains(&path) { disk.read(&path).unwrap().len() } else { 0 }
        };
        let len = (bytes.len() as u64).saturating_sub(lost_bytes).max(before as u64);
        disk.open(&path).unwrap().truncate(len).unwrap();
        for (sector, on_platter) in (before..usize::try_from(len).unwrap()).step_by(64).zip(sectors.iter().cycle()) {
            if !on_platter {
                let end = (sector + 64).min(usize::try_from(len).unwrap());
                overwrite(&disk, &path, sector as u64, &vec![0; end - sector]);
            }
        }
        let opened = open_log(&disk).unwrap();
        let found = scanned(&opened.log);
        prop_assert!(found.len() >= acknowledged.len());
        prop_assert!(whole.iter().take(found.len()).eq(found.iter()));
        prop_assert_eq!(damaged(&opened.log), vec![]);
    }

    #[test]
    fn one_changed_byte_costs_one_record_at_most_and_is_reported(
        groups in groups(),
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
    ) {
        let (disk, whole, _) = written(&groups);
        let paths = segments(&disk);
        let path = file.get(&paths);
        disk.flip(path, at.index(disk.read(path).unwrap().len())).unwrap();
        let opened = open_log(&disk).unwrap();
        let found = scanned(&opened.log);
        let damaged = damaged(&opened.log);
        prop_assert!(found.iter().all(|(sequence, record)| whole.get(sequence) == Some(record)));
        // Damage to the last group cannot be told from one that was never synced.
        let last_group = groups.last().unwrap().len();
        prop_assert!(found.len() + 1 >= whole.len() || found.len() + last_group >= whole.len());
        prop_assert!(!damaged.is_empty() || opened.torn_bytes > 0);
        for (sequence, record) in &whole {
            match opened.log.read(*sequence) {
                Ok(read) => prop_assert!(read == *record),
                Err(error) => prop_assert!(matches!(error, LedgerError::Corrupt { .. }), "{error:?}"),
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_never_a_record_and_never_a_panic(
        groups in groups(),
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        junk in prop::collection::vec(any::<u8>(), 1..400),
        appended in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (disk, whole, _) = written(&groups);
        let paths = segments(&disk);
        let last = paths.last().unwrap();
        overwrite(&disk, last, disk.read(last).unwrap().len() as u64, &appended);
        let opened = open_log(&disk).unwrap();
        prop_assert!(scanned(&opened.log) == whole);
        let torn = appended.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        prop_assert_eq!(opened.torn_bytes, torn);

        let path = file.get(&paths);
        overwrite(&disk, path, at.index(disk.read(path).unwrap().len()) as u64, &junk);
        match open_log(&disk) {
            Ok(opened) => {
                let found = scanned(&opened.log);
                prop_assert!(found.iter().all(|(sequence, record)| whole.get(sequence) == Some(record)));
            }
            // Both copies of the secret were in the only segment.
            Err(error) => prop_assert!(matches!(error, LedgerError::NoSecret) && paths.len() == 1, "{error:?}"),
        }
    }
}

#[derive(Debug, Clone)]
enum CompactStep {
    Append(Record),
    Compact { dead_percent: u64 },
    PowerCut,
    Reopen,
    Inject(Fault),
}

fn compact_step() -> impl Strategy<Value = CompactStep> {
    prop_oneof![
        12 => strategy::record().prop_map(CompactStep::Append),
        3 => prop_oneof![Just(0), Just(50)].prop_map(|dead_percent| CompactStep::Compact { dead_percent }),
        1 => Just(CompactStep::PowerCut),
        1 => Just(CompactStep::Reopen),
        1 => (0..2u32).prop_map(|after| CompactStep::Inject(Fault::SyncFails(after))),
        1 => (0..2u32).prop_map(|after| CompactStep::Inject(Fault::WriteTorn(after))),
        1 => (0..2u32).prop_map(|after| CompactStep::Inject(Fault::DiskFull(after))),
    ]
}

/// Numbers what is put and deleted as the engine does: revisions of a document and generations of a partition only rise.
#[derive(Default)]
struct Numbers {
    revisions: BTreeMap<(PartitionKey, DocumentKey), u64>,
    generations: BTreeMap<PartitionKey, u64>,
}

impl Numbers {
    fn number(&mut self, mut record: Record) -> Record {
        let mut next = |partition, document| {
            let revision = self.revisions.entry((partition, document)).or_default();
            let generation = self.generations.entry(partition).or_default();
            (*revision, *generation) = (*revision + 1, *generation + 1);
            (Revision(*revision), ibid_core::Generation(*generation))
        };
        if let Record::DocumentPut { partition, document, put } = &mut record {
            (put.revision, put.generation) = next(*partition, *document);
        } else if let Record::DocumentDeleted { partition, document, revision, generation, .. } = &mut record {
            (*revision, *generation) = next(*partition, *document);
        } else if let Record::DocumentChunked { partition, document, revision, .. }
        | Record::DocumentEmbedded { partition, document, revision, .. }
        | Record::VectorsGiven { partition, document, revision, .. } = &mut record
        {
            let newest = self.revisions.get(&(*partition, *document)).copied().unwrap_or_default();
            revision.0 = newest.saturating_sub(revision.0 % 3);
        }
        record
    }
}

fn compact(ledger: &Ledger, dead_percent: u64) -> Result<Compacted, LedgerError> {
    let ctx = Ctx::new(Arc::new(ManualClock::at(7)), ibid_runtime::Priority::Ingest, None);
    ledger.compact(&ctx, dead_percent, 0, 0, &RoaringTreemap::new())
}

/// Every record that the index names is there, and is of the kind that it is named as.
fn assert_heads_are_readable(ledger: &Ledger) {
    let index = ledger.kept.read().unwrap().index.clone().unwrap();
    for (_, head) in index::scan::<Head>(&*index, &[key::OWNED[0]]).unwrap() {
        for version in head.all_versions() {
            let parts = version.embedded.iter().flat_map(|one| &one.parts);
            // Chunks may be drawn without their document.
            let put = version.put.iter().filter(|put| **put != Version::LOST);
            let vectors = [RecordKind::DocumentEmbedded, RecordKind::VectorsGiven];
            let of_kind = [
                (&[RecordKind::DocumentPut][..], put.collect::<Vec<_>>()),
                (&[RecordKind::DocumentDeleted], version.deleted.iter().collect()),
                (&[RecordKind::DocumentChunked], version.chunked.iter().collect()),
                (&vectors, parts.collect()),
            ];
            for (kinds, sequence) in of_kind.iter().flat_map(|(kinds, all)| all.iter().map(move |one| (*kinds, **one)))
            {
                assert!(kinds.contains(&ledger.read(sequence).unwrap().kind()), "record {sequence}");
            }
        }
    }
    ledger.catalog().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn compacting_changes_nothing_that_the_index_says(steps in prop::collection::vec(compact_step(), 0..80)) {
        let disk = MemoryDisk::new();
        let (mut ledger, mut numbers) = (open(&disk).0, Numbers::default());
        let mut checkpoint = copy_of(&ledger);
        for step in steps {
            match step {
                CompactStep::Append(record) => {
                    let _ = ledger.append(numbers.number(record)).wait();
                }
                CompactStep::Compact { dead_percent } => {
                    if dead_percent > 0 {
                        checkpoint = copy_of(&ledger);
                    }
                    let before = scanned(&ledger.log);
                    if compact(&ledger, dead_percent).is_ok() && dead_percent == 0 {
                        let index = ledger.kept.read().unwrap().index.clone().unwrap();
                        let needed = index::needed(&*index, 0, 0).unwrap();
                        let settled = |one: &crate::segment::Segment| one.next_sequence() <= needed.up_to.next();
                        let sealed = ledger.log.segments().into_iter().filter(|one| one.sealed && settled(one));
                        for place in sealed.flat_map(|one| one.contents.places().collect::<Vec<_>>()) {
                            let sequence = place.sequence.0;
                            let is_needed = needed.whole.contains(sequence) || needed.remainder.contains(sequence);
                            prop_assert!(is_needed || place.is(RecordKind::IndexCheckpoint), "{place:?} of {:?}", ledger.read(place.sequence));
                        }
                    }
                    for (sequence, record) in before {
                        prop_assert!(ledger.read(sequence).is_ok_and(|read| read == record), "until the next time");
                    }
                }
                CompactStep::PowerCut => {
                    disk.power_cut();
                    ledger.close().ok();
                    ledger = open(&disk).0;
                }
                CompactStep::Reopen => {
                    ledger.close().ok();
                    let (opened, report) = open(&disk);
                    prop_assert_eq!(report.damaged, vec![]);
                    ledger = opened;
                }
                CompactStep::Inject(fault) => disk.inject(fault),
            }
            assert_index_follows(&ledger);
            assert_heads_are_readable(&ledger);
            // What was kept at a checkpoint is brought up to date by the rest of the log, whatever was compacted since.
            let (replayed, applied) = (MemoryIndex::default(), checkpoint.1);
            replayed.apply(&checkpoint.0).unwrap();
            replay::fill(&ledger.log, &replayed, applied.next()).unwrap();
            assert_same(&entries(&*ledger.kept.read().unwrap().index.clone().unwrap()), &entries(&replayed));
        }
    }
}

/// All of the index, and the last record in it.
fn copy_of(ledger: &Ledger) -> (Changes, Sequence) {
    let index = ledger.kept.read().unwrap().index.clone().unwrap();
    let mut copy = Changes::new();
    index.scan_prefix(&[], &mut |key, value| drop(copy.insert(key.to_vec(), Some(value.to_vec())))).unwrap();
    (copy, index::get(&*index, key::APPLIED).unwrap().unwrap_or_default())
}

#[test]
fn a_replaced_text_is_gone_from_the_disk_once_it_is_compacted_and_small_segments_become_one() {
    let disk = MemoryDisk::new();
    let (ledger, _) = open(&disk);
    for round in 0..60 {
        let text = if round % 6 == 0 { "kept" } else { "canary" };
        let stored = strategy::stored(u64::from(round) + 1, &format!("{text} {round}"), None);
        let document = document(if round % 6 == 0 { 100 + round } else { 1 });
        ledger.append(Record::DocumentPut { partition: partition(), document, put: Box::new(stored) }).wait().unwrap();
    }
    ledger.append(Record::CollectionDeleted { partition: partition(), deleted_ms: 0 }).wait().unwrap();
    let before = segments(&disk).len();
    let compacted = compact(&ledger, 0).unwrap();
    assert!(before > 8 && segments(&disk).len() <= 2, "{before} segments, {compacted:?}");
    assert!(compacted.records_dropped > 50, "{compacted:?}");
    let sealed = disk.read(&segments(&disk)[0]).unwrap();
    assert!(!sealed.windows(5).any(|five| five == b"guide"), "a document's name is left");
    drop(ledger);
    assert!(open(&disk).0.heads(partition()).unwrap().is_empty());
}

#[test]
fn a_version_that_is_kept_leaves_the_disk_once_its_time_is_over() {
    let disk = MemoryDisk::new();
    let (ledger, _) = open(&disk);
    for (revision, text) in [(1, "canary"), (2, "kept")] {
        let (created_ms, retain_ms) = (100 * revision, Some(1_000));
        let stored = strategy::stored(revision, text, None);
        let put = Box::new(crate::StoredDocument { created_ms, retain_ms, ..stored });
        ledger.append(Record::DocumentPut { partition: partition(), document: document(1), put }).wait().unwrap();
        let chunked = Record::DocumentChunked {
            partition: partition(),
            document: document(1),
            revision: Revision(revision),
            chunker: String::new(),
            first_label: 0,
            title: String::new(),
            chunks: Vec::new(),
            with_context: true,
            findings: Findings::default(),
        };
        ledger.append(chunked).wait().unwrap();
    }
    ledger.seal().unwrap();
    let ctx = Ctx::new(Arc::new(ManualClock::at(7)), ibid_runtime::Priority::Ingest, None);
    let compact = |retained_from_ms| ledger.compact(&ctx, 0, 0, retained_from_ms, &RoaringTreemap::new()).unwrap();
    let head = || ledger.head(partition(), document(1)).unwrap().unwrap();
    let put = head().retained[0].version.put.unwrap();
    compact(200);
    assert_eq!(ledger.read(put).unwrap().kind(), RecordKind::DocumentPut);
    assert_index_follows(&ledger);
    compact(201);
    ledger.release();
    assert!(ledger.read(put).is_err());
    assert!(!head().retained[0].is_kept(1_201, 1_000) && head().retained[0].is_kept(1_200, 5_000));
}

#[test]
fn what_a_client_stored_does_not_pass_for_a_record() {
    let forge = |secret: [u8; 32]| {
        let body = Body::of(&Record::KeyRevoked { id: KeyId(666), revoked_ms: 0 }).unwrap();
        let frame = body.header(Sequence(2), Sequence(1)).encode(FolderId::of(&secret)).0;
        let mut bytes = [&frame[..], body.bytes()].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let vectors = bytes.as_chunks::<4>().0.iter().map(|quad| f32::from_le_bytes(*quad)).collect();
        Record::DocumentEmbedded {
            partition: partition(),
            document: document(1),
            revision: Revision(1),
            model: ModelId::new("m").unwrap(),
            model_revision: String::new(),
            first_ordinal: 0,
            dimension: 1,
            vectors,
        }
    };
    // Only who knows the folder's secret, [3; 32], could do it.
    for (secret, forged) in [([4; 32], false), ([3; 32], true)] {
        let (disk, _, places) = written(&[vec![forge(secret)], vec![put(1, "after")]]);
        overwrite(&disk, &segments(&disk)[0], places[1].1.offset + 20, b"damage");
        let found = scanned(&open_log(&disk).unwrap().log);
        assert_eq!(found.values().any(|record| record.kind() == RecordKind::KeyRevoked), forged);
        assert!(found.contains_key(&Sequence(3)));
    }
}

/// Whichever read of opening gives one wrong bit: it is read again, and nothing that was acknowledged is cut or left out.
#[test]
fn one_wrong_read_while_opening_costs_nothing() {
    let groups: Vec<Vec<Record>> = (0..9).map(|number| vec![put(number, "text"); 2]).collect();
    let (mut reads, mut struck) = (0, true);
    while struck {
        // Spread over headers, bodies and the room behind them.
        for bit in [0, 77, 8 * 120 + 3, 8 * 400 + 5, 8 * 1000 + 1] {
            let (disk, whole, _) = written(&groups);
            let path = segments(&disk).pop().unwrap();
            overwrite(&disk, &path, disk.read(&path).unwrap().len() as u64, &[0; 200]);
            disk.inject(Fault::ReadFlipped { reads, bit });
            let misread = try_open(&disk);
            struck = disk.planned() == 0;
            disk.forget_faults();
            let (ledger, report) = misread.unwrap();
            assert_eq!(report.damaged, Vec::new(), "bit {bit} of read {reads}");
            assert_eq!(ledger.heads(partition()).unwrap().len(), 9, "bit {bit} of read {reads}");
            drop(ledger);
            let found = scanned(&open(&disk).0.log);
            assert!(
                whole.iter().all(|(sequence, record)| found.get(sequence) == Some(record)),
                "bit {bit} of read {reads}"
            );
        }
        reads += 1;
    }
    assert!(reads > 20, "{reads} reads");
}

/// A record may be damaged after the last checkpoint: what is replayed from there says so.
#[test]
fn damage_is_reported_where_the_index_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes_max: 1 << 20, ..config() };
    let open = || {
        let (clock, random) = (ManualClock::at(7), Arc::new(SeededRandom::new(1)));
        Ledger::open(Arc::new(RealDisk), folder.path(), config.clone(), IndexKind::Sled, &clock, random).unwrap()
    };
    drop(open());
    let (ledger, _) = open();
    let sequences: Vec<Sequence> = (0..3).map(|number| ledger.append(put(number, "text")).wait().unwrap()).collect();
    // Neither closed nor checkpointed; the files as a kill would leave them.
    ledger.seal().unwrap();
    let (segment, place) = places(&ledger.log).into_iter().find(|(_, place)| place.sequence == sequences[1]).unwrap();
    let left = tempfile::tempdir().unwrap();
    copy(folder.path(), left.path());
    drop(ledger);
    let path = left.path().join(format!("log/{segment:020}.log"));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[place.end() as usize - 1] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let (ledger, report) = open_real(left.path(), IndexKind::Sled);
    assert!(!report.index_rebuilt);
    assert_eq!(report.damaged, [Damaged { sequence: sequences[1], segment, offset: place.offset }]);
    let remains = ledger.remains(&report.damaged[0]).unwrap();
    assert_eq!(remains.kind, Some(RecordKind::DocumentPut));
}

#[test]
fn a_missing_segment_and_one_without_header_cost_no_more_than_they_held() {
    let groups: Vec<Vec<Record>> = (0..30).map(|number| vec![put(number, "text")]).collect();
    let (disk, whole, places) = written(&groups);
    let paths = segments(&disk);
    assert!(paths.len() > 4);
    disk.remove(&paths[1]).unwrap();
    overwrite(&disk, &paths[2], 0, &[0; SegmentHeader::BYTES]);
    let (ledger, report) = open(&disk);
    let lost: Vec<Sequence> = places.iter().filter(|(segment, _)| *segment == 2).map(|(_, one)| one.sequence).collect();
    let found = scanned(&ledger.log);
    assert_eq!(whole.keys().filter(|sequence| !found.contains_key(sequence)).copied().collect::<Vec<_>>(), lost);
    assert_eq!(report.damaged.first().map(|damaged| damaged.sequence), Some(lost[0]));
    assert_eq!(report.records + lost.len() as u64, whole.len() as u64);

    let mut from = Vec::new();
    ledger
        .scan(Sequence(20), &mut |sequence, _| {
            from.push(sequence.0);
            if sequence == Sequence(24) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!(from, [20, 21, 22, 23, 24]);
}

#[test]
fn a_failed_sync_ends_writing_and_not_reading() {
    let disk = MemoryDisk::new();
    let (ledger, _) = open(&disk);
    let kept = ledger.append(put(1, "kept")).wait().unwrap();
    disk.inject(Fault::SyncFails(0));
    assert!(matches!(ledger.append(put(2, "lost?")).wait(), Err(LedgerError::Write { .. })));
    assert!(matches!(ledger.append(put(3, "refused")).wait(), Err(LedgerError::Poisoned)));
    assert!(ledger.read(kept).unwrap() == put(1, "kept"));
    assert!(ledger.head(partition(), document(1)).unwrap().is_some());
    assert!(ledger.head(partition(), document(2)).unwrap().is_none());
    drop(ledger);
    let (ledger, _) = open(&disk);
    ledger.append(put(4, "again")).wait().unwrap();
}

/// Readers see what a failed sync lost until the power fails: whatever a start serves, it must have written again.
#[test]
fn what_is_served_after_a_failed_sync_survives_the_power_cut_that_follows() {
    let disk = MemoryDisk::new();
    for round in 0..12 {
        let (ledger, _) = open(&disk);
        disk.inject(Fault::SyncFails(0));
        assert!(matches!(ledger.append(put(round, "seen")).wait(), Err(LedgerError::Write { .. })));
        drop(ledger);
        let served = held(&open(&disk).0);
        disk.power_cut();
        let (ledger, report) = open(&disk);
        assert_eq!(report.damaged, Vec::new(), "round {round}");
        assert!(held(&ledger) == served, "round {round}");
    }
}

#[test]
fn a_full_disk_refuses_until_there_is_room() {
    let disk = MemoryDisk::new();
    // In room that was made in advance a group fits on a full disk too.
    let (ledger, _) = try_open_with(&disk, Config { room_bytes: 0, ..config() }).unwrap();
    for round in 0..12 {
        disk.inject(Fault::DiskFull(0));
        assert!(matches!(ledger.append(put(round, "no room")).wait(), Err(LedgerError::Full)));
        ledger.append(put(round, "room again")).wait().unwrap();
    }
    drop(ledger);
    assert_eq!(open(&disk).1.records, 1 + 12 + 1, "the first, ours, and the last");
}

#[test]
fn after_close_nothing_is_accepted_and_closing_again_writes_nothing() {
    let disk = MemoryDisk::new();
    let (ledger, _) = open(&disk);
    let waiting: Vec<Pending> = (0..20).map(|number| ledger.append(put(number, "text"))).collect();
    ledger.close().unwrap();
    assert!(waiting.into_iter().all(|pending| pending.wait().is_ok()), "what waited was written");
    assert!(matches!(ledger.append(put(1, "late")).wait(), Err(LedgerError::Closed)));
    ledger.close().unwrap();
    assert_eq!(ledger.heads(partition()).unwrap().len(), 20);
    assert!(
        matches!(ledger.catalog().unwrap()[..], [Record::FolderCreated { secret, .. }] if secret == *ledger.secret())
    );
}

#[test]
fn many_writers_share_a_sync() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open_real(folder.path(), IndexKind::Memory);
    let waiting: Vec<Pending> = (0..500).map(|number| ledger.append(put(number, "text"))).collect();
    let sequences: Vec<Sequence> = waiting.into_iter().map(|pending| pending.wait().unwrap()).collect();
    assert!(sequences.is_sorted_by(|a, b| a < b));
    let stats = ledger.stats();
    assert_eq!(stats.records, 501);
    assert!(stats.groups < 125 && stats.syncs < 2 * stats.groups, "{stats:?}");
}

#[derive(Debug)]
struct FailingIndex;

impl Index for FailingIndex {
    fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Err(IndexError::Failed("injected".to_owned()))
    }
    fn apply(&self, _: &Changes) -> Result<(), IndexError> {
        Err(IndexError::Failed("injected".to_owned()))
    }
    fn scan_prefix(&self, _: &[u8], _: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), IndexError> {
        Err(IndexError::Failed("injected".to_owned()))
    }
    fn flush(&self) -> Result<(), IndexError> {
        Err(IndexError::Failed("injected".to_owned()))
    }
}

#[test]
fn an_index_that_fails_is_replaced_whether_a_writer_or_a_reader_finds_out() {
    let disk = MemoryDisk::new();
    for reader_first in [false, true] {
        let (ledger, _) = open(&disk);
        ledger.append(put(1, "one")).wait().unwrap();
        ledger.kept.write().unwrap().index = Some(Arc::new(FailingIndex));
        if reader_first {
            assert!(matches!(ledger.head(partition(), document(1)), Err(LedgerError::Index { .. })));
        }
        ledger.append(put(2, "two")).wait().unwrap();
        assert!(matches!(ledger.index_state(), IndexState::Fallback { .. }));
        assert_eq!(ledger.heads(partition()).unwrap().len(), 2);
        assert_index_follows(&ledger);
    }
}

/// Copies a folder as a backup that knows nothing of us would.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

#[test]
fn sled_is_believed_as_far_as_the_log_vouches_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let live = folder.path().join("live");
    let (ledger, report) = open_real(&live, IndexKind::Sled);
    assert!(report.created && report.index_rebuilt);
    let waiting: Vec<Pending> = (0..200).map(|number| ledger.append(put(number, "text"))).collect();
    assert!(waiting.into_iter().all(|pending| pending.wait().is_ok()));
    let heads = ledger.heads(partition()).unwrap();
    assert_eq!((heads.len(), ledger.index_state()), (200, IndexState::Kept(IndexKind::Sled)));
    assert_index_follows(&ledger);
    // As a kill leaves it: sled is where it was at the last checkpoint, some of these ago.
    copy(&live, &folder.path().join("killed"));
    drop(ledger);
    copy(&live, &folder.path().join("damaged"));
    copy(&live, &folder.path().join("edited"));

    let check = |name: &str, rebuilt: bool| {
        let (ledger, report) = open_real(&folder.path().join(name), IndexKind::Sled);
        assert_eq!((report.index_rebuilt, report.damaged), (rebuilt, vec![]), "{name}");
        assert_eq!(ledger.index_state(), IndexState::Kept(IndexKind::Sled), "{name}");
        assert!(ledger.heads(partition()).unwrap() == heads, "{name}");
        assert_eq!(ledger.catalog().unwrap().len(), 1, "{name}");
    };
    check("live", false);
    check("live", false);
    check("killed", false);
    check("killed", false);

    let db = folder.path().join("damaged/index/db");
    let mut bytes = std::fs::read(&db).unwrap();
    bytes.iter_mut().filter(|byte| **byte != 0).step_by(97).for_each(|byte| *byte ^= 0x20);
    std::fs::write(&db, bytes).unwrap();
    check("damaged", true);
    check("damaged", false);

    // What sled itself finds nothing wrong with.
    let db = sled::open(folder.path().join("edited/index")).unwrap();
    db.insert(key::mark(partition()), [0, 0, 0].as_slice()).unwrap();
    drop(db);
    check("edited", true);

    let hurried = Config { index_open_max: Duration::ZERO, ..config() };
    let (disk, clock, random) = (Arc::new(RealDisk), ManualClock::at(7), Arc::new(SeededRandom::new(1)));
    let (ledger, _) = Ledger::open(disk, &live, hurried, IndexKind::Sled, &clock, random).unwrap();
    assert!(matches!(ledger.index_state(), IndexState::Fallback { .. }));
    assert!(ledger.heads(partition()).unwrap() == heads);
}

#[test]
fn a_log_of_a_later_format_is_refused_untouched() {
    let (disk, ..) = written(&[vec![put(1, "one")]]);
    let path = segments(&disk).remove(0);
    let mut bytes = disk.read(&path).unwrap();
    let last = bytes.len() - RecordHeader::BYTES - Body::of(&put(1, "one")).unwrap().bytes().len();
    bytes[last + 4] = 7;
    let checksum = crc32fast::hash(&bytes[last..last + 72]);
    bytes[last + 72..last + 76].copy_from_slice(&checksum.to_le_bytes());
    overwrite(&disk, &path, 0, &bytes);
    assert!(matches!(try_open(&disk), Err(LedgerError::Newer { found: 7, supported: 6 })));
    assert!(disk.read(&path).unwrap() == bytes);
}
