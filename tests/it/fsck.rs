//! `ibid fsck` on folders that are whole, damaged, and in use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tonic::Code;

use crate::crash::text;
use crate::harness::{TestServer, announce};

fn fsck(data_dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ibid"));
    command.arg("fsck").args(arguments).arg("--data-dir").arg(data_dir).current_dir(data_dir).env_clear();
    command.output().unwrap()
}

/// What it says to programs, and its exit status.
fn report(data_dir: &Path) -> (Value, i32) {
    let Output { status, stdout, stderr } = fsck(data_dir, &["--json"]);
    let report = serde_json::from_slice(&stdout);
    (report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&stderr))), status.code().unwrap())
}

/// A file below `folder` that `wanted` holds for.
fn find(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries.into_iter().find_map(|path| if path.is_dir() { find(&path, wanted) } else { wanted(&path).then_some(path) })
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_mended_or_named() {
    let server = TestServer::start().await;
    for (n, id) in ["a.md", "b.md", "c.md"].into_iter().enumerate() {
        server.default_tenant().await.put(id, &text(id, n as u64 + 4)).await.unwrap();
    }
    let Output { status, stderr, .. } = fsck(&server.data_dir(), &[]);
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.code() == Some(1) && stderr.contains("in use by another process"), "{stderr}");

    let words = |folder: &Path| find(folder, &|path| path.extension().is_some_and(|end| end == "idx")).unwrap();
    announce("the log is damaged");
    announce("a document cannot be read");
    announce("a request failed");
    let server = server
        .restart_after(|data_dir| {
            let (clean, status) = report(data_dir);
            assert_eq!((status, &clean["sound"]), (0, &true.into()), "{clean}");
            assert!(clean["records"].as_u64().unwrap() > 9, "{clean}");
            for nothing in ["mended", "damaged", "documents_damaged", "unopened", "violations"] {
                assert_eq!(clean[nothing], Value::Array(Vec::new()), "{clean}");
            }

            flip(&words(data_dir), 0);
            let (mended, status) = report(data_dir);
            let view = &mended["mended"][0];
            assert_eq!((status, &view["view"], &view["made_anew"]), (0, &"words".into(), &true.into()), "{mended}");
            assert_eq!((&view["tenant"], &view["collection"]), (&"default".into(), &"default".into()), "{mended}");
            assert_eq!(report(data_dir).0["mended"], Value::Array(Vec::new()), "once is enough");

            // The id stands in the document's own record alone; behind it comes its text.
            let log = find(&data_dir.join("log"), &|_| true).unwrap();
            let at = fs::read(&log).unwrap().windows(4).position(|piece| piece == b"b.md").unwrap();
            flip(&log, at + 80);
            let (lost, status) = report(data_dir);
            assert_eq!((status, &lost["sound"]), (1, &false.into()), "{lost}");
            let named = &lost["damaged"][0];
            assert_eq!((&named["kind"], &named["document"]), (&"DocumentPut".into(), &"b.md".into()), "{lost}");
            assert_eq!(lost["documents_damaged"][0]["documents"], 1, "{lost}");
            assert_eq!(lost["violations"], Value::Array(Vec::new()), "{lost}");

            let Output { status, stdout, stderr } = fsck(data_dir, &[]);
            let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
            assert_eq!(status.code(), Some(1), "{stdout}{stderr}");
            assert!(stdout.contains("a document, default/default/b.md"), "{stdout}");
            assert!(stderr.contains("put those documents again"), "{stderr}");
        })
        .await;
    let client = server.default_tenant().await;
    assert_eq!(client.get("b.md").await.unwrap_err().code(), Code::DataLoss);
    assert_eq!(client.get("a.md").await.unwrap().1, text("a.md", 4).as_bytes());
    client.put("b.md", "Once more.").await.unwrap();
    assert_eq!(client.get("b.md").await.unwrap().1, b"Once more.");
    server.stop().await;

    let empty = tempfile::tempdir().unwrap();
    let Output { status, stderr, .. } = fsck(empty.path(), &[]);
    assert!(status.code() == Some(1) && String::from_utf8_lossy(&stderr).contains("no data folder"));
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0, "nothing is made there");
}
