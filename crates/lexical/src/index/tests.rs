use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ibid_core::{Label, Language};
use ibid_runtime::{Ctx, ManualClock, Priority, Stopped};
use proptest::prelude::*;
use roaring::RoaringBitmap;

use super::*;
use crate::Entry;

const ENGLISH: Analysis = Analysis { language: Language::English, stemming: true, stop_words: true };

fn ctx() -> Ctx {
    Ctx::new(Arc::new(ManualClock::at(0)), Priority::Query, None)
}

fn open(storage: &Storage) -> LexicalIndex {
    LexicalIndex::open(storage, ENGLISH).unwrap().index
}

fn entry(label: Label, text: &str) -> Entry {
    Entry { label, title: String::new(), headings: String::new(), text: text.to_owned() }
}

fn adding(chunks: &[(Label, &str)]) -> Changes {
    Changes { remove: Vec::new(), add: chunks.iter().map(|(label, text)| entry(*label, text)).collect() }
}

fn find(snapshot: &Snapshot, question: &str, n: usize, allowed: Option<&RoaringBitmap>) -> Vec<(Label, f32)> {
    snapshot.search(&ctx(), question, n, allowed).unwrap()
}

fn labels(found: &[(Label, f32)]) -> Vec<Label> {
    found.iter().map(|(label, _)| *label).collect()
}

/// Everything that can be asked of words `a` to `f`, to the bit.
fn replies(snapshot: &Snapshot) -> Vec<Vec<(Label, u32)>> {
    let scope: RoaringBitmap = (0..99).filter(|label| label % 3 != 0).collect();
    let ask = |question: &str, n, allowed| -> Vec<(Label, u32)> {
        find(snapshot, question, n, allowed).into_iter().map(|(label, bm25)| (label, bm25.to_bits())).collect()
    };
    ["wa", "wb wc", "wd we wf wa", "wf we wd wc wb wa", "we nothing wa"]
        .into_iter()
        .flat_map(|question| [ask(question, 99, None), ask(question, 3, None), ask(question, 4, Some(&scope))])
        .collect()
}

fn merge_all(index: &LexicalIndex) {
    let all_as_one = |all: &[SegmentMeta]| MergeCandidate(all.iter().map(SegmentMeta::id).collect());
    index.merge(|all| if all.is_empty() { Vec::new() } else { vec![all_as_one(all)] }).unwrap();
}

prop_compose! {
    fn any_chunk()(label in 0..24_u32, words in prop::collection::vec("w[a-f]", 0..9)) -> Entry {
        entry(label, &words.join(" "))
    }
}

prop_compose! {
    fn any_changes()(
        remove in prop::collection::vec(0..24_u32, 0..6),
        add in prop::collection::vec(any_chunk(), 0..12),
    ) -> Changes {
        Changes { remove, add }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn replies_depend_on_the_living_chunks_alone(
        batches in prop::collection::vec((any_changes(), any::<bool>()), 1..6),
        on_disk in prop::bool::weighted(0.15),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let storage = if on_disk { Storage::Folder(folder.path().join("index")) } else { Storage::Memory };
        let mut index = open(&storage);
        let mut living = BTreeMap::new();
        for (number, (changes, replayed)) in batches.iter().enumerate() {
            for _ in 0..=usize::from(*replayed) {
                index.write(changes.clone(), number as u64).unwrap();
            }
            living.retain(|label, _| !changes.remove.contains(label));
            living.extend(changes.add.iter().map(|entry| (entry.label, entry.clone())));
        }
        let fresh = open(&Storage::Memory);
        fresh.write(Changes { remove: Vec::new(), add: living.values().cloned().collect() }, 0).unwrap();
        let expected = replies(&fresh.snapshot());

        let snapshot = index.snapshot();
        prop_assert_eq!(snapshot.len(), living.len() as u64);
        prop_assert_eq!(snapshot.labels().unwrap(), living.keys().copied().collect::<RoaringBitmap>());
        for label in 0..24 {
            prop_assert_eq!(snapshot.contains(label).unwrap(), living.contains_key(&label));
        }
        prop_assert_eq!(&replies(&snapshot), &expected);

        if on_disk {
            drop(index);
            let reopened = LexicalIndex::open(&storage, ENGLISH).unwrap();
            prop_assert_eq!(reopened.checkpoint, Some(batches.len() as u64 - 1));
            index = reopened.index;
            prop_assert_eq!(&replies(&index.snapshot()), &expected);
        }
        merge_all(&index);
        prop_assert!(index.snapshot().0.segments.len() <= 1);
        prop_assert_eq!(&replies(&index.snapshot()), &expected);
        drop(index);
        prop_assert_eq!(&replies(&snapshot), &expected, "a snapshot stays, though its index is gone");
    }

    #[test]
    fn no_question_fails(question in "\\PC*|[a-c\\-.:\"+*()~^\\[\\] ]{0,40}") {
        let index = open(&Storage::Memory);
        index.write(adding(&[(1, "a b-1 c")]), 1).unwrap();
        find(&index.snapshot(), &question, 5, None);
    }
}

/// BM25 as the formula says it, over chunks of fewer than 40 words (longer lengths are rounded).
fn reference(chunks: &[(Label, String)], question: &[&str]) -> Vec<(Label, f64)> {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let total: usize = chunks.iter().map(|(_, text)| words(text).len()).sum();
    let (count, mean) = (chunks.len() as f64, total as f64 / chunks.len() as f64);
    let mut scored: Vec<(Label, f64)> = chunks.iter().map(|(label, _)| (*label, 0.0)).collect();
    for term in question {
        let frequency = |text: &str| words(text).iter().filter(|word| word == term).count() as f64;
        let holding = chunks.iter().filter(|(_, text)| frequency(text) > 0.0).count() as f64;
        let idf = (1.0 + (count - holding + 0.5) / (holding + 0.5)).ln();
        for ((_, text), (_, bm25)) in chunks.iter().zip(&mut scored) {
            let (tf, length) = (frequency(text), words(text).len() as f64);
            *bm25 += idf * tf * 1.9 / (tf + 0.9 * (0.6 + 0.4 * length / mean));
        }
    }
    scored.retain(|(_, bm25)| *bm25 > 0.0);
    scored.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
    scored
}

#[test]
fn scores_are_those_of_the_formula_over_several_windows() {
    // A rare word, a common one, one in between, and chunks of all lengths.
    let chunks: Vec<(Label, String)> = (0..9_000_u32)
        .map(|n| {
            let mut words = vec!["wa"; (n % 5) as usize];
            words.extend(vec!["wb"; usize::from(n % 7 == 0)]);
            words.extend(vec!["wc"; if n % 1_999 == 0 { 2 } else { 0 }]);
            words.extend(vec!["wd"; (n % 31) as usize + 1]);
            (n, words.join(" "))
        })
        .collect();
    let index = open(&Storage::Memory);
    let add = chunks.iter().map(|(label, text)| entry(*label, text)).collect();
    index.write(Changes { remove: Vec::new(), add }, 1).unwrap();
    let found = find(&index.snapshot(), "wa wb wc", 9_000, None);
    let expected = reference(&chunks, &["wa", "wb", "wc"]);
    assert_eq!(found.len(), expected.len());
    for ((_, bm25), (_, expected)) in found.iter().zip(&expected) {
        assert!((f64::from(*bm25) - expected).abs() < 1e-5, "{bm25}, not {expected}");
    }
    assert_eq!(labels(&found[..3]), labels_of(&expected[..3]));
    assert!(found.is_sorted_by(|one, other| one.1 > other.1 || one.1 == other.1 && one.0 < other.0));
    assert_eq!(find(&index.snapshot(), "wa wb wc", 50, None), found[..50]);
}

fn labels_of(scored: &[(Label, f64)]) -> Vec<Label> {
    scored.iter().map(|(label, _)| *label).collect()
}

#[test]
fn title_headings_and_text_are_searched() {
    let index = open(&Storage::Memory);
    let chunk =
        Entry { label: 7, title: "Pumps".into(), headings: "Faults > E-4102".into(), text: "Replace it.".into() };
    index.write(Changes { remove: Vec::new(), add: vec![chunk, entry(8, "Replace E-4103.")] }, 1).unwrap();
    for question in ["pump", "faults", "replacing e4102", "E-4102?"] {
        assert_eq!(find(&index.snapshot(), question, 1, None)[0].0, 7, "{question}");
    }
}

#[test]
fn the_scope_comes_before_the_ranking() {
    let index = open(&Storage::Memory);
    index.write(adding(&[(1, "cat cat"), (2, "cat dog"), (3, "cat dog"), (4, "dog")]), 1).unwrap();
    let snapshot = index.snapshot();
    let all = find(&snapshot, "cat", 4, None);
    assert_eq!(labels(&all), [1, 2, 3], "ties by ascending label");
    let scope: RoaringBitmap = [3, 4, 99].into_iter().collect();
    assert_eq!(find(&snapshot, "cat", 1, Some(&scope)), [all[2]], "the same score in any scope");
    assert_eq!(find(&snapshot, "cat", 1, Some(&RoaringBitmap::new())), []);
    assert_eq!(find(&snapshot, "the", 1, None), []);
    assert_eq!(find(&snapshot, "cat", 0, None), []);
}

#[test]
fn one_index_knows_nothing_of_another() {
    let (one, other) = (open(&Storage::Memory), open(&Storage::Memory));
    one.write(adding(&[(1, "cat"), (2, "dog dog")]), 1).unwrap();
    let before = find(&one.snapshot(), "cat dog", 9, None);
    other.write(adding(&[(1, "cat"), (2, "dog dog")]), 1).unwrap();
    assert_eq!(find(&other.snapshot(), "cat dog", 9, None), before);
    other.write(adding(&[(3, "cat cat cat"), (4, "bird")]), 2).unwrap();
    assert_eq!(find(&one.snapshot(), "cat dog", 9, None), before);
    assert_ne!(find(&other.snapshot(), "cat dog", 9, None), before);
}

#[test]
fn a_snapshot_sees_none_of_what_comes_later() {
    let index = open(&Storage::Memory);
    let empty = index.snapshot();
    index.write(adding(&[(1, "cat"), (2, "cat dog")]), 1).unwrap();
    let first = index.snapshot();
    let before = find(&first, "cat", 9, None);
    index.write(Changes { remove: vec![1], add: vec![entry(2, "bird"), entry(3, "cat")] }, 2).unwrap();
    merge_all(&index);
    assert!(empty.is_empty() && find(&empty, "cat", 9, None).is_empty());
    assert_eq!(find(&first, "cat", 9, None), before);
    assert_eq!(labels(&find(&index.snapshot(), "cat", 9, None)), [3]);
}

#[test]
fn merges_keep_segments_few_while_writes_go_on() {
    let index = open(&Storage::Memory);
    let writes_end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !writes_end.load(Ordering::Relaxed) {
                index.maintain().unwrap();
            }
        });
        for number in 0..60_u32 {
            let text = format!("wa w{}", ["b", "c", "d"][(number % 3) as usize]);
            let add = vec![entry(number, &text), entry(number + 1, "gone")];
            index.write(Changes { remove: vec![number / 2], add }, u64::from(number)).unwrap();
        }
        writes_end.store(true, Ordering::Relaxed);
    });
    while index.maintain().unwrap() {}
    assert!(index.snapshot().0.segments.len() < MERGE_SEGMENTS);
    assert!(index.writing().writer.is_none(), "nothing is held while nothing is written");
    let fresh = open(&Storage::Memory);
    assert_eq!(index.snapshot().labels().unwrap(), (30..=60).collect::<RoaringBitmap>());
    let texts = (30..60).map(|number| entry(number, &format!("wa w{}", ["b", "c", "d"][(number % 3) as usize])));
    fresh.write(Changes { remove: Vec::new(), add: texts.chain([entry(60, "gone")]).collect() }, 0).unwrap();
    assert_eq!(replies(&index.snapshot()), replies(&fresh.snapshot()));
}

#[test]
fn a_late_search_stops() {
    let index = open(&Storage::Memory);
    index.write(adding(&[(1, "cat")]), 1).unwrap();
    let late = Ctx::new(Arc::new(ManualClock::at(0)), Priority::Query, Some(Duration::ZERO));
    let stopped = index.snapshot().search(&late, "cat", 1, None);
    assert!(matches!(stopped, Err(LexicalError::Stopped(Stopped::Deadline))));
}

#[test]
fn another_analysis_is_another_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    let storage = Storage::Folder(path.clone());
    open(&storage).write(adding(&[(1, "cats")]), 5).unwrap();
    let unstemmed = Analysis { stemming: false, ..ENGLISH };
    assert!(matches!(LexicalIndex::open(&storage, unstemmed), Err(LexicalError::Corrupt { .. })));
    LexicalIndex::destroy(&path).unwrap();
    LexicalIndex::destroy(&path).unwrap();
    let opened = LexicalIndex::open(&storage, unstemmed).unwrap();
    assert_eq!((opened.checkpoint, opened.index.snapshot().len()), (None, 0));
}

/// Damages each file of a small index in turn: `damage` gets its content and says what becomes of it (`None`: deleted).
/// What tantivy can do without (its lock files, its list of files) may be damaged without harm; nothing else may go
/// unnoticed.
#[track_caller]
fn check_damage(intact: &Intact, damage: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let mut refused = 0;
    for (file, content) in &intact.files {
        match damage(content) {
            Some(damaged) => fs::write(file, damaged).unwrap(),
            None => fs::remove_file(file).unwrap(),
        }
        match LexicalIndex::open(&intact.storage, ENGLISH) {
            Err(LexicalError::Corrupt { .. }) => refused += 1,
            Ok(Opened { checkpoint: None, index }) => assert!(index.snapshot().is_empty(), "{file:?}"),
            Ok(Opened { checkpoint, index }) => {
                assert_eq!((checkpoint, replies(&index.snapshot())), (Some(2), intact.replies.clone()), "{file:?}");
            }
            Err(error) => panic!("{file:?}: {error:?}"),
        }
        for (file, content) in &intact.files {
            fs::write(file, content).unwrap();
        }
    }
    assert!(refused > 10, "only {refused} files missed");
}

struct Intact {
    storage: Storage,
    files: BTreeMap<PathBuf, Vec<u8>>,
    replies: Vec<Vec<(Label, u32)>>,
}

#[test]
fn damaged_files_are_found_and_nothing_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    let storage = Storage::Folder(path.clone());
    let index = open(&storage);
    index.write(adding(&[(1, "wa wb"), (2, "wb"), (3, "wc wa"), (4, "wd")]), 1).unwrap();
    index.write(Changes { remove: vec![2], add: vec![entry(5, "wf")] }, 2).unwrap();
    let replies = replies(&index.snapshot());
    drop(index);
    let files = fs::read_dir(&path).unwrap().map(|file| file.unwrap().path());
    let intact =
        Intact { storage, files: files.map(|file| (file.clone(), fs::read(file).unwrap())).collect(), replies };

    check_damage(&intact, |_| None);
    check_damage(&intact, |_| Some(Vec::new()));
    check_damage(&intact, |content| Some(content[..content.len() / 2].to_vec()));
    for tenth in 0..10 {
        check_damage(&intact, |content| {
            let mut flipped = content.to_vec();
            if let Some(byte) = flipped.get_mut(content.len() * tenth / 10) {
                *byte ^= 1;
            }
            Some(flipped)
        });
    }
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn files_in(folder: &Path) -> Files {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.map(|file| (file.clone(), fs::read(&file).unwrap())).collect()
}

/// What a power cut leaves of a file that was not synced.
#[derive(Debug, Clone)]
enum Left {
    /// All of it.
    Whole,
    /// What it was after an earlier commit; nothing if it was not there.
    Earlier(prop::sample::Index),
    /// Its beginning.
    Cut(prop::sample::Index),
    /// Its length, with nothing behind its beginning.
    Zeros(prop::sample::Index),
}

fn any_left() -> impl Strategy<Value = Left> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        6 => Just(Left::Whole),
        2 => place().prop_map(Left::Earlier),
        1 => place().prop_map(Left::Cut),
        1 => place().prop_map(Left::Zeros),
    ]
}

/// A chunk of this label: what a label stands for never changes.
fn chunk_of(label: Label) -> Entry {
    let letter = |shift: u32| ["a", "b", "c", "d", "e", "f"][(label >> shift) as usize % 6];
    entry(label, &format!("w{} w{} w{}", letter(0), letter(1), letter(2)))
}

/// Opens an index as its owner does: one that is damaged is made anew, and what it holds is compared with what it should.
fn open_and_compare(folder: &Path, living: &RoaringBitmap) -> LexicalIndex {
    let storage = Storage::Folder(folder.to_owned());
    let index = match LexicalIndex::open(&storage, ENGLISH) {
        Err(LexicalError::Corrupt { .. }) => {
            LexicalIndex::destroy(folder).unwrap();
            open(&storage)
        }
        opened => opened.unwrap().index,
    };
    let held = index.snapshot().labels().unwrap();
    let add = (living - &held).iter().map(chunk_of).collect();
    index.write(Changes { remove: (held - living).iter().collect(), add }, 99).unwrap();
    index
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_a_power_cut_leaves_is_noticed_or_is_a_whole_commit(
        commits in prop::collection::vec((0..12_u32, 0..12_u32, any::<bool>()), 1..5),
        left in prop::collection::vec(any_left(), 1..40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        let index = open(&Storage::Folder(path.clone()));
        let mut living = RoaringBitmap::new();
        let mut versions = vec![files_in(&path)];
        for (number, (add, remove, merges)) in (0..).zip(commits) {
            let labels = number * 20..number * 20 + add;
            let gone: RoaringBitmap = living.iter().filter(|label| label % 12 == remove).collect();
            let changes = Changes { remove: gone.iter().collect(), add: labels.clone().map(chunk_of).collect() };
            index.write(changes, u64::from(number)).unwrap();
            living.extend(labels);
            living -= gone;
            if merges {
                merge_all(&index);
            }
            versions.push(files_in(&path));
        }
        drop(index);

        let names: BTreeSet<&PathBuf> = versions.iter().flat_map(BTreeMap::keys).collect();
        let last = versions.last().unwrap();
        for (name, left) in names.into_iter().zip(left.iter().cycle()) {
            let bytes = last.get(name);
            let bytes = match left {
                Left::Whole => bytes.cloned(),
                Left::Earlier(place) => versions[place.index(versions.len())].get(name).cloned(),
                Left::Cut(place) => bytes.map(|bytes| bytes[..place.index(bytes.len() + 1)].to_vec()),
                Left::Zeros(place) => bytes.map(|bytes| {
                    let mut bytes = bytes.clone();
                    let begin = place.index(bytes.len() + 1);
                    bytes[begin..].fill(0);
                    bytes
                }),
            };
            match bytes {
                Some(bytes) => fs::write(name, bytes).unwrap(),
                None if name.exists() => fs::remove_file(name).unwrap(),
                None => {}
            }
        }
        let index = open_and_compare(&path, &living);
        let fresh = open(&Storage::Memory);
        fresh.write(Changes { remove: Vec::new(), add: living.iter().map(chunk_of).collect() }, 0).unwrap();
        prop_assert_eq!(replies(&index.snapshot()), replies(&fresh.snapshot()));
        merge_all(&index);
        prop_assert_eq!(replies(&index.snapshot()), replies(&fresh.snapshot()));
    }
}

#[test]
fn a_commit_that_was_cut_off_is_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    let storage = Storage::Folder(path.clone());
    let index = open(&storage);
    index.write(adding(&[(1, "wa"), (2, "wb"), (3, "wc")]), 1).unwrap();
    let committed = files_in(&path);
    index.write(Changes { remove: vec![2], add: vec![entry(4, "wd")] }, 2).unwrap();
    drop(index);
    // All of the second commit but its last step.
    for (file, content) in &committed {
        fs::write(file, content).unwrap();
    }
    let left: Vec<PathBuf> = files_in(&path).into_keys().filter(|file| !committed.contains_key(file)).collect();
    let is_deletes = |file: &&PathBuf| file.extension().is_some_and(|kind| kind == "del");
    let deletes = fs::read(left.iter().find(is_deletes).unwrap()).unwrap();

    let opened = LexicalIndex::open(&storage, ENGLISH).unwrap();
    assert_eq!((opened.checkpoint, opened.index.snapshot().len()), (Some(1), 3));
    // The name of its file of deletes is taken again, for other deletes.
    opened.index.write(Changes { remove: vec![1], add: vec![entry(5, "we")] }, 2).unwrap();
    assert_eq!(labels(&find(&opened.index.snapshot(), "wa wb wc wd we", 9, None)), [2, 3, 5]);
    drop(opened);
    assert_eq!(labels(&find(&open(&storage).snapshot(), "wa wb wc wd we", 9, None)), [2, 3, 5]);
    let files = files_in(&path);
    assert_ne!(files[*left.iter().find(is_deletes).as_ref().unwrap()], deletes, "its name was taken");
    assert!(left.iter().all(|file| is_deletes(&file) || !files.contains_key(file)), "what nothing names is removed");
}

#[test]
fn no_other_commit_is_read_out_of_a_damaged_one() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::Folder(folder.path().join("index"));
    open(&storage).write(adding(&[(1, "wa"), (2, "wb")]), 1_000).unwrap();
    let meta = folder.path().join("index").join("meta.json");
    let intact = fs::read(&meta).unwrap();
    // Each byte in turn would take seconds; a digit of the checkpoint is among these.
    let digit = intact.windows(4).position(|bytes| bytes == b"1000").unwrap();
    for byte in (0..intact.len()).step_by(23).chain([digit]) {
        let mut flipped = intact.clone();
        flipped[byte] ^= 1;
        fs::write(&meta, flipped).unwrap();
        let opened = LexicalIndex::open(&storage, ENGLISH);
        assert!(matches!(opened, Err(LexicalError::Corrupt { .. })), "byte {byte}: {opened:?}");
    }
}
