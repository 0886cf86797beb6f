//! Texts to vectors.

use std::ops::Range;
use std::path::Path;

use ibid_core::{BoxFuture, Embed, ModelError, ModelId, Purpose, Tokenize};
use ibid_runtime::{Ctx, Pool};

use crate::encoder::Encoder;
use crate::kernels::dot;
use crate::manifest::{ModelEntry, ModelKind, Pooling};
use crate::product::Spread;
use crate::scheduler::{Head, Served};
use crate::store::Files;
use crate::tokenizer::Wordpieces;
use crate::{InferError, Tokens};

/// An embedder that runs here: a BERT encoder, pooled and brought to length 1 (Reimers and Gurevych 2019).
///
/// A text is cut to the model's length, prefix and special tokens included. Its vector does not depend, to the last bit, on
/// the texts beside it.
#[derive(Debug)]
pub struct Embedder {
    served: Served<Model>,
}

#[derive(Debug)]
struct Model {
    tokenizer: Wordpieces,
    encoder: Encoder,
    dimension: usize,
    tokens_max: usize,
    pooling: Pooling,
    query_prefix: String,
    passage_prefix: String,
}

impl Embedder {
    /// Loads the model in `dir` as `entry` describes it; it computes on `pool`, at most `batch_tokens_max` tokens (at least
    /// one text) a thread in one pass.
    ///
    /// # Errors
    /// It is no embedder, its files are damaged, or it is of a kind that does not run here.
    pub fn load(dir: &Path, entry: &ModelEntry, pool: &Pool, batch_tokens_max: usize) -> Result<Embedder, InferError> {
        let ModelKind::Embedder { dimension, pooling, query_prefix, passage_prefix } = &entry.kind else {
            return Err(InferError::Kind { id: entry.id.clone(), expected: "embedder" });
        };
        let files = Files::read(dir, entry)?;
        if *dimension != files.config.hidden_size {
            return Err(InferError::Shape {
                tensor: "the vector".to_owned(),
                given: vec![*dimension],
                expected: vec![files.config.hidden_size],
            });
        }
        let model = Model {
            encoder: Encoder::load(&files.weights()?, &files.config)?,
            dimension: *dimension,
            tokens_max: entry.max_tokens,
            pooling: *pooling,
            query_prefix: query_prefix.clone(),
            passage_prefix: passage_prefix.clone(),
            tokenizer: files.tokenizer,
        };
        Ok(Embedder { served: Served::new(entry.id.clone(), files.revision, model, pool, batch_tokens_max) })
    }
}

impl Model {
    /// `[CLS] prefix text [SEP]`, cut to the model's length.
    fn tokens(&self, purpose: Purpose, text: &str) -> Tokens {
        let prefix = match purpose {
            Purpose::Query => &self.query_prefix,
            Purpose::Passage => &self.passage_prefix,
        };
        let room = self.tokens_max - 2;
        let mut ids = vec![self.tokenizer.start];
        if prefix.is_empty() {
            ids.extend(self.tokenizer.ids(text, room));
        } else {
            ids.extend(self.tokenizer.ids(&format!("{prefix}{text}"), room));
        }
        ids.push(self.tokenizer.separator);
        Tokens { second: ids.len(), ids }
    }
}

impl Head for Model {
    type Output = Vec<f32>;

    fn forward(&self, texts: &[Tokens], spread: Spread, make_way: &(dyn Fn() + Sync)) -> Vec<Vec<f32>> {
        self.encoder.encode(texts, spread, make_way, |states| self.read(states))
    }
}

impl Model {
    /// The vector of a text with these hidden states, `[length, hidden]`.
    fn read(&self, states: &[f32]) -> Vec<f32> {
        let mut vector = states[..self.dimension].to_vec();
        match self.pooling {
            Pooling::Cls => {}
            Pooling::Mean => {
                // The sum will do: the mean differs by a factor, which the last step takes out again.
                for row in states[self.dimension..].chunks_exact(self.dimension) {
                    vector.iter_mut().zip(row).for_each(|(sum, state)| *sum += state);
                }
            }
        }
        let norm = dot(&vector, &vector).sqrt().max(f32::MIN_POSITIVE);
        vector.iter_mut().for_each(|value| *value /= norm);
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
