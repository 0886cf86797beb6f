//! `ibid torture`: ten kills, and nothing is lost.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn torture(folder: &Path, kills: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ibid"))
        .args(["torture", "--json", "--seed", "7", "--kills", kills, "--state"])
        .arg(folder.join("state.json"))
        .arg("--data-dir")
        .arg(folder.join("data"))
        .current_dir(folder)
        .env_clear()
        .output()
        .unwrap()
}

#[test]
fn nothing_is_lost_in_ten_kills_in_two_runs() {
    let folder = tempfile::tempdir().unwrap();
    for (kills, so_far) in [("6", 6), ("4", 10)] {
        let Output { status, stdout, stderr } = torture(folder.path(), kills);
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{}{stderr}", String::from_utf8_lossy(&stdout));
        let report: Value = serde_json::from_slice(&stdout).unwrap();
        assert_eq!(report["kills"], so_far, "{report}");
        for count in ["lost_acks", "half_documents", "resurrected", "mismatches", "errors"] {
            assert_eq!(report[count], 0, "{report}");
        }
        assert!(report["acked"].as_u64() > Some(0), "{report}");
        assert!(report["ack_rate_vs_limit"].as_f64() > Some(0.0), "{report}");
    }
}

#[test]
fn a_document_changed_behind_its_back_is_found() {
    let folder = tempfile::tempdir().unwrap();
    assert!(torture(folder.path(), "1").status.success());
    // The state tells of another revision of the documents: as if the newest one had been lost.
    let file = folder.path().join("state.json");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let documents = state["tenants"][0]["documents"].as_array_mut().unwrap();
    for document in documents {
        document["fate"]["acked"] = 1_000_000.into();
    }
    std::fs::write(&file, serde_json::to_vec(&state).unwrap()).unwrap();
    let Output { status, stdout, .. } = torture(folder.path(), "1");
    assert_eq!(status.code(), Some(1));
    let report: Value = serde_json::from_slice(&stdout).unwrap();
    assert!(report["lost_acks"].as_u64() >= Some(32), "{report}");
}

#[test]
fn a_folder_that_nothing_is_known_of_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data").join("notes"), "mine").unwrap();
    let Output { status, stderr, .. } = torture(folder.path(), "1");
    assert_eq!(status.code(), Some(1));
    assert!(String::from_utf8_lossy(&stderr).contains("--data-dir"), "{}", String::from_utf8_lossy(&stderr));
    assert_eq!(std::fs::read_dir(folder.path().join("data")).unwrap().count(), 1, "nothing was written");
}
