//! The vectors of a collection's latest questions, so that one asked again is not embedded again.
//!
//! They live and die with the partition: no other tenant's question finds them, and a deleted collection leaves none.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ibid_core::{ModelError, Purpose};
use ibid_runtime::Ctx;

use crate::config::EmbedModel;
use crate::partition::Partition;

/// Bytes of a collection's questions and vectors: about 150 of 384 dimensions.
const BYTES_MAX: usize = 256 << 10;
/// What the map needs for an entry, roughly.
const ENTRY_BYTES: usize = 128;

/// See the module.
#[derive(Default)]
pub(crate) struct Questions(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    by_text: HashMap<String, Asked>,
    bytes: usize,
    /// Counts what was asked.
    asked: u64,
}

struct Asked {
    /// Of the model's weights.
    revision: String,
    vector: Vec<f32>,
    last: u64,
}

impl Partition {
    /// The question's vector by `model`, to the last bit the same whether it was asked before.
    ///
    /// # Errors
    /// [`ModelError`].
    pub async fn question_vector(
        &self,
        ctx: &Ctx,
        model: &dyn EmbedModel,
        question: &str,
    ) -> Result<Vec<f32>, ModelError> {
        let questions = &self.state.questions;
        if let Some(vector) = questions.get(model.revision(), question) {
            return Ok(vector);
        }
        let vectors = model.embed(ctx, Purpose::Query, &[question.to_owned()]).await?;
        let vector = vectors.into_iter().next().ok_or_else(|| ModelError::Failed {
            model: model.model().to_string(),
            detail: "no vector for the question".to_owned(),
        })?;
        questions.keep(model.revision(), question, &vector);
        Ok(vector)
    }
}

impl Questions {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, revision: &str, question: &str) -> Option<Vec<f32>> {
        let mut kept = self.lock();
        kept.asked += 1;
        let now = kept.asked;
        let asked = kept.by_text.get_mut(question).filter(|asked| asked.revision == revision)?;
        asked.last = now;
        Some(asked.vector.clone())
    }

    /// Keeps a vector, and forgets those asked for longest ago as far as the bound demands.
    fn keep(&self, revision: &str, question: &str, vector: &[f32]) {
        let mut kept = self.lock();
        let asked = Asked { revision: revision.to_owned(), vector: vector.to_vec(), last: kept.asked };
        kept.forget(question);
        kept.bytes += bytes(question, &asked);
        kept.by_text.insert(question.to_owned(), asked);
        while kept.bytes > BYTES_MAX {
            let oldest = kept.by_text.iter().min_by_key(|(_, asked)| asked.last).map(|(text, _)| text.clone());
            let Some(oldest) = oldest else { break };
            kept.forget(&oldest);
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        *self.lock() = Kept::default();
    }
}

impl Kept {
    fn forget(&mut self, question: &str) {
        if let Some(asked) = self.by_text.remove(question) {
            self.bytes -= bytes(question, &asked);
        }
    }
}

fn bytes(question: &str, asked: &Asked) -> usize {
    ENTRY_BYTES + question.len() + asked.revision.len() + size_of_val(&*asked.vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_questions_are_kept_within_the_bound_and_by_model() {
        let questions = Questions::default();
        for n in 0..1_000 {
            questions.keep("r1", &format!("question {n}"), &[n as f32; 384]);
            assert!(questions.get("r1", "question 0").is_some_and(|vector| vector == [0.0; 384]), "asked all along");
        }
        assert!(questions.lock().bytes <= BYTES_MAX);
        assert_eq!(questions.get("r1", "question 999"), Some(vec![999.0; 384]));
        assert_eq!(questions.get("r1", "question 500"), None);

        assert_eq!(questions.get("r2", "question 999"), None);
        questions.keep("r2", "question 999", &[7.0]);
        assert_eq!(questions.get("r2", "question 999"), Some(vec![7.0]));

        questions.keep("r2", &"long".repeat(BYTES_MAX), &[7.0]);
        questions.clear();
        assert_eq!(questions.get("r1", "question 0"), None);
        assert_eq!(questions.lock().bytes, 0);
    }
}
