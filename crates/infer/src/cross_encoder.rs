//! A question and passages to scores.

use std::ops::Range;
use std::path::Path;

use ibid_core::{BoxFuture, ModelError, ModelId, Passage, Rerank};
use ibid_runtime::{Ctx, Pool, Priority};

use crate::forward::Forward;
use crate::head::ScoreHead;
use crate::manifest::{ModelEntry, ModelKind};
use crate::product::Spread;
use crate::scheduler::{Head, Served};
use crate::store::Files;
use crate::tokenizer::Subwords;
use crate::{Compute, InferError, Tokens};

/// A cross-encoder that runs here: an encoder over question and passage as one text, and one logit (Nogueira and Cho 2019).
/// A passage's score does not depend, to the last bit, on the passages beside it.
#[derive(Debug)]
pub struct CrossEncoder {
    served: Served<Model>,
}

#[derive(Debug)]
struct Model {
    tokenizer: Subwords,
    encoder: Forward,
    tokens_max: usize,
    head: ScoreHead,
}

impl CrossEncoder {
    /// Loads the model in `dir` as `entry` describes it, for `compute`; it computes on `pool`, at most `batch_tokens_max` tokens
    /// (at least one pair) a thread in one pass.
    ///
    /// # Errors
    /// It is no reranker, its files are damaged, or it is of a kind that does not run here.
    pub fn load(
        dir: &Path,
        entry: &ModelEntry,
        compute: Compute,
        pool: &Pool,
        batch_tokens_max: usize,
    ) -> Result<CrossEncoder, InferError> {
        if !matches!(entry.kind, ModelKind::Reranker {}) {
            return Err(InferError::Kind { id: entry.id.clone(), expected: "reranker" });
        }
        let files = Files::read(dir, entry)?;
        let weights = files.weights()?;
        let model = Model {
            encoder: Forward::load(&weights, &files.config, compute)?,
            tokens_max: entry.max_tokens,
            head: ScoreHead::load(&weights, &files.config)?,
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
        let layout = &self.tokenizer.layout;
        let room = self.tokens_max - layout.around_two();
        let question = self.tokenizer.ids(question, room);
        let room = room - question.len();
        let pair = |passage: &Passage| {
            let ids = if passage.context.is_empty() {
                self.tokenizer.ids(&passage.text, room)
            } else {
                self.tokenizer.ids(&format!("{} {}", passage.context, passage.text), room)
            };
            layout.two(&question, &ids)
        };
        passages.iter().map(pair).collect()
    }
}

impl Head for Model {
    type Output = f32;

    fn forward(&self, texts: &[Tokens], spread: Spread, make_way: &(dyn Fn() + Sync)) -> Result<Vec<f32>, InferError> {
        self.encoder.encode(texts, self.head.needs(), spread, make_way, |states| self.read(states))
    }
}

impl Model {
    /// The logit of a pair with these hidden states, `[length, hidden]`.
    fn read(&self, states: &[f32]) -> f32 {
        self.head.score(states)
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
