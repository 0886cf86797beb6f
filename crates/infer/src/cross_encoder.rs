//! A question and passages to scores.

use std::ops::Range;
use std::path::Path;

use ibid_core::{BoxFuture, ModelError, ModelId, Passage, Rerank};
use ibid_runtime::{Ctx, Pool, Priority};

use crate::encoder::Encoder;
use crate::kernels::dot;
use crate::manifest::{ModelEntry, ModelKind};
use crate::product::Spread;
use crate::scheduler::{Head, Served};
use crate::store::Files;
use crate::tokenizer::Wordpieces;
use crate::{InferError, Tokens};

/// A cross-encoder that runs here: BERT over `[CLS] question [SEP] passage [SEP]`, its pooler, and one logit (Nogueira and
/// Cho 2019). A passage's score does not depend, to the last bit, on the passages beside it.
#[derive(Debug)]
pub struct CrossEncoder {
    served: Served<Model>,
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
    /// one pair) a thread in one pass.
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
            encoder: Encoder::load(&weights, &files.config)?,
            tokens_max: entry.max_tokens,
            pooler: weights.matrix("pooler.dense.weight", hidden, hidden)?,
            pooler_bias: weights.vector("pooler.dense.bias", hidden)?,
            // Another shape than one label's is an error that says so.
            classifier: weights.head("classifier.weight", &[1, hidden])?,
            classifier_bias: weights.head("classifier.bias", &[1])?[0],
            tokenizer: files.tokenizer,
        };
        Ok(CrossEncoder { served: Served::new(entry.id.clone(), files.revision, model, pool, batch_tokens_max) })
    }

    async fn logits(&self, ctx: &Ctx, question: &str, passages: &[Passage]) -> Result<Vec<f32>, ModelError> {
        // Below the first steps of other questions, whose answers nobody has yet.
        let ctx = &ctx.at(ctx.priority().min(Priority::Rerank));
        let slice = |range: Range<usize>| {
            let (question, passages) = (question.to_owned(), passages[range].to_vec());
            move |model: &Model| model.pairs(&question, &passages)
        };
        self.served.call(ctx, passages.len(), slice).await
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

    fn forward(&self, texts: &[Tokens], spread: Spread, make_way: &(dyn Fn() + Sync)) -> Vec<f32> {
        self.encoder.encode(texts, spread, make_way, |states| self.read(states))
    }
}

impl Model {
    /// The logit of a pair with these hidden states, `[length, hidden]`.
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
        self.served.id()
    }

    fn revision(&self) -> &str {
        self.served.revision()
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
