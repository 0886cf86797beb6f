//! The two wire formats, event by event, as the providers document them and their own client libraries read them.

use serde_json::{Value, json};

/// A provider's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// OpenAI's chat completions.
    OpenAi,
    /// Anthropic's Messages.
    Anthropic,
}

/// Why a reply ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Stop,
    Length,
    Filter,
    Tool,
}

impl Wire {
    /// What comes before the first piece: OpenAI names the role, Anthropic what was read, of it `cached` from its cache.
    pub(crate) fn start(self, read: u64, cached: u64) -> Vec<u8> {
        match self {
            Wire::OpenAi => chunk(json!({ "role": "assistant", "content": "", "refusal": null }), Value::Null),
            Wire::Anthropic => [
                named(&json!({ "type": "message_start", "message": {
                    "id": "msg_01", "type": "message", "role": "assistant", "model": "scripted", "content": [],
                    "stop_reason": null, "stop_sequence": null,
                    "usage": { "input_tokens": read - cached, "cache_creation_input_tokens": 0,
                        "cache_read_input_tokens": cached, "output_tokens": 1 },
                } })),
                named(&json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } })),
                named(&json!({ "type": "ping" })),
            ]
            .concat(),
        }
    }

    /// A piece of text.
    pub(crate) fn delta(self, text: &str) -> Vec<u8> {
        match self {
            Wire::OpenAi => chunk(json!({ "content": text }), Value::Null),
            Wire::Anthropic => named(&json!({
                "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": text },
            })),
        }
    }

    /// A call of tool `name` with `arguments`, in two pieces.
    pub(crate) fn tool(self, name: &str, arguments: [&str; 2]) -> Vec<u8> {
        match self {
            Wire::OpenAi => {
                let first = json!({ "tool_calls": [{ "index": 0, "id": "call_1", "type": "function",
                    "function": { "name": name, "arguments": arguments[0] } }] });
                let second = json!({ "tool_calls": [{ "index": 0, "function": { "arguments": arguments[1] } }] });
                [chunk(first, Value::Null), chunk(second, Value::Null)].concat()
            }
            Wire::Anthropic => {
                let delta = |text: &str| {
                    named(&json!({ "type": "content_block_delta", "index": 1,
                        "delta": { "type": "input_json_delta", "partial_json": text } }))
                };
                let block = json!({ "type": "tool_use", "id": "call_1", "name": name, "input": {} });
                let start = named(&json!({ "type": "content_block_start", "index": 1, "content_block": block }));
                let stop = named(&json!({ "type": "content_block_stop", "index": 1 }));
                [start, delta(arguments[0]), delta(arguments[1]), stop].concat()
            }
        }
    }

    /// Why the reply ended, without what was used.
    pub(crate) fn finish(self, end: End) -> Vec<u8> {
        match self {
            Wire::OpenAi => chunk(json!({}), openai_reason(end)),
            Wire::Anthropic => [
                named(&json!({ "type": "content_block_stop", "index": 0 })),
                named(&json!({ "type": "message_delta", "delta": { "stop_reason": anthropic_reason(end), "stop_sequence": null } })),
            ]
            .concat(),
        }
    }

    /// What was used; Anthropic says it with the finish, so this is one more of its kind.
    pub(crate) fn usage(self, read: u64, cached: u64, written: u64) -> Vec<u8> {
        match self {
            Wire::OpenAi => event(&json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1,
                "model": "scripted", "choices": [], "usage": {
                    "prompt_tokens": read, "completion_tokens": written, "total_tokens": read.saturating_add(written),
                    "prompt_tokens_details": { "cached_tokens": cached },
                } })),
            Wire::Anthropic => {
                named(&json!({ "type": "message_delta", "delta": { "stop_reason": null, "stop_sequence": null },
                "usage": { "input_tokens": read - cached, "cache_read_input_tokens": cached, "output_tokens": written } }))
            }
        }
    }

    /// The last event.
    pub(crate) fn done(self) -> Vec<u8> {
        match self {
            Wire::OpenAi => b"data: [DONE]\n\n".to_vec(),
            Wire::Anthropic => named(&json!({ "type": "message_stop" })),
        }
    }

    /// Finish, usage (`read` and `written`) and last event.
    pub(crate) fn end(self, end: End, read: u64, written: u64) -> Vec<u8> {
        match self {
            Wire::OpenAi => [self.finish(end), self.usage(read, 0, written), self.done()].concat(),
            Wire::Anthropic => {
                let delta = json!({ "type": "message_delta",
                    "delta": { "stop_reason": anthropic_reason(end), "stop_sequence": null },
                    "usage": { "output_tokens": written } });
                [named(&json!({ "type": "content_block_stop", "index": 0 })), named(&delta), self.done()].concat()
            }
        }
    }

    /// An error in the middle of a reply, or the body of a status.
    pub(crate) fn error(self, kind: &str, message: &str) -> Value {
        match self {
            Wire::OpenAi => json!({ "error": { "message": message, "type": kind, "param": null, "code": null } }),
            Wire::Anthropic => json!({ "type": "error", "error": { "type": kind, "message": message } }),
        }
    }

    /// That error as an event.
    pub(crate) fn error_event(self, kind: &str, message: &str) -> Vec<u8> {
        match self {
            Wire::OpenAi => event(&self.error(kind, message)),
            Wire::Anthropic => named(&self.error(kind, message)),
        }
    }
}

/// An event with any JSON.
pub(crate) fn event(data: &Value) -> Vec<u8> {
    format!("data: {data}\n\n").into_bytes()
}

/// An event with any JSON, named after its type.
pub(crate) fn named(data: &Value) -> Vec<u8> {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap()).into_bytes()
}

fn chunk(delta: Value, finish_reason: Value) -> Vec<u8> {
    event(&json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "scripted",
        "choices": [{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason }], "usage": null }))
}

fn openai_reason(end: End) -> Value {
    match end {
        End::Stop => "stop",
        End::Length => "length",
        End::Filter => "content_filter",
        End::Tool => "tool_calls",
    }
    .into()
}

fn anthropic_reason(end: End) -> &'static str {
    match end {
        End::Stop => "end_turn",
        End::Length => "max_tokens",
        End::Filter => "refusal",
        End::Tool => "tool_use",
    }
}
