//! The traits that join the rooms without linking them: who uses a model sees only these.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use ibid_runtime::{Ctx, Stopped};
use serde::{Deserialize, Serialize};

use crate::{Generation as PartitionGeneration, KeyId, ModelId, PartitionKey, Reader, TenantKey};

/// A future behind a pointer, so that a trait with async methods can be used as `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a model gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The caller left or its deadline passed.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// Too much is waiting; try again later.
    #[error("{model} is overloaded: {detail}")]
    Overloaded {
        /// The model.
        model: String,
        /// What is full.
        detail: String,
    },
    /// Who asks has asked too often, or the provider says so of us; try again later.
    #[error("{model} is asked too often: {detail}")]
    RateLimited {
        /// The model.
        model: String,
        /// Whose limit it is.
        detail: String,
        /// How long to wait before the next try, where somebody knows.
        retry_after: Option<Duration>,
    },
    /// The call could cost more than is left.
    #[error("{model} is not asked, for want of money: {detail}")]
    OverBudget {
        /// The model.
        model: String,
        /// Whose ceiling it is, and what is left of it.
        detail: String,
        /// When there is more to spend; `None` where nobody knows.
        retry_after: Option<Duration>,
    },
    /// Who asks may not use this model.
    #[error("{model} may not be used: {detail}")]
    Forbidden {
        /// The model.
        model: String,
        /// Which rule says so.
        detail: String,
    },
    /// The prompt and the answer together are longer than the model reads.
    #[error("{model} cannot read so much: {detail}")]
    TooLong {
        /// The model.
        model: String,
        /// What is too long.
        detail: String,
    },
    /// The request cannot be served by this model, whoever asks again.
    #[error("{model} refuses the request: {detail}")]
    Refused {
        /// The model.
        model: String,
        /// Why, without any of the texts.
        detail: String,
    },
    /// The model cannot be reached or answers nonsense; it may be back later.
    #[error("{model} is unavailable: {detail}")]
    Unavailable {
        /// The model.
        model: String,
        /// What happened, without any of the texts.
        detail: String,
    },
    /// A defect of ours.
    #[error("{model} failed: {detail}")]
    Failed {
        /// The model.
        model: String,
        /// What happened, without any of the texts.
        detail: String,
    },
}

/// What a text is embedded for: some models prefix the two differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// It asks.
    Query,
    /// It may answer.
    Passage,
}

/// Text to vectors.
pub trait Embed: Send + Sync + Debug {
    /// The model's name.
    fn model(&self) -> &ModelId;
    /// The model's weights and how it reads a text, as a hash: what cached vectors are keyed by.
    fn revision(&self) -> &str;
    /// Length of its vectors.
    fn dimension(&self) -> usize;
    /// The longest text it reads to its end, in tokens, special ones included.
    fn tokens_max(&self) -> usize {
        usize::MAX
    }
    /// One vector a text, in order, of length 1 in the Euclidean norm unless the model leaves that to who compares. A text
    /// that is too long is cut at the end.
    fn embed<'a>(
        &'a self,
        ctx: &'a Ctx,
        purpose: Purpose,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>>;
}

/// Text to tokens, as an embedder counts them.
pub trait Tokenize: Send + Sync + Debug {
    /// The first byte of each token of `text`, ascending, special tokens left out; appended to `out`.
    fn token_starts(&self, text: &str, out: &mut Vec<u32>);
}

/// What a cross-encoder reads of a candidate: title, headings and text as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// What stands around the text; may be empty.
    pub context: String,
    /// The text.
    pub text: String,
}

/// What a cross-encoder's logit is worth: `relevance = 1 / (1 + exp(-(slope * logit + intercept)))`, the probability that
/// the passage answers the question, fitted on judged pairs (Platt 1999). The default is the plain sigmoid.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// What the logit is multiplied by, above 0.
    pub slope: f32,
    /// What is added to it.
    pub intercept: f32,
}

impl Default for Calibration {
    fn default() -> Calibration {
        Calibration { slope: 1.0, intercept: 0.0 }
    }
}

impl Calibration {
    /// The relevance of a finite logit, 0 to 1; never falls as the logit rises.
    pub fn relevance(self, logit: f32) -> f32 {
        1.0 / (1.0 + (-(self.slope * logit + self.intercept)).exp())
    }
}

/// A question and passages to scores.
pub trait Rerank: Send + Sync + Debug {
    /// The model's name.
    fn model(&self) -> &ModelId;
    /// The model's weights and how it reads a pair, as a hash: what cached scores are keyed by.
    fn revision(&self) -> &str;
    /// What its logits are worth.
    fn calibration(&self) -> Calibration;
    /// Reads the question and each passage once, so that pairs of them can be scored piece by piece, in time.
    fn pairs<'a>(
        &'a self,
        ctx: &'a Ctx,
        question: &'a str,
        passages: &'a [Passage],
    ) -> BoxFuture<'a, Result<Box<dyn Pairs + 'a>, ModelError>>;

    /// One raw score (logit) a passage, in order, as [`Pairs::score`] gives it for all of them.
    fn score<'a>(
        &'a self,
        ctx: &'a Ctx,
        question: &'a str,
        passages: &'a [Passage],
    ) -> BoxFuture<'a, Result<Vec<f32>, ModelError>> {
        Box::pin(async move {
            let pairs = self.pairs(ctx, question, passages).await?;
            pairs.score(0..passages.len()).await
        })
    }
}

/// A question with each of its passages, in their order, ready to be scored.
pub trait Pairs: Send + Sync + Debug {
    /// The time that scoring the pairs of `range` is unlikely to exceed, from their length and from what such pairs took of
    /// late. `None` if nothing was measured of late: then a single pair tells.
    ///
    /// # Panics
    /// If `range` reaches beyond the pairs.
    fn expected(&self, range: Range<usize>) -> Option<Duration>;

    /// One raw score (logit) a pair of `range`, in order; higher is more relevant. A passage that is too long is cut at its
    /// end; the question is cut only where it would leave the passage next to nothing.
    ///
    /// # Panics
    /// If `range` reaches beyond the pairs.
    fn score(&self, range: Range<usize>) -> BoxFuture<'_, Result<Vec<f32>, ModelError>>;
}

/// Who speaks in a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The rules.
    System,
    /// Who asks.
    User,
    /// The model's earlier answers.
    Assistant,
}

/// One turn of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// A numbered source, for generators that read sources rather than a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Its number, from 1.
    pub number: u32,
    /// Title and headings; may be empty.
    pub context: String,
    /// Its text.
    pub text: String,
}

/// Who is behind a call within its tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The key that was shown; `None` for the operator's own work.
    pub key: Option<KeyId>,
    /// What it may read: an answer is never shown to somebody who may read less or other than who asked for it.
    pub reader: Reader,
    /// What in the product asks, such as `answer`: limits, budgets and bans may name it. 64 bytes at most count.
    pub feature: String,
}

impl Default for Caller {
    /// No key, no principal, no feature: reads what is open to the tenant.
    fn default() -> Caller {
        Caller { key: None, reader: Reader::As(BTreeSet::new()), feature: String::new() }
    }
}

/// What a prompt was made of: an answer is kept only as long as all of it stays the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The partitions that the sources are from, each at the generation that was searched.
    pub generations: Vec<(PartitionKey, PartitionGeneration)>,
    /// The version of the prompt's rules.
    pub prompt_version: String,
    /// The version of the configuration.
    pub config_version: String,
}

/// What a generator is asked.
#[derive(Debug, Clone)]
pub struct GenerateRequest {
    /// For whom: budgets, caches and records are kept by tenant.
    pub tenant: TenantKey,
    /// Who asks within the tenant.
    pub caller: Caller,
    /// What the prompt was made of.
    pub origin: Origin,
    /// The generator's public name; empty for the default one.
    pub generator: String,
    /// The prompt.
    pub messages: Vec<Message>,
    /// The question alone.
    pub question: String,
    /// The sources alone.
    pub sources: Arc<[Source]>,
    /// The most tokens to generate.
    pub tokens_max: u32,
    /// 0 for the most likely text.
    pub temperature: f32,
}

/// Why a generator stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// It had said everything.
    Stop,
    /// It reached `tokens_max`.
    Length,
    /// The provider withheld the rest.
    ContentFilter,
    /// It waits for the result of the tools that it called.
    ToolCalls,
}

impl FinishReason {
    /// What OpenAI's protocol and traces call it.
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::ContentFilter => "content_filter",
            FinishReason::ToolCalls => "tool_calls",
        }
    }
}

/// What a call used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens read, those from the provider's cache included.
    pub input_tokens: u64,
    /// Of these, tokens that the provider had in its cache of prompts.
    pub cached_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Whether these are the provider's own figures; else they are estimated.
    pub reported: bool,
}

/// A piece of a call of a tool. The pieces of one call have one index; name and id come with its first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// Which of the reply's calls, from 0.
    pub index: u32,
    /// The provider's id of the call; empty after the first piece.
    pub id: String,
    /// The tool; empty after the first piece.
    pub name: String,
    /// The next piece of the arguments, a JSON text; may be empty.
    pub arguments: String,
}

/// Where a reply comes from, as far as caches go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheState {
    /// It may not be kept, so nobody looked.
    Bypass,
    /// Nothing was kept; a model was asked.
    Miss,
    /// The kept answer to the very same request.
    Hit,
    /// The kept answer to a question that means the same.
    Similar,
    /// One call served several that asked the same at the same time.
    Shared,
    /// A kept answer beyond its time, since no model could be asked.
    Stale,
}

impl CacheState {
    /// What traces and metrics call it.
    pub fn as_str(self) -> &'static str {
        match self {
            CacheState::Bypass => "bypass",
            CacheState::Miss => "miss",
            CacheState::Hit => "hit",
            CacheState::Similar => "similar",
            CacheState::Shared => "shared",
            CacheState::Stale => "stale",
        }
    }
}

/// Who stood in for the model that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Nobody.
    None,
    /// Another model, by the table's list.
    Model,
    /// Nobody could be asked: the answer is the sources' own words.
    Extractive,
}

/// What is known of a call at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// The public name that was asked for.
    pub asked: String,
    /// The public name of who answered.
    pub model: String,
    /// Who stood in, if somebody did.
    pub fallback: Fallback,
    /// The table's name of the deployment that answered; empty if nobody was asked.
    pub deployment: String,
    /// The provider, as traces call it: `openai`, `anthropic`, `local`.
    pub provider: String,
    /// What the answer used.
    pub usage: Usage,
    /// What the whole call cost, attempts that failed included, in millionths of a dollar, rounded up.
    pub cost_microdollars: u64,
    /// From the call to its first piece; `None` if none came.
    pub first_token: Option<Duration>,
    /// From the call to its end.
    pub total: Duration,
    /// Why it ended; `None` if it broke off.
    pub finish: Option<FinishReason>,
    /// Requests that were sent to providers, retries, fallbacks and hedges included.
    pub attempts: u32,
    /// What the caches had to say.
    pub cache: CacheState,
}

/// A piece of a generator's reply. `Done` comes last, once, unless an error ends the stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Generated {
    /// The next piece of text; never empty.
    Delta(String),
    /// The next piece of a call of a tool.
    ToolCall(ToolCall),
    /// What the call used.
    Usage(Usage),
    /// What is known of the call; comes right before `Done`, or before the error that ends the stream. Generators that
    /// are not behind the gateway leave it out.
    Call(Box<CallRecord>),
    /// The end.
    Done(FinishReason),
}

/// A reply as it comes. Dropping it stops the generator.
pub type Generation = BoxStream<'static, Result<Generated, ModelError>>;

/// A prompt to text, as a stream.
pub trait Generate: Send + Sync + Debug {
    /// The public names of what can be asked, the default first.
    fn generators(&self) -> Vec<String>;
    /// Starts to generate. Errors before the first piece come here, later ones in the stream.
    fn generate<'a>(&'a self, ctx: &'a Ctx, request: GenerateRequest) -> BoxFuture<'a, Result<Generation, ModelError>>;
}
