//! What was noticed while a collection's documents were read and cut.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ibid_core::{BlockKind, DocumentId, Likeness, MediaType};
use ibid_ledger::StoredChunk;

use crate::documents::{Entry, Stage};
use crate::partition::Partition;

/// Documents that are named of each sort.
const NAMED_MAX: usize = 100;
/// A chunk with fewer tokens is tiny.
const TINY_TOKENS: u32 = 16;
/// Fingerprints are cut into so many parts: those that differ in fewer bits have one in common.
const PARTS: u32 = 4;
/// Chunks with a part in common that one is compared with.
const COMPARED_MAX: usize = 64;

/// Documents of one format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FormatCount {
    /// How many.
    pub documents: u64,
    /// How many of them are complete.
    pub complete: u64,
    /// Their chunks.
    pub chunks: u64,
}

/// See the module. Counts are over the newest revision of every document that the caller may read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// By format.
    pub formats: HashMap<MediaType, FormatCount>,
    /// Chunks by the least length of a step of [`Report::STEP_TOKENS`].
    pub token_histogram: BTreeMap<u32, u64>,
    /// Chunks.
    pub chunks: u64,
    /// Chunks that are longer than what the embedder reads of a text.
    pub oversize: u64,
    /// Chunks of fewer than 16 tokens.
    pub tiny: u64,
    /// Chunks that are tables.
    pub tables: u64,
    /// Chunks that are code.
    pub code: u64,
    /// Chunks that repeat an earlier one in nearly the same words.
    pub duplicates: u64,
    /// Bytes of stored text in no chunk.
    pub dropped_bytes: u64,
    /// Bytes of originals that are not in the stored text.
    pub left_out_bytes: u64,
    /// Documents by language.
    pub languages: HashMap<String, u64>,
    /// Documents that read as if misread.
    pub noisy: Vec<DocumentId>,
    /// Documents that tell a language model what to do.
    pub instructing: Vec<DocumentId>,
    /// Documents whose embedding failed too often.
    pub parked: Vec<DocumentId>,
    /// Documents without a chunk.
    pub empty: Vec<DocumentId>,
}

impl Report {
    /// The width of a step of the histogram, in tokens.
    pub const STEP_TOKENS: u32 = 50;

    fn count(&mut self, entry: &Entry, tokens_max: u32, seen: &mut Seen) {
        let version = &entry.current;
        let name = |list: &mut Vec<DocumentId>| {
            if list.len() < NAMED_MAX {
                list.push(entry.id.clone());
            }
        };
        let format = self.formats.entry(version.meta.media_type).or_default();
        format.documents += 1;
        format.complete += u64::from(entry.stage() == Stage::Vector);
        if version.parked {
            name(&mut self.parked);
        }
        let Some(cut) = &version.cut else { return };
        format.chunks += u64::from(cut.count());
        self.chunks += u64::from(cut.count());
        self.dropped_bytes += u64::from(cut.findings.dropped_bytes);
        self.left_out_bytes += u64::from(cut.findings.left_out_bytes);
        *self.languages.entry(cut.findings.language.clone()).or_default() += 1;
        for (found, list) in [
            (cut.findings.noisy, &mut self.noisy),
            (cut.findings.instructs, &mut self.instructing),
            (cut.chunks.is_empty(), &mut self.empty),
        ] {
            if found {
                name(list);
            }
        }
        for StoredChunk { chunk, likeness, .. } in &cut.chunks {
            *self.token_histogram.entry(chunk.tokens / Report::STEP_TOKENS * Report::STEP_TOKENS).or_default() += 1;
            self.oversize += u64::from(chunk.tokens > tokens_max);
            self.tiny += u64::from(chunk.tokens < TINY_TOKENS);
            self.tables += u64::from(chunk.kind == BlockKind::Table);
            self.code += u64::from(chunk.kind == BlockKind::Code);
            self.duplicates += u64::from(seen.repeats(*likeness));
        }
    }
}

/// Fingerprints met so far, by each of their parts.
#[derive(Default)]
struct Seen(HashMap<(u32, u16), Vec<Likeness>>);

impl Seen {
    /// Whether a near one was met before; notes this one.
    fn repeats(&mut self, likeness: Likeness) -> bool {
        if likeness.words == 0 {
            return false;
        }
        let parts = (0..PARTS).map(|part| (part, (likeness.words >> (16 * part)) as u16));
        let mut repeats = false;
        for part in parts {
            let alike = self.0.entry(part).or_default();
            repeats |= alike.iter().any(|other| other.is_near(likeness));
            if alike.len() < COMPARED_MAX {
                alike.push(likeness);
            }
        }
        repeats
    }
}

impl Partition {
    /// What was noticed of the documents that the caller may read. Walks over all of them: some milliseconds for a large
    /// collection.
    pub fn report(&self) -> Report {
        let model = Arc::clone(&self.state.lanes().serving.model);
        let tokens_max = u32::try_from(model.tokens_max()).unwrap_or(u32::MAX);
        let documents = self.state.documents();
        let (mut report, mut seen) = (Report::default(), Seen::default());
        for (_, entry) in documents.listed(None).filter(|(_, entry)| self.may_read(&entry.current)) {
            report.count(entry, tokens_max, &mut seen);
        }
        report
    }
}
