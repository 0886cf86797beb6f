//! What is recorded of a call.

use serde::{Deserialize, Serialize};

use super::AuditError;

/// The most bytes of one entry's content.
pub(super) const CONTENT_BYTES_MAX: usize = 4 << 20;

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheState {
    /// From the model.
    Miss,
    /// The same request was answered before.
    Exact,
    /// A question that means the same was.
    Semantic,
    /// From the cache past its time, because no model could be reached.
    Stale,
}

/// A collection that the prompt's sources were read from, as of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadFrom {
    /// Its name.
    pub collection: String,
    /// Its generation then.
    pub generation: u64,
}

/// One call. Texts come redacted: what is in here was masked by [`crate::redact::Redactor::redact`] before.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When the call ended, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The request's id.
    pub request: String,
    /// Which feature asked, such as `answer`.
    pub feature: String,
    /// The prompt, redacted.
    pub prompt: String,
    /// The answer, redacted; what there was of it if it was cut off.
    pub answer: String,
    /// The model's public name.
    pub model: String,
    /// Who ran it.
    pub provider: String,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Of the tokens read, those that the provider had cached.
    pub cached_tokens: u64,
    /// What it cost, in millionths of a US dollar.
    pub cost_microdollars: u64,
    /// Why it ended: `stop`, `length`, `content_filter`, or an error's name.
    pub finish: String,
    /// Where the answer came from.
    pub cache: CacheState,
    /// How many attempts were made, over all providers.
    pub attempts: u32,
    /// The trace's id.
    pub trace: String,
    /// The configuration's version.
    pub config_version: String,
    /// The prompt's version.
    pub prompt_version: String,
    /// What the sources were read from.
    pub read_from: Vec<ReadFrom>,
    /// The documents whose text was in the prompt, by the client's ids: erasing one of them erases the entry.
    pub documents: Vec<String>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("time_ms", &self.time_ms).field("request", &self.request).finish_non_exhaustive()
    }
}

impl Entry {
    pub(super) fn encode(&self) -> Result<Vec<u8>, AuditError> {
        let content = serde_json::to_vec(self).expect("numbers and texts are JSON");
        if content.len() > CONTENT_BYTES_MAX {
            return Err(AuditError::TooLarge { given: content.len(), bytes_max: CONTENT_BYTES_MAX });
        }
        Ok(content)
    }

    /// `None` if it is no entry that this version knows.
    pub(super) fn decode(content: &[u8]) -> Option<Entry> {
        serde_json::from_slice(content).ok()
    }
}

/// Which entries are looked for; what is empty or `None` says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// In the prompt or the answer, small and capital letters alike.
    pub text: String,
    /// Not before, in milliseconds since the Unix epoch.
    pub from_ms: Option<u64>,
    /// Before.
    pub until_ms: Option<u64>,
    /// The model's public name.
    pub model: String,
    /// The request's id.
    pub request: String,
    /// How many at most, the latest first.
    pub entries_max: usize,
}

impl Search {
    /// Every entry, `entries_max` at most.
    pub fn latest(entries_max: usize) -> Search {
        Search {
            text: String::new(),
            from_ms: None,
            until_ms: None,
            model: String::new(),
            request: String::new(),
            entries_max,
        }
    }

    pub(super) fn matches(&self, entry: &Entry) -> bool {
        let text = self.text.to_lowercase();
        let has = |where_: &str| where_.to_lowercase().contains(&text);
        self.from_ms.is_none_or(|from| entry.time_ms >= from)
            && self.until_ms.is_none_or(|until| entry.time_ms < until)
            && (self.model.is_empty() || self.model == entry.model)
            && (self.request.is_empty() || self.request == entry.request)
            && (text.is_empty() || has(&entry.prompt) || has(&entry.answer))
    }
}
