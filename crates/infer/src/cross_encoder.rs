//! A question and passages to scores.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ibid_core::{BoxFuture, Calibration, ModelError, ModelId, Pairs, Passage, Rerank};
use ibid_runtime::{Ctx, Pool, Priority};
use rayon::prelude::*;

use crate::batch::{Head, in_batches, model_error};
use crate::encoder::Encoder;
use crate::kernels::dot;
use crate::manifest::{ModelEntry, ModelKind};
use crate::pace::Pace;
use crate::store::Files;
use crate::tokenizer::Wordpieces;
use crate::{InferError, Tokens};

/// Passages that one job tokenizes.
const TOKENIZE_PASSAGES_MAX: usize = 64;

/// A cross-encoder that runs here: BERT over `[CLS] question [SEP] passage [SEP]`, its pooler, and one logit (Nogueira and
/// Cho 2019). A pair that is longer than the model loses the end of its passage; a question of more than seven eighths of
/// the model loses its own end, so that every passage keeps a part. A passage's score does not depend, to the last bit, on
/// the other passages of the call.
#[derive(Debug)]
pub struct CrossEncoder {
    id: ModelId,
    revision: String,
    calibration: Calibration,
    model: Arc<Model>,
    pace: Pace,
    pool: Pool,
    batch_tokens_max: usize,
}

#[derive(Debug)]
struct Model {
    tokenizer: Wordpieces,
    encoder: Encoder,
    tokens_max: usize,
    /// `[hidden, hidden]`, a row an output.
    pooler: Vec<f32>,
    pooler_bias: Vec<f32>,
    classifier: Vec<f32>,
    classifier_bias: f32,
}

/// A question's pairs, as tokens.
#[derive(Debug)]
struct TokenPairs<'a> {
    of: &'a CrossEncoder,
    ctx: Ctx,
    pairs: Vec<Tokens>,
}

impl CrossEncoder {
    /// Loads the model in `dir` as `entry` describes it; it computes on `pool`, at most `batch_tokens_max` tokens (at least
    /// one pair) a job.
    ///
    /// # Errors
    /// It is no reranker, its files are damaged, or it is of a kind that does not run here.
    pub fn load(
        dir: &Path,
        entry: &ModelEntry,
        pool: &Pool,
        batch_tokens_max: usize,
    ) -> Result<CrossEncoder, InferError> {
        let ModelKind::Reranker { calibration } = entry.kind else {
            return Err(InferError::Kind { id: entry.id.clone(), expected: "reranker" });
        };
        if !(calibration.slope > 0.0 && calibration.slope.is_finite() && calibration.intercept.is_finite()) {
            let detail = format!("{calibration:?}, expected a slope above 0 and a finite intercept");
            return Err(InferError::Malformed { path: dir.to_owned(), detail });
        }
        let files = Files::read(dir, entry)?;
        if files.config.type_vocab_size < 2 {
            return Err(InferError::Unsupported {
                what: "a reranker with one token type".to_owned(),
                way_out: "choose one whose config.json says \"type_vocab_size\": 2",
            });
        }
        let weights = files.weights()?;
        let hidden = files.config.hidden_size;
        let model = Model {
            encoder: Encoder::load(&weights, &files.config)?,
            tokens_max: entry.max_tokens,
            pooler: weights.matrix("pooler.dense.weight", hidden, hidden)?,
            pooler_bias: weights.vector("pooler.dense.bias", hidden)?,
            // Another shape than one label's is an error that says so.
            classifier: weights.head("classifier.weight", &[1, hidden])?,
            classifier_bias: weights.head("classifier.bias", &[1])?[0],
            tokenizer: files.tokenizer,
        };
        let (model, pace) = (Arc::new(model), Pace::new(hidden));
        let (id, pool) = (entry.id.clone(), pool.clone());
        Ok(CrossEncoder { id, revision: files.revision, calibration, model, pace, pool, batch_tokens_max })
    }

    async fn tokens(&self, ctx: &Ctx, question: &str, passages: &[Passage]) -> Result<Vec<Tokens>, ModelError> {
        let mut tokens = Vec::with_capacity(passages.len());
        for passages in passages.chunks(TOKENIZE_PASSAGES_MAX) {
            let (model, question, passages) = (Arc::clone(&self.model), question.to_owned(), passages.to_vec());
            let job = move || {
                let start = model.start(&question);
                passages.par_iter().map(|passage| model.pair(&start, passage)).collect::<Vec<_>>()
            };
            tokens.extend(self.pool.run(ctx, job).await.map_err(|error| model_error(&self.id, error))?);
        }
        Ok(tokens)
    }
}

impl Model {
    /// `[CLS] question [SEP]`
    fn start(&self, question: &str) -> Vec<u32> {
        let mut ids = vec![self.tokenizer.start];
        ids.extend(self.tokenizer.ids(question, self.tokens_max * 7 / 8 - 2));
        ids.push(self.tokenizer.separator);
        ids
    }

    /// `start passage [SEP]`
    fn pair(&self, start: &[u32], passage: &Passage) -> Tokens {
        let mut ids = start.to_vec();
        let room = self.tokens_max - 1 - start.len();
        if passage.context.is_empty() {
            ids.extend(self.tokenizer.ids(&passage.text, room));
        } else {
            ids.extend(self.tokenizer.ids(&format!("{} {}", passage.context, passage.text), room));
        }
        ids.push(self.tokenizer.separator);
        Tokens { ids, second: start.len() }
    }
}

impl Head for Model {
    type Output = f32;

    fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    fn read(&self, states: &[f32]) -> f32 {
        let hidden = self.classifier.len();
        let first = &states[..hidden];
        let rows = self.pooler.chunks_exact(hidden).zip(&self.pooler_bias);
        let pooled: Vec<f32> = rows.map(|(row, bias)| (dot(row, first) + bias).tanh()).collect();
        dot(&pooled, &self.classifier) + self.classifier_bias
    }
}

impl Rerank for CrossEncoder {
    fn model(&self) -> &ModelId {
        &self.id
    }

    fn revision(&self) -> &str {
        &self.revision
    }

    fn calibration(&self) -> Calibration {
        self.calibration
    }

    fn pairs<'a>(
        &'a self,
        ctx: &'a Ctx,
        question: &'a str,
        passages: &'a [Passage],
    ) -> BoxFuture<'a, Result<Box<dyn Pairs + 'a>, ModelError>> {
        Box::pin(async move {
            // Below the first steps of other questions, whose answers nobody has yet.
            let ctx = ctx.at(ctx.priority().min(Priority::Rerank));
            let pairs = self.tokens(&ctx, question, passages).await?;
            Ok(Box::new(TokenPairs { of: self, ctx, pairs }) as Box<dyn Pairs>)
        })
    }
}

impl TokenPairs<'_> {
    fn work(&self, range: Range<usize>) -> f64 {
        self.of.pace.work(self.pairs[range].iter().map(|pair| pair.ids.len()))
    }
}

impl Pairs for TokenPairs<'_> {
    fn expected(&self, range: Range<usize>) -> Option<Duration> {
        self.of.pace.expected(self.work(range), self.ctx.clock().monotonic())
    }

    fn score(&self, range: Range<usize>) -> BoxFuture<'_, Result<Vec<f32>, ModelError>> {
        Box::pin(async move {
            let CrossEncoder { id, model, pace, pool, batch_tokens_max, .. } = self.of;
            let start = self.ctx.clock().monotonic();
            let tokens = self.pairs[range.clone()].to_vec();
            let logits = in_batches(&self.ctx, pool, model, tokens, *batch_tokens_max).await;
            let logits = logits.map_err(|error| model_error(id, error))?;
            if !logits.is_empty() {
                let now = self.ctx.clock().monotonic();
                pace.note(self.work(range), now.saturating_sub(start), now);
            }
            Ok(logits)
        })
    }
}
