//! What may be asked and what may be answered: a request is judged on its way in, every answer on its way out.
//!
//! | file                  | responsibility                                                          |
//! | --------------------- | ----------------------------------------------------------------------- |
//! | `moderate/rules.rs`   | the operator's own words and patterns, by category                      |
//! | `moderate/openai.rs`  | a moderation endpoint as OpenAI has it: request, response, thresholds   |
//! | `moderate/screen.rs`  | an answer as it streams, let out sentence by sentence                   |
//!
//! Invariants: no verdict and no error holds a text that was judged. What is not judged is not let out.

mod openai;
mod rules;
mod screen;

use std::fmt::Debug;
use std::sync::Arc;

use ibid_core::{BoxFuture, ModelError};
use ibid_runtime::Ctx;

pub use openai::{EndpointConfig, EndpointError, ModerationClient, OpenAiModeration, Threshold};
pub use rules::{RuleConfig, RuleError, Rules};
pub use screen::{Screen, Screened};

/// On which way a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A request.
    In,
    /// An answer.
    Out,
}

/// What is done about a text. The later weighs more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It passes and is marked.
    Flag,
    /// It does not pass.
    Block,
}

/// What is thought of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Allow,
    /// Somebody should know of it, or it does not pass.
    Object {
        /// Which of the two.
        action: Action,
        /// What it is about, such as `violence`: a name from the configuration or the endpoint, never from the text.
        category: Arc<str>,
    },
}

impl Verdict {
    /// Whether the text may not pass.
    pub fn is_block(&self) -> bool {
        matches!(self, Verdict::Object { action: Action::Block, .. })
    }

    /// The one that weighs more; of two alike the first.
    pub fn or_worse(self, other: Verdict) -> Verdict {
        let weight = |verdict: &Verdict| match verdict {
            Verdict::Allow => 0,
            Verdict::Object { action: Action::Flag, .. } => 1,
            Verdict::Object { action: Action::Block, .. } => 2,
        };
        if weight(&other) > weight(&self) { other } else { self }
    }
}

/// Judges texts.
pub trait Moderate: Send + Sync + Debug {
    /// The verdict over all of `texts`, the worst of each alone.
    ///
    /// # Errors
    /// [`ModelError`]: it could not be judged. The caller must not let it pass.
    fn moderate<'a>(
        &'a self,
        ctx: &'a Ctx,
        way: Way,
        texts: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Verdict, ModelError>>;
}

/// Several moderators, asked one after the other until one blocks: the cheap ones first.
#[derive(Debug, Default)]
pub struct Moderators(pub Vec<Arc<dyn Moderate>>);

impl Moderate for Moderators {
    fn moderate<'a>(
        &'a self,
        ctx: &'a Ctx,
        way: Way,
        texts: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Verdict, ModelError>> {
        Box::pin(async move {
            let mut worst = Verdict::Allow;
            for moderator in &self.0 {
                ctx.check()?;
                worst = worst.or_worse(moderator.moderate(ctx, way, texts).await?);
                if worst.is_block() {
                    break;
                }
            }
            Ok(worst)
        })
    }
}

#[cfg(test)]
mod tests;
