//! A question and passages to scores.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ibid_core::{BoxFuture, Calibration, ModelError, ModelId, Pairs, Passage, Rerank};
use ibid_runtime::{Ctx, Pool, Priority};
use rayon::prelude::*;

use crate::forward::Forward;
use crate::head::ScoreHead;
use crate::manifest::{ModelEntry, ModelKind};
use crate::pace::Pace;
use crate::product::Spread;
use crate::scheduler::{Head, Served};
use crate::store::Files;
use crate::tokenizer::Subwords;
use crate::{Compute, InferError, Tokens};

/// Passages that one job tokenizes.
const TOKENIZE_PASSAGES_MAX: usize = 64;

/// A cross-encoder that runs here: an encoder over question and passage as one text, and one logit (Nogueira and Cho 2019).
/// A pair that is longer than the model loses the end of its passage; a question of more than seven eighths of the model
/// loses its own end, so that every passage keeps a part. A passage's score does not depend, to the last bit, on the
/// passages beside it.
#[derive(Debug)]
pub struct CrossEncoder {
    served: Served<Model>,
    calibration: Calibration,
    pace: Pace,
}

#[derive(Debug)]
struct Model {
    tokenizer: Subwords,
    encoder: Forward,
    tokens_max: usize,
    head: ScoreHead,
}

/// A question's pairs, as tokens.
#[derive(Debug)]
struct TokenPairs<'a> {
    of: &'a CrossEncoder,
    ctx: Ctx,
    pairs: Vec<Tokens>,
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
        let ModelKind::Reranker { calibration } = entry.kind else {
            return Err(InferError::Kind { id: entry.id.clone(), expected: "reranker" });
        };
        if !(calibration.slope > 0.0 && calibration.slope.is_finite() && calibration.intercept.is_finite()) {
            let detail = format!("{calibration:?}, expected a slope above 0 and a finite intercept");
            return Err(InferError::Malformed { path: dir.to_owned(), detail });
        }
        let files = Files::read(dir, entry)?;
        let weights = files.weights()?;
        let model = Model {
            encoder: Forward::load(&weights, &files.config, compute)?,
            tokens_max: entry.max_tokens,
            head: ScoreHead::load(&weights, &files.config)?,
            tokenizer: files.tokenizer,
        };
        let served = Served::new(entry.id.clone(), files.revision, model, pool, batch_tokens_max);
        Ok(CrossEncoder { served, calibration, pace: Pace::new(files.config.hidden_size()) })
    }

    async fn tokens(&self, ctx: &Ctx, question: &str, passages: &[Passage]) -> Result<Vec<Tokens>, ModelError> {
        let question = question.to_owned();
        let question: Arc<[u32]> = self.served.prepare(ctx, move |model| model.question(&question)).await?.into();
        let mut tokens = Vec::with_capacity(passages.len());
        for passages in passages.chunks(TOKENIZE_PASSAGES_MAX) {
            let (question, passages) = (Arc::clone(&question), passages.to_vec());
            tokens.extend(self.served.prepare(ctx, move |model| model.pairs(&question, &passages)).await?);
        }
        Ok(tokens)
    }
}

impl Model {
    /// Tokens that a question and a passage have together.
    fn room(&self) -> usize {
        self.tokens_max - self.tokenizer.layout.around_two()
    }

    fn question(&self, question: &str) -> Vec<u32> {
        self.tokenizer.ids(question, self.room() * 7 / 8)
    }

    fn pairs(&self, question: &[u32], passages: &[Passage]) -> Vec<Tokens> {
        let room = self.room() - question.len();
        let pair = |passage: &Passage| {
            let ids = if passage.context.is_empty() {
                self.tokenizer.ids(&passage.text, room)
            } else {
                self.tokenizer.ids(&format!("{} {}", passage.context, passage.text), room)
            };
            self.tokenizer.layout.two(question, &ids)
        };
        passages.par_iter().map(pair).collect()
    }
}

impl Head for Model {
    type Output = f32;

    fn forward(&self, texts: &[Tokens], spread: Spread, make_way: &(dyn Fn() + Sync)) -> Result<Vec<f32>, InferError> {
        self.encoder.encode(texts, self.head.needs(), spread, make_way, |states| self.head.score(states))
    }
}

impl Rerank for CrossEncoder {
    fn model(&self) -> &ModelId {
        self.served.id()
    }

    fn revision(&self) -> &str {
        self.served.revision()
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
            let CrossEncoder { served, pace, .. } = self.of;
            let start = self.ctx.clock().monotonic();
            let pairs = &self.pairs[range.clone()];
            let slice = |range: Range<usize>| {
                let tokens = pairs[range].to_vec();
                move |_: &Model| tokens
            };
            let logits = served.call(&self.ctx, pairs.len(), slice).await?;
            if !logits.is_empty() {
                let now = self.ctx.clock().monotonic();
                pace.note(self.work(range), now.saturating_sub(start), now);
            }
            Ok(logits)
        })
    }
}
