//! A provider that speaks the least of OpenAI's chat completions and does what a script says.
#![allow(dead_code, unused_imports, reason = "each test binary that includes this file uses its part")]

#[path = "upstream/server.rs"]
mod server;

use serde_json::{Value, json};

pub(crate) use server::{Reply, Step, Upstream as FakeOpenAi};

impl Reply {
    /// A whole streamed reply: one event a piece of text, then finish, usage (10 read, 5 written) and `[DONE]`.
    pub(crate) fn text(pieces: &[&str]) -> Reply {
        let reply = pieces.iter().fold(Reply::stream(), |reply, piece| reply.then(Step::Send(delta(piece))));
        reply.then(Step::Send(finish("stop"))).then(Step::Send(usage(10, 5))).then(Step::Send(done()))
    }
}

/// An event with any JSON.
pub(crate) fn event(data: &Value) -> Vec<u8> {
    format!("data: {data}\n\n").into_bytes()
}

/// An event with a piece of text.
pub(crate) fn delta(text: &str) -> Vec<u8> {
    event(&json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }] }))
}

/// The event that says why the text ended.
pub(crate) fn finish(reason: &str) -> Vec<u8> {
    event(&json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] }))
}

/// The event that counts tokens.
pub(crate) fn usage(read: u64, written: u64) -> Vec<u8> {
    event(&json!({ "choices": [], "usage": { "prompt_tokens": read, "completion_tokens": written } }))
}

/// The last event.
pub(crate) fn done() -> Vec<u8> {
    b"data: [DONE]\n\n".to_vec()
}
