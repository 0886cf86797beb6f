//! The wire formats are not our own idea of them: what the fake provider says is what is recorded in `golden/`, the
//! providers' own client libraries accept it, and they ask as the gateway asks.

mod gates;
#[path = "upstream/upstream.rs"]
mod upstream;

use std::process::Command;

use futures::StreamExt;
use gates::{ctx, deployment, gateway_of, model, request};
use ibid_core::Generate;
use serde_json::{Value, json};
use upstream::{End, Reply, Upstream, Wire};

/// A reply with everything that a provider says: text, a tool's call, what was read, cached and written.
fn everything(wire: Wire) -> Vec<u8> {
    let end = match wire {
        Wire::OpenAi => [wire.finish(End::Tool), wire.usage(10, 4, 5), wire.done()].concat(),
        Wire::Anthropic => wire.end(End::Tool, 10, 5),
    };
    let text = [wire.start(10, 4), wire.delta("Hello, "), wire.delta("Größe \u{1f993}!")];
    [text.concat(), wire.tool("look", ["{\"a\"", ": 1}"]), end].concat()
}

fn golden(wire: Wire) -> &'static str {
    match wire {
        Wire::OpenAi => include_str!("golden/openai.sse"),
        Wire::Anthropic => include_str!("golden/anthropic.sse"),
    }
}

/// Names and contents of events: the order of a JSON object's keys says nothing.
fn events(stream: &str) -> Vec<(Option<&str>, Value)> {
    stream
        .split_terminator("\n\n")
        .map(|event| {
            let (name, data) = event.split_once("data: ").expect("every event has data");
            let name = name.trim().strip_prefix("event: ");
            (name, serde_json::from_str(data).unwrap_or_else(|_| data.into()))
        })
        .collect()
}

#[test]
fn the_fake_provider_says_what_is_recorded() {
    for wire in [Wire::OpenAi, Wire::Anthropic] {
        let said = String::from_utf8(everything(wire)).unwrap();
        let (said, recorded) = (events(&said), events(golden(wire)));
        assert_eq!(said, recorded, "{wire:?}: if it is meant, have the client libraries read it, then record it");
    }
}

/// `IBID_TEST_PYTHON`, or the one on the path, if it has the client libraries.
fn python() -> Option<std::ffi::OsString> {
    let python = std::env::var_os("IBID_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let has = Command::new(&python).args(["-c", "import anthropic, openai"]).output();
    if has.is_ok_and(|has| has.status.success()) {
        return Some(python);
    }
    eprintln!("left out: no Python with openai and anthropic; name one in IBID_TEST_PYTHON");
    None
}

/// A request without what is the library's own business.
fn shape(request: &upstream::server::Request) -> (String, Vec<String>, Value) {
    let mut lines = request.head.lines();
    let line = lines.next().unwrap_or_default().to_owned();
    let ours = ["authorization:", "anthropic-version:", "content-type:"];
    let mut headers: Vec<String> = lines
        .map(|line| {
            line.split_once(':').map_or(line.to_owned(), |(name, value)| format!("{}:{value}", name.to_lowercase()))
        })
        .filter(|line| ours.iter().any(|name| line.starts_with(name)))
        .collect();
    headers.sort();
    (line, headers, request.body.clone())
}

#[tokio::test]
async fn the_providers_own_libraries_accept_the_fake_provider_and_ask_as_the_gateway_does() {
    let Some(python) = python() else { return };
    for (wire, name) in [(Wire::OpenAi, "openai"), (Wire::Anthropic, "anthropic")] {
        let good = Reply::stream().send(golden(wire).as_bytes().to_vec());
        let body = wire.error("rate_limit_error", "slow down").to_string();
        let headers = vec![("retry-after", "7".to_owned()), ("content-type", "application/json".to_owned())];
        let refused = Reply::status(429, headers, &body);
        let replies = match wire {
            Wire::OpenAi => vec![good.clone(), refused],
            // Anthropic's library has two ways to read.
            Wire::Anthropic => vec![good.clone(), good.clone(), refused],
        };
        let upstream = Upstream::start(replies).await;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients.py");
        let mut command = Command::new(&python);
        command.args([script, name, &upstream.base_url]).env_remove("HTTP_PROXY").env_remove("ALL_PROXY");
        // The runtime goes on serving meanwhile.
        let read = tokio::task::spawn(async move { tokio_output(command).await }).await.unwrap();
        let shown = String::from_utf8_lossy(&read.stderr).into_owned();
        assert!(read.status.success(), "{name}: {shown}");
        let read: Value = serde_json::from_slice(&read.stdout).unwrap();
        let (finish, input) = match wire {
            Wire::OpenAi => ("tool_calls", 10),
            // What is cached is counted apart.
            Wire::Anthropic => ("tool_use", 6),
        };
        let expected = json!({ "text": "Hello, Größe \u{1f993}!", "tool": "look{\"a\": 1}", "finish": finish,
            "usage": [input, 4, 5], "error": ["RateLimitError", "rate_limit_error", "7"] });
        assert_eq!(read, expected, "{name}");

        let ours = Upstream::start(vec![good]).await;
        let gateway = gateway_of(vec![model("far", vec![deployment("far", wire, &ours.base_url)])], |_| {});
        gateway.generate(&ctx(None), request()).await.unwrap().collect::<Vec<_>>().await;
        assert_eq!(
            shape(&ours.requests()[0]),
            shape(&upstream.requests()[0]),
            "{name}: the gateway's and the library's"
        );
    }
}

/// Waits for a process without a thread that waits.
async fn tokio_output(mut command: Command) -> std::process::Output {
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    child.wait_with_output().unwrap()
}
