//! One commit: a batch becomes one segment and one set of deletes.
//!
//! The segment is written in the caller's thread. Documents given to tantivy's writer would go to a thread of its own,
//! which fills a table of 4 MB first: most of the time, and of the memory, of a small batch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ibid_core::Label;
use tantivy::index::{Segment, SegmentId, SegmentMeta, SegmentReader};
use tantivy::indexer::{AddOperation, IndexWriterOptions, NoMergePolicy, SegmentWriter};
use tantivy::query::{BitSetDocSet, ConstScorer, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::schema::{IndexRecordOption, TantivyDocument};
use tantivy::{BitSet, DocId, DocSet, Index, IndexWriter, Score, TantivyError, Term};

use crate::LexicalError;
use crate::schema::Fields;

/// What a batch's tables start with; they grow as needed.
const SEGMENT_BYTES: usize = 1_000_000;

/// A chunk as it is indexed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The chunk's label; an entry replaces an earlier one of the same label.
    pub label: Label,
    /// Its document's title.
    pub title: String,
    /// The headings above it.
    pub headings: String,
    /// Its own text.
    pub text: String,
}

/// What one commit changes: first the removals, then the additions in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Chunks to forget; unknown labels are no error.
    pub remove: Vec<Label>,
    /// Chunks to add or replace.
    pub add: Vec<Entry>,
}

/// Opens tantivy's writer, which takes a lock file and starts three threads.
pub(crate) fn open(index: &Index) -> Result<IndexWriter, TantivyError> {
    let options = IndexWriterOptions::builder().num_worker_threads(1).num_merge_threads(1).build();
    let writer = index.writer_with_options(options)?;
    // Merges are the owner's to start: those of many partitions must not all start by themselves.
    writer.set_merge_policy(Box::new(NoMergePolicy));
    Ok(writer)
}

pub(crate) fn commit(
    writer: &mut IndexWriter,
    fields: Fields,
    changes: Changes,
    checkpoint: u64,
) -> Result<(), TantivyError> {
    // Of two entries of one label in a batch the later one counts.
    let add: BTreeMap<Label, Entry> = changes.add.into_iter().map(|entry| (entry.label, entry)).collect();
    let segment = writer.new_segment();
    let labels = changes.remove.iter().chain(add.keys());
    let labels = labels.map(|label| Term::from_field_u64(fields.label, u64::from(*label))).collect();
    writer.delete_query(Box::new(Superseded { labels: Arc::new(labels), by: segment.id() }))?;
    if !add.is_empty() {
        writer.add_segment(write_segment(segment, fields, add.into_values())?)?;
    }
    let mut commit = writer.prepare_commit()?;
    commit.set_payload(&checkpoint.to_string());
    commit.commit()?;
    Ok(())
}

fn write_segment(
    segment: Segment,
    fields: Fields,
    entries: impl Iterator<Item = Entry>,
) -> Result<SegmentMeta, TantivyError> {
    let mut chunks = SegmentWriter::for_segment(SEGMENT_BYTES, segment.clone())?;
    for entry in entries {
        let mut document = TantivyDocument::new();
        document.add_u64(fields.label, u64::from(entry.label));
        for text in [&entry.title, &entry.headings, &entry.text] {
            document.add_text(fields.text, text);
        }
        chunks.add_document(AddOperation { opstamp: 0, document })?;
    }
    let count = chunks.max_doc();
    chunks.finalize()?;
    Ok(segment.with_max_doc(count).meta().clone())
}

/// The chunks of these labels, but for those in the segment that the batch itself adds. (tantivy's own set query builds
/// an automaton, which costs more than a small commit.)
#[derive(Debug, Clone)]
struct Superseded {
    labels: Arc<BTreeSet<Term>>,
    by: SegmentId,
}

impl Query for Superseded {
    fn weight(&self, _: EnableScoring<'_>) -> Result<Box<dyn Weight>, TantivyError> {
        Ok(Box::new(self.clone()))
    }
}

impl Weight for Superseded {
    fn scorer(&self, segment: &SegmentReader, boost: Score) -> Result<Box<dyn Scorer>, TantivyError> {
        let mut found = BitSet::with_max_value(segment.max_doc());
        if segment.segment_id() != self.by {
            for label in self.labels.iter() {
                let labels = segment.inverted_index(label.field())?;
                if let Some(mut chunks) = labels.read_block_postings(label, IndexRecordOption::Basic)? {
                    while !chunks.docs().is_empty() {
                        for chunk in chunks.docs() {
                            found.insert(*chunk);
                        }
                        chunks.advance();
                    }
                }
            }
        }
        Ok(Box::new(ConstScorer::new(BitSetDocSet::from(found), boost)))
    }

    fn explain(&self, segment: &SegmentReader, doc: DocId) -> Result<Explanation, TantivyError> {
        let matches = self.scorer(segment, 1.0)?.seek(doc) == doc;
        Ok(Explanation::new("label is superseded", if matches { 1.0 } else { 0.0 }))
    }
}

pub(crate) fn read_checkpoint(payload: &str) -> Result<u64, LexicalError> {
    payload.parse().map_err(|_| LexicalError::corrupt("its checkpoint is no number"))
}
