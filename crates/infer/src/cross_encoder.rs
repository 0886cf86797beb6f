//! A question and passages to scores.

use std::path::Path;
use std::sync::Arc;

use ibid_core::{BoxFuture, ModelError, ModelId, Passage, Rerank};
use ibid_runtime::{Ctx, Pool, Priority};

use crate::batch::{Head, in_batches, model_error};
use crate::encoder::Encoder;
use crate::kernels::dot;
use crate::manifest::{ModelEntry, ModelKind};
use crate::product::Numbers;
use crate::store::Files;
use crate::tokenizer::Wordpieces;
use crate::{InferError, Tokens};

/// Passages that one job tokenizes.
const TOKENIZE_PASSAGES_MAX: usize = 64;

/// A cross-encoder that runs here: BERT over `[CLS] question [SEP] passage [SEP]`, its pooler, and one logit (Nogueira and
/// Cho 2019). A passage's score does not depend, to the last bit, on the other passages of the call.
#[derive(Debug)]
pub struct CrossEncoder {
    id: ModelId,
    revision: String,
    model: Arc<Model>,
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
        if !matches!(entry.kind, ModelKind::Reranker {}) {
            return Err(InferError::Kind { id: entry.id.clone(), expected: "reranker" });
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
            encoder: Encoder::load(&weights, &files.config, Numbers::F32)?,
            tokens_max: entry.max_tokens,
            pooler: weights.matrix("pooler.dense.weight", hidden, hidden)?,
            pooler_bias: weights.vector("pooler.dense.bias", hidden)?,
            // Another shape than one label's is an error that says so.
            classifier: weights.head("classifier.weight", &[1, hidden])?,
            classifier_bias: weights.head("classifier.bias", &[1])?[0],
            tokenizer: files.tokenizer,
        };
        let (id, pool) = (entry.id.clone(), pool.clone());
        Ok(CrossEncoder { id, revision: files.revision, model: Arc::new(model), pool, batch_tokens_max })
    }

    async fn logits(&self, ctx: &Ctx, question: &str, passages: &[Passage]) -> Result<Vec<f32>, ModelError> {
        let refused = |error| model_error(&self.id, error);
        // Below the first steps of other questions, whose answers nobody has yet.
        let ctx = &ctx.at(ctx.priority().min(Priority::Rerank));
        let mut tokens = Vec::with_capacity(passages.len());
        for passages in passages.chunks(TOKENIZE_PASSAGES_MAX) {
            let (model, question, passages) = (Arc::clone(&self.model), question.to_owned(), passages.to_vec());
            tokens.extend(self.pool.run(ctx, move || model.pairs(&question, &passages)).await.map_err(refused)?);
        }
        in_batches(ctx, &self.pool, &self.model, tokens, self.batch_tokens_max).await.map_err(refused)
    }
}

impl Model {
    fn pairs(&self, question: &str, passages: &[Passage]) -> Vec<Tokens> {
        let room = self.tokens_max - 3;
        let mut first = vec![self.tokenizer.start];
        first.extend(self.tokenizer.ids(question, room));
        first.push(self.tokenizer.separator);
        let pair = |passage: &Passage| {
            let mut ids = first.clone();
            let room = self.tokens_max - 1 - first.len();
            if passage.context.is_empty() {
                ids.extend(self.tokenizer.ids(&passage.text, room));
            } else {
                ids.extend(self.tokenizer.ids(&format!("{} {}", passage.context, passage.text), room));
            }
            ids.push(self.tokenizer.separator);
            Tokens { ids, second: first.len() }
        };
        passages.iter().map(pair).collect()
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

    fn score<'a>(
        &'a self,
        ctx: &'a Ctx,
        question: &'a str,
        passages: &'a [Passage],
    ) -> BoxFuture<'a, Result<Vec<f32>, ModelError>> {
        Box::pin(self.logits(ctx, question, passages))
    }
}
