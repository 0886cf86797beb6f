//! An answer as it streams: held until it was judged, let out sentence by sentence.

use std::sync::Arc;

use ibid_core::ModelError;
use ibid_runtime::Ctx;

use super::{Moderate, Verdict, Way};

/// The most that is held back, in bytes: a text without sentences is judged this often.
const HELD_BYTES_MAX: usize = 512;
/// How much of what was let out is judged again together with what follows, in bytes, so that nothing hides in the cut.
const CONTEXT_BYTES: usize = 256;

/// What may go out now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Screened {
    /// This text, perhaps none yet. What is objected to does not block.
    Out {
        /// The next piece of the answer.
        text: String,
        /// What was thought of it.
        verdict: Verdict,
    },
    /// Nothing more: the answer ends here, with what was let out before.
    Blocked {
        /// What it is about.
        category: Arc<str>,
    },
}

/// Judges one answer while it streams. A cached answer goes through one as well.
#[derive(Debug)]
pub struct Screen {
    moderator: Arc<dyn Moderate>,
    /// What was let out last and then what is held.
    text: String,
    /// Where in `text` the held part starts.
    held: usize,
    blocked: Option<Arc<str>>,
}

impl Screen {
    /// A screen for one answer.
    pub fn new(moderator: Arc<dyn Moderate>) -> Screen {
        Screen { moderator, text: String::new(), held: 0, blocked: None }
    }

    /// Takes the next piece of the answer in, and lets out what ends a sentence and was not objected to.
    ///
    /// # Errors
    /// [`ModelError`]: it could not be judged; nothing of what is held may go out.
    pub async fn push(&mut self, ctx: &Ctx, delta: &str) -> Result<Screened, ModelError> {
        if self.blocked.is_some() {
            return Ok(self.nothing());
        }
        self.text.push_str(delta);
        match self.sentences_end() {
            Some(end) => self.judge(ctx, end).await,
            None => Ok(self.nothing()),
        }
    }

    /// Judges and lets out the rest, when the answer has ended.
    ///
    /// # Errors
    /// As [`Screen::push`].
    pub async fn finish(&mut self, ctx: &Ctx) -> Result<Screened, ModelError> {
        if self.held == self.text.len() { Ok(self.nothing()) } else { self.judge(ctx, self.text.len()).await }
    }

    fn nothing(&self) -> Screened {
        match &self.blocked {
            Some(category) => Screened::Blocked { category: Arc::clone(category) },
            None => Screened::Out { text: String::new(), verdict: Verdict::Allow },
        }
    }

    async fn judge(&mut self, ctx: &Ctx, end: usize) -> Result<Screened, ModelError> {
        let verdict = self.moderator.moderate(ctx, Way::Out, &[&self.text[..end]]).await?;
        if let Verdict::Object { category, .. } = &verdict
            && verdict.is_block()
        {
            self.blocked = Some(Arc::clone(category));
            self.text.clear();
            self.held = 0;
            return Ok(self.nothing());
        }
        let out = self.text[self.held..end].to_owned();
        let mut keep = end.saturating_sub(CONTEXT_BYTES);
        while !self.text.is_char_boundary(keep) {
            keep -= 1;
        }
        self.text.drain(..keep);
        self.held = end - keep;
        Ok(Screened::Out { text: out, verdict })
    }

    /// Where the last whole sentence of what is held ends; the end of it all if too much is held; `None`: wait.
    fn sentences_end(&self) -> Option<usize> {
        let held = &self.text[self.held..];
        let mut end = None;
        let mut chars = held.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let next = chars.peek().map(|(_, c)| *c);
            let ends = match c {
                '\n' | '。' | '！' | '？' => true,
                // `3.5` and `example.com` go on.
                '.' | '!' | '?' | ':' | ';' => next.is_some_and(char::is_whitespace),
                _ => false,
            };
            if ends {
                end = Some(self.held + at + c.len_utf8());
            }
        }
        let long = held.len() >= HELD_BYTES_MAX;
        // A word is not cut unless it is all there is.
        let word = || held.rfind(char::is_whitespace).filter(|at| *at > 0).map_or(self.text.len(), |at| self.held + at);
        end.or_else(|| long.then(word)).filter(|end| *end > self.held)
    }
}
