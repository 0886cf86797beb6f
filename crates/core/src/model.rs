//! The traits that join the rooms without linking them: who uses a model sees only these.

use std::fmt::Debug;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use ibid_runtime::{Ctx, Stopped};
use serde::{Deserialize, Serialize};

use crate::{ModelId, TenantKey};

/// A future behind a pointer, so that a trait with async methods can be used as `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a model gave no result.
#[derive(Debug, thiserror::Error)]
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

/// What a generator is asked.
#[derive(Debug, Clone)]
pub struct GenerateRequest {
    /// For whom: budgets, caches and records are kept by tenant.
    pub tenant: TenantKey,
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
}

/// What a call used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Whether these are the provider's own figures; else they are estimated.
    pub reported: bool,
}

/// A piece of a generator's reply. `Done` comes last, once, unless an error ends the stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Generated {
    /// The next piece of text; never empty.
    Delta(String),
    /// What the call used.
    Usage(Usage),
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
