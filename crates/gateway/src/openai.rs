//! OpenAI's chat completions, as OpenAI, Azure, vLLM, llama.cpp, Ollama and others speak them.
//!
//! A request is one POST; the reply is a stream of server-sent events, each a JSON object with a piece of text, until
//! `[DONE]`. What a provider says in words is never passed on, since it may quote the prompt or the key.

use std::collections::VecDeque;
use std::time::Duration;

use eventsource_stream::{EventStreamError, Eventsource};
use futures::stream::{self, BoxStream, StreamExt};
use ibid_core::{FinishReason, GenerateRequest, Generated, GenerationStream, ModelError, Role, Usage};
use ibid_runtime::Ctx;
use reqwest::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, Url, redirect};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::pace::{Limits, Pace};
use crate::{GatewayError, Secret};

/// The longest reply, protocol included: an answer is thousands of times shorter.
const REPLY_BYTES_MAX: usize = 16 << 20;
/// How much of an error's body is read for its code.
const ERROR_BYTES_MAX: usize = 16 << 10;
/// Tokens are estimated at this many bytes each where a provider does not count them.
const TOKEN_BYTES: usize = 4;

/// A provider that speaks OpenAI's chat completions.
#[derive(Debug, Clone)]
pub struct OpenAiConfig {
    /// The public name.
    pub name: String,
    /// The address before `/chat/completions`, `http` or `https`; a query such as `?api-version=1` stays.
    pub base_url: String,
    /// What the provider calls the model.
    pub model: String,
    /// Sent as bearer token; `None` for a provider that wants none.
    pub api_key: Option<Secret>,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// The longest wait for the first event of the reply, connecting included.
    pub first_token_timeout: Duration,
    /// The longest wait from one event to the next; comments that keep the connection alive do not count.
    pub between_tokens_timeout: Duration,
    /// The longest call.
    pub total_timeout: Duration,
}

#[derive(Debug)]
pub(crate) struct OpenAi {
    name: String,
    model: String,
    url: Url,
    authorization: Option<HeaderValue>,
    limits: Limits,
    client: Client,
}

impl OpenAi {
    pub(crate) fn new(config: OpenAiConfig) -> Result<OpenAi, GatewayError> {
        let OpenAiConfig { name, base_url, model, api_key, .. } = config;
        let url = endpoint(&base_url).map_err(|problem| GatewayError::BaseUrl { name: name.clone(), problem })?;
        let authorization = match api_key {
            None => None,
            Some(key) => match HeaderValue::from_str(&format!("Bearer {}", key.expose())) {
                Err(_) => return Err(GatewayError::ApiKey { name }),
                Ok(mut header) => {
                    header.set_sensitive(true);
                    Some(header)
                }
            },
        };
        // An error says that somebody else in this process has installed one: theirs is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder =
            Client::builder().connect_timeout(config.connect_timeout).redirect(redirect::Policy::none()).no_proxy();
        // Without TLS no certificates are needed; a bare container has none and must reach its model all the same.
        let builder = if url.scheme() == "http" { builder.tls_certs_only([]) } else { builder };
        let client = builder.build().map_err(|source| GatewayError::Client { name: name.clone(), source })?;
        let limits = Limits {
            first_token: config.first_token_timeout,
            between_tokens: config.between_tokens_timeout,
            total: config.total_timeout,
        };
        Ok(OpenAi { name, model, url, authorization, limits, client })
    }

    /// Calls the provider and waits for the first piece, so that whoever asks may still go elsewhere.
    pub(crate) async fn generate(&self, ctx: &Ctx, request: &GenerateRequest) -> Result<GenerationStream, ModelError> {
        let pace = Pace::start(&self.name, ctx, self.limits);
        let mut post = self.client.post(self.url.clone()).json(&body(&self.model, request));
        if let Some(authorization) = &self.authorization {
            post = post.header(AUTHORIZATION, authorization.clone());
        }
        let response = pace.wait(post.send()).await?.map_err(|error| self.unreachable(&error))?;
        if !response.status().is_success() {
            return Err(self.refusal(&pace, response).await);
        }
        let prompt_bytes = request.messages.iter().map(|message| message.content.len()).sum();
        let mut reply = Reply::new(&self.name, pace, response, prompt_bytes);
        let first = reply.next().await?;
        let rest = stream::unfold(Some(reply), |reply| async move {
            let mut reply = reply?;
            match reply.next().await {
                Ok(Generated::Done(reason)) => Some((Ok(Generated::Done(reason)), None)),
                Ok(piece) => Some((Ok(piece), Some(reply))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(match first {
            Generated::Done(_) => stream::iter([Ok(first)]).boxed(),
            Generated::Delta(_) | Generated::Usage(_) => stream::iter([Ok(first)]).chain(rest).boxed(),
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> ModelError {
        let detail = if error.is_connect() { "cannot be connected to" } else { "the connection broke before a reply" };
        ModelError::Unavailable { model: self.name.clone(), detail: detail.to_owned() }
    }

    async fn refusal(&self, pace: &Pace, mut response: Response) -> ModelError {
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let read = async {
            let mut body = Vec::new();
            while let Ok(Some(piece)) = response.chunk().await {
                body.extend_from_slice(&piece);
                if body.len() >= ERROR_BYTES_MAX {
                    break;
                }
            }
            body
        };
        // The status says enough if the body does not come in time.
        let body = pace.wait(read).await.unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        status_error(&self.name, status, retry_after.as_deref(), code(&body["error"]))
    }
}

fn endpoint(base_url: &str) -> Result<Url, &'static str> {
    let mut url = Url::parse(base_url).map_err(|_| "is not a URL, expected such as https://host/v1")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("has another scheme than http or https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user name or password, expected the key in api_key");
    }
    url.path_segments_mut().expect("an http URL has a path").pop_if_empty().extend(["chat", "completions"]);
    Ok(url)
}

fn body(model: &str, request: &GenerateRequest) -> Value {
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
    json!({
        "model": model,
        "messages": messages,
        "max_tokens": request.tokens_max,
        "temperature": request.temperature,
        "stream": true,
        "stream_options": { "include_usage": true },
    })
}

/// What an HTTP status, or the same number in an error object, means for the caller.
fn status_error(model: &str, status: u16, retry_after: Option<&str>, code: Option<&str>) -> ModelError {
    let model = model.to_owned();
    let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
    match status {
        429 => {
            // Seconds or a date; anything else is not a hint.
            let hint = retry_after
                .filter(|hint| hint.len() <= 40 && hint.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
            let hint = hint.map(|hint| format!("; retry after {hint}")).unwrap_or_default();
            ModelError::Overloaded { model, detail: format!("the provider answers 429{code}{hint}") }
        }
        408 | 500.. => ModelError::Unavailable { model, detail: format!("the provider answers {status}{code}") },
        _ => {
            let way_out = match status {
                401 | 403 => "check api_key and what it may use",
                404 => "check base_url and model",
                300..=399 => "redirects are not followed, give the final base_url",
                _ => "check model, the length of the prompt and tokens_max",
            };
            ModelError::Refused { model, detail: format!("the provider answers {status}{code}; {way_out}") }
        }
    }
}

/// The code or type of an error object, if it looks like one: letters and underscores, so neither prose nor a key.
fn code(error: &Value) -> Option<&str> {
    let is_code = |text: &&str| {
        (1..=48).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    ["code", "type"].into_iter().filter_map(|field| error[field].as_str()).find(is_code)
}

/// One event of the reply; what we do not use is left out, and providers leave out what they like.
#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<ReportedUsage>,
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
}

#[derive(Deserialize)]
struct ReportedUsage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

/// The rest of a reply.
struct Reply {
    model: String,
    pace: Pace,
    events: BoxStream<'static, Result<String, &'static str>>,
    ready: VecDeque<Generated>,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    prompt_bytes: usize,
    text_bytes: usize,
}

impl Reply {
    fn new(model: &str, pace: Pace, response: Response, prompt_bytes: usize) -> Reply {
        let mut left = REPLY_BYTES_MAX;
        let bytes = response.bytes_stream().map(move |piece| {
            let piece = piece.map_err(|_| "the connection broke in the middle of the reply")?;
            left = left.checked_sub(piece.len()).ok_or("the reply is longer than 16 MiB")?;
            Ok(piece)
        });
        let events = bytes.eventsource().map(|event| match event {
            Ok(event) => Ok(event.data),
            Err(EventStreamError::Transport(problem)) => Err(problem),
            Err(EventStreamError::Utf8(_)) => Err("the reply is not UTF-8"),
            Err(EventStreamError::Parser(_)) => Err("the reply is not a stream of events"),
        });
        Reply {
            model: model.to_owned(),
            pace,
            events: events.boxed(),
            ready: VecDeque::new(),
            finish: None,
            usage: None,
            prompt_bytes,
            text_bytes: 0,
        }
    }

    /// The next piece; nothing may be asked for after `Done` or an error.
    async fn next(&mut self) -> Result<Generated, ModelError> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(piece);
            }
            match self.pace.wait(self.events.next()).await {
                Ok(Some(Ok(data))) => {
                    self.pace.event();
                    self.read(data.trim())?;
                }
                // The text is whole: what breaks after its end costs no more than the provider's own count.
                Ok(None | Some(Err(_))) | Err(ModelError::Unavailable { .. }) if self.finish.is_some() => self.end(),
                Ok(None) => return Err(self.unavailable("the reply ended before its finish")),
                Ok(Some(Err(problem))) => return Err(self.unavailable(problem)),
                Err(late) => return Err(late),
            }
        }
    }

    fn read(&mut self, data: &str) -> Result<(), ModelError> {
        if data == "[DONE]" {
            self.end();
            return Ok(());
        }
        let chunk: Chunk =
            serde_json::from_str(data).map_err(|_| self.unavailable("an event is not what was agreed"))?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(self.error_event(&error));
        }
        if let Some(usage) = chunk.usage {
            let ReportedUsage { prompt_tokens, completion_tokens } = usage;
            self.usage = Some(Usage { input_tokens: prompt_tokens, output_tokens: completion_tokens, reported: true });
        }
        // One reply is asked for, so there is one choice; the event that carries the usage has none.
        let Some(choice) = chunk.choices.into_iter().next() else { return Ok(()) };
        if let Some(text) = choice.delta.and_then(|delta| delta.content).filter(|text| !text.is_empty()) {
            self.text_bytes += text.len();
            self.ready.push_back(Generated::Delta(text));
        }
        if let Some(reason) = choice.finish_reason {
            self.finish = Some(match reason.as_str() {
                "length" => FinishReason::Length,
                "content_filter" => FinishReason::ContentFilter,
                // "stop", and what some providers call it: "eos", "end_turn".
                _ => FinishReason::Stop,
            });
        }
        Ok(())
    }

    fn end(&mut self) {
        let usage = self.usage.unwrap_or_else(|| Usage {
            input_tokens: estimate(self.prompt_bytes),
            output_tokens: estimate(self.text_bytes),
            reported: false,
        });
        self.ready.push_back(Generated::Usage(usage));
        self.ready.push_back(Generated::Done(self.finish.unwrap_or(FinishReason::Stop)));
    }

    fn error_event(&self, error: &Value) -> ModelError {
        let code = code(error);
        match error["code"].as_u64().and_then(|status| u16::try_from(status).ok()) {
            Some(status @ 400..600) => status_error(&self.model, status, None, code),
            Some(_) | None => {
                let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
                self.unavailable(&format!("the provider reports an error in the middle of the reply{code}"))
            }
        }
    }

    fn unavailable(&self, detail: &str) -> ModelError {
        ModelError::Unavailable { model: self.model.clone(), detail: detail.to_owned() }
    }
}

fn estimate(bytes: usize) -> u64 {
    bytes.div_ceil(TOKEN_BYTES) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_with_and_without_its_slash() {
        let at = |base: &str| endpoint(base).map(String::from);
        assert_eq!(at("http://h:1/v1").as_deref(), Ok("http://h:1/v1/chat/completions"));
        assert_eq!(at("https://h/v1/").as_deref(), Ok("https://h/v1/chat/completions"));
        assert_eq!(at("https://h").as_deref(), Ok("https://h/chat/completions"));
        assert_eq!(at("https://h/d?api-version=1").as_deref(), Ok("https://h/d/chat/completions?api-version=1"));
        for wrong in ["", "h/v1", "ftp://h/v1", "file:///v1", "https://user:key@h/v1"] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_code_is_neither_prose_nor_a_key() {
        let error = json!({ "code": "sk-123", "type": "insufficient_quota", "message": "you asked: secret" });
        assert_eq!(code(&error), Some("insufficient_quota"));
        assert_eq!(code(&json!({ "code": "You asked" })), None);
        assert_eq!(code(&json!("text")), None);
    }
}
