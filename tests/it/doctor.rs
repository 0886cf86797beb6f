//! `ibid doctor`: what it finds of a place that is fit, and of one that is not.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn doctor(data_dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ibid"));
    command.args(["doctor", "--json", "--set", "server.listen=127.0.0.1:0", "--data-dir"]).arg(data_dir).env_clear();
    command.current_dir(std::env::temp_dir()).output().unwrap()
}

fn verdict(output: &Output, what: &str) -> String {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|one| one["what"] == what).unwrap_or_else(|| panic!("{what}: {report}"));
    finding["verdict"].as_str().unwrap().to_owned()
}

#[test]
fn a_fit_place_is_good_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let output = doctor(&folder.path().join("data"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for what in ["processor", "models", "data folder", "address", "encryption"] {
        assert_eq!(verdict(&output, what), "ok", "{what}");
    }
    assert_eq!(verdict(&output, "snapshots"), "doubtful", "one disk is one copy");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_keeps_a_server_from_working_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    fs::write(&data_dir, "a file").unwrap();
    let output = doctor(&data_dir);
    assert!(!output.status.success());
    assert_eq!(verdict(&output, "data folder"), "bad");

    fs::remove_file(&data_dir).unwrap();
    fs::create_dir_all(data_dir.join("tenant-keys")).unwrap();
    let output = doctor(&data_dir);
    assert!(!output.status.success());
    assert_eq!(verdict(&output, "encryption"), "bad");
}
