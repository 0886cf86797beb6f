//! What was deleted leaves the disk: every file of the data folder is searched for its bytes.

use std::path::Path;

use ibid::proto::{
    CompactRequest, DeleteDocumentRequest, DeleteTenantRequest, DocumentHeader, PutDocumentRequest, ReadyChunk, Scope,
    Span, Stage,
};
use tonic::Code;

use crate::harness::{Client, TestServer, header};

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
    let denied = kept.operations().compact(CompactRequest {}).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let compacted = operator.operations().compact(CompactRequest {}).await.unwrap().into_inner();
    assert!(compacted.bytes_after < compacted.bytes_before, "{compacted:?}");
    assert_eq!(sightings(&server.data_dir()), Vec::<String>::new());

    let found = |hits: Vec<ibid::proto::Hit>| hits.into_iter().map(|hit| hit.document_id).collect::<Vec<_>>();
    let expected: Vec<String> = found(before).into_iter().filter(|id| !id.contains(CANARY)).collect();
    assert_eq!(found(kept.search("red apples").await.unwrap()), expected);
    let server = server.restart().await;
    let kept = server.again("acme", &scopes).await;
    assert_eq!(found(kept.search("red apples").await.unwrap()), expected);
    assert_eq!(sightings(&server.data_dir()), Vec::<String>::new());
}
