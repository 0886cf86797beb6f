//! The example client in Python, as it stands.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use ibid::first_start;

use crate::harness::TestServer;

/// `IBID_TEST_PYTHON`, or the one on the path, if it has what the example needs.
fn python() -> Option<OsString> {
    let python = std::env::var_os("IBID_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let imported = Command::new(&python).args(["-c", "import grpc, grpc_reflection"]).output();
    imported.is_ok_and(|output| output.status.success()).then_some(python)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_ingests_searches_and_answers() {
    let Some(python) = python() else {
        eprintln!("left out: no Python with grpcio and grpcio-reflection; name one in IBID_TEST_PYTHON");
        return;
    };
    let server = TestServer::start().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python)
        .arg(root.join("examples/client.py"))
        .arg(first_start::default_key(&server.data_dir()))
        .arg("harbor/accounts/password-reset.md")
        .args(["How long is the link to reset a password valid?", &server.address().to_string()])
        .current_dir(root.join("datasets/handbook"))
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[0], "revision 1");
    assert!(lines[1].starts_with("1 harbor/accounts/password-reset.md "), "{stdout}");
    let answer = lines.last().unwrap();
    assert!(answer.contains("valid for 30 minutes") && answer.contains("[doc_1]"), "{stdout}");
    server.stop().await;
}
