//! Data folders of each released log format: they open, and hold what was written into them.
//!
//! `formats/<format>/` has a folder's log and keys; its indexes are made anew. `IBID_WRITE_FORMAT=<format> cargo test --release
//! formats` writes one, by the server of that release. A format that is not read any more is refused, with the way out, by the
//! ledger's own tests.

use std::fs;
use std::path::{Path, PathBuf};

use ibid::proto::value::Kind;
use ibid::proto::{DeleteDocumentRequest, DocumentHeader, PutDocumentRequest, ReadyChunk, Span, Stage, Value};
use tonic::Code;

use crate::harness::{TestServer, header};

const APPLES: &str = "# Fruit\n\nApples are red.\n\n# Vegetables\n\nCarrots are orange.\n";
const DIMENSION: usize = 384;

fn formats() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/formats")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// Cuts most of the zeros off that a log's last file has behind its records, as room for more.
fn cut_room(file: &Path) {
    let bytes = fs::read(file).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    fs::write(file, &bytes[..bytes.len().min(written.next_multiple_of(4_096) + 4_096)]).unwrap();
}

/// Puts a bit of everything into a new folder, and keeps it as the one of this format.
async fn write(format: &str) {
    let server = TestServer::start().await;
    let client = server.default_tenant().await;
    client.put("apples", "Apples are green.").await.unwrap();
    client.put("apples", APPLES).await.unwrap();
    let content = "Pears come with a vector.";
    let chunk =
        ReadyChunk { span: Some(Span { start_byte: 0, end_byte: content.len() as u32 }), vector: vec![1.0; DIMENSION] };
    let colour = Value { kind: Some(Kind::StringValue("green".to_owned())) };
    let header = DocumentHeader {
        wait_for: Stage::Vector.into(),
        title: "Pears".to_owned(),
        chunks: vec![chunk],
        metadata: [("colour".to_owned(), colour)].into(),
        ..header("pears")
    };
    let request = PutDocumentRequest { header: Some(header), content: content.to_owned().into() };
    client.documents().put_document(request).await.unwrap();
    client.put("gone", "Plums are blue.").await.unwrap();
    let request = DeleteDocumentRequest { collection: "default".to_owned(), document_id: "gone".to_owned() };
    client.documents().delete_document(request).await.unwrap();
    let folder = server.data_dir();
    let kept = formats().join(format);
    server
        .restart_after(|_| {
            for part in ["log", "keys"] {
                copy(&folder.join(part), &kept.join(part));
            }
            for file in fs::read_dir(kept.join("log")).unwrap().map(|entry| entry.unwrap().path()) {
                cut_room(&file);
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::disallowed_methods, reason = "whether a format is written is asked for by whoever starts the tests")]
async fn a_folder_of_each_released_format_opens_and_holds_what_was_written() {
    if let Ok(format) = std::env::var("IBID_WRITE_FORMAT") {
        write(&format).await;
    }
    let mut formats: Vec<PathBuf> = fs::read_dir(formats()).unwrap().map(|entry| entry.unwrap().path()).collect();
    formats.sort();
    assert!(!formats.is_empty());
    for format in formats {
        let folder = tempfile::tempdir().unwrap();
        copy(&format, folder.path());
        let server = TestServer::start_in(folder).await;
        let client = server.default_tenant().await;
        let (apples, text) = client.get("apples").await.unwrap();
        assert_eq!((apples.document.unwrap().revision, text), (2, APPLES.as_bytes().to_vec()), "{}", format.display());
        assert_eq!(client.get("gone").await.unwrap_err().code(), Code::NotFound);
        let pears = client.get("pears").await.unwrap().0.document.unwrap();
        assert_eq!((pears.title.as_str(), pears.chunks, pears.chunks_embedded), ("Pears", 1, 1));
        assert!(pears.metadata.contains_key("colour"));
        let hits = client.search("orange carrots").await.unwrap();
        assert!(hits[0].document_id == "apples" && hits[0].text.contains("Carrots"), "{hits:?}");
        // What is given out goes on where it ended.
        assert_eq!(client.put("apples", "Apples are yellow.").await.unwrap().revision, 3);
        assert!(client.put("gone", "Plums are yellow.").await.unwrap().revision > 1);
        server.stop().await;
    }
}
