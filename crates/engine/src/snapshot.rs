//! One question's view of a partition.

use std::ops::Range;
use std::sync::Arc;

use ibid_core::{
    ChunkId, DocumentId, Filter, Generation, Label, Likeness, MediaType, Metadata, Place, Reader, Revision, Span,
};
use ibid_ledger::StoredChunk;
use ibid_runtime::Ctx;
use roaring::RoaringBitmap;

use crate::config::EmbedModel;
use crate::documents::{Documents, Labelled};
use crate::error::EngineError;
use crate::partition::State;
use crate::past::Past;
use crate::surroundings;

/// Both indexes at one moment, as published together.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) generation: Generation,
    pub(crate) lexical: ibid_lexical::Snapshot,
    pub(crate) vector: ibid_vector::Snapshot,
    /// The model of those vectors.
    pub(crate) model: Arc<dyn EmbedModel>,
}

/// Which chunks a question may see: what its reader may read and its filter lets through.
#[derive(Debug, Clone)]
pub struct Scope(Option<RoaringBitmap>);

impl Scope {
    pub(crate) fn of(documents: &Documents, reader: &Reader, filter: Option<&Filter>) -> Scope {
        if *reader == Reader::All && filter.is_none() {
            return Scope(None);
        }
        let fulfils = |metadata: &Metadata| filter.is_none_or(|filter| filter.matches(metadata));
        Scope(Some(documents.allowed(reader, fulfils)))
    }

    /// All of them.
    pub(crate) fn all() -> Scope {
        Scope(None)
    }

    pub(crate) fn of_labels(labels: RoaringBitmap) -> Scope {
        Scope(Some(labels))
    }

    /// Their labels; `None`: all of them.
    pub(crate) fn labels(&self) -> Option<&RoaringBitmap> {
        self.0.as_ref()
    }
}

/// A chunk that one arm proposes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Which one, within the partition.
    pub label: Label,
    /// Which one, by its lasting id.
    pub chunk: ChunkId,
    /// The arm's score: BM25 or cosine.
    pub score: f32,
    /// What its words are like.
    pub likeness: Likeness,
}

/// How much of its document comes with a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expand {
    /// The chunk alone.
    None,
    /// The chunk before and the one after.
    Neighbours,
    /// All chunks around it under the same headings, as far as [`Snapshot::PASSAGE_BYTES_MAX`] goes.
    Section,
}

/// A piece of a document around a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// In the stored text.
    pub span: Span,
    /// Its text.
    pub text: String,
}

/// A chunk with its text and its document's record.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The document.
    pub document: DocumentId,
    /// The revision that was searched.
    pub revision: Revision,
    /// The chunk.
    pub chunk: ChunkId,
    /// Where it stands in the stored text.
    pub span: Span,
    /// Its text.
    pub text: String,
    /// The document's title; may be empty.
    pub title: String,
    /// Where the document came from; may be empty.
    pub source_uri: String,
    /// How the document's bytes were read.
    pub media_type: MediaType,
    /// The headings above the chunk, outermost first.
    pub heading_path: Vec<String>,
    /// The document's metadata.
    pub metadata: Metadata,
    /// What is repeated with the chunk, elsewhere in the stored text: its table's header row, its code's imports.
    pub context: Option<String>,
    /// Where the chunk stands in the original.
    pub places: Vec<Place>,
}

/// A partition at one generation, as one reader sees it. Later writes do not change it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(crate) state: Arc<State>,
    pub(crate) view: Arc<View>,
    pub(crate) scope: Scope,
    pub(crate) generation: Generation,
    /// What the labels of a past generation stand for; `None`: the partition knows.
    pub(crate) past: Option<Arc<Past>>,
}

impl Snapshot {
    /// The generation that is searched.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Asks what labels stand for.
    fn resolving<T>(&self, ask: impl FnOnce(&Documents) -> T) -> T {
        match &self.past {
            Some(past) => ask(&past.documents),
            None => ask(&self.state.documents()),
        }
    }

    /// The embedder that the vectors searched are made by: what a question must be embedded with.
    pub fn model(&self) -> &Arc<dyn EmbedModel> {
        &self.view.model
    }

    /// The best `n` chunks by words, best first; ties by label.
    ///
    /// # Errors
    /// [`EngineError`]: stopped, or the index failed; [`EngineError::Rebuilding`] while a damaged one is made anew.
    pub fn by_words(&self, ctx: &Ctx, question: &str, n: usize) -> Result<Vec<Candidate>, EngineError> {
        if self.state.words_are_in_doubt() {
            return Err(EngineError::Rebuilding);
        }
        let found = self.view.lexical.search(ctx, question, n, self.scope.labels());
        let found = found.map_err(|error| self.state.words_failed(error))?;
        Ok(self.candidates(found))
    }

    /// The best `n` chunks by meaning, best first; ties by label. `vector` is of [`Snapshot::model`]. What the chunks beside a
    /// chunk say counts with a share, `neighbour_weight` (see `surroundings.rs`); 0: its own vector alone.
    ///
    /// # Errors
    /// [`EngineError`]: stopped, wrong dimension, or the index failed.
    pub fn by_meaning(
        &self,
        ctx: &Ctx,
        vector: &[f32],
        n: usize,
        neighbour_weight: f32,
    ) -> Result<Vec<Candidate>, EngineError> {
        let (vectors, allowed) = (&self.view.vector, self.scope.labels());
        let mut found = vectors.search(ctx, vector, n, allowed).map_err(EngineError::of_vector)?;
        if neighbour_weight > 0.0 {
            found = self.resolving(|documents| {
                surroundings::rescored(vector, neighbour_weight, vectors, documents, allowed, found)
            });
        }
        Ok(self.candidates(found))
    }

    fn candidates(&self, found: Vec<(Label, f32)>) -> Vec<Candidate> {
        self.resolving(|documents| {
            let candidate = |(label, score)| {
                let (labelled, ordinal) = documents.resolve(label)?;
                let StoredChunk { id, likeness, .. } = labelled.cut.chunks[ordinal];
                Some(Candidate { label, chunk: id, score, likeness })
            };
            found.into_iter().filter_map(candidate).collect()
        })
    }

    fn labelled(&self, label: Label) -> Result<(Arc<Labelled>, usize), EngineError> {
        let resolved =
            self.resolving(|documents| documents.resolve(label).map(|(one, ordinal)| (Arc::clone(one), ordinal)));
        resolved.ok_or_else(|| EngineError::Damaged(format!("chunk {label} belongs to no document")))
    }

    /// Where the chunk stands that a candidate stands for: its document, revision, id and span.
    ///
    /// # Errors
    /// [`EngineError::Damaged`]: there is no such chunk.
    pub fn locate(&self, label: Label) -> Result<(DocumentId, Revision, ChunkId, Span), EngineError> {
        let (labelled, ordinal) = self.labelled(label)?;
        let stored = &labelled.cut.chunks[ordinal];
        Ok((labelled.id.clone(), labelled.revision, stored.id, stored.chunk.span))
    }

    /// The longest passage, in bytes: beyond it neighbours are left out, the nearer side first to be taken in.
    pub const PASSAGE_BYTES_MAX: u32 = 16 << 10;

    /// The bytes of the stored text around a chunk.
    ///
    /// # Errors
    /// [`EngineError`]: there is no such chunk.
    pub fn passage_bytes(&self, label: Label, expand: Expand) -> Result<Range<usize>, EngineError> {
        let (labelled, ordinal) = self.labelled(label)?;
        let chunks = &labelled.cut.chunks;
        let belongs = |other: usize| match expand {
            Expand::None => false,
            Expand::Neighbours => other.abs_diff(ordinal) <= 1,
            Expand::Section => chunks[other].chunk.heading_path == chunks[ordinal].chunk.heading_path,
        };
        let (mut first, mut last) = (ordinal, ordinal);
        loop {
            let fits = |first: usize, last: usize| {
                let (start, end) = (chunks[first].chunk.span.start(), chunks[last].chunk.span.end());
                end.saturating_sub(start) <= Snapshot::PASSAGE_BYTES_MAX
            };
            let before = first > 0 && belongs(first - 1) && fits(first - 1, last);
            first -= usize::from(before);
            let after = last + 1 < chunks.len() && belongs(last + 1) && fits(first, last + 1);
            last += usize::from(after);
            if !before && !after {
                return Ok(chunks[first].chunk.span.range().start..chunks[last].chunk.span.range().end);
            }
        }
    }

    /// A piece of the text of the document that a chunk is from, read from the ledger.
    ///
    /// # Errors
    /// [`EngineError`]: the stored text is damaged or cannot be read.
    pub fn passage(&self, label: Label, bytes: Range<usize>) -> Result<Passage, EngineError> {
        let (labelled, _) = self.labelled(label)?;
        let text = self.state.text(labelled.put)?;
        let span = Span::of(&text, bytes);
        let span = span.ok_or_else(|| EngineError::Damaged("a chunk lies outside its text".to_owned()))?;
        Ok(Passage { span, text: text[span.range()].to_owned() })
    }

    /// The chunk a candidate stands for, read from the ledger.
    ///
    /// # Errors
    /// [`EngineError`]: the stored text is damaged or cannot be read.
    pub fn find(&self, label: Label) -> Result<Found, EngineError> {
        let (labelled, ordinal) = self.labelled(label)?;
        let text = self.state.text(labelled.put)?;
        let stored = &labelled.cut.chunks[ordinal];
        let quote = stored.chunk.span.quote(&text).ok_or_else(|| {
            EngineError::Damaged(format!("chunk {} lies outside the text of its document", stored.id))
        })?;
        Ok(Found {
            document: labelled.id.clone(),
            revision: labelled.revision,
            chunk: stored.id,
            span: stored.chunk.span,
            text: quote.to_owned(),
            title: labelled.cut.title.clone(),
            source_uri: labelled.meta.source_uri.clone(),
            media_type: labelled.meta.media_type,
            heading_path: stored.chunk.heading_path.clone(),
            metadata: labelled.meta.metadata.clone(),
            context: stored.chunk.context.and_then(|span| span.quote(&text)).map(str::to_owned),
            places: stored.chunk.places.clone(),
        })
    }
}
