//! Texts to vectors.

use std::ops::Range;
use std::path::Path;

use ibid_core::{BoxFuture, Embed, ModelError, ModelId, Purpose, Tokenize};
use ibid_runtime::{Ctx, Pool};

use crate::encoder::Needs;
use crate::forward::Forward;
use crate::kernels::dot;
use crate::manifest::{ModelEntry, ModelKind, Pooling};
use crate::product::Spread;
use crate::scheduler::{Head, Served};
use crate::store::Files;
use crate::tokenizer::Subwords;
use crate::{Compute, InferError, Tokens};

/// An embedder that runs here: an encoder, pooled and brought to length 1 (Reimers and Gurevych 2019).
///
/// A text is cut to the model's length, prefix and special tokens included. Its vector does not depend, to the last bit, on
/// the texts beside it.
#[derive(Debug)]
pub struct Embedder {
    served: Served<Model>,
}

#[derive(Debug)]
struct Model {
    tokenizer: Subwords,
    encoder: Forward,
    hidden: usize,
    dimension: usize,
    tokens_max: usize,
    pooling: Pooling,
    normalize: bool,
    query_prefix: String,
    passage_prefix: String,
}

impl Embedder {
    /// Loads the model in `dir` as `entry` describes it, for `compute`; it computes on `pool`, at most `batch_tokens_max`
    /// tokens (at least one text) a thread in one pass.
    ///
    /// # Errors
    /// It is no embedder, its files are damaged, or it is of a kind that does not run here.
    pub fn load(
        dir: &Path,
        entry: &ModelEntry,
        compute: Compute,
        pool: &Pool,
        batch_tokens_max: usize,
    ) -> Result<Embedder, InferError> {
        let ModelKind::Embedder { dimension, pooling, normalize, query_prefix, passage_prefix } = &entry.kind else {
            return Err(InferError::Kind { id: entry.id.clone(), expected: "embedder" });
        };
        let files = Files::read(dir, entry)?;
        let hidden = files.config.hidden_size();
        if !(1..=hidden).contains(dimension) {
            let detail = format!("dimension is {dimension}, expected 1 to {hidden} (hidden_size)");
            return Err(InferError::Malformed { path: dir.to_owned(), detail });
        }
        let model = Model {
            encoder: Forward::load(&files.weights()?, &files.config, compute)?,
            hidden,
            dimension: *dimension,
            tokens_max: entry.max_tokens,
            pooling: *pooling,
            normalize: *normalize,
            query_prefix: query_prefix.clone(),
            passage_prefix: passage_prefix.clone(),
            tokenizer: files.tokenizer,
        };
        Ok(Embedder { served: Served::new(entry.id.clone(), files.revision, model, pool, batch_tokens_max) })
    }
}

impl Model {
    /// Prefix and text, cut to the model's length.
    fn tokens(&self, purpose: Purpose, text: &str) -> Tokens {
        let prefix = match purpose {
            Purpose::Query => &self.query_prefix,
            Purpose::Passage => &self.passage_prefix,
        };
        let layout = &self.tokenizer.layout;
        let room = self.tokens_max - layout.around_one();
        if prefix.is_empty() {
            layout.one(&self.tokenizer.ids(text, room))
        } else {
            layout.one(&self.tokenizer.ids(&format!("{prefix}{text}"), room))
        }
    }
}

impl Head for Model {
    type Output = Vec<f32>;

    fn forward(
        &self,
        texts: &[Tokens],
        spread: Spread,
        make_way: &(dyn Fn() + Sync),
    ) -> Result<Vec<Vec<f32>>, InferError> {
        let needs = match self.pooling {
            Pooling::Cls => Needs::First,
            Pooling::Mean => Needs::All,
        };
        self.encoder.encode(texts, needs, spread, make_way, |states| self.read(states))
    }
}

impl Model {
    /// The vector of a text with these hidden states, `[length, hidden]`.
    fn read(&self, states: &[f32]) -> Vec<f32> {
        let mut vector = states[..self.dimension].to_vec();
        let divisor = match self.pooling {
            Pooling::Cls => 1.0,
            Pooling::Mean => {
                let rows = states.chunks_exact(self.hidden);
                let count = rows.len();
                for row in rows.skip(1) {
                    vector.iter_mut().zip(row).for_each(|(sum, state)| *sum += state);
                }
                count as f32
            }
        };
        // The mean differs from the sum by a factor, which normalizing takes out again.
        let divisor = if self.normalize { dot(&vector, &vector).sqrt().max(f32::MIN_POSITIVE) } else { divisor };
        vector.iter_mut().for_each(|value| *value /= divisor);
        vector
    }
}

impl Embed for Embedder {
    fn model(&self) -> &ModelId {
        self.served.id()
    }

    fn revision(&self) -> &str {
        self.served.revision()
    }

    fn dimension(&self) -> usize {
        self.served.model().dimension
    }

    fn tokens_max(&self) -> usize {
        self.served.model().tokens_max
    }

    fn embed<'a>(
        &'a self,
        ctx: &'a Ctx,
        purpose: Purpose,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        let slice = move |range: Range<usize>| {
            let texts = texts[range].to_vec();
            move |model: &Model| texts.iter().map(|text| model.tokens(purpose, text)).collect()
        };
        Box::pin(self.served.call(ctx, texts.len(), slice))
    }
}

impl Tokenize for Embedder {
    fn token_starts(&self, text: &str, out: &mut Vec<u32>) {
        self.served.model().tokenizer.starts(text, out);
    }
}
