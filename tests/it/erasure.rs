//! What was deleted leaves the disk: every file of the data folder is searched for its bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use ibid::proto::verify_erasure_request::Erased;
use ibid::proto::{
    CompactRequest, CreateSnapshotRequest, DeleteCollectionRequest, DeleteDocumentRequest, DeleteTenantRequest,
    DocumentHeader, ErasedDocument, ErasurePlace, ListTenantsRequest, PruneSnapshotsRequest, PutDocumentRequest,
    ReadyChunk, Scope, Span, Stage, VerifyErasureRequest, VerifyErasureResponse,
};
use tempfile::TempDir;
use tonic::{Code, Status};

use crate::harness::{Client, TestServer, fields, header};
use crate::snapshot::copy_keys;

const CANARY: &str = "quetzalcoatl";
/// Of length one, so that it is stored as it is.
const DIRECTION: [f32; 4] = [0.5, -0.5, 0.5, -0.5];
const DIMENSION: usize = 384;

/// Puts a document whose every part is a canary: name, title, text and vector.
async fn put_canary(client: &Client, name: &str) {
    let content = format!("The {CANARY} {name} is a bird.");
    let mut vector = vec![0.0; DIMENSION];
    vector[8..12].copy_from_slice(&DIRECTION);
    let header = DocumentHeader {
        title: format!("{CANARY} {name}"),
        source_uri: format!("file:///{CANARY}"),
        wait_for: Stage::Vector.into(),
        chunks: vec![ReadyChunk { span: Some(Span { start_byte: 0, end_byte: content.len() as u32 }), vector }],
        ..header(name)
    };
    let request = PutDocumentRequest { header: Some(header), content: content.into() };
    client.documents().put_document(request).await.unwrap();
}

/// The files under `dir` that hold a canary's bytes.
fn sightings(dir: &Path) -> Vec<String> {
    let direction: Vec<u8> = DIRECTION.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut found = Vec::new();
    for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(sightings(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            let holds = |canary: &[u8]| bytes.windows(canary.len()).any(|piece| piece == canary);
            if holds(CANARY.as_bytes()) || holds(&direction) || path.display().to_string().contains(CANARY) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_is_in_no_file_and_what_was_not_is_found() {
    let server = TestServer::start().await;
    let scopes = [Scope::Ingest, Scope::Search];
    let (kept, _) = server.tenant("acme", &scopes).await;
    let (gone, _) = server.tenant(CANARY, &scopes).await;
    for name in ["a", "b", "c"] {
        kept.put(name, &format!("Apples of kind {name} are red.")).await.unwrap();
        put_canary(&gone, &format!("{CANARY}-{name}")).await;
        put_canary(&kept, &format!("{CANARY}-{name}")).await;
    }
    put_canary(&kept, "replaced").await;
    kept.put("replaced", "Pears are red.").await.unwrap();
    // Saved indexes hold it too.
    let server = server.restart().await;
    let (operator, kept) = (server.operator().await, server.again("acme", &scopes).await);
    assert!(sightings(&server.data_dir()).len() > 2, "the test looks at the wrong places");
    let before = kept.search("red apples").await.unwrap();

    operator.tenants().delete_tenant(DeleteTenantRequest { name: CANARY.to_owned() }).await.unwrap();
    for name in ["a", "b", "c"] {
        let document_id = format!("{CANARY}-{name}");
        let request = DeleteDocumentRequest { collection: "default".to_owned(), document_id };
        kept.documents().delete_document(request).await.unwrap();
    }
    let waits = verify(&kept, document("default", &format!("{CANARY}-a"))).await.unwrap();
    assert!(left(&waits, ErasurePlace::Log) > 0 && !waits.erased && !waits.key_destroyed, "{waits:?}");
    assert!(waits.checks[0].until.unwrap().seconds > waits.deleted_at.unwrap().seconds);
    let denied = kept.operations().compact(CompactRequest {}).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let compacted = operator.operations().compact(CompactRequest {}).await.unwrap().into_inner();
    assert!(compacted.bytes_after < compacted.bytes_before, "{compacted:?}");
    assert_eq!(sightings(&server.data_dir()), Vec::<String>::new());
    assert_erased(&kept, document("default", &format!("{CANARY}-a"))).await;

    let found = |hits: Vec<ibid::proto::Hit>| hits.into_iter().map(|hit| hit.document_id).collect::<Vec<_>>();
    let after = found(kept.search("red apples").await.unwrap());
    // In whatever order: how rare words are, and who stands before whom, follows from all that is there.
    let sorted = |ids: &[String]| ids.iter().filter(|id| !id.contains(CANARY)).cloned().collect::<BTreeSet<_>>();
    assert_eq!(sorted(&after), sorted(&found(before)));
    assert!(!after.iter().any(|id| id.contains(CANARY)), "{after:?}");
    let server = server.restart().await;
    let kept = server.again("acme", &scopes).await;
    assert_eq!(found(kept.search("red apples").await.unwrap()), after);
    assert_eq!(sightings(&server.data_dir()), Vec::<String>::new());
}

async fn verify(client: &Client, erased: Erased) -> Result<VerifyErasureResponse, Status> {
    let request = VerifyErasureRequest { erased: Some(erased) };
    Ok(client.documents().verify_erasure(request).await?.into_inner())
}

/// Everything is gone, or is about to be: files that were compacted away are closed, keys are destroyed in the target.
async fn assert_erased(client: &Client, erased: Erased) {
    let mut erasure = verify(client, erased.clone()).await.unwrap();
    for _ in 0..1_000 {
        let closing = |check: &ibid::proto::ErasureCheck| check.place() == ErasurePlace::Log && check.found == 0;
        if erasure.checks.iter().all(|check| (check.found == 0 && !check.unclear) || closing(check)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        erasure = verify(client, erased.clone()).await.unwrap();
    }
    panic!("{erasure:?}");
}

fn document(collection: &str, document_id: &str) -> Erased {
    Erased::Document(ErasedDocument { collection: collection.to_owned(), document_id: document_id.to_owned() })
}

fn left(erasure: &VerifyErasureResponse, place: ErasurePlace) -> u64 {
    erasure.checks.iter().find(|check| check.place() == place).unwrap().found
}

/// A master key, and a place for snapshots.
struct Vault(TempDir);

impl Vault {
    fn new() -> Vault {
        let vault = Vault(tempfile::tempdir().unwrap());
        std::fs::write(vault.key(), "8a".repeat(32)).unwrap();
        vault
    }

    fn key(&self) -> PathBuf {
        self.0.path().join("master.key")
    }

    fn snapshots(&self) -> PathBuf {
        self.0.path().join("snapshots")
    }

    fn configuration(&self) -> String {
        let (key, snapshots) = (self.key(), self.snapshots());
        format!("[ledger]\nmaster_key_file = {key:?}\n[snapshots]\ntarget = {snapshots:?}\n")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_tenant_is_gone_with_its_key_from_snapshots_too() {
    let vault = Vault::new();
    let server = TestServer::start_with(&vault.configuration()).await;
    let scopes = [Scope::Ingest, Scope::Search, Scope::Admin];
    let (gone, _) = server.tenant(CANARY, &scopes).await;
    let (kept, _) = server.tenant("acme", &scopes).await;
    put_canary(&gone, "a").await;
    put_canary(&kept, "a").await;
    kept.put("b", "Apples are red.").await.unwrap();
    let operator = server.operator().await;
    operator.operations().create_snapshot(CreateSnapshotRequest {}).await.unwrap();
    assert_eq!(sightings(&server.data_dir().join("log")), Vec::<String>::new());
    assert_eq!(sightings(&vault.snapshots()), Vec::<String>::new());

    let deleted = operator.tenants().delete_tenant(DeleteTenantRequest { name: CANARY.to_owned() }).await.unwrap();
    let of_tenant = Erased::ErasureId(deleted.into_inner().erasure_id);
    let at_once = verify(&operator, of_tenant.clone()).await.unwrap();
    assert!(at_once.key_destroyed && left(&at_once, ErasurePlace::Log) == 0, "{at_once:?}");
    assert_erased(&operator, of_tenant.clone()).await;

    // A document's bytes are in the snapshot until that is deleted: its tenant's key is still needed.
    let request = DeleteDocumentRequest { collection: "default".to_owned(), document_id: "a".to_owned() };
    let of_document =
        Erased::ErasureId(kept.documents().delete_document(request).await.unwrap().into_inner().erasure_id);
    operator.operations().compact(CompactRequest {}).await.unwrap();
    let copied = verify(&kept, of_document.clone()).await.unwrap();
    assert!(left(&copied, ErasurePlace::Snapshots) == 1 && !copied.erased, "{copied:?}");
    assert_eq!(verify(&kept, document("default", "a")).await.unwrap().erasure_id, copied.erasure_id);
    operator.operations().create_snapshot(CreateSnapshotRequest {}).await.unwrap();
    let none = operator.operations().prune_snapshots(PruneSnapshotsRequest { keep: 0 }).await.unwrap_err();
    assert_eq!((none.code(), fields(&none)), (Code::InvalidArgument, vec!["keep".to_owned()]));
    let restored = restore(&vault);
    let pruned = operator.operations().prune_snapshots(PruneSnapshotsRequest { keep: 1 }).await.unwrap().into_inner();
    assert!((pruned.snapshots, pruned.left) == (1, 1) && pruned.blocks > 0, "{pruned:?}");
    assert_erased(&kept, of_document.clone()).await;
    assert_eq!(sightings(&server.data_dir()), Vec::<String>::new());

    // What is another's, was never deleted, or is no such thing.
    for (client, erased) in [
        (&kept, of_tenant.clone()),
        (&operator, Erased::ErasureId("t-0000000000000001".to_owned())),
        (&kept, document("default", "b")),
        (&kept, document("default", "never")),
    ] {
        assert_eq!(verify(client, erased).await.unwrap_err().code(), Code::NotFound);
    }
    let odd = verify(&kept, Erased::ErasureId("t-1".to_owned())).await.unwrap_err();
    assert_eq!((odd.code(), fields(&odd)), (Code::InvalidArgument, vec!["erasure_id".to_owned()]));
    let request = DeleteCollectionRequest { name: "default".to_owned() };
    let of_collection = kept.collections().delete_collection(request).await.unwrap().into_inner().erasure_id;
    operator.operations().compact(CompactRequest {}).await.unwrap();
    assert_eq!(left(&verify(&kept, Erased::ErasureId(of_collection)).await.unwrap(), ErasurePlace::Log), 0);

    // The snapshot that was older than every deletion: its tenant does not come back.
    copy_keys(&server.data_dir(), restored.path());
    std::fs::write(restored.path().join("ibid.toml"), vault.configuration()).unwrap();
    let server = TestServer::start_in(restored).await;
    assert_eq!(server.again("acme", &scopes).await.search("red apples").await.unwrap()[0].document_id, "b");
    let request = ListTenantsRequest::default();
    let tenants = server.operator().await.tenants().list_tenants(request).await.unwrap().into_inner().tenants;
    assert!(tenants.iter().all(|tenant| tenant.name != CANARY), "{tenants:?}");
}

/// The oldest snapshot in a new data folder.
fn restore(vault: &Vault) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut ids: Vec<String> = std::fs::read_dir(vault.snapshots().join("snapshots"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    ids.sort();
    let id = ids[0].strip_suffix(".json").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ibid"));
    command.args(["snapshot", "restore", id, "--to"]).arg(folder.path());
    command.arg("--from").arg(vault.snapshots()).env_clear().current_dir(std::env::temp_dir());
    assert!(command.status().unwrap().success());
    folder
}

/// Every file's content and the time of its last change.
fn files(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            let changed = entry.metadata().unwrap().modified().unwrap();
            all.insert(path.clone(), (std::fs::read(&path).unwrap(), changed));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_master_key_nothing_opens_and_nothing_is_touched() {
    let vault = Vault::new();
    let server = TestServer::start_with(&vault.configuration()).await;
    server.default_tenant().await.put("a", "Apples are red.").await.unwrap();
    let mut checked = false;
    let server = server
        .restart_after(|folder| {
            let other = vault.0.path().join("other.key");
            std::fs::write(&other, "8b".repeat(32)).unwrap();
            let before = files(folder);
            let run = |setting: String, expected: &str| {
                let mut command = Command::new(env!("CARGO_BIN_EXE_ibid"));
                command.args(["tenants", "list", "--set", &setting, "--set", "server.listen=127.0.0.1:1"]);
                command.arg("--data-dir").arg(folder).env_clear().current_dir(std::env::temp_dir());
                let output = command.output().unwrap();
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(!output.status.success() && said.contains(expected), "{said}");
                assert!(files(folder) == before, "{setting}");
            };
            run("ledger.master_key_file=".to_owned(), "no master key is configured");
            run(format!("ledger.master_key_file={}", other.display()), "another master key");
            std::fs::write(&other, "8b").unwrap();
            run(format!("ledger.master_key_file={}", other.display()), "64 hexadecimal digits");
            checked = true;
        })
        .await;
    assert!(checked);
    assert_eq!(server.default_tenant().await.search("red apples").await.unwrap().len(), 1);
}
