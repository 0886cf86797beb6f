//! One question's view of a partition.

use std::sync::Arc;

use ibid_core::{ChunkId, DocumentId, Filter, Generation, Label, MediaType, Metadata, Reader, Revision, Span};
use ibid_runtime::Ctx;
use roaring::RoaringBitmap;

use crate::config::EmbedModel;
use crate::documents::Documents;
use crate::error::EngineError;
use crate::partition::State;
use crate::past::Past;

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

    /// The best `n` chunks by meaning, best first; ties by label. `vector` is of [`Snapshot::model`].
    ///
    /// # Errors
    /// [`EngineError`]: stopped, wrong dimension, or the index failed.
    pub fn by_meaning(&self, ctx: &Ctx, vector: &[f32], n: usize) -> Result<Vec<Candidate>, EngineError> {
        let found = self.view.vector.search(ctx, vector, n, self.scope.labels()).map_err(EngineError::of_vector)?;
        Ok(self.candidates(found))
    }

    fn candidates(&self, found: Vec<(Label, f32)>) -> Vec<Candidate> {
        self.resolving(|documents| {
            let candidate = |(label, score)| {
                let (labelled, ordinal) = documents.resolve(label)?;
                Some(Candidate { label, chunk: labelled.cut.chunks[ordinal].id, score })
            };
            found.into_iter().filter_map(candidate).collect()
        })
    }

    /// The chunk a candidate stands for, read from the ledger.
    ///
    /// # Errors
    /// [`EngineError`]: the stored text is damaged or cannot be read.
    pub fn find(&self, label: Label) -> Result<Found, EngineError> {
        let resolved =
            self.resolving(|documents| documents.resolve(label).map(|(one, ordinal)| (Arc::clone(one), ordinal)));
        let (labelled, ordinal) =
            resolved.ok_or_else(|| EngineError::Damaged(format!("chunk {label} belongs to no document")))?;
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
        })
    }
}
