//! A collection moves to another model while questions keep coming, and the server is killed in the middle of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ibid::first_start;
use ibid::proto::{
    DocumentHeader, Duplicates, GetMigrationRequest, Migration, MigrationState, PutDocumentRequest, Rerank, SearchMode,
    SearchRequest, SearchSettings, Stage,
};
use ibid_core::ModelId;
use ibid_infer::ModelStore;
use tokio::sync::watch;
use tonic::Status;

use crate::crash::{Program, settle, text};
use crate::harness::{Client, header};

const OLD: &str = "all-MiniLM-L6-v2-int8";
const NEW: &str = "half-as-deep";
const DOCUMENTS: u64 = 250;
const QUESTIONS: [&str; 4] =
    ["Who waits in the harbour?", "an animal behind bars", "Where do they bake?", "visitor in the library"];
const PATIENCE: Duration = Duration::from_secs(120);

/// The committed embedder with half of its layers: another model at little cost.
fn make_half(models: &Path) {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(OLD);
    let half = models.parent().unwrap().join("half");
    fs::create_dir_all(&half).unwrap();
    for file in ["model.safetensors", "tokenizer.json"] {
        fs::copy(whole.join(file), half.join(file)).unwrap();
    }
    let config = fs::read_to_string(whole.join("config.json")).unwrap();
    let halved = config.replace("\"num_hidden_layers\": 6", "\"num_hidden_layers\": 3");
    assert_ne!(config, halved);
    fs::write(half.join("config.json"), halved).unwrap();
    fs::create_dir_all(models).unwrap();
    ModelStore::import(&half, &ModelId::new(NEW).unwrap(), models).unwrap();
}

/// What a question finds: documents with their cosines, best first.
type Found = Vec<(String, String, u32)>;

async fn ask(client: &Client, question: &str) -> Result<Found, Status> {
    let rerank = Rerank { depth: 0, ..Default::default() };
    let settings = SearchSettings {
        mode: SearchMode::Vector.into(),
        top_k: Some(20),
        rerank: Some(rerank),
        duplicates: Duplicates::Keep.into(),
        ..Default::default()
    };
    let request =
        SearchRequest { question: question.to_owned().into(), settings: Some(settings), ..Default::default() };
    let hits = client.searches().search(request).await?.into_inner().hits;
    let found = hits.into_iter().map(|hit| {
        let cosine = hit.scores.and_then(|scores| scores.cosine).unwrap().score.to_bits();
        (hit.document_id, hit.chunk_id, cosine)
    });
    Ok(found.collect())
}

async fn ask_all(client: &Client) -> Vec<Found> {
    let mut all = Vec::new();
    for question in QUESTIONS {
        all.push(ask(client, question).await.unwrap());
    }
    all
}

/// Asks one question after the other, and each once more when it is told to end: what they found. `down` is set while there
/// is no server.
async fn keep_asking(
    clients: watch::Receiver<Client>,
    down: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
) -> Vec<(usize, Found)> {
    let mut replies = Vec::new();
    let mut left = QUESTIONS.len();
    for turn in 0.. {
        if end.load(Ordering::SeqCst) {
            if left == 0 {
                break;
            }
            left -= 1;
        }
        let (question, client) = (turn % QUESTIONS.len(), clients.borrow().clone());
        let was_down = down.load(Ordering::SeqCst);
        match ask(&client, QUESTIONS[question]).await {
            Ok(found) => replies.push((question, found)),
            Err(status) => {
                assert!(was_down || down.load(Ordering::SeqCst), "a question failed while the server was up: {status}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    replies
}

async fn migration(client: &Client) -> Migration {
    let request = GetMigrationRequest { collection: first_start::DEFAULT.to_owned() };
    client.collections().get_migration(request).await.unwrap().into_inner().migration.unwrap()
}

async fn until(client: &Client, what: &str, holds: impl Fn(&Migration) -> bool) {
    let waiting = async {
        while !holds(&migration(client).await) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("still waiting until {what}"));
}

fn migrate(program: &Program, data_dir: &Path, step: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ibid"));
    command.args(["models", "migrate", first_start::DEFAULT]).args(step);
    command.args(["--server", &format!("http://{}", program.address), "--data-dir"]).arg(data_dir);
    command.current_dir(data_dir).env_clear();
    command
}

fn said(Output { status, stdout, stderr }: Output) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{stdout}{stderr}");
    stdout.into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_changed_under_questions_and_a_kill_with_one_switch_and_no_failed_question() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    make_half(&data_dir.join("models"));
    fs::write(data_dir.join("ibid.toml"), format!("[models]\nembedders = ['{NEW}']\n")).unwrap();
    let start = || Program::start(&data_dir, folder.path().join("log"));
    let key = |path: PathBuf| fs::read_to_string(path).unwrap().trim().to_owned();

    let program = start();
    let client = Client::of(program.address, &key(first_start::default_key(&data_dir))).await;
    let operator = Client::of(program.address, &key(first_start::operator_key(&data_dir))).await;
    for n in 0..DOCUMENTS {
        let header = DocumentHeader { wait_for: Stage::Durable.into(), ..header(&format!("{n:03}.md")) };
        // Every fourth text has one chunk.
        let request = PutDocumentRequest { header: Some(header), content: text("migrate", n * 4).into() };
        client.documents().put_document(request).await.unwrap();
    }
    settle(&operator).await;
    let old = ask_all(&client).await;

    let (clients, current) = watch::channel(client.clone());
    let (down, end) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let asking = tokio::spawn(keep_asking(current, Arc::clone(&down), Arc::clone(&end)));
    let mut command = migrate(&program, &data_dir, &["--to", NEW]).spawn().unwrap();
    until(&client, "some chunks are embedded", |migration| migration.chunks_embedded > 0).await;
    let seen = migration(&client).await;
    assert_eq!(seen.state(), MigrationState::Embedding, "{seen:?}");
    down.store(true, Ordering::SeqCst);
    program.kill();
    assert!(!command.wait().unwrap().success());

    let program = start();
    let client = Client::of(program.address, &key(first_start::default_key(&data_dir))).await;
    clients.send(client.clone()).unwrap();
    down.store(false, Ordering::SeqCst);
    until(&client, "it has switched", |migration| migration.state() == MigrationState::Switched).await;
    let new = ask_all(&client).await;
    end.store(true, Ordering::SeqCst);
    let replies = asking.await.unwrap();
    assert!(old.iter().zip(&new).all(|(old, new)| old != new));
    let by_new: Vec<bool> = replies
        .iter()
        .map(|(question, found)| {
            assert!(*found == old[*question] || *found == new[*question], "{question}: of neither model: {found:?}");
            *found == new[*question]
        })
        .collect();
    let changes = by_new.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!((by_new[0], changes), (false, 1), "{} replies", replies.len());

    let shown = said(migrate(&program, &data_dir, &["--to", NEW]).output().unwrap());
    assert!(shown.contains(&format!("searched by  {NEW}")) && shown.contains("recall@10"), "{shown}");
    said(migrate(&program, &data_dir, &["--roll-back"]).output().unwrap());
    assert_eq!(ask_all(&client).await, old);
    let shown = said(migrate(&program, &data_dir, &["--abort"]).output().unwrap());
    assert!(shown.contains(&format!("searched by  {OLD}")), "{shown}");
    assert_eq!(ask_all(&client).await, old);
    program.kill();
}
