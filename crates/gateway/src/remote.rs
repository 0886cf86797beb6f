//! Embedders and rerankers at a provider, behind core's traits: OpenAI's `/v1/embeddings`, Text Embeddings Inference's
//! `/embed` and `/rerank`, and `/rerank` as Cohere and Jina speak it.
//!
//! | file        | responsibility                                     |
//! | ----------- | -------------------------------------------------- |
//! | `embed.rs`  | texts to vectors                                   |
//! | `rerank.rs` | a question and passages to scores                  |

mod embed;
mod rerank;

use std::sync::Arc;
use std::time::Duration;

use ibid_core::ModelError;
use ibid_runtime::{Ctx, Random};
use serde_json::Value;

use crate::GatewayError;
use crate::config::RetryConfig;
use crate::failure::Failure;
use crate::pace::{Pace, Timeouts, unless_stopped};
use crate::providers::http::{Http, fetch};
use crate::retry::{chance, pause};
use crate::secret::Secret;

pub use embed::{EmbedProtocol, RemoteEmbedder};
pub use rerank::{RemoteReranker, RerankProtocol};

/// Where a model of another kind than generators is, and how it is asked.
#[derive(Debug)]
pub struct RemoteConfig {
    /// What errors call it.
    pub name: String,
    /// The address before the protocol's own path, `http` or `https`.
    pub base_url: String,
    /// What the provider calls the model; not sent where the protocol has no such thing.
    pub model: String,
    /// Sent as bearer token; `None` for a provider that wants none.
    pub api_key: Option<Secret>,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// The longest wait for one reply.
    pub timeout: Duration,
    /// How often one request is sent again.
    pub retry: RetryConfig,
    /// The most texts of one request, at least 1.
    pub batch_texts_max: usize,
    /// For the pauses between tries.
    pub random: Arc<dyn Random>,
}

/// One address, asked with retries.
#[derive(Debug)]
struct Remote {
    http: Http,
    model: String,
    timeouts: Timeouts,
    retry: RetryConfig,
    batch_texts_max: usize,
    random: Arc<dyn Random>,
}

impl Remote {
    fn new(config: RemoteConfig, path: &[&str]) -> Result<Remote, GatewayError> {
        let RemoteConfig { name, base_url, model, api_key, connect_timeout, timeout, retry, batch_texts_max, random } =
            config;
        if batch_texts_max == 0 {
            return Err(GatewayError::OutOfRange { name, key: "batch_texts_max", expected: "at least 1" });
        }
        let timeouts =
            Timeouts { connect: connect_timeout, first_token: timeout, between_tokens: timeout, total: timeout };
        let key = api_key.as_ref().map(|key| (reqwest::header::AUTHORIZATION, "Bearer ", key));
        let http = Http::new(&name, &base_url, path, key, &timeouts)?;
        Ok(Remote { http, model, timeouts, retry, batch_texts_max, random })
    }

    /// The reply to `body`, asked again as often as the configuration and the caller's deadline allow.
    async fn ask(&self, ctx: &Ctx, body: &Value) -> Result<Value, ModelError> {
        let mut retries = 0;
        loop {
            let pace = Pace::start(self.http.name(), ctx, self.timeouts);
            let failure: Failure = match fetch(self.http.name(), self.http.post(body), &pace).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            let pause = pause(&self.retry, retries, chance(&*self.random), &failure);
            let Some(pause) = pause.filter(|pause| ctx.left().is_none_or(|left| *pause < left)) else {
                return Err(failure.error);
            };
            unless_stopped(ctx, tokio::time::sleep(pause)).await.map_err(|stopped| stopped.error)?;
            retries += 1;
        }
    }

    /// What came is not what was asked for.
    fn nonsense(&self, detail: &str) -> ModelError {
        ModelError::Unavailable { model: self.http.name().to_owned(), detail: detail.to_owned() }
    }
}

/// Numbers that count: a reply with another is nonsense.
fn finite(value: &Value) -> Option<f32> {
    value.as_f64().map(|number| number as f32).filter(|number| number.is_finite())
}
