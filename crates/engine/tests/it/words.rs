//! Embedders that need no weights.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use ibid_core::{BoxFuture, Embed, ModelError, ModelId, Purpose, Tokenize};
use ibid_runtime::Ctx;

/// How an embedder answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mood {
    Works,
    /// Each call fails for good.
    Fails,
    /// Nothing comes, and may come later.
    Waits,
    /// Every text gets the same vector.
    Dull,
}

/// An embedder without weights: each word is a direction, a text the sum of its words. Counts what it embeds.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) id: ModelId,
    revision: String,
    dimension: usize,
    embedded: AtomicUsize,
    refused: AtomicUsize,
    mood: AtomicU8,
}

impl Words {
    /// Models of another name or revision have other directions.
    pub(crate) fn new(id: &str, revision: &str, dimension: usize) -> Arc<Words> {
        Arc::new(Words {
            id: ModelId::new(id).unwrap(),
            revision: revision.to_owned(),
            dimension,
            embedded: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            mood: AtomicU8::new(Mood::Works as u8),
        })
    }

    pub(crate) fn behave(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::Relaxed);
    }

    fn is(&self, mood: Mood) -> bool {
        self.mood.load(Ordering::Relaxed) == mood as u8
    }

    pub(crate) fn embedded(&self) -> usize {
        self.embedded.load(Ordering::Relaxed)
    }

    /// How often nothing came.
    #[allow(dead_code, reason = "one of the two binaries that share this file asks")]
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// The vector of a text.
    pub(crate) fn vector(&self, text: &str) -> Vec<f32> {
        let mut vector = vec![1e-3; self.dimension];
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            let hash = blake3::hash(format!("{} {} {}", self.id, self.revision, word.to_lowercase()).as_bytes());
            let number = u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]);
            vector[usize::from(number) % self.dimension] += 1.0;
        }
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.iter().map(|x| x / length).collect()
    }
}

impl Embed for Words {
    fn model(&self) -> &ModelId {
        &self.id
    }
    fn revision(&self) -> &str {
        &self.revision
    }
    fn dimension(&self) -> usize {
        self.dimension
    }
    fn embed<'a>(
        &'a self,
        ctx: &'a Ctx,
        _purpose: Purpose,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        Box::pin(async move {
            ctx.check()?;
            let (model, detail) = (self.id.to_string(), "asked to".to_owned());
            if self.is(Mood::Fails) {
                return Err(ModelError::Failed { model, detail });
            }
            if self.is(Mood::Waits) {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return Err(ModelError::Unavailable { model, detail });
            }
            self.embedded.fetch_add(texts.len(), Ordering::Relaxed);
            let text = |text: &'a String| if self.is(Mood::Dull) { "" } else { text };
            Ok(texts.iter().map(|one| self.vector(text(one))).collect())
        })
    }
}

impl Tokenize for Words {
    fn token_starts(&self, text: &str, out: &mut Vec<u32>) {
        let mut inside = false;
        for (byte, found) in text.char_indices() {
            let word = found.is_alphanumeric();
            if word && !inside {
                out.push(u32::try_from(byte).unwrap());
            }
            inside = word;
        }
    }
}
