//! Whether a chain is what was written.

use std::collections::BTreeSet;

use ibid_core::TenantKey;

use super::chain::Chain;
use super::erase::Statement;
use super::frame::{FrameHeader, Hash, Kind, Piece, commitment, genesis, link, pieces};
use super::{Audit, AuditError, Head, lock};

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// It is not there: removed, or damaged beyond recognition.
    Missing,
    /// It stands where another should.
    Moved,
    /// Its content is not what was committed to.
    Content,
    /// It does not hang on the one before: that one, or this, is not what was written.
    Link,
    /// Its content is gone, and the chain does not say that it was erased.
    Erased,
    /// The chain says that its content was erased, and it is there.
    NotErased,
    /// The file that it begins cannot be read.
    File,
    /// It is beyond the end: the chain was cut off, or the head is another chain's.
    Truncated,
    /// It is not the one that the head names.
    Head,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Where the chain ends.
    pub head: Head,
    /// The first entry that is still there; 1 unless older ones were dropped.
    pub first: u64,
    /// Entries whose content was compared with its commitment.
    pub entries: u64,
    /// Entries whose content was erased, as the chain says.
    pub erased: u64,
    /// Entries that were not damaged but cannot be opened: the tenant's key is gone.
    pub sealed: u64,
    /// The first entry that is wrong, and what is wrong with it; `None`: nothing is.
    pub bad: Option<(u64, Problem)>,
}

struct Walk<'a> {
    chain: &'a Chain,
    known: Option<Head>,
    sequence: u64,
    link: Hash,
    erased: BTreeSet<u64>,
    stated: BTreeSet<u64>,
    /// What the chain says was dropped: up to which entry, and its link.
    dropped: Vec<(u64, Hash)>,
    entries: u64,
    sealed: u64,
    bad: Option<(u64, Problem)>,
}

impl Audit {
    /// Reads the tenant's whole chain and names the first entry that is not what was written. With a `known` head, kept
    /// elsewhere, also what was cut off the end is found; one from before what retention dropped proves nothing and is passed
    /// over. Reads everything once.
    ///
    /// # Errors
    /// [`AuditError::Disk`]: a file cannot be read.
    pub fn verify(&self, tenant: TenantKey, known: Option<Head>) -> Result<Verification, AuditError> {
        let chain = self.chain(tenant)?;
        let chain = lock(&chain);
        let (stated, erased) = (BTreeSet::new(), BTreeSet::new());
        let (sequence, link) = (0, genesis(tenant));
        let dropped = vec![];
        let mut walk =
            Walk { chain: &chain, known, sequence, link, erased, stated, dropped, entries: 0, sealed: 0, bad: None };
        let begin = walk.segments()?;
        walk.finish(begin);
        let (head, erased) = (chain.head(), walk.erased.len() as u64);
        let first = begin.map_or(1, |(first, _)| first);
        Ok(Verification { head, first, entries: walk.entries, erased, sealed: walk.sealed, bad: walk.bad })
    }
}

impl Walk<'_> {
    /// Walks all files; returns the first entry and the link before it.
    fn segments(&mut self) -> Result<Option<(u64, Hash)>, AuditError> {
        let mut begin = None;
        for first in self.chain.segments.clone() {
            let segment = match self.chain.read(first) {
                Err(AuditError::Corrupt { .. }) => {
                    self.object(first, Problem::File);
                    return Ok(begin);
                }
                read => read?,
            };
            let header = &segment.header;
            match begin {
                None => {
                    begin = Some((header.first, header.before));
                    (self.sequence, self.link) = (header.first - 1, header.before);
                }
                Some(_) if header.first != self.sequence + 1 => self.object(self.sequence + 1, Problem::Missing),
                Some(_) if header.before != self.link => self.object(header.first, Problem::Link),
                Some(_) => {}
            }
            for piece in pieces(&segment.bytes, header.mark) {
                match piece {
                    Piece::Frame { header, body, .. } => self.frame(&header, body),
                    Piece::Damage => self.object(self.sequence + 1, Problem::Missing),
                }
            }
        }
        Ok(begin)
    }

    fn frame(&mut self, header: &FrameHeader, body: &[u8]) {
        let expected = self.sequence + 1;
        if header.sequence != expected {
            let problem = if header.sequence > expected { Problem::Missing } else { Problem::Moved };
            self.object(expected, problem);
        }
        if link(&self.link, &header.commitment, header.sequence) != header.link {
            self.object(header.sequence, Problem::Link);
        }
        if self.known.is_some_and(|known| known.sequence == header.sequence && known.link != header.link) {
            self.object(header.sequence, Problem::Head);
        }
        (self.sequence, self.link) = (header.sequence, header.link);
        match self.chain.content(header, body) {
            Some((salt, content)) => {
                if commitment(header.kind, &salt, &content) != header.commitment {
                    self.object(header.sequence, Problem::Content);
                }
                match (header.kind, Statement::decode(&content)) {
                    (Kind::Entry, _) => self.entries += 1,
                    (Kind::Erasure, Some(Statement::Erased(sequences))) => self.stated.extend(sequences),
                    (Kind::Retention, Some(Statement::Dropped { through, link })) => self.dropped.push((through, link)),
                    (Kind::Erasure | Kind::Retention, _) => self.object(header.sequence, Problem::Content),
                }
            }
            None if header.kind == Kind::Entry && body.iter().all(|byte| *byte == 0) => {
                self.erased.insert(header.sequence);
            }
            None if crc32fast::hash(body) == header.body_checksum => self.sealed += 1,
            None => self.object(header.sequence, Problem::Content),
        }
    }

    /// What can be told at the end alone.
    fn finish(&mut self, begin: Option<(u64, Hash)>) {
        if let Some((first, before)) = begin {
            let said = |(through, link): &(u64, Hash)| *through + 1 == first && *link == before;
            let is_genesis = first == 1 && before == genesis(self.chain.tenant);
            if !is_genesis && !self.dropped.iter().any(said) {
                self.object(first.saturating_sub(1).max(1), if first == 1 { Problem::Link } else { Problem::Missing });
            }
        }
        // A statement that cannot be opened for want of its key says nothing.
        if let Some(unsaid) = self.erased.difference(&self.stated).next().copied()
            && self.sealed == 0
        {
            self.object(unsaid, Problem::Erased);
        }
        let first = begin.map_or(u64::MAX, |(first, _)| first);
        let left = self.stated.range(first.min(self.sequence + 1)..).find(|sequence| !self.erased.contains(sequence));
        if let Some(left) = left.copied() {
            self.object(left, Problem::NotErased);
        }
        if self.known.is_some_and(|known| known.sequence > self.sequence) {
            self.object(self.sequence + 1, Problem::Truncated);
        }
    }

    /// The first in the chain counts.
    fn object(&mut self, sequence: u64, problem: Problem) {
        if self.bad.is_none_or(|(first, _)| sequence < first) {
            self.bad = Some((sequence, problem));
        }
    }
}
