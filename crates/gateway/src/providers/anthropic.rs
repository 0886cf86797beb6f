//! Anthropic's Messages.
//!
//! A request is one POST; the reply is a stream of named events: `message_start` with what was read, blocks of content with
//! their deltas, `message_delta` with what was written and why it ended, `message_stop`.

use ibid_core::{BoxFuture, FinishReason, GenerateRequest, Role, ToolCall};
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{self, Http};
use super::{Attempt, Pieces, Provider, Reader, Said, reply};
use crate::bill::{Meter, Reported};
use crate::failure::Failure;
use crate::pace::Timeouts;
use crate::{GatewayError, Secret};

/// The protocol that the provider's own client library asks for.
const VERSION: &str = "2026-10-21";

/// A provider that speaks Anthropic's Messages.
#[derive(Debug, Clone)]
pub struct AnthropicConfig {
    /// The address before `/messages`, such as `https://api.anthropic.com/v1`.
    pub base_url: String,
    /// What the provider calls the model.
    pub model: String,
    /// Sent as bearer token; `None` for a provider that wants none.
    pub api_key: Option<Secret>,
    /// Asks the provider to keep the rules and the earlier turns in its cache of prompts (`cache_control`): they come at a
    /// fraction of the price when the same prompt's start is sent again within minutes, and cost more the first time.
    pub cache_prompts: bool,
    /// Sends the temperature, on Anthropic's scale that ends at 1. Its newer models do not know the parameter.
    pub send_temperature: bool,
}

#[derive(Debug)]
pub(super) struct Anthropic {
    http: Http,
    model: String,
    cache_prompts: bool,
    send_temperature: bool,
}

impl Anthropic {
    pub(super) fn new(name: &str, config: AnthropicConfig, timeouts: &Timeouts) -> Result<Anthropic, GatewayError> {
        let AnthropicConfig { base_url, model, api_key, cache_prompts, send_temperature } = config;
        let key = api_key.as_ref().map(|key| (AUTHORIZATION, "Bearer ", key));
        let http = Http::new(name, &base_url, &["messages"], key, timeouts)?
            .with_header(HeaderName::from_static("anthropic-version"), HeaderValue::from_static(VERSION));
        Ok(Anthropic { http, model, cache_prompts, send_temperature })
    }

    fn body(&self, request: &GenerateRequest) -> Value {
        let text = |content: &str| json!({ "type": "text", "text": content });
        // The protocol refuses texts without a character.
        let spoken = request.messages.iter().filter(|message| !message.content.trim().is_empty());
        let (mut system, mut turns) = (Vec::new(), Vec::new());
        for message in spoken {
            match message.role {
                Role::System => system.push(text(&message.content)),
                Role::User => turns.push(json!({ "role": "user", "content": [text(&message.content)] })),
                Role::Assistant => turns.push(json!({ "role": "assistant", "content": [text(&message.content)] })),
            }
        }
        if self.cache_prompts {
            let mark = json!({ "type": "ephemeral" });
            if let Some(last) = system.last_mut() {
                last["cache_control"] = mark.clone();
            }
            // The last turn holds this question's own sources; what stands before it comes again.
            if let Some(last) = turns.len().checked_sub(2).and_then(|earlier| turns.get_mut(earlier)) {
                last["content"][0]["cache_control"] = mark;
            }
        }
        let mut body = json!({
            "model": self.model,
            "max_tokens": request.tokens_max.max(1),
            "messages": turns,
            "stream": true,
        });
        if self.send_temperature {
            body["temperature"] = request.temperature.min(1.0).into();
        }
        if !system.is_empty() {
            body["system"] = Value::Array(system);
        }
        body
    }
}

impl Provider for Anthropic {
    fn system(&self) -> &'static str {
        "anthropic"
    }

    fn is_counted(&self) -> bool {
        true
    }

    fn ask(&self, attempt: Attempt) -> BoxFuture<'static, Result<Pieces, Failure>> {
        let name = self.http.name().to_owned();
        let post = self.http.post(&self.body(&attempt.request));
        Box::pin(async move {
            let events = http::send(&name, post, &attempt.pace, &attempt.meter).await?;
            let reader = Blocks { name: name.clone(), usage: Usage::default(), finish: None, tools: Vec::new() };
            reply(&name, attempt, events, reader).await
        })
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Message,
    },
    ContentBlockStart {
        index: u32,
        content_block: Block,
    },
    ContentBlockDelta {
        index: u32,
        delta: Delta,
    },
    MessageDelta {
        delta: Ending,
        usage: Option<Usage>,
    },
    MessageStop,
    Error {
        error: Value,
    },
    /// `ping`, `content_block_stop`, and what will be invented.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Message {
    usage: Option<Usage>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        #[serde(default)]
        text: String,
    },
    ToolUse {
        id: String,
        name: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    Json { partial_json: String },
    /// Thoughts and their signatures.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Ending {
    stop_reason: Option<String>,
}

/// Figures so far; a later event repeats or adds to them.
#[derive(Deserialize, Default, Clone, Copy)]
struct Usage {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl Usage {
    fn update(&mut self, later: Usage) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.cache_creation_input_tokens = later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
    }

    /// `input_tokens` leaves out what the cache has to do with.
    fn reported(self) -> Option<Reported> {
        let (cached, cache_write) =
            (self.cache_read_input_tokens.unwrap_or(0), self.cache_creation_input_tokens.unwrap_or(0));
        let input = self.input_tokens?.saturating_add(cached).saturating_add(cache_write);
        Some(Reported { input, cached, cache_write })
    }
}

/// Reads events.
struct Blocks {
    name: String,
    usage: Usage,
    finish: Option<FinishReason>,
    /// The blocks that call tools, by their place among all blocks.
    tools: Vec<u32>,
}

impl Blocks {
    fn tool(&self, block: u32) -> Option<u32> {
        self.tools.iter().position(|known| *known == block).and_then(|index| u32::try_from(index).ok())
    }
}

impl Reader for Blocks {
    fn read(&mut self, event: &http::Event, meter: &Meter, said: &mut Vec<Said>) -> Result<(), Failure> {
        if event.data.trim().is_empty() {
            return Ok(());
        }
        let read: Event = serde_json::from_str(&event.data)
            .map_err(|_| http::broken(&self.name, "an event is not what was agreed"))?;
        match read {
            Event::MessageStart { message } => {
                self.usage.update(message.usage.unwrap_or_default());
                self.usage.reported().into_iter().for_each(|reported| meter.read(reported));
            }
            Event::ContentBlockStart { content_block: Block::Text { text }, .. }
            | Event::ContentBlockDelta { delta: Delta::Text { text }, .. } => {
                if !text.is_empty() {
                    said.push(Said::Text(text));
                }
            }
            Event::ContentBlockStart { index, content_block: Block::ToolUse { id, name } } => {
                self.tools.push(index);
                let index = self.tool(index).unwrap_or_default();
                said.push(Said::Tool(ToolCall { index, id, name, arguments: String::new() }));
            }
            Event::ContentBlockDelta { index, delta: Delta::Json { partial_json } } => {
                let unknown = || http::broken(&self.name, "a piece of a tool's call has no beginning");
                let index = self.tool(index).ok_or_else(unknown)?;
                if !partial_json.is_empty() {
                    said.push(Said::Tool(ToolCall { index, arguments: partial_json, ..ToolCall::default() }));
                }
            }
            Event::MessageDelta { delta, usage } => {
                let usage = usage.unwrap_or_default();
                self.usage.update(usage);
                self.usage.reported().into_iter().for_each(|reported| meter.read(reported));
                // `message_start` has a figure too, of what was written by then.
                usage.output_tokens.into_iter().for_each(|tokens| meter.written(tokens));
                self.finish = delta.stop_reason.as_deref().map(finish).or(self.finish);
            }
            Event::MessageStop => {
                let broken = || http::broken(&self.name, "the reply ended before its finish");
                said.push(Said::End(self.finish.ok_or_else(broken)?));
            }
            Event::Error { error } => return Err(error_event(&self.name, &error)),
            Event::ContentBlockStart { content_block: Block::Other, .. }
            | Event::ContentBlockDelta { delta: Delta::Other, .. }
            | Event::Other => {}
        }
        Ok(())
    }

    fn finish(&self) -> Option<FinishReason> {
        self.finish
    }
}

fn finish(reason: &str) -> FinishReason {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "refusal" => FinishReason::ContentFilter,
        "tool_use" => FinishReason::ToolCalls,
        // "end_turn", "stop_sequence", and what will be invented
        _ => FinishReason::Stop,
    }
}

/// The provider names its errors; as statuses they would be these.
fn error_event(name: &str, error: &Value) -> Failure {
    let status = match http::code(error) {
        Some("rate_limit_error") => Some(429),
        Some("overloaded_error") => Some(529),
        Some("invalid_request_error") => Some(400),
        Some("request_too_large") => Some(413),
        Some("authentication_error") => Some(401),
        Some("permission_error") => Some(403),
        Some("not_found_error") => Some(404),
        Some(_) | None => None,
    };
    http::error_event(name, error, status)
}
