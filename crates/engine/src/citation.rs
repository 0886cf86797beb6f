//! What has become of something cited: whether it still holds, was replaced or erased; its words, as long as they are stored.

use std::ops::Range;

use ibid_core::{ChunkId, DocumentId, Revision, Span};
use ibid_ledger::Sequence;

use crate::documents::{Entry, Version};
use crate::error::{EngineError, Invalid};
use crate::partition::Partition;

/// Something cited, as a citation names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cited {
    /// The document.
    pub document: DocumentId,
    /// Its revision.
    pub revision: Revision,
    /// The chunk.
    pub chunk: Option<ChunkId>,
    /// The piece cited: bytes of the revision's text, half open. `None`: all of the chunk.
    pub bytes: Option<Range<usize>>,
    /// BLAKE3 of the quote.
    pub quote_hash: Option<[u8; 32]>,
}

/// What has become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CitedState {
    /// It is the document's newest revision.
    Current,
    /// There is a newer revision.
    Superseded,
    /// The document was deleted since.
    Erased,
}

/// Where a chunk stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CitedPlace {
    /// The document's newest revision that is cut.
    pub revision: Revision,
    /// The chunk in its text.
    pub span: Span,
}

/// What is known of something cited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// What has become of it.
    pub state: CitedState,
    /// The document's newest revision; `None`: there is no such document any more.
    pub newest: Option<Revision>,
    /// That revision is still stored, and the caller may read it.
    pub stored: bool,
    /// The words cited, if it is, and some are named.
    pub quote: Option<String>,
    /// They have the hash that was cited.
    pub quote_matches: bool,
    /// Where the chunk stands in the newest revision, if it is in it.
    pub place: Option<CitedPlace>,
}

impl Resolved {
    fn erased(newest: Option<Revision>) -> Resolved {
        Resolved { state: CitedState::Erased, newest, stored: false, quote: None, quote_matches: false, place: None }
    }
}

impl Partition {
    /// What has become of something cited.
    ///
    /// # Errors
    /// [`EngineError::NotFound`]: there is no such document, or the caller may not read it. Who might read one that is deleted
    /// nobody knows any more: it is answered for to those who read all. [`EngineError::Invalid`]: no such revision was given
    /// out, or it has no such chunk or piece. [`EngineError::Damaged`], or the ledger cannot be read.
    pub fn resolve(&self, cited: &Cited) -> Result<Resolved, EngineError> {
        let Cited { document: id, revision, .. } = cited;
        if revision.0 == 0 {
            return Err(Invalid::new("revision", "is 0, expected 1 or more").into());
        }
        let key = self.document_key(id);
        let missing = || EngineError::NotFound { kind: "document", name: id.to_string() };
        let never = |newest: Revision| {
            let problem = format!("is {}, and the document's newest is {}", revision.0, newest.0);
            EngineError::Invalid(Invalid::new("revision", problem))
        };
        let entry = {
            let documents = self.state.documents();
            if documents.is_damaged(&key) && self.reads_all() {
                return Err(EngineError::Damaged(format!("the record of document {id} in the log")));
            }
            documents.entry(&key).cloned()
        };
        let Some(entry) = entry else {
            let head = self.state.shared.ledger.head(self.state.key, key).map_err(EngineError::of_ledger)?;
            let deletion = head.map(|head| head.current).filter(|newest| newest.is_tombstone() && self.reads_all());
            let deletion = deletion.ok_or_else(missing)?.revision;
            // The deletion took the last number.
            return if *revision < deletion {
                Ok(Resolved::erased(None))
            } else {
                Err(never(Revision(deletion.0 - 1)))
            };
        };
        if !self.may_read(&entry.current) {
            return Err(missing());
        }
        let newest = entry.current.revision;
        if *revision > newest {
            return Err(never(newest));
        }
        if *revision < entry.current.meta.first {
            return Ok(Resolved::erased(Some(newest)));
        }
        let state = if *revision == newest { CitedState::Current } else { CitedState::Superseded };
        let stored = self.version(&entry, *revision);
        let is_stored = stored.is_some();
        let quote = match stored {
            Some((version, chunked)) => self.quote(version, chunked, cited)?,
            None => None,
        };
        let quote_matches = quote.as_ref().is_some_and(|quote| {
            cited.quote_hash.is_some_and(|hash| blake3::hash(quote.as_bytes()) == blake3::Hash::from(hash))
        });
        let place = cited.chunk.and_then(|chunk| self.place(&entry, chunk));
        Ok(Resolved { state, newest: Some(newest), stored: is_stored, quote, quote_matches, place })
    }

    /// The words cited of a version that is stored. `None` if no words are named.
    fn quote(
        &self,
        mut version: Version,
        chunked: Option<Sequence>,
        cited: &Cited,
    ) -> Result<Option<String>, EngineError> {
        self.state.cut(&mut version, chunked)?;
        let text = self.state.text(version.put)?;
        let (revision, bytes) = (cited.revision.0, text.len());
        let chunk = match cited.chunk {
            None => None,
            Some(id) => {
                let mut chunks = version.cut.iter().flat_map(|cut| &cut.chunks);
                let found = chunks.find(|stored| stored.id == id).map(|stored| stored.chunk.span);
                let problem = || Invalid::new("chunk_id", format!("is no chunk of revision {revision}"));
                Some(found.ok_or_else(problem)?)
            }
        };
        let span = match &cited.bytes {
            None => chunk,
            Some(Range { start, end }) => {
                let problem = format!("is {start}..{end}, no piece of the {bytes} bytes of revision {revision}");
                let span = Span::of(&text, *start..*end).ok_or_else(|| Invalid::new("span", problem))?;
                if chunk.is_some_and(|chunk| span.start() < chunk.start() || span.end() > chunk.end()) {
                    return Err(Invalid::new("span", format!("is {start}..{end}, not inside the chunk")).into());
                }
                Some(span)
            }
        };
        Ok(span.and_then(|span| span.quote(&text)).map(str::to_owned))
    }

    /// Where a chunk stands in the newest version that is cut.
    fn place(&self, entry: &Entry, chunk: ChunkId) -> Option<CitedPlace> {
        let newest = entry.versions().find(|version| version.cut.is_some()).filter(|version| self.may_read(version))?;
        let stored = newest.cut.as_ref()?.chunks.iter().find(|stored| stored.id == chunk)?;
        Some(CitedPlace { revision: newest.revision, span: stored.chunk.span })
    }
}
