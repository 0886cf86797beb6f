//! What is recorded survives, what is changed is found, what is erased is gone: on a disk that forgets and fails.

use std::path::Path;

use ibid_runtime::{Fault, MemoryDisk, SeededRandom};
use proptest::prelude::*;

use super::frame::{FrameHeader, Piece, SegmentHeader, pieces};
use super::*;

const TENANT: TenantKey = TenantKey(7);
const SMALL: u64 = 64 << 10;

fn config() -> Config {
    Config { folder: PathBuf::from("data/audit"), segment_bytes: SMALL, open_max: 2 }
}

fn open(disk: &MemoryDisk) -> Audit {
    open_with(disk, 1)
}

fn open_with(disk: &MemoryDisk, seed: u64) -> Audit {
    Audit::open(config(), Arc::new(disk.clone()), Arc::new(SeededRandom::new(seed)), Arc::new(Plain)).unwrap()
}

fn entry(number: u64) -> Entry {
    Entry {
        time_ms: 1_000 * number,
        request: format!("req-{number}"),
        feature: "answer".into(),
        prompt: format!("question {number} of [EMAIL]"),
        answer: format!("Answer {number}."),
        model: if number.is_multiple_of(2) { "even" } else { "odd" }.into(),
        provider: "local".into(),
        input_tokens: 10,
        output_tokens: 5,
        cached_tokens: 0,
        cost_microdollars: 42,
        finish: "stop".into(),
        cache: CacheState::Miss,
        attempts: 1,
        trace: "t".into(),
        config_version: "c1".into(),
        prompt_version: "p1".into(),
        read_from: vec![ReadFrom { collection: "docs".into(), generation: number }],
        documents: vec![format!("doc-{}", number % 3)],
    }
}

/// An entry that fills a sixth of a segment.
fn large(number: u64) -> Entry {
    Entry { answer: format!("large {number} {}", "x".repeat(11_000)), ..entry(number) }
}

fn fill(audit: &Audit, numbers: std::ops::Range<u64>) -> Head {
    for number in numbers.clone() {
        audit.append(TENANT, &[if number.is_multiple_of(2) { large(number) } else { entry(number) }]).unwrap();
    }
    audit.head(TENANT).unwrap()
}

fn requests(audit: &Audit) -> Vec<String> {
    let mut tail = audit.tail(TENANT, 10_000).unwrap();
    tail.reverse();
    tail.into_iter().map(|recorded| recorded.entry.request).collect()
}

#[track_caller]
fn check_whole(audit: &Audit, known: Head) -> Verification {
    let verification = audit.verify(TENANT, Some(known)).unwrap();
    assert_eq!(verification.bad, None);
    verification
}

fn files(disk: &MemoryDisk) -> Vec<PathBuf> {
    let folder = Path::new("data/audit/0000000000000007");
    disk.list(folder).unwrap().into_iter().map(|name| folder.join(name)).collect()
}

#[test]
fn what_was_appended_is_there_after_a_power_cut_in_order_and_can_be_found() {
    let disk = MemoryDisk::new();
    let head = fill(&open(&disk), 1..31);
    disk.power_cut();
    let audit = open(&disk);
    assert_eq!(requests(&audit), (1..31).map(|number| format!("req-{number}")).collect::<Vec<_>>());
    assert!(files(&disk).len() > 2, "several files");
    let verification = check_whole(&audit, head);
    assert_eq!((verification.entries, verification.first, verification.head), (30, 1, head));

    let find = |search: Search| -> Vec<u64> {
        audit.search(TENANT, &search).unwrap().into_iter().map(|recorded| recorded.sequence).collect()
    };
    let all = Search::latest(100);
    assert_eq!(find(Search { entries_max: 3, ..all.clone() }), [30, 29, 28]);
    assert_eq!(find(Search { text: "QUESTION 7 ".into(), ..all.clone() }), [7]);
    assert_eq!(find(Search { text: "large 12".into(), ..all.clone() }), [12]);
    assert_eq!(
        find(Search { from_ms: Some(5_000), until_ms: Some(9_000), model: "odd".into(), ..all.clone() }),
        [7, 5]
    );
    assert_eq!(find(Search { request: "req-9".into(), ..all.clone() }), [9]);
    assert_eq!(find(Search { text: "nowhere".into(), ..all }), [] as [u64; 0]);
    // It goes on where it ended.
    assert_eq!(audit.append(TENANT, &[entry(31), entry(32)]).unwrap().sequence, 32);
}

#[test]
fn a_chain_has_nothing_of_another_tenants() {
    let bytes = |others: bool| {
        let disk = MemoryDisk::new();
        let audit = open(&disk);
        for number in 1..10 {
            if others {
                audit.append(TenantKey(8), &[entry(number)]).unwrap();
                audit.append(TenantKey(9), &[entry(number)]).unwrap();
            }
            audit.append(TENANT, &[entry(number)]).unwrap();
        }
        files(&disk).iter().map(|path| disk.read(path).unwrap()).collect::<Vec<_>>()
    };
    assert!(bytes(false) == bytes(true));
}

#[test]
fn every_single_byte_that_is_changed_is_found() {
    let disk = MemoryDisk::new();
    let head = { fill(&open(&disk), 1..2) };
    let audit = open(&disk);
    audit.append(TENANT, &[entry(3)]).unwrap();
    audit.erase(TENANT, &Erase::Request("req-1".into())).unwrap();
    let head_after = audit.head(TENANT).unwrap();
    assert!(head_after.sequence > head.sequence);
    let path = files(&disk)[0].clone();
    let bytes = disk.read(&path).unwrap();
    let file = disk.open(&path).unwrap();
    for (at, byte) in bytes.iter().enumerate() {
        file.write_at(at as u64, &[byte ^ 0x10]).unwrap();
        // In the process that wrote it: nothing is mended, all is seen.
        match audit.verify(TENANT, Some(head_after)) {
            Ok(verification) => assert_ne!(verification.bad, None, "byte {at}"),
            Err(error) => panic!("byte {at}: {error}"),
        }
        file.write_at(at as u64, &[*byte]).unwrap();
    }
    check_whole(&audit, head_after);
}

/// Headers and bodies.
type Frames = Vec<(FrameHeader, Vec<u8>)>;

/// The frames of the first file as they are, header by header.
fn frames(disk: &MemoryDisk) -> (SegmentHeader, Frames) {
    let bytes = disk.read(&files(disk)[0]).unwrap();
    let header = SegmentHeader::decode(&bytes).unwrap();
    let frames = pieces(&bytes, header.mark)
        .map(|piece| match piece {
            Piece::Frame { header, body, .. } => (header, body.to_vec()),
            Piece::Damage => panic!("damage"),
        })
        .collect();
    (header, frames)
}

fn rewrite(disk: &MemoryDisk, header: &SegmentHeader, frames: &[(FrameHeader, Vec<u8>)]) {
    let mut bytes = header.encode().to_vec();
    for (frame, body) in frames {
        bytes.extend_from_slice(&frame.encode(header.mark));
        bytes.extend_from_slice(body);
    }
    let path = files(disk)[0].clone();
    let file = disk.open(&path).unwrap();
    file.truncate(0).unwrap();
    file.write_at(0, &bytes).unwrap();
    file.sync().unwrap();
}

#[test]
fn whoever_edits_removes_moves_adds_or_cuts_entries_is_found_out() {
    let tampered = |tamper: &dyn Fn(&mut Frames)| {
        let disk = MemoryDisk::new();
        let audit = open(&disk);
        for number in 1..7 {
            audit.append(TENANT, &[entry(number)]).unwrap();
        }
        let known = audit.head(TENANT).unwrap();
        let (header, mut frames) = frames(&disk);
        tamper(&mut frames);
        rewrite(&disk, &header, &frames);
        open(&disk).verify(TENANT, Some(known)).unwrap().bad
    };
    let restated = |frames: &mut Frames, from: usize| {
        // With all links made anew, as one would who knows how.
        let mut before = if from == 0 { frame::genesis(TENANT) } else { frames[from - 1].0.link };
        for (at, (header, body)) in frames.iter_mut().enumerate().skip(from) {
            header.sequence = at as u64 + 1;
            header.commitment = frame::commitment(header.kind, &body[..32], &body[32..]);
            header.body_checksum = crc32fast::hash(body);
            header.link = frame::link(&before, &header.commitment, header.sequence);
            before = header.link;
        }
    };
    assert_eq!(tampered(&|_| {}), None);
    let edit = |frames: &mut Frames| {
        frames[2].1[60] ^= 1;
        frames[2].0.body_checksum = crc32fast::hash(&frames[2].1);
    };
    assert_eq!(tampered(&edit), Some((3, Problem::Content)));
    assert_eq!(
        tampered(&|frames| {
            frames[2].0.commitment[0] ^= 1;
        }),
        Some((3, Problem::Link))
    );
    assert_eq!(
        tampered(&|frames| {
            frames.remove(2);
        }),
        Some((3, Problem::Missing))
    );
    assert_eq!(
        tampered(&|frames| {
            frames.swap(2, 3);
        }),
        Some((3, Problem::Missing))
    );
    assert_eq!(
        tampered(&|frames| {
            let copy = frames[1].clone();
            frames.insert(2, copy);
        }),
        Some((2, Problem::Link))
    );
    assert_eq!(
        tampered(&|frames| {
            frames.truncate(4);
        }),
        Some((5, Problem::Truncated))
    );
    assert_eq!(
        tampered(&|frames| {
            frames[3].1.fill(0);
        }),
        Some((4, Problem::Erased))
    );
    // Who makes all links anew is found by the head that was kept.
    assert_eq!(
        tampered(&|frames| {
            edit(frames);
            restated(frames, 2);
        }),
        Some((6, Problem::Head))
    );
    assert_eq!(
        tampered(&|frames| {
            frames.remove(2);
            restated(frames, 2);
        }),
        Some((6, Problem::Truncated))
    );
    // Without a first entry.
    assert_eq!(
        tampered(&|frames| {
            frames.remove(0);
        }),
        Some((1, Problem::Missing))
    );
}

#[test]
fn a_whole_file_that_is_missing_is_found() {
    let disk = MemoryDisk::new();
    let head = fill(&open(&disk), 1..40);
    let paths = files(&disk);
    assert!(paths.len() > 3);
    disk.remove(&paths[1]).unwrap();
    assert!(matches!(open(&disk).verify(TENANT, Some(head)).unwrap().bad, Some((_, Problem::Missing))));
    disk.remove(&paths[0]).unwrap();
    assert!(matches!(open(&disk).verify(TENANT, Some(head)).unwrap().bad, Some((_, Problem::Missing))));
}

#[test]
fn erased_content_is_in_no_file_and_the_chain_still_holds() {
    let disk = MemoryDisk::new();
    let audit = open(&disk);
    let known = fill(&audit, 1..31);
    assert_eq!(audit.erase(TENANT, &Erase::Request("req-12".into())).unwrap(), 1);
    assert_eq!(audit.erase(TENANT, &Erase::Document("doc-1".into())).unwrap(), 10);
    assert_eq!(audit.erase(TENANT, &Erase::Document("doc-1".into())).unwrap(), 0);
    disk.power_cut();
    let audit = open(&disk);
    let verification = check_whole(&audit, known);
    assert_eq!((verification.erased, verification.entries), (11, 19));
    let all: Vec<u8> = files(&disk).iter().flat_map(|path| disk.read(path).unwrap()).collect();
    let holds = |text: &str| all.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(!holds("large 12 ") && !holds("question 4 ") && !holds("doc-1") && holds("question 5 "));
    assert!(audit.search(TENANT, &Search { request: "req-12".into(), ..Search::latest(5) }).unwrap().is_empty());
}

#[test]
fn what_is_too_old_goes_with_its_files_and_the_chain_says_where_it_begins() {
    let disk = MemoryDisk::new();
    let audit = open(&disk);
    let known = fill(&audit, 1..40);
    let count = files(&disk).len();
    assert_eq!(audit.retain(TENANT, 25_000).unwrap(), 24);
    assert!(files(&disk).len() < count);
    let verification = check_whole(&audit, known);
    assert!(verification.first > 1 && verification.first <= 25);
    assert_eq!(requests(&audit), (25..40).map(|number| format!("req-{number}")).collect::<Vec<_>>());
    assert_eq!(audit.retain(TENANT, 25_000).unwrap(), 0);
    // All of it: what is left proves that there was something, and says nothing of what.
    assert_eq!(audit.retain(TENANT, u64::MAX).unwrap(), 15);
    disk.power_cut();
    let audit = open(&disk);
    check_whole(&audit, audit.head(TENANT).unwrap());
    assert!(requests(&audit).is_empty());
    assert_eq!(audit.append(TENANT, &[entry(99)]).unwrap().sequence, audit.head(TENANT).unwrap().sequence);
}

#[test]
fn an_export_proves_itself() {
    let disk = MemoryDisk::new();
    let audit = open(&disk);
    fill(&audit, 1..10);
    audit.erase(TENANT, &Erase::Request("req-4".into())).unwrap();
    let mut out = vec![];
    assert_eq!(audit.export(TENANT, &mut out).unwrap(), 10);
    let unhex = |text: &serde_json::Value| -> Vec<u8> {
        let text = text.as_str().unwrap();
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let mut before = frame::genesis(TENANT);
    for (at, line) in String::from_utf8(out).unwrap().lines().enumerate() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let commitment: [u8; 32] = unhex(&line["commitment"]).try_into().unwrap();
        before = frame::link(&before, &commitment, at as u64 + 1);
        assert_eq!(unhex(&line["link"]), before);
        assert_eq!(line["entry"].is_null(), at == 3 || at == 9, "{line}");
        if at == 0 {
            let entry: Entry = serde_json::from_value(line["entry"].clone()).unwrap();
            let content = serde_json::to_vec(&entry).unwrap();
            assert_eq!(frame::commitment(frame::Kind::Entry, &unhex(&line["salt"]), &content), commitment);
        }
        if at == 9 {
            assert_eq!(line["statement"], serde_json::json!({"erased": [4]}));
        }
    }
}

#[test]
fn an_entry_beyond_the_limit_is_refused_and_a_bad_configuration_names_its_field() {
    let disk = MemoryDisk::new();
    let huge = Entry { answer: "x".repeat(5 << 20), ..entry(1) };
    assert!(matches!(open(&disk).append(TENANT, &[huge]), Err(AuditError::TooLarge { .. })));
    for (config, field) in
        [(Config { segment_bytes: 1, ..config() }, "segment_bytes"), (Config { open_max: 0, ..config() }, "open_max")]
    {
        let opened = Audit::open(config, Arc::new(disk.clone()), Arc::new(SeededRandom::new(1)), Arc::new(Plain));
        assert!(matches!(opened, Err(AuditError::Config { field: named, .. }) if named == field));
    }
}

/// A cipher whose key can be destroyed.
#[derive(Debug, Default)]
struct Xor(std::sync::atomic::AtomicBool);

impl Seal for Xor {
    fn seal(&self, _: TenantKey, plain: &[u8], about: &[u8]) -> Result<Vec<u8>, String> {
        let check = crc32fast::hash(about).to_le_bytes();
        Ok(check.iter().copied().chain(plain.iter().map(|byte| byte ^ 0x5a)).collect())
    }
    fn open(&self, _: TenantKey, sealed: &[u8], about: &[u8]) -> Option<Vec<u8>> {
        let (check, body) = sealed.split_at_checked(4)?;
        let here = !self.0.load(std::sync::atomic::Ordering::Relaxed);
        (here && check == crc32fast::hash(about).to_le_bytes()).then(|| body.iter().map(|byte| byte ^ 0x5a).collect())
    }
}

#[test]
fn with_a_destroyed_key_nothing_can_be_read_and_the_links_still_hold() {
    let disk = MemoryDisk::new();
    let seal = Arc::new(Xor::default());
    let audit = Audit::open(config(), Arc::new(disk.clone()), Arc::new(SeededRandom::new(1)), seal.clone()).unwrap();
    let head = fill(&audit, 1..10);
    audit.erase(TENANT, &Erase::Request("req-2".into())).unwrap();
    assert_eq!(check_whole(&audit, head).entries, 8);
    let all: Vec<u8> = files(&disk).iter().flat_map(|path| disk.read(path).unwrap()).collect();
    assert!(!all.windows(8).any(|window| window == b"question"));
    seal.0.store(true, std::sync::atomic::Ordering::Relaxed);
    let verification = check_whole(&audit, head);
    assert_eq!((verification.entries, verification.sealed, verification.erased), (0, 9, 1));
    assert!(audit.tail(TENANT, 5).unwrap().is_empty());
}

#[test]
fn a_removed_record_is_gone_and_starts_anew() {
    let disk = MemoryDisk::new();
    let audit = open(&disk);
    fill(&audit, 1..5);
    audit.append(TenantKey(8), &[entry(1)]).unwrap();
    audit.remove(TENANT).unwrap();
    disk.power_cut();
    let audit = open(&disk);
    assert_eq!(audit.head(TENANT).unwrap().sequence, 0);
    assert_eq!(audit.head(TenantKey(8)).unwrap().sequence, 1);
    assert_eq!(fill(&audit, 1..3).sequence, 2);
}

#[test]
fn more_chains_than_may_be_open_are_all_kept() {
    let disk = MemoryDisk::new();
    let audit = open(&disk);
    for number in 1..6 {
        for tenant in 1..6 {
            assert_eq!(audit.append(TenantKey(tenant), &[entry(number)]).unwrap().sequence, number);
        }
    }
}

#[test]
fn the_writer_acknowledges_what_is_durable_and_refuses_what_is_too_much() {
    let disk = MemoryDisk::new();
    let audit = Arc::new(open(&disk));
    let writer = Writer::start(Arc::clone(&audit), WriterConfig { queue_entries_max: 64 }).unwrap();
    let mut acked = 0;
    let mut refused = 0;
    let mut pending = vec![];
    for number in 1..500 {
        match writer.record(TenantKey(number % 3), entry(number)) {
            Ok(answer) => pending.push(answer),
            Err(AuditError::Overloaded { waiting }) => {
                assert!(waiting >= 64);
                refused += 1;
                for answer in pending.drain(..) {
                    answer.wait().unwrap();
                    acked += 1;
                }
            }
            Err(other) => panic!("{other}"),
        }
    }
    let huge = writer.record(TENANT, Entry { answer: "x".repeat(5 << 20), ..entry(1) });
    assert!(matches!(
        huge.map(Pending::wait),
        Ok(Err(AuditError::TooLarge { .. })) | Err(AuditError::Overloaded { .. })
    ));
    // What waits is written when the writer goes.
    drop(writer);
    for answer in pending {
        answer.wait().unwrap();
        acked += 1;
    }
    disk.power_cut();
    let audit = open(&disk);
    let kept: u64 = (0..3).map(|tenant| audit.head(TenantKey(tenant)).unwrap().sequence).sum();
    assert_eq!((kept, acked + refused), (acked, 499));
}

#[test]
fn a_failed_write_counts_for_nothing_and_the_next_one_goes_through() {
    for fault in [Fault::SyncFails(0), Fault::WriteTorn(0), Fault::DiskFull(0)] {
        let disk = MemoryDisk::new();
        let audit = open(&disk);
        fill(&audit, 1..4);
        disk.inject(fault);
        assert!(matches!(audit.append(TENANT, &[entry(4)]), Err(AuditError::Disk { .. })), "{fault:?}");
        assert_eq!(audit.head(TENANT).unwrap().sequence, 3);
        let head = audit.append(TENANT, &[entry(5)]).unwrap();
        disk.power_cut();
        let audit = open(&disk);
        check_whole(&audit, head);
        assert_eq!(requests(&audit), ["req-1", "req-2", "req-3", "req-5"], "{fault:?}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    Erase(u8),
    Retain(u8),
    Fault(Fault),
    Cut(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fault = prop_oneof![
        (0u32..6).prop_map(Fault::SyncFails),
        (0u32..6).prop_map(Fault::WriteTorn),
        (0u32..6).prop_map(Fault::DiskFull),
        (0u32..12).prop_map(Fault::PowerFails),
    ];
    let step = prop_oneof![
        6 => (1u8..4).prop_map(Step::Append), 1 => (0u8..40).prop_map(Step::Erase), 1 => (0u8..40).prop_map(Step::Retain),
        2 => fault.prop_map(Step::Fault), 2 => (0u64..1_000).prop_map(Step::Cut),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Against a model: what was acknowledged is there unless it was erased; what was erased is nowhere; the chain holds.
    #[test]
    fn whatever_fails_what_was_acknowledged_is_there_and_the_chain_holds(steps in steps()) {
        let disk = MemoryDisk::new();
        let mut audit = open(&disk);
        let (mut next, mut acked, mut maybe_gone) = (1u64, vec![], std::collections::BTreeSet::new());
        let mut gone = std::collections::BTreeSet::new();
        let mut known: Option<Head> = None;
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Append(count) => {
                    let numbers: Vec<u64> = (0..u64::from(count)).map(|more| next + more).collect();
                    next += u64::from(count);
                    let entries: Vec<Entry> = numbers.iter().map(|number| if number.is_multiple_of(3) { large(*number) } else { entry(*number) }).collect();
                    if let Ok(head) = audit.append(TENANT, &entries) {
                        acked.extend(numbers);
                        known = Some(head);
                    }
                }
                Step::Erase(number) => {
                    let number = u64::from(number);
                    match audit.erase(TENANT, &Erase::Request(format!("req-{number}"))) {
                        Ok(_) => drop(gone.insert(number)),
                        Err(_) => drop(maybe_gone.insert(number)),
                    }
                    // What is asked for later is another entry.
                    gone.retain(|number| *number < next);
                    maybe_gone.retain(|number| *number < next);
                }
                Step::Retain(number) => match audit.retain(TENANT, 1_000 * u64::from(number)) {
                    Ok(_) => gone.extend(1..u64::from(number).min(next)),
                    Err(_) => maybe_gone.extend(1..u64::from(number).min(next)),
                },
                Step::Fault(fault) => disk.inject(fault),
                Step::Cut(seed) => {
                    disk.forget_faults();
                    disk.power_cut_with(&SeededRandom::new(seed));
                    audit = open_with(&disk, at as u64 + 2);
                }
            }
        }
        disk.forget_faults();
        disk.power_cut();
        let audit = open_with(&disk, 999);
        let there = requests(&audit);
        for number in &acked {
            let name = format!("req-{number}");
            let is_there = there.contains(&name);
            prop_assert!(is_there || gone.contains(number) || maybe_gone.contains(number), "{} is lost", name);
            prop_assert!(!(is_there && gone.contains(number)), "{} was erased", name);
        }
        let order: Vec<u64> = there.iter().map(|name| name[4..].parse().unwrap()).collect();
        prop_assert!(order.windows(2).all(|pair| pair[0] < pair[1]));
        let verification = audit.verify(TENANT, known).unwrap();
        // An erasure that failed half way is named until it is asked for again.
        let half_done = !maybe_gone.is_empty();
        let excused = |problem| half_done && matches!(problem, Problem::NotErased | Problem::Content);
        prop_assert!(verification.bad.is_none_or(|(_, problem)| excused(problem)), "{:?}", verification);
        audit.append(TENANT, &[entry(next)]).unwrap();
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0usize..2_000, cut in 0usize..3_000) {
        let disk = MemoryDisk::new();
        fill(&open(&disk), 1..4);
        let path = files(&disk)[0].clone();
        let file = disk.open(&path).unwrap();
        file.write_at(at as u64, &bytes).unwrap();
        file.truncate(cut as u64).unwrap();
        file.sync().unwrap();
        let audit = open(&disk);
        let _ = audit.verify(TENANT, None);
        let _ = audit.tail(TENANT, 10);
        let _ = audit.erase(TENANT, &Erase::Request("req-1".into()));
        let _ = audit.append(TENANT, &[entry(9)]);
    }
}
