//! `ibid bench embed` by itself: what its JSON says.

use std::process::Command;

use serde_json::Value;

#[test]
fn embedding_is_measured_without_peers() {
    let folder = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_ibid"))
        .args(["bench", "embed", "--json", "--rounds", "1", "--passages", "4", "--questions", "3", "--data-dir"])
        .arg(folder.path())
        .current_dir(folder.path())
        .env_clear()
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let report: Value = serde_json::from_slice(&run.stdout).unwrap();
    for work in ["fixed128", "mixed", "mixed_unsorted"] {
        let rate = &report["medians"][work]["ibid_f32"];
        assert!(rate["tokens_per_s"].as_f64() > rate["per_s"].as_f64(), "{report}");
    }
    let times = &report["query_ms"]["ibid_f32"];
    assert!(times["p99"].as_f64() >= times["p50"].as_f64(), "{report}");
    assert!(report["fma_share"].as_f64() > Some(0.0), "{report}");
    assert_eq!(report["threads"], 2);
    assert_eq!(report["ratios"], Value::Object(serde_json::Map::new()), "nobody to compare with");
}
