//! kill -9 in the middle of ingest, damaged and missing indexes.
//!
//! A killed process leaves the page cache as it was, so this says nothing of power cuts: the ledger's own tests do, on a
//! disk that forgets what was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ibid::first_start;
use ibid::proto::{
    DeleteDocumentRequest, DocumentHeader, Duplicates, GetTenantRequest, Hit, IngestStatus, ListDocumentsRequest,
    PutDocumentRequest, Rerank, SearchMode, SearchRequest, SearchSettings, Stage,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::harness::{Client, TestServer, header};

const KILLS: [u64; 3] = [1, 2, 3];
const WRITERS: u64 = 4;
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);
/// More than there are chunks.
const EVERYTHING: u32 = 1_000;

fn serve(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ibid"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir).current_dir(data_dir).env_clear();
    command
}

/// `ibid serve` as a process of its own. Dropping it kills it.
pub(crate) struct Program {
    pub(crate) process: Child,
    pub(crate) address: SocketAddr,
    log: PathBuf,
}

impl Program {
    /// Returns once it listens.
    pub(crate) fn start(data_dir: &Path, log: PathBuf) -> Program {
        let stderr = File::create(&log).unwrap();
        let mut process = serve(data_dir).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.strip_prefix("ibid at ").and_then(|rest| rest.split(',').next()?.parse().ok());
        let address = address.unwrap_or_else(|| panic!("{line:?}\n{}", fs::read_to_string(&log).unwrap()));
        Program { process, address, log }
    }

    /// Kills it with SIGKILL and waits for its end.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let log = fs::read_to_string(&self.log).unwrap();
        assert!(!log.contains("ERROR"), "the server logged an error:\n{log}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What each document may be after a crash: what was acknowledged last, then what was sent since. `None`: not there.
type Possible = BTreeMap<String, Vec<Option<String>>>;

const ANIMALS: [&str; 12] =
    ["dog", "cat", "horse", "parrot", "snake", "goldfish", "spider", "elephant", "penguin", "frog", "bee", "sheep"];
const PLACES: [&str; 12] = [
    "kitchen", "library", "garden", "harbour", "church", "school", "hospital", "bakery", "prison", "theatre", "desert",
    "bank",
];

/// A text that says what no other text says, of one chunk or a few.
pub(crate) fn text(id: &str, n: u64) -> String {
    let hash = blake3::hash(format!("{id} {n}").as_bytes());
    let (letters, rest) = hash.as_bytes().split_at(8);
    let word: String = letters.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    let (animal, place) = (ANIMALS[rest[0] as usize % 12], PLACES[rest[1] as usize % 12]);
    let more = format!("The {animal} stays in the {place} until somebody comes for it. ").repeat(n as usize % 4 * 10);
    format!("# Visitor {word}\n\nThe {animal} in the {place} is called {word}.\n\n{more}\n")
}

/// Puts new documents, replaces some, deletes some, one after the other, until the server is gone.
async fn write(
    client: Client,
    prefix: String,
    possible: Arc<Mutex<Possible>>,
    acks: watch::Sender<u64>,
    killed: Arc<AtomicBool>,
) {
    for n in 0.. {
        let id = match n % 5 {
            3 => format!("{prefix}-{}", n - 1),
            4 => format!("{prefix}-{}", n - 4),
            _ => format!("{prefix}-{n}"),
        };
        let next = (n % 5 != 4).then(|| text(&id, n));
        possible.lock().unwrap().entry(id.clone()).or_insert_with(|| vec![None]).push(next.clone());
        // Now and then a writer waits for the last stage: so the kill meets every stage, and embedding keeps up.
        let stage = if n % 5 == 1 { Stage::Vector } else { Stage::Durable };
        if let Err(status) = send(&client, &id, next.as_deref(), stage).await {
            assert!(killed.load(Ordering::SeqCst), "{id}: {status}");
            return;
        }
        possible.lock().unwrap().insert(id, vec![next]);
        acks.send_modify(|acks| *acks += 1);
    }
}

async fn send(client: &Client, id: &str, text: Option<&str>, stage: Stage) -> Result<(), Status> {
    let header = DocumentHeader { wait_for: stage.into(), ..header(id) };
    if let Some(text) = text {
        let request = PutDocumentRequest { header: Some(header), content: text.to_owned().into() };
        return client.documents().put_document(request).await.map(drop);
    }
    let request = DeleteDocumentRequest { collection: header.collection, document_id: header.document_id };
    client.documents().delete_document(request).await.map(drop)
}

/// Every document is what it may be; from now on it may be nothing else.
async fn check_stored(client: &Client, possible: &mut Possible) {
    for (id, states) in possible {
        let found = match client.get(id).await {
            Ok((_, content)) => Some(String::from_utf8(content).unwrap()),
            Err(status) => {
                assert_eq!(status.code(), Code::NotFound, "{id}: {status}");
                None
            }
        };
        assert!(states.contains(&found), "{id} is {found:?}, expected one of {states:?}");
        *states = vec![found];
    }
}

pub(crate) async fn settle(operator: &Client) -> IngestStatus {
    let request = GetTenantRequest { name: first_start::DEFAULT.to_owned() };
    let settled = async {
        loop {
            let tenant = operator.tenants().get_tenant(request.clone()).await.unwrap().into_inner().tenant.unwrap();
            let ingest = tenant.ingest.unwrap();
            if ingest.documents_pending == 0 {
                return ingest;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SETTLE_TIMEOUT, settled).await.expect("documents stay pending")
}

async fn search(client: &Client, question: &str, mode: SearchMode, top_k: u32) -> Vec<Hit> {
    let rerank = Rerank { depth: 0, ..Default::default() };
    let duplicates = Duplicates::Keep.into();
    let settings = SearchSettings {
        mode: mode.into(),
        top_k: Some(top_k),
        rerank: Some(rerank),
        duplicates,
        ..Default::default()
    };
    let request =
        SearchRequest { question: question.to_owned().into(), settings: Some(settings), ..Default::default() };
    client.searches().search(request).await.unwrap().into_inner().hits
}

fn documents(hits: &[Hit]) -> BTreeSet<&str> {
    hits.iter().map(|hit| hit.document_id.as_str()).collect()
}

/// Both arms find each text by its own word and sentence, and find nothing else.
async fn check_found(client: &Client, texts: &BTreeMap<&str, &str>) {
    let ids: BTreeSet<&str> = texts.keys().copied().collect();
    for mode in [SearchMode::Lexical, SearchMode::Vector] {
        let hits = search(client, "visitor", mode, EVERYTHING).await;
        assert_eq!(documents(&hits), ids, "{mode:?}");
        for hit in &hits {
            let span = hit.span.unwrap();
            let stored = texts[hit.document_id.as_str()];
            assert_eq!(hit.text, stored[span.start_byte as usize..span.end_byte as usize]);
        }
    }
    for (id, text) in texts {
        let mut paragraphs = text.split("\n\n");
        let word = paragraphs.next().unwrap().rsplit(' ').next().unwrap();
        let hits = search(client, word, SearchMode::Lexical, EVERYTHING).await;
        assert_eq!(documents(&hits), BTreeSet::from([*id]), "{word}");
        let sentence = paragraphs.next().unwrap();
        let hits = search(client, sentence, SearchMode::Vector, 5).await;
        assert!(documents(&hits).contains(id), "{sentence}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill_and_nothing_is_left_by_halves() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    fs::create_dir(&data_dir).unwrap();
    let start = || Program::start(&data_dir, folder.path().join("log"));
    let key = |path: PathBuf| fs::read_to_string(path).unwrap().trim().to_owned();
    let possible = Arc::new(Mutex::new(Possible::new()));

    for seed in KILLS {
        let mut random = StdRng::seed_from_u64(seed);
        let program = start();
        let client = Client::of(program.address, &key(first_start::default_key(&data_dir))).await;
        let mut stored = std::mem::take(&mut *possible.lock().unwrap());
        check_stored(&client, &mut stored).await;
        *possible.lock().unwrap() = stored;

        let (acks, mut acked) = watch::channel(0);
        let killed = Arc::new(AtomicBool::new(false));
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let prefix = format!("{seed}-{writer}");
            writers.spawn(write(client.clone(), prefix, Arc::clone(&possible), acks.clone(), Arc::clone(&killed)));
        }
        drop(acks);
        let wanted = random.random_range(10..60);
        acked.wait_for(|acks| *acks >= wanted).await.expect("every writer has failed");
        tokio::time::sleep(Duration::from_micros(random.random_range(0..5_000))).await;
        killed.store(true, Ordering::SeqCst);
        program.kill();
        writers.join_all().await;
    }

    let program = start();
    let client = Client::of(program.address, &key(first_start::default_key(&data_dir))).await;
    let operator = Client::of(program.address, &key(first_start::operator_key(&data_dir))).await;
    let mut possible = std::mem::take(&mut *possible.lock().unwrap());
    check_stored(&client, &mut possible).await;
    let there = possible.iter().filter_map(|(id, states)| Some((id.as_str(), states[0].as_deref()?)));
    let texts: BTreeMap<&str, &str> = there.collect();
    let ingest = settle(&operator).await;
    assert_eq!((ingest.documents, ingest.documents_parked), (texts.len() as u64, 0));
    assert_eq!(ingest.chunks, ingest.chunks_embedded);

    let list = ListDocumentsRequest { collection: "default".to_owned(), page_size: 1_000, ..Default::default() };
    let listed = client.documents().list_documents(list).await.unwrap().into_inner().documents;
    let ids: Vec<&str> = listed.iter().map(|document| document.document_id.as_str()).collect();
    assert_eq!(ids, texts.keys().copied().collect::<Vec<_>>());
    assert!(listed.iter().all(|one| one.stage() == Stage::Vector && one.chunks == one.chunks_embedded));
    check_found(&client, &texts).await;
    program.kill();
}

/// All files below `folder`, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_missing_index_changes_no_answer() {
    let mut server = TestServer::start().await;
    let texts: BTreeMap<String, String> = (0..12).map(|n| (format!("{n}.md"), text("index", n))).collect();
    for (id, text) in &texts {
        server.default_tenant().await.put(id, text).await.unwrap();
    }
    let modes = [SearchMode::Lexical, SearchMode::Vector, SearchMode::Hybrid];
    let questions = ["Which animal stays in the kitchen?", "visitor"];
    let answers = async |server: &TestServer| {
        let client = server.default_tenant().await;
        let mut answers = Vec::new();
        for (mode, question) in modes.into_iter().flat_map(|mode| questions.map(|question| (mode, question))) {
            answers.push(search(&client, question, mode, EVERYTHING).await);
        }
        answers
    };
    let expected = answers(&server).await;
    assert!(expected.iter().all(|hits| !hits.is_empty()));

    for missing in ["partitions", "index"] {
        server = server.restart_after(|data_dir| fs::remove_dir_all(data_dir.join(missing)).unwrap()).await;
        assert_eq!(answers(&server).await, expected, "without {missing}");
    }
    // Every file that holds something, one after the other; making an index anew renames its files.
    for turn in 0.. {
        let mut flipped = None;
        server = server
            .restart_after(|data_dir| {
                let mut files = files(&data_dir.join("partitions"));
                files.retain(|file| fs::metadata(file).unwrap().len() > 0);
                let Some(file) = files.get(turn) else { return };
                let mut bytes = fs::read(file).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x10;
                fs::write(file, bytes).unwrap();
                flipped = Some(file.clone());
            })
            .await;
        let Some(flipped) = flipped else { break };
        assert_eq!(answers(&server).await, expected, "a byte of {} flipped", flipped.display());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_has_one_server_at_a_time() {
    let server = TestServer::start().await;
    let Output { status, stdout, stderr } = serve(&server.data_dir()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(1), "{stdout}{stderr}");
    assert!(stderr.contains("in use by another process"), "{stderr}");
    assert!(stdout.is_empty(), "{stdout}");
    server.default_tenant().await.put("a.md", "alpha").await.unwrap();
    server.stop().await;
}
