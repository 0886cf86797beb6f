//! Texts to vectors.

use std::path::Path;
use std::sync::Arc;

use ibid_core::{BoxFuture, Embed, ModelError, ModelId, Purpose, Tokenize};
use ibid_runtime::{Ctx, Pool};

use crate::batch::{Head, in_batches, model_error};
use crate::encoder::Encoder;
use crate::kernels::dot;
use crate::manifest::{ModelEntry, ModelKind, Pooling};
use crate::product::Numbers;
use crate::store::Files;
use crate::tokenizer::Wordpieces;
use crate::{InferError, Tokens};

/// Texts that one job tokenizes.
const TOKENIZE_TEXTS_MAX: usize = 64;

/// An embedder that runs here: a BERT encoder, pooled and brought to length 1 (Reimers and Gurevych 2019).
///
/// A text is cut to the model's length, prefix and special tokens included. Its vector does not depend, to the last bit, on
/// the other texts of the call.
#[derive(Debug)]
pub struct Embedder {
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
    dimension: usize,
    tokens_max: usize,
    pooling: Pooling,
    query_prefix: String,
    passage_prefix: String,
}

impl Embedder {
    /// Loads the model in `dir` as `entry` describes it; it computes on `pool`, at most `batch_tokens_max` tokens (at least
    /// one text) a job.
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
            encoder: Encoder::load(&files.weights()?, &files.config, Numbers::F32)?,
            dimension: *dimension,
            tokens_max: entry.max_tokens,
            pooling: *pooling,
            query_prefix: query_prefix.clone(),
            passage_prefix: passage_prefix.clone(),
            tokenizer: files.tokenizer,
        };
        let (id, pool) = (entry.id.clone(), pool.clone());
        Ok(Embedder { id, revision: files.revision, model: Arc::new(model), pool, batch_tokens_max })
    }

    /// Multiplications and additions in the forward passes over texts of these lengths in tokens: with [`fma_peak`] and the
    /// time they took, the share of what the processor can do.
    ///
    /// [`fma_peak`]: crate::fma_peak
    pub fn operations(&self, lengths: &[usize]) -> usize {
        self.model.encoder.operations(lengths)
    }

    async fn vectors(&self, ctx: &Ctx, purpose: Purpose, texts: &[String]) -> Result<Vec<Vec<f32>>, ModelError> {
        let refused = |error| model_error(&self.id, error);
        let mut tokens = Vec::with_capacity(texts.len());
        for texts in texts.chunks(TOKENIZE_TEXTS_MAX) {
            let (model, texts) = (Arc::clone(&self.model), texts.to_vec());
            let job = move || texts.iter().map(|text| model.tokens(purpose, text)).collect::<Vec<_>>();
            tokens.extend(self.pool.run(ctx, job).await.map_err(refused)?);
        }
        in_batches(ctx, &self.pool, &self.model, tokens, self.batch_tokens_max).await.map_err(refused)
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

    fn encoder(&self) -> &Encoder {
        &self.encoder
    }

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
        &self.id
    }

    fn revision(&self) -> &str {
        &self.revision
    }

    fn dimension(&self) -> usize {
        self.model.dimension
    }

    fn embed<'a>(
        &'a self,
        ctx: &'a Ctx,
        purpose: Purpose,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        Box::pin(self.vectors(ctx, purpose, texts))
    }
}

impl Tokenize for Embedder {
    fn token_starts(&self, text: &str, out: &mut Vec<u32>) {
        self.model.tokenizer.starts(text, out);
    }
}
