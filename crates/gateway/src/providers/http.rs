//! What the protocols over HTTP have in common: client, address, statuses, events. What a provider says in words is never
//! passed on, since it may quote the prompt or the key.

use std::time::Duration;

use eventsource_stream::{EventStreamError, Eventsource};
use futures::stream::{BoxStream, StreamExt};
use ibid_core::ModelError;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, Url, redirect};
use serde_json::Value;

use crate::bill::Meter;
use crate::failure::{Failure, Kind};
use crate::pace::{Pace, Timeouts};
use crate::{GatewayError, Secret};

/// The longest reply, protocol included: an answer is thousands of times shorter.
const REPLY_BYTES_MAX: usize = 16 << 20;
/// The longest line of a reply. A token has a few bytes; who sends a megabyte at once sends no tokens.
const LINE_BYTES_MAX: usize = 1 << 20;
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// How much of an error's body is read for its code.
const ERROR_BYTES_MAX: usize = 16 << 10;
/// A hint beyond it is a mistake, or no hint.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// One provider's door.
#[derive(Debug)]
pub(crate) struct Http {
    name: String,
    url: Url,
    headers: Vec<(HeaderName, HeaderValue)>,
    client: Client,
}

impl Http {
    /// POSTs to `path` below `base_url`, with the key in `header` behind `prefix`.
    pub(crate) fn new(
        name: &str,
        base_url: &str,
        path: &[&str],
        key: Option<(HeaderName, &str, &Secret)>,
        timeouts: &Timeouts,
    ) -> Result<Http, GatewayError> {
        let url =
            endpoint(base_url, path).map_err(|problem| GatewayError::BaseUrl { name: name.to_owned(), problem })?;
        let mut headers = Vec::new();
        if let Some((header, prefix, key)) = key {
            let mut value = HeaderValue::from_str(&format!("{prefix}{}", key.expose()))
                .map_err(|_| GatewayError::ApiKey { name: name.to_owned() })?;
            value.set_sensitive(true);
            headers.push((header, value));
        }
        // An error says that somebody else in this process has installed one: theirs is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder().connect_timeout(timeouts.connect).redirect(redirect::Policy::none()).no_proxy();
        // Without TLS no certificates are needed; a bare container has none and must reach its model all the same.
        let builder = if url.scheme() == "http" { builder.tls_certs_only([]) } else { builder };
        let client = builder.build().map_err(|source| GatewayError::Client { name: name.to_owned(), source })?;
        Ok(Http { name: name.to_owned(), url, headers, client })
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Http {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The request with this body; it may be sent from elsewhere.
    pub(crate) fn post(&self, body: &Value) -> RequestBuilder {
        let post = self.client.post(self.url.clone()).json(body);
        self.headers.iter().fold(post, |post, (name, value)| post.header(name.clone(), value.clone()))
    }
}

/// Sends `post` and gives the reply's events.
pub(super) async fn send(name: &str, post: RequestBuilder, pace: &Pace, meter: &Meter) -> Result<Events, Failure> {
    meter.sent();
    let sent = pace.wait(post.send()).await?;
    let response = sent.map_err(|error| {
        let (kind, detail) = if error.is_connect() {
            meter.free();
            (Kind::Unreachable, "cannot be connected to")
        } else {
            (Kind::Broken, "the connection broke before a reply")
        };
        Failure::unavailable(kind, name, detail)
    })?;
    if !response.status().is_success() {
        meter.free();
        return Err(refusal(name, pace, response).await);
    }
    let is_page = |value: &HeaderValue| value.as_bytes().to_ascii_lowercase().starts_with(b"text/html");
    if response.headers().get(CONTENT_TYPE).is_some_and(is_page) {
        meter.free();
        return Err(broken(name, "the reply is a web page, not a stream of events; check base_url"));
    }
    Ok(events(response))
}

/// Sends `post` and gives the reply, which is one JSON text.
pub(crate) async fn fetch(name: &str, post: RequestBuilder, pace: &Pace) -> Result<Value, Failure> {
    let sent = pace.wait(post.send()).await?;
    let mut response = sent.map_err(|error| {
        let kind = if error.is_connect() { Kind::Unreachable } else { Kind::Broken };
        Failure::unavailable(kind, name, "cannot be connected to, or the connection broke before a reply")
    })?;
    if !response.status().is_success() {
        return Err(refusal(name, pace, response).await);
    }
    let mut body = Vec::new();
    while let Some(piece) = pace
        .wait(response.chunk())
        .await?
        .map_err(|_| broken(name, "the connection broke in the middle of the reply"))?
    {
        body.extend_from_slice(&piece);
        if body.len() > REPLY_BYTES_MAX {
            return Err(broken(name, "the reply is longer than 16 MiB"));
        }
    }
    serde_json::from_slice(&body).map_err(|_| broken(name, "the reply is not JSON"))
}

/// A piece of the reply.
#[derive(Debug)]
pub(crate) struct Event {
    pub(super) name: String,
    pub(super) data: String,
}

impl Event {
    /// Whether the model has done something: a ping only says that the connection lives.
    pub(super) fn is_progress(&self) -> bool {
        self.name != "ping"
    }
}

/// A reply as it comes; what is wrong with it ends it.
pub(crate) type Events = BoxStream<'static, Result<Event, &'static str>>;

fn events(response: Response) -> Events {
    let (mut left, mut line) = (REPLY_BYTES_MAX, 0);
    let bytes = response.bytes_stream().map(move |piece| {
        let piece = piece.map_err(|_| "the connection broke in the middle of the reply")?;
        left = left.checked_sub(piece.len()).ok_or("the reply is longer than 16 MiB")?;
        line = match piece.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => piece.len() - end - 1,
            None => line + piece.len(),
        };
        if line > LINE_BYTES_MAX { Err("an event is longer than 1 MiB") } else { Ok(piece) }
    });
    // The parser panics on a byte order mark.
    let mut start = Some(Vec::new());
    let bytes = bytes.map(move |piece| {
        let piece = piece?;
        let Some(bytes) = &mut start else { return Ok(piece) };
        bytes.extend_from_slice(&piece);
        if bytes.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(bytes) {
            return Ok(piece.slice(..0));
        }
        let mark = if bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let rest = bytes.split_off(mark);
        start = None;
        Ok(rest.into())
    });
    let events = bytes.eventsource().map(|event| match event {
        Ok(event) => Ok(Event { name: event.event, data: event.data }),
        Err(EventStreamError::Transport(problem)) => Err(problem),
        Err(EventStreamError::Utf8(_)) => Err("the reply is not UTF-8"),
        Err(EventStreamError::Parser(_)) => Err("the reply is not a stream of events"),
    });
    events.boxed()
}

fn endpoint(base_url: &str, path: &[&str]) -> Result<Url, &'static str> {
    let mut url = Url::parse(base_url).map_err(|_| "is not a URL, expected such as https://host/v1")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("has another scheme than http or https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user name or password, expected the key in api_key");
    }
    url.path_segments_mut().expect("an http URL has a path").pop_if_empty().extend(path);
    Ok(url)
}

async fn refusal(name: &str, pace: &Pace, mut response: Response) -> Failure {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
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
    let error = if body["error"].is_null() { &body } else { &body["error"] };
    status_failure(name, status, retry_after, error)
}

/// Seconds, as providers send them. A date would need their clock to be ours.
fn retry_after(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().parse().ok()?;
    let hint = Duration::try_from_secs_f64(seconds).ok()?;
    (hint <= RETRY_AFTER_MAX).then_some(hint)
}

/// What an HTTP status, or the same number in an error object, means for the caller.
pub(super) fn status_failure(name: &str, status: u16, retry_after: Option<Duration>, error: &Value) -> Failure {
    let model = name.to_owned();
    let code = code(error).map(|code| format!(" ({code})")).unwrap_or_default();
    match status {
        429 => {
            let hint = retry_after.map(|hint| format!("; retry after {} s", hint.as_secs_f64())).unwrap_or_default();
            let detail = format!("the provider answers 429{code}{hint}");
            let error = ModelError::RateLimited { model, detail, retry_after };
            Failure { kind: Kind::Throttled, error, retry_after }
        }
        // 529: Anthropic's own
        503 | 529 if retry_after.is_some() || status == 529 => {
            let error = ModelError::Overloaded { model, detail: format!("the provider answers {status}{code}") };
            Failure { kind: Kind::ServerError, error, retry_after }
        }
        408 | 500.. => Failure::unavailable(Kind::ServerError, name, format!("the provider answers {status}{code}")),
        400 | 413 | 422 if is_too_long(error) || status == 413 => {
            let detail = format!("the provider answers {status}{code}; ask with fewer sources or turns");
            Failure::new(Kind::TooLong, ModelError::TooLong { model, detail })
        }
        _ => {
            let (kind, way_out) = match status {
                401 | 403 => (Kind::Misconfigured, "check api_key and what it may use"),
                404 => (Kind::Misconfigured, "check base_url and model"),
                300..=399 => (Kind::Misconfigured, "redirects are not followed, give the final base_url"),
                _ => (Kind::BadRequest, "check model, the length of the prompt and tokens_max"),
            };
            let detail = format!("the provider answers {status}{code}; {way_out}");
            Failure::new(kind, ModelError::Refused { model, detail })
        }
    }
}

/// Whether the provider says that the prompt does not fit: some have a code for it, others only words.
fn is_too_long(error: &Value) -> bool {
    const CODES: [&str; 3] = ["context_length_exceeded", "exceed_context_size_error", "request_too_large"];
    const WORDS: [&str; 4] =
        ["maximum context length", "context window", "prompt is too long", "exceeds the available context"];
    let coded = code(error).is_some_and(|code| CODES.contains(&code));
    let message = error["message"].as_str().unwrap_or_default().to_ascii_lowercase();
    coded || WORDS.iter().any(|words| message.contains(words))
}

/// The code or type of an error object, if it looks like one: letters and underscores, so neither prose nor a key.
pub(super) fn code(error: &Value) -> Option<&str> {
    let is_code = |text: &&str| {
        (1..=48).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    ["code", "type"].into_iter().filter_map(|field| error[field].as_str()).find(is_code)
}

/// The reply broke, or is nonsense.
pub(super) fn broken(name: &str, detail: &str) -> Failure {
    Failure::unavailable(Kind::Broken, name, detail)
}

/// The provider reports an error in the middle of its reply.
pub(super) fn error_event(name: &str, error: &Value, status: Option<u64>) -> Failure {
    match status.and_then(|status| u16::try_from(status).ok()) {
        Some(status @ 400..600) => status_failure(name, status, None, error),
        Some(_) | None => {
            let code = code(error).map(|code| format!(" ({code})")).unwrap_or_default();
            let detail = format!("the provider reports an error in the middle of the reply{code}");
            Failure::unavailable(Kind::ServerError, name, detail)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_is_taken_with_and_without_its_slash() {
        let at = |base: &str| endpoint(base, &["chat", "completions"]).map(String::from);
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

    #[test]
    fn a_status_says_what_may_be_done() {
        let long =
            json!({ "message": "This model's maximum context length is 8192 tokens", "type": "invalid_request" });
        let none = Value::Null;
        for (status, error, kind) in [
            (429, &none, Kind::Throttled),
            (500, &none, Kind::ServerError),
            (529, &none, Kind::ServerError),
            (408, &none, Kind::ServerError),
            (401, &none, Kind::Misconfigured),
            (404, &none, Kind::Misconfigured),
            (302, &none, Kind::Misconfigured),
            (400, &none, Kind::BadRequest),
            (400, &long, Kind::TooLong),
            (413, &none, Kind::TooLong),
        ] {
            assert_eq!(status_failure("m", status, None, error).kind, kind, "{status}");
        }
        assert_eq!(retry_after("1.5"), Some(Duration::from_millis(1500)));
        for no_hint in ["", "-1", "nan", "1e30", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(retry_after(no_hint), None, "{no_hint}");
        }
    }
}
