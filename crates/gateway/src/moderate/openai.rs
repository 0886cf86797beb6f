//! A moderation endpoint as OpenAI has it (`POST /v1/moderations`): what is sent, what comes back, and what is done about it.
//! The call itself is made by a client handed in.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use ibid_core::{BoxFuture, ModelError};
use ibid_runtime::Ctx;
use serde::{Deserialize, Serialize};

use super::{Action, Moderate, Verdict, Way};

/// The most texts in one call.
const TEXTS_MAX: usize = 32;
/// The most bytes of a text in one call; a longer one goes in pieces that overlap.
const TEXT_BYTES_MAX: usize = 16 * 1024;
/// What two pieces share.
const SHARED_BYTES: usize = 512;

/// Sends a request's body to the endpoint and gives back the response's.
pub trait ModerationClient: Send + Sync + Debug {
    /// `body` and the reply to it are JSON.
    ///
    /// # Errors
    /// [`ModelError`]: there was no response, or its status was not 200.
    fn post<'a>(&'a self, ctx: &'a Ctx, body: Vec<u8>) -> BoxFuture<'a, Result<Vec<u8>, ModelError>>;
}

/// From which score on a category counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// What is done then.
    pub action: Action,
    /// 0 to 1.
    pub score_min: f64,
}

/// How an endpoint is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointConfig {
    /// The model's name, as the endpoint knows it; empty: its default.
    pub model: String,
    /// What is done about a text that the endpoint flags in a category without thresholds.
    pub flagged: Action,
    /// By category, instead of the endpoint's own judgement.
    pub thresholds: BTreeMap<String, Vec<Threshold>>,
}

/// A threshold that no score can be compared with.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("thresholds.{category}.score_min: {given} given, expected 0 to 1")]
pub struct EndpointError {
    /// Whose threshold.
    pub category: String,
    /// What it was.
    pub given: f64,
}

/// A moderation endpoint.
#[derive(Debug)]
pub struct OpenAiModeration {
    config: EndpointConfig,
    client: Arc<dyn ModerationClient>,
}

#[derive(Debug, Serialize)]
struct Request<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    model: &'a str,
    input: &'a [&'a str],
}

#[derive(Debug, Deserialize)]
struct Response {
    results: Vec<Judgement>,
}

#[derive(Debug, Deserialize)]
struct Judgement {
    flagged: bool,
    #[serde(default)]
    categories: BTreeMap<String, Option<bool>>,
    #[serde(default)]
    category_scores: BTreeMap<String, Option<f64>>,
}

impl OpenAiModeration {
    /// An endpoint behind `client`.
    ///
    /// # Errors
    /// [`EndpointError`]: a score outside of 0 to 1.
    pub fn new(config: EndpointConfig, client: Arc<dyn ModerationClient>) -> Result<OpenAiModeration, EndpointError> {
        for (category, thresholds) in &config.thresholds {
            if let Some(wrong) = thresholds.iter().find(|threshold| !(0.0..=1.0).contains(&threshold.score_min)) {
                return Err(EndpointError { category: category.clone(), given: wrong.score_min });
            }
        }
        Ok(OpenAiModeration { config, client })
    }

    async fn ask(&self, ctx: &Ctx, input: &[&str]) -> Result<Verdict, ModelError> {
        let failed = |detail: String| ModelError::Unavailable { model: self.name().to_owned(), detail };
        let body = serde_json::to_vec(&Request { model: &self.config.model, input })
            .map_err(|error| failed(format!("the request cannot be written: {error}")))?;
        let reply = self.client.post(ctx, body).await?;
        // The message of a JSON error may quote what it stumbled on.
        let response: Response = serde_json::from_slice(&reply).map_err(|error| {
            failed(format!("no moderation response at line {}, column {}", error.line(), error.column()))
        })?;
        if response.results.len() != input.len() {
            let (given, expected) = (response.results.len(), input.len());
            return Err(failed(format!("{given} results, expected {expected}")));
        }
        Ok(response.results.iter().fold(Verdict::Allow, |worst, judgement| worst.or_worse(self.judge(judgement))))
    }

    fn name(&self) -> &str {
        if self.config.model.is_empty() { "moderation" } else { &self.config.model }
    }

    fn judge(&self, judgement: &Judgement) -> Verdict {
        let object = |action, category: &str| Verdict::Object { action, category: category.into() };
        let mut worst = Verdict::Allow;
        for (category, thresholds) in &self.config.thresholds {
            let score = judgement.category_scores.get(category).copied().flatten().unwrap_or(0.0);
            for threshold in thresholds.iter().filter(|threshold| score >= threshold.score_min) {
                worst = worst.or_worse(object(threshold.action, category));
            }
        }
        let said = judgement.categories.iter().filter(|(_, is)| **is == Some(true)).map(|(category, _)| category);
        for category in said.filter(|category| !self.config.thresholds.contains_key(*category)) {
            worst = worst.or_worse(object(self.config.flagged, category));
        }
        // Flagged, and no category says why.
        let silent = judgement.flagged && !judgement.categories.values().any(|is| *is == Some(true));
        if silent { worst.or_worse(object(self.config.flagged, "flagged")) } else { worst }
    }
}

impl Moderate for OpenAiModeration {
    fn moderate<'a>(
        &'a self,
        ctx: &'a Ctx,
        _way: Way,
        texts: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Verdict, ModelError>> {
        Box::pin(async move {
            let pieces: Vec<&str> = texts.iter().flat_map(|text| pieces(text)).collect();
            let mut worst = Verdict::Allow;
            for batch in pieces.chunks(TEXTS_MAX) {
                worst = worst.or_worse(self.ask(ctx, batch).await?);
                if worst.is_block() {
                    break;
                }
            }
            Ok(worst)
        })
    }
}

/// `text` in pieces of up to [`TEXT_BYTES_MAX`] that overlap; none of a text of blanks.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    while !text[start..].trim().is_empty() {
        let mut end = text.len().min(start + TEXT_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        pieces.push(&text[start..end]);
        if end == text.len() {
            break;
        }
        start = end - SHARED_BYTES;
        while !text.is_char_boundary(start) {
            start -= 1;
        }
    }
    pieces
}
