//! One committed state: its segments, and the statistics of the chunks that live in it.
//!
//! tantivy counts deleted chunks in document frequencies and lengths until it merges; here only the living count, so
//! that a score depends on what is stored and not on how it came to be.

use std::fmt;
use std::sync::Arc;

use ibid_core::Label;
use roaring::RoaringBitmap;
use tantivy::columnar::ColumnValues;
use tantivy::directory::META_LOCK;
use tantivy::fieldnorm::FieldNormReader;
use tantivy::index::{InvertedIndexReader, SegmentId};
use tantivy::postings::{BlockSegmentPostings, TermInfo};
use tantivy::schema::IndexRecordOption;
use tantivy::tokenizer::TextAnalyzer;
use tantivy::{Directory, DocId, Index, SegmentReader, TantivyError, Term};

use crate::LexicalError;
use crate::error::guarded;
use crate::schema::{Fields, LABEL};

/// One committed state of an index, for ever: later writes and merges do not change what it finds. Clones are handles
/// to the same state.
#[derive(Clone)]
pub struct Snapshot(pub(crate) Arc<State>);

pub(crate) struct State {
    pub(crate) analyzer: TextAnalyzer,
    pub(crate) fields: Fields,
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Living chunks.
    pub(crate) chunks: u64,
    /// Terms of the living chunks, counted as [`Segment::length_code`] counts them.
    pub(crate) terms: u64,
}

/// A segment as of one commit.
pub(crate) struct Segment {
    version: (SegmentId, Option<u64>),
    reader: SegmentReader,
    postings: Arc<InvertedIndexReader>,
    lengths: FieldNormReader,
    labels: Arc<dyn ColumnValues<u64>>,
    terms: u64,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("chunks", &self.0.chunks).field("segments", &self.0.segments.len()).finish()
    }
}

impl Snapshot {
    /// How many chunks live in it.
    pub fn len(&self) -> u64 {
        self.0.chunks
    }

    /// Whether no chunk lives in it.
    pub fn is_empty(&self) -> bool {
        self.0.chunks == 0
    }

    /// How many chunks were removed and still take up room in a segment.
    pub fn removed(&self) -> u64 {
        self.0.segments.iter().map(|segment| u64::from(segment.reader.num_deleted_docs())).sum()
    }

    /// The labels of the chunks that live in it.
    ///
    /// # Errors
    /// [`LexicalError::Corrupt`]: what stands for a label is none.
    pub fn labels(&self) -> Result<RoaringBitmap, LexicalError> {
        guarded("read", || {
            let mut labels = RoaringBitmap::new();
            for segment in &self.0.segments {
                for doc in segment.reader.doc_ids_alive() {
                    labels.insert(segment.label(doc)?);
                }
            }
            Ok(labels)
        })
    }

    /// Whether the chunk of this label lives in it.
    ///
    /// # Errors
    /// [`LexicalError::Corrupt`] or [`LexicalError::Failed`]: the index could not be read.
    pub fn contains(&self, label: Label) -> Result<bool, LexicalError> {
        let term = Term::from_field_u64(self.0.fields.label, u64::from(label));
        for segment in &self.0.segments {
            let labels = segment.reader.inverted_index(self.0.fields.label).map_err(LexicalError::read)?;
            let found = labels.get_term_info(&term).map_err(LexicalError::read)?;
            if let Some(found) = found
                && segment.live_frequency(&labels, &found)? > 0
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl State {
    /// Reads what is committed. Segments that `before` has as well are taken from there.
    pub(crate) fn load(
        index: &Index,
        fields: Fields,
        analyzer: TextAnalyzer,
        before: Option<&State>,
    ) -> Result<State, LexicalError> {
        let failed = LexicalError::when("open");
        // Holds back the removal of files between reading their names and opening them.
        let _files_stay = index
            .directory()
            .acquire_lock(&META_LOCK)
            .map_err(|error| failed(TantivyError::LockFailure(error, None)))?;
        let mut segments = Vec::new();
        for segment in index.searchable_segments().map_err(&failed)? {
            let version = (segment.id(), segment.meta().delete_opstamp());
            let known = before.and_then(|before| before.segments.iter().find(|known| known.version == version));
            segments.push(match known {
                Some(known) => Arc::clone(known),
                None => Arc::new(Segment::open(&segment, fields)?),
            });
        }
        let chunks = segments.iter().map(|segment| u64::from(segment.reader.num_docs())).sum();
        let terms = segments.iter().map(|segment| segment.terms).sum();
        Ok(State { analyzer, fields, segments, chunks, terms })
    }

    /// Where the postings of `term` stand in each segment, and how many living chunks hold it.
    pub(crate) fn find(&self, term: &str) -> Result<(Vec<Option<TermInfo>>, u64), LexicalError> {
        let term = Term::from_field_text(self.fields.text, term);
        let mut places = Vec::with_capacity(self.segments.len());
        let mut frequency = 0;
        for segment in &self.segments {
            let place = segment.postings.get_term_info(&term).map_err(LexicalError::read)?;
            if let Some(place) = &place {
                frequency += segment.live_frequency(&segment.postings, place)?;
            }
            places.push(place);
        }
        Ok((places, frequency))
    }
}

impl Segment {
    fn open(segment: &tantivy::Segment, fields: Fields) -> Result<Segment, LexicalError> {
        let failed = LexicalError::when("open");
        let reader = SegmentReader::open(segment).map_err(&failed)?;
        let postings = reader.inverted_index(fields.text).map_err(&failed)?;
        let lengths = reader.get_fieldnorms_reader(fields.text).map_err(&failed)?;
        let labels = reader.fast_fields().u64(LABEL).map_err(&failed)?;
        let rows = [lengths.num_docs(), labels.num_docs()];
        let alive = reader.alive_bitset().map(|alive| (alive.bitset().max_value(), alive.num_alive_docs()));
        let expected = (reader.max_doc(), segment.meta().num_docs() as usize);
        if rows.iter().any(|rows| *rows != reader.max_doc()) || alive.is_some_and(|alive| alive != expected) {
            return Err(LexicalError::corrupt(format!("segment {} has files of different lengths", segment.id())));
        }
        let length = |doc: DocId| u64::from(lengths.fieldnorm(doc));
        let terms = reader.doc_ids_alive().map(length).sum();
        let version = (segment.id(), segment.meta().delete_opstamp());
        Ok(Segment { version, postings, lengths, labels: labels.first_or_default_col(0), terms, reader })
    }

    /// How many living chunks the postings at `place` name.
    fn live_frequency(&self, postings: &InvertedIndexReader, place: &TermInfo) -> Result<u64, LexicalError> {
        let Some(alive) = self.reader.alive_bitset() else {
            return Ok(u64::from(place.doc_freq));
        };
        let mut block =
            postings.read_block_postings_from_terminfo(place, IndexRecordOption::Basic).map_err(LexicalError::read)?;
        let mut live = 0;
        while !block.docs().is_empty() {
            live += block.docs().iter().filter(|doc| alive.is_alive(**doc)).count() as u64;
            block.advance();
        }
        Ok(live)
    }

    /// The postings at `place`, with how often the term stands in each chunk.
    pub(crate) fn postings(&self, place: &TermInfo) -> Result<BlockSegmentPostings, LexicalError> {
        self.postings.read_block_postings_from_terminfo(place, IndexRecordOption::WithFreqs).map_err(LexicalError::read)
    }

    pub(crate) fn is_alive(&self, doc: DocId) -> bool {
        !self.reader.is_deleted(doc)
    }

    pub(crate) fn label(&self, doc: DocId) -> Result<Label, LexicalError> {
        let label = self.labels.get_val(doc);
        Label::try_from(label).map_err(|_| LexicalError::corrupt(format!("{label} is no label")))
    }

    /// The chunk's number of terms in one byte: exact up to 40, above that within an eighth below.
    pub(crate) fn length_code(&self, doc: DocId) -> u8 {
        self.lengths.fieldnorm_id(doc)
    }
}
