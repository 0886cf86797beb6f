//! Damaged files, on the machine's disk: what is derived is made anew, what is lost is named, all the rest is served.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::executor::block_on;
use ibid_core::{CollectionName, DocumentId, Identity, Operator, Reader, Scope, Scopes, TenantName};
use ibid_engine::{
    Candidate, Config, EmbedModel, Engine, EngineError, Fsck, KeyRequest, Models, Opened, Partition, Parts, Put,
    ReadyChunk, RecordKind, Stage, ViewKind, Views,
};
use ibid_runtime::{Disk, DiskFile, ManualClock, Pool, Random, RealDisk, SeededRandom};

use crate::house::{House, ctx, document, settings};
use crate::words::Words;

const FLIPS: usize = 200;
/// Between two looks at something that is to come.
const LOOK: Duration = Duration::from_millis(2);
const LOOKS: u32 = 5_000;
const SEED: u64 = 11;
const WORKERS: usize = 6;
/// More than there are chunks.
const EVERYTHING: usize = 1_000;
const COLLECTIONS: [(&str, &str); 3] = [("acme", "docs"), ("acme", "notes"), ("globex", "docs")];
const DOCUMENTS: usize = 10;

/// An engine on a folder of the machine's disk.
struct Real {
    engine: Engine,
    opened: Opened,
    clock: Arc<ManualClock>,
    model: Arc<Words>,
}

impl Real {
    fn open(folder: &Path) -> Real {
        Real::open_on(folder, Arc::new(RealDisk))
    }

    fn open_on(folder: &Path, disk: Arc<dyn Disk>) -> Real {
        let (clock, model) = (Arc::new(ManualClock::at(1_000)), Words::new("words", "1", 64));
        let parts = Parts {
            disk,
            clock: clock.clone(),
            random: Arc::new(SeededRandom::new(1)),
            pool: Pool::new(2, 64).unwrap(),
            models: Models::only(Arc::clone(&model) as Arc<dyn EmbedModel>),
            views: Views::Folder,
            snapshots: None,
        };
        let config = Config {
            folder: folder.to_owned(),
            document_bytes_max: 1 << 20,
            pending_documents_max: 1_000,
            graph_from: 1_000,
            index_open_timeout: Duration::from_secs(2),
            // About a dozen documents.
            log_segment_bytes: 12 << 10,
            log_room_bytes: 1_000,
            queue_bytes_max: 1 << 24,
            erase_within: Duration::from_secs(3_600),
            // Nobody moves this clock: what failed is tried again at once.
            retry_pause: Duration::ZERO,
            retain: Duration::ZERO,
            past_chunks_max: 1_000,
            master_key: None,
        };
        let (engine, opened) = Engine::open(config, parts).unwrap();
        Real { engine, opened, clock, model }
    }

    fn create(&self, tenant: &str, collection: &str) -> Partition {
        let (operator, name) = (Operator::of_this_process(), TenantName::new(tenant).unwrap());
        match block_on(self.engine.create_tenant(&operator, name.clone())) {
            Ok(_) | Err(EngineError::Exists { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        let right = self.engine.enter(&operator, &name).unwrap();
        let made = CollectionName::new(collection).unwrap();
        block_on(self.engine.create_collection(&ctx(&self.clock), &right, made, settings(&self.model.id))).unwrap();
        self.partition(tenant, collection)
    }

    fn partition(&self, tenant: &str, collection: &str) -> Partition {
        let right = self.engine.enter(&Operator::of_this_process(), &TenantName::new(tenant).unwrap()).unwrap();
        let name = CollectionName::new(collection).unwrap();
        block_on(self.engine.partition(&ctx(&self.clock), &right, &name)).unwrap()
    }

    fn put(&self, partition: &Partition, id: &str, text: &str) {
        block_on(partition.put(&ctx(&self.clock), document(id, text, Stage::Vector))).unwrap();
    }

    /// A document's text; `None` if there is no such one.
    fn text(&self, partition: &Partition, id: &str) -> Result<Option<String>, EngineError> {
        match partition.document(&DocumentId::new(id).unwrap(), None) {
            Ok((_, text)) => Ok(Some(text)),
            Err(EngineError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Documents of which a tenant's status says that they are damaged.
    fn damaged(&self, tenant: &str) -> u64 {
        let name = TenantName::new(tenant).unwrap();
        let status = block_on(self.engine.tenant(&ctx(&self.clock), &Operator::of_this_process(), &name));
        status.unwrap().1.documents_damaged
    }

    fn fsck(&self) -> Fsck {
        block_on(self.engine.fsck(&ctx(&self.clock), &Operator::of_this_process())).unwrap()
    }
}

/// Chunks as found, best first: document, text, score.
type Hits = Vec<(String, String, u32)>;

fn hits(partition: &Partition, candidates: Vec<Candidate>) -> Hits {
    let snapshot = partition.snapshot(None);
    let hit = |one: Candidate| {
        let found = snapshot.find(one.label).unwrap();
        (found.document.to_string(), found.text, one.score.to_bits())
    };
    let mut hits: Hits = candidates.into_iter().map(hit).collect();
    // Ties are broken by label, and a version that is cut again has others.
    hits.sort_by(|one, other| f32::from_bits(other.2).total_cmp(&f32::from_bits(one.2)).then(one.cmp(other)));
    hits
}

fn by_words(real: &Real, partition: &Partition, question: &str) -> Result<Hits, EngineError> {
    let found = partition.snapshot(None).by_words(&ctx(&real.clock), question, EVERYTHING)?;
    Ok(hits(partition, found))
}

fn by_meaning(real: &Real, partition: &Partition, question: &str) -> Hits {
    let vector = real.model.vector(question);
    let found = partition.snapshot(None).by_meaning(&ctx(&real.clock), &vector, EVERYTHING, 0.0).unwrap();
    hits(partition, found)
}

/// Everything that can be asked of a collection.
#[derive(Debug, PartialEq)]
struct Answers {
    /// By id; `None`: not there.
    texts: BTreeMap<String, Option<String>>,
    words: Vec<Hits>,
    meaning: Vec<Hits>,
}

const QUESTIONS: [&str; 3] = ["visitor", "the elephant of the library", "visitor acme docs 3"];

fn id(n: usize) -> String {
    format!("document-{n}")
}

fn text(of: &str, n: usize, revision: usize) -> String {
    let (animal, place) = (["elephant", "penguin", "goldfish"][n % 3], ["library", "harbour"][n % 2]);
    let more = format!("The {animal} of the {place} waits for number {n}. ").repeat(1 + n % 4);
    format!("# Visitor {n}\n\nThis visitor {of} {n} came {revision} times.\n\n{more}\n\n## Later\n\n{more}")
}

/// A folder with several collections and log files: documents replaced and deleted, some with vectors of their own.
fn fill(folder: &Path) {
    let real = Real::open(folder);
    for (tenant, collection) in COLLECTIONS {
        let partition = real.create(tenant, collection);
        let of = format!("{tenant} {collection}");
        for n in 0..DOCUMENTS {
            if n % 3 == 0 {
                let text = text(&of, n, 1);
                let vector = real.model.vector(&format!("given {of} {n}"));
                let chunk = ReadyChunk { bytes: 0..text.len(), vector: Some(vector) };
                let put = Put { chunks: vec![chunk], ..document(&id(n), &text, Stage::Vector) };
                block_on(partition.put(&ctx(&real.clock), put)).unwrap();
            } else {
                real.put(&partition, &id(n), &text(&of, n, 1));
            }
        }
        for n in (0..DOCUMENTS).filter(|n| n % 4 == 1) {
            real.put(&partition, &id(n), &text(&of, n, 2));
        }
        for n in (0..DOCUMENTS).filter(|n| n % 5 == 4) {
            block_on(partition.delete(&ctx(&real.clock), &DocumentId::new(&id(n)).unwrap())).unwrap();
        }
    }
    real.engine.close();
}

/// What the folder answers, and the documents that it says are damaged.
fn ask(real: &Real) -> (BTreeMap<String, Answers>, Vec<String>) {
    let (mut answers, mut damaged) = (BTreeMap::new(), Vec::new());
    for (tenant, collection) in COLLECTIONS {
        let partition = real.partition(tenant, collection);
        block_on(partition.settled(&ctx(&real.clock), |_| {})).unwrap();
        let name = format!("{tenant}/{collection}");
        let mut texts = BTreeMap::new();
        for n in 0..DOCUMENTS {
            match real.text(&partition, &id(n)) {
                Ok(text) => drop(texts.insert(id(n), text)),
                Err(EngineError::Damaged(_)) => damaged.push(format!("{name}/{}", id(n))),
                Err(error) => panic!("{name}: {error:?}"),
            }
        }
        let words = QUESTIONS.map(|question| by_words(real, &partition, question).unwrap()).into();
        let meaning = QUESTIONS.map(|question| by_meaning(real, &partition, question)).into();
        answers.insert(name, Answers { texts, words, meaning });
    }
    (answers, damaged)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// The files below `folder` that hold something, by their path in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    fn below(folder: &Path, root: &Path, found: &mut Vec<PathBuf>) {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                below(&path, root, found);
            } else if fs::metadata(&path).unwrap().len() > 0 {
                found.push(path.strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    below(folder, folder, &mut found);
    found.sort();
    found
}

fn flip(path: &Path, bit: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    fs::write(path, bytes).unwrap();
}

/// What became of a wrong bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Nobody read it, or it says nothing: free space in sled's file, a version in a footer.
    Unnoticed,
    /// A view was made anew, or a place of the log was named.
    Noticed,
    /// And a document is lost, and says so.
    Lost,
}

/// What a folder with one wrong bit must answer, by what that bit was part of.
fn compare(real: &Real, file: &Path, expected: &BTreeMap<String, Answers>) -> Outcome {
    let (found, lost) = ask(real);
    let fsck = real.fsck();
    assert_eq!(fsck.violations, Vec::new());
    assert!(fsck.unopened.is_empty(), "{:?}", fsck.unopened);
    if !file.starts_with("log") {
        assert_eq!(&found, expected);
        assert!(lost.is_empty() && fsck.is_sound(), "{fsck:?}");
        let noticed = real.opened.ledger.index_rebuilt || fsck.mended.iter().any(|one| one.mended.made_anew);
        return if noticed { Outcome::Noticed } else { Outcome::Unnoticed };
    }
    let named = !fsck.damaged.is_empty() || !real.opened.ledger.damaged.is_empty();
    assert!(named || real.opened.ledger.torn_bytes > 0, "nothing is said of it");
    assert_eq!(lost.len() as u64, real.damaged("acme") + real.damaged("globex"));
    assert_eq!(lost.len() as u64, fsck.collections.iter().map(|one| one.documents).sum::<u64>());
    if !lost.is_empty() {
        assert!(!fsck.is_sound() && lost.len() == 1, "{lost:?}");
        let put = |one: &&ibid_engine::DamagedRecord| one.kind == Some(RecordKind::DocumentPut);
        let damaged = fsck.damaged.iter().find(put).expect("the document's record is named");
        let (tenant, collection) = (damaged.tenant.as_ref().unwrap(), damaged.collection.as_ref().unwrap());
        let named = damaged.document.as_ref().is_none_or(|id| lost == [format!("{tenant}/{collection}/{id}")]);
        assert!(named && lost[0].starts_with(&format!("{tenant}/{collection}/")), "{damaged:?} {lost:?}");
    }
    for (name, expected) in expected {
        let (found, gone) = (&found[name], |id: &str| lost.contains(&format!("{name}/{id}")));
        let kept = |hits: &Hits| hits.iter().filter(|hit| !gone(&hit.0)).cloned().collect::<Hits>();
        for (id, text) in &expected.texts {
            assert!(gone(id) || found.texts[id] == *text, "{name}/{id} is {:?}", found.texts[id]);
        }
        for (at, question) in QUESTIONS.iter().enumerate() {
            assert_eq!(found.meaning[at], kept(&expected.meaning[at]), "{name}: {question}");
            if expected.texts.keys().any(|id| gone(id)) {
                // Fewer documents, other statistics.
                let set = |hits: &Hits| {
                    let mut set: Vec<_> = hits.iter().map(|hit| (hit.0.clone(), hit.1.clone())).collect();
                    set.sort();
                    set
                };
                assert_eq!(set(&found.words[at]), set(&kept(&expected.words[at])), "{name}: {question}");
            } else {
                assert_eq!(found.words[at], expected.words[at], "{name}: {question}");
            }
        }
    }
    if lost.is_empty() { Outcome::Noticed } else { Outcome::Lost }
}

#[test]
fn one_wrong_bit_in_any_file_costs_no_more_than_its_own_document() {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    fill(&whole);
    copy(&whole, &root.path().join("asked"));
    let (expected, damaged) = ask(&Real::open(&root.path().join("asked")));
    assert!(damaged.is_empty());
    assert!(expected.values().flat_map(|one| one.words.iter().chain(&one.meaning)).all(|hits| !hits.is_empty()));
    let files = files(&whole);
    let in_log = files.iter().filter(|file| file.starts_with("log")).count();
    assert!(in_log > 3 && files.len() > 20, "{files:?}");

    let random = SeededRandom::new(SEED);
    let draw = |file: &PathBuf| {
        let mut drawn = [0; 8];
        random.fill(b"flip", &mut drawn);
        u64::from_le_bytes(drawn) % (8 * fs::metadata(whole.join(file)).unwrap().len())
    };
    let flips: Vec<(&PathBuf, u64)> = files.iter().cycle().take(FLIPS).map(|file| (file, draw(file))).collect();
    let outcome = &|turn: usize| {
        let (file, bit) = flips[turn];
        let folder = root.path().join(turn.to_string());
        copy(&whole, &folder);
        flip(&folder.join(file), bit);
        let compared = catch_unwind(AssertUnwindSafe(|| compare(&Real::open(&folder), file, &expected)));
        let at = || format!("turn {turn} of seed {SEED}: bit {} of byte {} of {}", bit % 8, bit / 8, file.display());
        let outcome = compared.unwrap_or_else(|_| panic!("{}", at()));
        fs::remove_dir_all(folder).unwrap();
        outcome
    };
    // Most of the time is the disk's.
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let some = move |worker| (worker..FLIPS).step_by(WORKERS).map(outcome).collect::<Vec<_>>();
        let workers: Vec<_> = (0..WORKERS).map(|worker| scope.spawn(move || some(worker))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    let (unnoticed, lost) = (count(Outcome::Unnoticed), count(Outcome::Lost));
    assert!(unnoticed < FLIPS / 10 && lost > 0, "{unnoticed} unnoticed, {lost} lost");
}

/// Changes a byte within the record of the document with this id, behind the id.
fn damage_put(folder: &Path, id: &str) {
    let hit = files(folder).into_iter().filter(|file| file.starts_with("log")).find_map(|file| {
        let bytes = fs::read(folder.join(&file)).unwrap();
        let at = bytes.windows(id.len()).position(|piece| piece == id.as_bytes())?;
        Some((folder.join(file), at))
    });
    let (path, at) = hit.expect("the record is in the log");
    flip(&path, 8 * (at + id.len() + 120) as u64);
}

#[test]
fn a_damaged_document_says_so_until_it_is_put_again_or_deleted() {
    for without_index in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("data");
        let real = Real::open(&folder);
        let partition = real.create("acme", "docs");
        for (n, id) in ["kept", "put-again", "deleted"].into_iter().enumerate() {
            real.put(&partition, id, &text(&format!("acme {id}"), n, 1));
        }
        drop((partition, real));
        damage_put(&folder, "put-again");
        damage_put(&folder, "deleted");
        let forget_index = || {
            if without_index {
                fs::remove_dir_all(folder.join("index")).unwrap()
            }
        };
        forget_index();

        let real = Real::open(&folder);
        let partition = real.partition("acme", "docs");
        let fsck = real.fsck();
        assert_eq!((fsck.damaged.len(), real.damaged("acme"), fsck.is_sound()), (2, 2, false));
        for (damaged, id) in fsck.damaged.iter().zip(["put-again", "deleted"]) {
            assert_eq!(damaged.kind, Some(RecordKind::DocumentPut));
            assert_eq!(damaged.document.as_ref().map(DocumentId::as_str), Some(id), "its own bytes prove its name");
            assert!(matches!(real.text(&partition, id), Err(EngineError::Damaged(_))), "{id}");
        }
        assert_eq!(partition.list(None, None, 9).len(), 1);
        assert!(by_words(&real, &partition, "visitor").unwrap().iter().all(|hit| hit.0 == "kept"));
        // Nobody knows who may read it: whoever does not read all is not told of it.
        let request = KeyRequest {
            scopes: Scopes::from([Scope::Search]),
            reader: Reader::As(Default::default()),
            label: String::new(),
            expires_ms: None,
        };
        let by = Identity::Operator(Operator::of_this_process());
        let key = block_on(real.engine.create_key(&by, Some(&TenantName::new("acme").unwrap()), request)).unwrap().0;
        let Ok(Identity::Tenant(right)) = real.engine.authenticate(&key.shown) else { panic!("a tenant") };
        let name = CollectionName::new("docs").unwrap();
        let others = block_on(real.engine.partition(&ctx(&real.clock), &right, &name)).unwrap();
        assert_eq!(real.text(&others, "deleted").unwrap(), None);
        let deletion =
            |partition: &Partition| block_on(partition.delete(&ctx(&real.clock), &DocumentId::new("deleted").unwrap()));
        assert!(matches!(deletion(&others), Err(EngineError::NotFound { .. })));

        real.put(&partition, "put-again", "A visitor again.");
        deletion(&partition).unwrap();
        drop((partition, others));
        drop(real);
        for _ in 0..2 {
            let real = Real::open(&folder);
            let partition = real.partition("acme", "docs");
            assert_eq!(real.text(&partition, "put-again").unwrap().as_deref(), Some("A visitor again."));
            assert_eq!(real.text(&partition, "deleted").unwrap(), None);
            assert_eq!(real.damaged("acme"), 0);
            assert_eq!(real.fsck().violations, Vec::new());
            drop((partition, real));
            forget_index();
        }
    }
}

/// Vectors that can be read nowhere are made again.
#[test]
fn vectors_whose_record_and_index_are_both_damaged_are_made_anew() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("data");
    fill(&folder);
    let (expected, _) = ask(&Real::open(&folder));
    // One a file.
    let mut damaged = 0;
    for file in files(&folder).into_iter().filter(|file| file.starts_with("log")) {
        let mut bytes = fs::read(folder.join(&file)).unwrap();
        let headers: Vec<usize> =
            (0..bytes.len() - 76).filter(|at| bytes[*at..].starts_with(b"\xb1IR\n") && bytes[at + 6] == 10).collect();
        if let Some(at) = headers.first() {
            bytes[at + 76 + 60] ^= 1;
            fs::write(folder.join(&file), bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 2);
    fs::remove_dir_all(folder.join("partitions")).unwrap();
    let real = Real::open(&folder);
    assert_eq!(ask(&real), (expected, Vec::new()));
    let fsck = real.fsck();
    assert_eq!((fsck.damaged.len(), fsck.violations.len()), (damaged, 0));
    assert!(fsck.damaged.iter().all(|one| one.kind == Some(RecordKind::DocumentEmbedded)), "{:?}", fsck.damaged);
}

/// A disk on which reading the files below a folder waits until it is let go.
#[derive(Debug)]
struct Held {
    below: PathBuf,
    let_go: Mutex<bool>,
    changed: Condvar,
}

impl Held {
    fn wait(&self, path: &Path) {
        if path.starts_with(&self.below) {
            let let_go = self.let_go.lock().unwrap();
            drop(self.changed.wait_while(let_go, |let_go| !*let_go).unwrap());
        }
    }

    fn let_go(&self) {
        *self.let_go.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

impl Disk for Held {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.open(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(dir)
    }
    fn exists(&self, path: &Path) -> bool {
        RealDisk.exists(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.wait(dir);
        RealDisk.remove_dir_all(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
}

#[test]
fn while_one_collection_is_made_anew_the_others_answer() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("data");
    fill(&folder);
    let manifest = |file: &&PathBuf| file.ends_with("manifest");
    let manifest = files(&folder).iter().find(manifest).unwrap().clone();
    flip(&folder.join(&manifest), 99);
    let below = folder.join(manifest.parent().unwrap());
    let held = Arc::new(Held { below, let_go: Mutex::new(false), changed: Condvar::new() });
    let real = Real::open_on(&folder, Arc::clone(&held) as Arc<dyn Disk>);

    // It is about to remove the damaged index. Whose that is, the folder's name does not tell.
    let (operator, clock) = (Operator::of_this_process(), ctx(&real.clock));
    let mut answered = 0;
    let mut waiting = Vec::new();
    for (tenant, collection) in COLLECTIONS {
        let right = real.engine.enter(&operator, &TenantName::new(tenant).unwrap()).unwrap();
        let name = CollectionName::new(collection).unwrap();
        let open = async |looks: u32| {
            let opening = real.engine.partition(&clock, &right, &name);
            futures::pin_mut!(opening);
            for _ in 0..looks {
                if let Some(partition) = opening.as_mut().now_or_never() {
                    return Some(partition.unwrap());
                }
                std::thread::sleep(LOOK);
            }
            None
        };
        match block_on(open(LOOKS / 5)) {
            Some(partition) => {
                assert!(!by_words(&real, &partition, "visitor").unwrap().is_empty());
                answered += 1;
            }
            None => waiting.push((tenant, collection)),
        }
    }
    assert_eq!((answered, waiting.len()), (2, 1));
    held.let_go();
    let (tenant, collection) = waiting[0];
    assert!(!by_meaning(&real, &real.partition(tenant, collection), "visitor").is_empty());
    let fsck = real.fsck();
    let mended: Vec<_> = fsck.mended.iter().filter(|one| one.mended.made_anew).collect();
    assert_eq!(mended.len(), 1);
    assert_eq!((mended[0].tenant.as_str(), mended[0].collection.as_str()), (tenant, collection));
    assert_eq!(mended[0].mended.view, ViewKind::Vectors);
    assert!(fsck.is_sound());
}

/// Puts other bytes in place of the postings in an index's folder, which stay open meanwhile.
fn overwrite_words(folder: &Path) {
    for file in files(folder).iter().filter(|file| file.extension().is_some_and(|end| end == "idx")) {
        let file = fs::OpenOptions::new().write(true).open(folder.join(file)).unwrap();
        let len = file.metadata().unwrap().len();
        file.write_all_at(&vec![0xff; usize::try_from(len).unwrap()], 0).unwrap();
    }
}

#[test]
fn words_that_are_damaged_while_they_are_served_are_made_anew_and_the_others_answer() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("data");
    fill(&folder);
    let real = Real::open(&folder);
    let (expected, _) = ask(&real);
    let words: Vec<PathBuf> = fs::read_dir(folder.join("partitions")).unwrap().map(|one| one.unwrap().path()).collect();
    overwrite_words(&words[0].join("lexical"));
    let (mut quarantined, mut answered) = (Vec::new(), 0);
    for (tenant, collection) in COLLECTIONS {
        let partition = real.partition(tenant, collection);
        match by_words(&real, &partition, QUESTIONS[0]) {
            Ok(found) => {
                assert_eq!(found, expected[&format!("{tenant}/{collection}")].words[0]);
                answered += 1;
            }
            Err(EngineError::Rebuilding) => quarantined.push(partition.clone()),
            Err(error) => panic!("{error:?}"),
        }
        let name = format!("{tenant}/{collection}");
        assert_eq!(
            by_meaning(&real, &partition, QUESTIONS[0]),
            expected[&name].meaning[0],
            "vectors are not concerned"
        );
    }
    assert_eq!((quarantined.len(), answered), (1, 2));
    let mut looks = 0;
    while let Err(error) = by_words(&real, &quarantined[0], QUESTIONS[0]) {
        looks += 1;
        assert!(matches!(error, EngineError::Rebuilding) && looks < LOOKS, "{error:?}");
        std::thread::sleep(LOOK);
    }
    assert_eq!(ask(&real), (expected, Vec::new()));

    // A writer finds out as well, and what it writes is not lost.
    let words: Vec<PathBuf> = fs::read_dir(folder.join("partitions")).unwrap().map(|one| one.unwrap().path()).collect();
    words.iter().for_each(|folder| overwrite_words(&folder.join("lexical")));
    for (tenant, collection) in COLLECTIONS {
        let partition = real.partition(tenant, collection);
        real.put(&partition, &id(1), "A visitor of the zoo.");
        let found = by_words(&real, &partition, "zoo").unwrap();
        assert_eq!(found.iter().map(|hit| hit.0.as_str()).collect::<Vec<_>>(), [id(1)]);
    }
    assert_eq!(real.fsck().violations, Vec::new());
}

#[test]
fn a_collection_that_does_not_open_is_counted_and_hides_no_other() {
    let models = vec![Words::new("words", "1", 64), Words::new("gone", "1", 64)];
    let house = House::with(models.clone());
    house.put(&house.partition("acme"), "a", "A visitor.", Stage::Vector).unwrap();
    let (right, name) = (house.tenant("acme"), CollectionName::new("other").unwrap());
    block_on(house.engine.create_collection(&ctx(&house.clock), &right, name, settings(&models[1].id))).unwrap();
    let house = house.power_cut_and(vec![models[0].clone()]);
    let acme = TenantName::new("acme").unwrap();
    let status = block_on(house.engine.tenant(&ctx(&house.clock), &Operator::of_this_process(), &acme)).unwrap().1;
    assert_eq!((status.collections, status.collections_unopened, status.documents), (1, 1, 1));
    let fsck = block_on(house.engine.fsck(&ctx(&house.clock), &Operator::of_this_process())).unwrap();
    assert_eq!((fsck.unopened.len(), fsck.violations.len(), fsck.is_sound()), (1, 0, false));
}

/// A tenant, a collection and a deletion each have a record of their own: by one bad byte in it everything would be gone, or
/// back.
#[test]
fn one_damaged_record_of_the_catalog_costs_nothing() {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    let real = Real::open(&whole);
    let partition = real.create("acme", "docs");
    real.put(&partition, "a", "A visitor.");
    real.create("globex", "docs");
    let operator = Operator::of_this_process();
    block_on(real.engine.delete_tenant(&operator, &TenantName::new("globex").unwrap())).unwrap();
    drop((partition, real));
    let log = files(&whole).into_iter().find(|file| file.starts_with("log")).unwrap();
    let bytes = fs::read(whole.join(&log)).unwrap();
    let headers: Vec<usize> =
        (0..bytes.len() - 76).filter(|at| bytes[*at..].starts_with(b"\xb1IR\n") && bytes[at + 6] < 8).collect();
    assert_eq!(headers.len(), 1 + 2 * 5, "the folder's, and two of each change");
    for at in headers {
        let folder = root.path().join(at.to_string());
        copy(&whole, &folder);
        fs::remove_dir_all(folder.join("index")).unwrap();
        flip(&folder.join(&log), 8 * (at as u64 + 76) + 1);
        let real = Real::open(&folder);
        let names: Vec<_> =
            real.engine.tenants(&operator, None, 9).into_iter().map(|one| one.name.to_string()).collect();
        assert_eq!(names, ["acme"]);
        assert_eq!(real.text(&real.partition("acme", "docs"), "a").unwrap().as_deref(), Some("A visitor."));
        assert_eq!(real.opened.ledger.damaged.len(), 1);
    }
}
