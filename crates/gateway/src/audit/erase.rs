//! Content erased, in place: by request, by document, by age. What is erased is stated in the chain first, so that a crash in
//! between is made good, and an erased entry is told from a damaged one.

use std::collections::BTreeSet;

use ibid_core::TenantKey;
use serde::{Deserialize, Serialize};

use super::chain::Chain;
use super::entry::Entry;
use super::frame::{FrameHeader, Hash, Kind, Piece, pieces};
use super::{Audit, AuditError, disk, lock};

/// Entries in one statement.
const STATED_MAX: usize = 10_000;

/// Whose content is erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erase {
    /// Of the entries of one request, by its id.
    Request(String),
    /// Of the entries whose prompt held text of one document, by the client's id.
    Document(String),
}

/// A frame that is no entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Statement {
    /// The content of these entries was erased.
    Erased(Vec<u64>),
    /// The chain begins behind this one now, whose link was this.
    Dropped { through: u64, link: Hash },
}

impl Statement {
    pub(super) fn decode(content: &[u8]) -> Option<Statement> {
        serde_json::from_slice(content).ok()
    }

    pub(super) fn frame(&self) -> (Kind, Vec<u8>) {
        let kind = match self {
            Statement::Erased(_) => Kind::Erasure,
            Statement::Dropped { .. } => Kind::Retention,
        };
        (kind, serde_json::to_vec(self).expect("numbers are JSON"))
    }
}

impl Audit {
    /// Erases content and salt of what `erase` names, for good. Returns how many entries that were; those erased before do not
    /// count. The chain stays provable.
    ///
    /// # Errors
    /// [`AuditError`]: some may be erased and others not; asking again finishes it.
    pub fn erase(&self, tenant: TenantKey, erase: &Erase) -> Result<usize, AuditError> {
        let named = |entry: &Entry| match erase {
            Erase::Request(request) => entry.request == *request,
            Erase::Document(document) => entry.documents.contains(document),
        };
        let chain = self.chain(tenant)?;
        let mut chain = lock(&chain);
        chain.finish()?;
        let mut sequences = vec![];
        for first in chain.segments.clone() {
            sequences.extend(chain.readable(first)?.into_iter().filter(|(_, entry)| named(entry)).map(|(at, _)| at));
        }
        chain.erase(&sequences)?;
        Ok(sequences.len())
    }

    /// Retention: removes what is older than `from_ms` (milliseconds since the Unix epoch). Whole files at the chain's start
    /// go, links and all, and the chain says so; older entries in the files that stay are erased. Returns how many entries went.
    ///
    /// # Errors
    /// [`AuditError`]: some may be gone and others not; asking again finishes it.
    pub fn retain(&self, tenant: TenantKey, from_ms: u64) -> Result<u64, AuditError> {
        let chain = self.chain(tenant)?;
        let mut chain = lock(&chain);
        chain.finish()?;
        let (mut old, mut went, mut dropped) = (vec![], 0, None);
        for first in chain.segments.clone() {
            let entries = chain.readable(first)?;
            let young = entries.iter().any(|(_, entry)| entry.time_ms >= from_ms);
            let leading = old.is_empty() && (first == chain.segments[0] || dropped.is_some());
            let whole = !young && leading && !chain.is_last(first);
            if whole {
                let segment = chain.read(first)?;
                let last = pieces(&segment.bytes, segment.header.mark).filter_map(frame).last();
                let Some(last) = last else { break };
                went += entries.len() as u64;
                dropped = Some(Statement::Dropped { through: last.sequence, link: last.link });
            } else {
                let before = old.len();
                old.extend(entries.into_iter().filter(|(_, entry)| entry.time_ms < from_ms).map(|(at, _)| at));
                went += (old.len() - before) as u64;
                // What follows is erased, not dropped: a chain has no gaps.
                if young && old.is_empty() {
                    break;
                }
            }
        }
        if let Some(dropped) = dropped {
            chain.state(vec![dropped])?;
        }
        chain.erase(&old)?;
        Ok(went)
    }
}

fn frame(piece: Piece<'_>) -> Option<FrameHeader> {
    match piece {
        Piece::Frame { header, .. } => Some(header),
        Piece::Damage => None,
    }
}

impl Chain {
    /// The entries of a segment that can be read, with their sequences.
    fn readable(&self, first: u64) -> Result<Vec<(u64, Entry)>, AuditError> {
        let segment = self.read(first)?;
        let mut entries = vec![];
        for piece in pieces(&segment.bytes, segment.header.mark) {
            let Piece::Frame { header, body, .. } = piece else { continue };
            if header.kind == Kind::Entry
                && let Some((_, content)) = self.content(&header, body)
                && let Some(entry) = Entry::decode(&content)
            {
                entries.push((header.sequence, entry));
            }
        }
        Ok(entries)
    }

    fn erase(&mut self, sequences: &[u64]) -> Result<(), AuditError> {
        if sequences.is_empty() {
            return Ok(());
        }
        let statements: Vec<Statement> =
            sequences.chunks(STATED_MAX).map(|stated| Statement::Erased(stated.to_vec())).collect();
        self.state(statements)
    }

    /// Does what a statement in the chain says; once done, nothing.
    pub(super) fn carry_out(&mut self, statement: &Statement) -> Result<(), AuditError> {
        match statement {
            Statement::Erased(sequences) => self.overwrite(&sequences.iter().copied().collect()),
            Statement::Dropped { through, .. } => self.drop_through(*through),
        }
    }

    fn overwrite(&self, sequences: &BTreeSet<u64>) -> Result<(), AuditError> {
        for (at, first) in self.segments.iter().enumerate() {
            let next = self.segments.get(at + 1).copied().unwrap_or(u64::MAX);
            if sequences.range(*first..next).next().is_none() {
                continue;
            }
            let segment = self.read(*first)?;
            let file = self.file(*first)?;
            for piece in pieces(&segment.bytes, segment.header.mark) {
                let Piece::Frame { header, body_at, body } = piece else { continue };
                if sequences.contains(&header.sequence) && header.kind == Kind::Entry {
                    let zeros = vec![0; body.len()];
                    file.write_at(body_at as u64, &zeros).map_err(disk("erase content of the record"))?;
                }
            }
            file.sync().map_err(disk("erase content of the record"))?;
        }
        Ok(())
    }

    fn drop_through(&mut self, through: u64) -> Result<(), AuditError> {
        let whole = |pair: &[u64]| pair[1] <= through + 1;
        let count = self.segments.windows(2).take_while(|pair| whole(pair)).count();
        // What a crash leaves of this is finished when the chain is opened.
        for first in &self.segments[..count] {
            match self.parts.disk.remove(&self.path(*first)) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.map_err(disk("remove what is too old of the record"))?,
            }
        }
        if count > 0 {
            self.parts.disk.sync_dir(&self.folder).map_err(disk("sync the record's folder"))?;
            self.segments.drain(..count);
        }
        Ok(())
    }
}
