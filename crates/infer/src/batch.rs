//! Forward passes on the compute pool, in batches bounded by tokens.
//!
//! Each batch is a job of its own, at its request's priority: a question waits for the batch that runs, not for the call it
//! belongs to, and a caller who has left costs no further batch.

use std::ops::Range;
use std::sync::Arc;

use ibid_core::{ModelError, ModelId};
use ibid_runtime::{Ctx, Pool, PoolError};

use crate::Tokens;
use crate::encoder::{Encoder, Needs};

/// What stands on an encoder and reads one result a text from its hidden states.
pub(crate) trait Head: Send + Sync + 'static {
    /// The result.
    type Output: Send + 'static;
    /// The encoder below.
    fn encoder(&self) -> &Encoder;
    /// Reads the hidden states of one text, `[length, hidden]`.
    fn read(&self, states: &[f32]) -> Self::Output;
}

/// One result a text, in order.
pub(crate) async fn in_batches<H: Head>(
    ctx: &Ctx,
    pool: &Pool,
    head: &Arc<H>,
    texts: Vec<Tokens>,
    batch_tokens_max: usize,
) -> Result<Vec<H::Output>, PoolError> {
    let batches = runs(texts.iter().map(|text| text.ids.len()), batch_tokens_max);
    let mut texts = texts.into_iter();
    let mut outputs = Vec::with_capacity(texts.len());
    for batch in batches {
        let batch: Vec<Tokens> = texts.by_ref().take(batch.len()).collect();
        let head = Arc::clone(head);
        outputs.extend(pool.run(ctx, move || head.encoder().encode(&batch, Needs::All, || (), |states| head.read(states))).await?);
    }
    Ok(outputs)
}

/// Cuts texts of these lengths, in order, into runs of at most `tokens_max` tokens; a longer text is a run of its own.
pub(crate) fn runs(lengths: impl IntoIterator<Item = usize>, tokens_max: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut tokens = 0;
    for (ordinal, length) in lengths.into_iter().enumerate() {
        match runs.last_mut() {
            Some(run) if tokens + length <= tokens_max => {
                run.end = ordinal + 1;
                tokens += length;
            }
            Some(_) | None => {
                runs.push(ordinal..ordinal + 1);
                tokens = length;
            }
        }
    }
    runs
}

/// What the pool's refusal means to who asked the model.
pub(crate) fn model_error(model: &ModelId, error: PoolError) -> ModelError {
    let model = model.to_string();
    match error {
        PoolError::Full { .. } => ModelError::Overloaded { model, detail: error.to_string() },
        PoolError::Stopped(stopped) => ModelError::Stopped(stopped),
        PoolError::Panicked { .. } => ModelError::Failed { model, detail: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_hold_what_fits_and_never_nothing() {
        #[track_caller]
        fn check(lengths: &[usize], expected: &[Range<usize>]) {
            assert_eq!(runs(lengths.iter().copied(), 10), expected);
        }
        check(&[], &[]);
        check(&[5, 5, 1], &[0..2, 2..3]);
        check(&[3, 30, 3], &[0..1, 1..2, 2..3]);
        check(&[4, 4, 4, 4, 4], &[0..2, 2..4, 4..5]);
    }
}
