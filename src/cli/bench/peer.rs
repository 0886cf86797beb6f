//! A Python process with the other engines, asked over JSON lines.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// The other encoders; it takes the number of its threads.
pub(super) const ENCODERS: &str = include_str!("../../../benches/peers/encoders.py");

/// The other side. It waits at its input unless a call of ours waits for it; when this is dropped it ends.
#[derive(Debug)]
pub(in crate::cli) struct Peer {
    child: Child,
    /// `None` once it is told to end.
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// Of Python and each library, by name.
    pub(in crate::cli) versions: Map<String, Value>,
}

impl Peer {
    /// Starts a script, part of this program, with this Python. Takes as long as its imports.
    pub(in crate::cli) fn start(python: &Path, script: &str, arguments: &[String]) -> anyhow::Result<Peer> {
        let mut child = Command::new(python)
            .args(["-u", "-c", script])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {} (--peers names a Python's program)", python.display()))?;
        let requests = child.stdin.take().context("the input was asked for")?;
        let answers = BufReader::new(child.stdout.take().context("the output was asked for")?);
        let mut peer = Peer { child, requests: Some(requests), answers, versions: Map::new() };
        peer.versions = peer.answer()?;
        Ok(peer)
    }

    /// Asks, and blocks until it has answered: meanwhile nothing of ours may run, or the times would be of both.
    pub(in crate::cli) fn ask(&mut self, request: &Value) -> anyhow::Result<Map<String, Value>> {
        let mut line = request.to_string();
        line.push('\n');
        let requests = self.requests.as_mut().context("the peers have been told to end")?;
        requests.write_all(line.as_bytes()).and_then(|()| requests.flush()).context("ask the peers")?;
        self.answer()
    }

    /// What `engine` gives for each input of a workload, kept in `cache`.
    pub(super) fn results(&mut self, engine: &str, work: &str, cache: &Path) -> anyhow::Result<Vec<Vec<f32>>> {
        let answer = self.ask(&json!({"do": "results", "engine": engine, "work": work, "cache": cache}))?;
        let width = answer.get("width").and_then(Value::as_u64).context("the peers gave no width")?;
        let text = answer.get("base64").and_then(Value::as_str).context("the peers gave no results")?;
        rows(text, usize::try_from(width)?)
    }

    fn answer(&mut self) -> anyhow::Result<Map<String, Value>> {
        let mut line = String::new();
        if self.answers.read_line(&mut line).context("hear the peers")? == 0 {
            bail!("the peers ended ({}); what they said stands above", self.child.wait()?);
        }
        let answer: Map<String, Value> = serde_json::from_str(&line).context("understand the peers")?;
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => bail!("the peers: {error}"),
            None => Ok(answer),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The end of its input is the end of the script.
        self.requests = None;
        // It may have ended by itself.
        let _ = self.child.wait();
    }
}

/// Little-endian floats in base64, `width` a row.
fn rows(base64: &str, width: usize) -> anyhow::Result<Vec<Vec<f32>>> {
    let bytes = STANDARD.decode(base64).context("the peers' results are no base64")?;
    let floats: Vec<f32> = bytes.as_chunks().0.iter().map(|float| f32::from_le_bytes(*float)).collect();
    if width == 0 || bytes.len() != floats.len() * 4 || !floats.len().is_multiple_of(width) {
        bail!("the peers gave {} bytes, which are no rows of {width} floats", bytes.len());
    }
    Ok(floats.chunks_exact(width).map(<[f32]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_travel_as_rows() {
        let bytes: Vec<u8> = [1.0_f32, -2.5, 0.0, 4.0].iter().flat_map(|float| float.to_le_bytes()).collect();
        assert_eq!(rows(&STANDARD.encode(&bytes), 2).unwrap(), [vec![1.0, -2.5], vec![0.0, 4.0]]);
        assert!(rows(&STANDARD.encode(&bytes[..15]), 2).is_err(), "half a float");
        assert!(rows(&STANDARD.encode(&bytes), 3).is_err(), "half a row");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Peer::start(Path::new("/nowhere/python"), ENCODERS, &[]).unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere/python"), "{error:#}");
    }
}
