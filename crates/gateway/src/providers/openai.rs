//! OpenAI's chat completions, as OpenAI, Azure, vLLM, llama.cpp, Ollama and others speak them.
//!
//! A request is one POST; the reply is a stream of server-sent events, each a JSON object with a piece of text, until
//! `[DONE]`.

use ibid_core::{BoxFuture, FinishReason, GenerateRequest, Role, ToolCall};
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{self, Http};
use super::{Attempt, Pieces, Provider, Reader, Said, reply};
use crate::bill::{Meter, Reported};
use crate::failure::Failure;
use crate::pace::Timeouts;
use crate::{GatewayError, Secret};

/// A provider that speaks OpenAI's chat completions.
#[derive(Debug, Clone)]
pub struct OpenAiConfig {
    /// The address before `/chat/completions`, `http` or `https`; a query such as `?api-version=1` stays.
    pub base_url: String,
    /// What the provider calls the model.
    pub model: String,
    /// Sent as bearer token; `None` for a provider that wants none.
    pub api_key: Option<Secret>,
    /// How it is told the length of its answers.
    pub tokens_parameter: TokensParameter,
}

/// The parameter that bounds an answer, thoughts included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokensParameter {
    /// `max_tokens`, which every other provider reads.
    #[default]
    MaxTokens,
    /// `max_completion_tokens`, with which OpenAI's own reasoning models must be asked, and without a temperature.
    MaxCompletionTokens,
}

#[derive(Debug)]
pub(super) struct OpenAi {
    http: Http,
    model: String,
    tokens: TokensParameter,
}

impl OpenAi {
    pub(super) fn new(name: &str, config: OpenAiConfig, timeouts: &Timeouts) -> Result<OpenAi, GatewayError> {
        let OpenAiConfig { base_url, model, api_key, tokens_parameter: tokens } = config;
        let key = api_key.as_ref().map(|key| (AUTHORIZATION, "Bearer ", key));
        let http = Http::new(name, &base_url, &["chat", "completions"], key, timeouts)?;
        Ok(OpenAi { http, model, tokens })
    }

    fn body(&self, request: &GenerateRequest) -> Value {
        let messages: Vec<Value> = request
            .messages
            .iter()
            .map(|message| {
                let role = match message.role {
                    Role::System => "system",
                    Role::User => "user",
                    Role::Assistant => "assistant",
                };
                json!({ "role": role, "content": message.content })
            })
            .collect();
        let mut body = json!({
            "model": self.model,
            "messages": messages,
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        match self.tokens {
            TokensParameter::MaxTokens => {
                body["max_tokens"] = request.tokens_max.into();
                body["temperature"] = request.temperature.into();
            }
            TokensParameter::MaxCompletionTokens => body["max_completion_tokens"] = request.tokens_max.into(),
        }
        body
    }
}

impl Provider for OpenAi {
    fn system(&self) -> &'static str {
        "openai"
    }

    fn is_counted(&self) -> bool {
        true
    }

    fn ask(&self, attempt: Attempt) -> BoxFuture<'static, Result<Pieces, Failure>> {
        let name = self.http.name().to_owned();
        let post = self.http.post(&self.body(&attempt.request));
        Box::pin(async move {
            let events = http::send(&name, post, &attempt.pace, &attempt.meter).await?;
            reply(&name, attempt, events, Chunks { name: name.clone(), finish: None }).await
        })
    }
}

/// One event of the reply; what we do not use is left out, and providers leave out what they like.
#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
    /// What a model says in place of an answer that it refuses to give.
    refusal: Option<String>,
    tool_calls: Option<Vec<ToolDelta>>,
}

#[derive(Deserialize)]
struct ToolDelta {
    #[serde(default)]
    index: u32,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

/// Reads chunks.
struct Chunks {
    name: String,
    finish: Option<FinishReason>,
}

impl Reader for Chunks {
    fn read(&mut self, event: &http::Event, meter: &Meter, said: &mut Vec<Said>) -> Result<(), Failure> {
        let data = event.data.trim();
        if data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            let broken = || http::broken(&self.name, "the reply ended before its finish");
            said.push(Said::End(self.finish.ok_or_else(broken)?));
            return Ok(());
        }
        let chunk: Chunk =
            serde_json::from_str(data).map_err(|_| http::broken(&self.name, "an event is not what was agreed"))?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(http::error_event(&self.name, &error, error["code"].as_u64()));
        }
        if let Some(usage) = chunk.usage {
            let cached = usage.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0);
            meter.read(Reported { input: usage.prompt_tokens, cached, cache_write: 0 });
            meter.written(usage.completion_tokens);
        }
        // One reply is asked for, so there is one choice; the event that carries the usage has none.
        let Some(choice) = chunk.choices.unwrap_or_default().into_iter().next() else { return Ok(()) };
        if let Some(delta) = choice.delta {
            let texts = [delta.content, delta.refusal].into_iter().flatten().filter(|text| !text.is_empty());
            said.extend(texts.map(Said::Text));
            said.extend(delta.tool_calls.unwrap_or_default().into_iter().map(|call| Said::Tool(tool(call))));
        }
        if let Some(reason) = choice.finish_reason {
            self.finish = Some(match reason.as_str() {
                "length" => FinishReason::Length,
                "content_filter" => FinishReason::ContentFilter,
                "tool_calls" | "function_call" => FinishReason::ToolCalls,
                // "stop", and what some providers call it: "eos", "end_turn".
                _ => FinishReason::Stop,
            });
        }
        Ok(())
    }

    fn finish(&self) -> Option<FinishReason> {
        self.finish
    }
}

fn tool(call: ToolDelta) -> ToolCall {
    let function = call.function.unwrap_or(FunctionDelta { name: None, arguments: None });
    ToolCall {
        index: call.index,
        id: call.id.unwrap_or_default(),
        name: function.name.unwrap_or_default(),
        arguments: function.arguments.unwrap_or_default(),
    }
}
