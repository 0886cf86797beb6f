//! One tenant's chain on disk: opened with its torn end mended, and appended to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ibid_core::TenantKey;
use ibid_runtime::DiskFile;

use super::erase::Statement;
use super::frame::{
    FrameHeader, Hash, Kind, Piece, SALT_BYTES, SegmentHeader, about, commitment, genesis, link, pieces,
};
use super::{AuditError, Head, Parts, disk};

/// A chain, its files and where it ends. Only one of each tenant is open in a process.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) tenant: TenantKey,
    pub(super) folder: PathBuf,
    pub(super) parts: Parts,
    segment_bytes: u64,
    /// The files' first sequences, ascending.
    pub(super) segments: Vec<u64>,
    end: Option<End>,
    sequence: u64,
    link: Hash,
    /// A write failed and what it left could not be cut off yet.
    uncut: bool,
    /// What the chain says was done and was not, for the disk refused. It is done before anything else is appended: a chain that
    /// is opened looks for it at its end alone.
    undone: Vec<Statement>,
    /// The chain was removed.
    retired: bool,
}

/// The file that is written to.
#[derive(Debug)]
struct End {
    file: Arc<dyn DiskFile>,
    mark: u64,
    /// Up to where it is written and synced.
    bytes: u64,
}

/// A segment as it was read.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) header: SegmentHeader,
    pub(super) bytes: Vec<u8>,
}

impl Chain {
    /// Opens the tenant's chain, or a new one of which nothing is written yet.
    pub(super) fn open(
        tenant: TenantKey,
        folder: PathBuf,
        segment_bytes: u64,
        parts: Parts,
    ) -> Result<Chain, AuditError> {
        let link = genesis(tenant);
        let (segments, sequence) = (vec![], 0);
        let mut chain = Chain {
            tenant,
            folder,
            parts,
            segment_bytes,
            segments,
            end: None,
            sequence,
            link,
            uncut: false,
            undone: vec![],
            retired: false,
        };
        if chain.parts.disk.exists(&chain.folder) {
            chain.recover()?;
        }
        Ok(chain)
    }

    pub(super) fn head(&self) -> Head {
        Head { sequence: self.sequence, link: self.link }
    }

    /// Nothing more is read or written: the files are gone.
    pub(super) fn retire(&mut self) {
        self.retired = true;
        self.segments.clear();
        self.end = None;
    }

    pub(super) fn path(&self, first: u64) -> PathBuf {
        self.folder.join(format!("{first:016x}.log"))
    }

    /// The whole of a segment, as far as it is acknowledged.
    pub(super) fn read(&self, first: u64) -> Result<Segment, AuditError> {
        let mut bytes = self.parts.disk.read(&self.path(first)).map_err(disk("read the record"))?;
        if self.segments.last() == Some(&first)
            && let Some(end) = &self.end
        {
            bytes.truncate(usize::try_from(end.bytes).unwrap_or(usize::MAX));
        }
        let header = SegmentHeader::decode(&bytes)?;
        if header.tenant != self.tenant || header.first != first {
            return Err(AuditError::Corrupt { problem: "the header of another file" });
        }
        Ok(Segment { header, bytes })
    }

    /// The content of a frame's body; `None` if it is erased, damaged, or sealed with a key that is gone.
    pub(super) fn content(&self, header: &FrameHeader, body: &[u8]) -> Option<(Hash, Vec<u8>)> {
        if crc32fast::hash(body) != header.body_checksum {
            return None;
        }
        let about = about(self.tenant, header.kind, header.sequence);
        let mut content = self.parts.seal.open(self.tenant, body, &about)?;
        let salt: Hash = content.get(..SALT_BYTES)?.try_into().ok()?;
        content.drain(..SALT_BYTES);
        Some((salt, content))
    }

    fn recover(&mut self) -> Result<(), AuditError> {
        let names = self.parts.disk.list(&self.folder).map_err(disk("list the record's files"))?;
        self.segments = names.iter().filter_map(|name| first_of(name)).collect();
        self.segments.sort_unstable();
        // A file whose header was cut off by a crash has no entry yet.
        while let Some(last) = self.segments.last().copied() {
            let path = self.path(last);
            let file = self.parts.disk.open(&path).map_err(disk("open the record"))?;
            if file.len().map_err(disk("read the record"))? >= SegmentHeader::BYTES as u64 {
                break;
            }
            self.parts.disk.remove(&path).map_err(disk("remove an unfinished file of the record"))?;
            self.parts.disk.sync_dir(&self.folder).map_err(disk("sync the record's folder"))?;
            self.segments.pop();
        }
        let Some(last) = self.segments.last().copied() else { return Ok(()) };
        let segment = match self.read(last) {
            // The first bytes were never synced: created, and then the power failed.
            Err(AuditError::Corrupt { .. }) if self.is_blank(last)? => {
                self.parts.disk.remove(&self.path(last)).map_err(disk("remove an unfinished file of the record"))?;
                return self.recover();
            }
            read => read?,
        };
        self.mend(last, &segment)?;
        self.redo(&segment)
    }

    fn is_blank(&self, first: u64) -> Result<bool, AuditError> {
        let bytes = self.parts.disk.read(&self.path(first)).map_err(disk("read the record"))?;
        Ok(bytes.iter().all(|byte| *byte == 0))
    }

    /// Finds the chain's end in its last file: what a crash left of writes nobody was told of is cut off, and what is kept is
    /// made durable. Damage in front of entries that were acknowledged stays, for [`super::Audit::verify`] to name.
    fn mend(&mut self, last: u64, segment: &Segment) -> Result<(), AuditError> {
        (self.sequence, self.link) = (segment.header.first - 1, segment.header.before);
        let mut end = SegmentHeader::BYTES;
        // From where on nobody knows what is synced.
        let mut sure = (SegmentHeader::BYTES, 0);
        let mut starts = vec![];
        let mut broken = false;
        for piece in pieces(&segment.bytes, segment.header.mark) {
            let Piece::Frame { header, body_at, body } = piece else {
                broken = true;
                continue;
            };
            let intact = crc32fast::hash(body) == header.body_checksum || body.iter().all(|byte| *byte == 0);
            broken |= !intact;
            // Behind a gap only what knows that the gap was durable says that this is damage, and no torn write.
            if broken && header.durable <= self.sequence {
                continue;
            }
            broken = false;
            starts.push((header.sequence, body_at + body.len()));
            (self.sequence, self.link, end) = (header.sequence, header.link, body_at + body.len());
            sure.1 = sure.1.max(header.durable);
        }
        sure.0 = starts.iter().rev().find(|(sequence, _)| *sequence <= sure.1).map_or(sure.0, |(_, end)| *end);
        let file: Arc<dyn DiskFile> = self.parts.disk.open(&self.path(last)).map_err(disk("open the record"))?.into();
        let mended = || {
            file.truncate(end as u64)?;
            // Written once more: a sync that failed may have left them in memory alone.
            file.write_at(sure.0 as u64, &segment.bytes[sure.0..end])?;
            file.sync()?;
            self.parts.disk.sync_dir(&self.folder)
        };
        mended().map_err(disk("mend the end of the record"))?;
        self.end = Some(End { file, mark: segment.header.mark, bytes: end as u64 });
        Ok(())
    }

    /// What the chain's last statements say was begun: it is done again, for a crash may have cut it off.
    fn redo(&mut self, segment: &Segment) -> Result<(), AuditError> {
        let mut statements: Vec<Statement> = vec![];
        for piece in pieces(&segment.bytes, segment.header.mark) {
            let Piece::Frame { header, body, .. } = piece else { continue };
            match header.kind {
                Kind::Entry => statements.clear(),
                Kind::Erasure | Kind::Retention => {
                    let content = self.content(&header, body).map(|(_, content)| content);
                    statements.extend(content.and_then(|content| Statement::decode(&content)));
                }
            }
        }
        self.undone = statements;
        self.finish()
    }

    /// Does what was stated and is not done.
    pub(super) fn finish(&mut self) -> Result<(), AuditError> {
        while let Some(statement) = self.undone.last().cloned() {
            self.carry_out(&statement)?;
            self.undone.pop();
        }
        Ok(())
    }

    /// Appends statements and does what they say; what fails of it is done later.
    pub(super) fn state(&mut self, statements: Vec<Statement>) -> Result<(), AuditError> {
        self.append(&statements.iter().map(Statement::frame).collect::<Vec<_>>())?;
        self.undone = statements;
        self.finish()
    }

    /// Appends frames, all or none, and syncs.
    pub(super) fn append(&mut self, contents: &[(Kind, Vec<u8>)]) -> Result<(), AuditError> {
        if self.retired {
            return Err(AuditError::Closed);
        }
        if contents.is_empty() {
            return Ok(());
        }
        self.cut()?;
        self.finish()?;
        self.roll()?;
        let end = self.end.as_ref().expect("a file was just made sure of");
        let (mut bytes, mut sequence, mut last) = (vec![], self.sequence, self.link);
        for (kind, content) in contents {
            sequence += 1;
            let mut salted = vec![0; SALT_BYTES];
            self.parts.random.fill(&about(self.tenant, *kind, 0), &mut salted);
            let commitment = commitment(*kind, &salted, content);
            salted.extend_from_slice(content);
            let about = about(self.tenant, *kind, sequence);
            let sealed = self.parts.seal.seal(self.tenant, &salted, &about);
            let body = sealed.map_err(|problem| AuditError::Seal { problem })?;
            last = link(&last, &commitment, sequence);
            let body_bytes = u32::try_from(body.len()).ok().filter(|_| body.len() <= super::frame::BODY_BYTES_MAX);
            let body_bytes =
                body_bytes.ok_or_else(|| AuditError::Seal { problem: "it adds too many bytes".to_owned() })?;
            let body_checksum = crc32fast::hash(&body);
            let (kind, durable, link) = (*kind, self.sequence, last);
            let header = FrameHeader { kind, sequence, durable, commitment, link, body_bytes, body_checksum };
            bytes.extend_from_slice(&header.encode(end.mark));
            bytes.extend_from_slice(&body);
        }
        let written = end.file.write_at(end.bytes, &bytes).and_then(|()| end.file.sync());
        if let Err(source) = written {
            self.uncut = true;
            // If this fails as well, the next write begins with it.
            let _ = self.cut();
            return Err(disk("write the record")(source));
        }
        let end = self.end.as_mut().expect("it was there above");
        end.bytes += bytes.len() as u64;
        (self.sequence, self.link) = (sequence, last);
        Ok(())
    }

    /// Cuts off what a failed write left.
    fn cut(&mut self) -> Result<(), AuditError> {
        if self.uncut
            && let Some(end) = &self.end
        {
            let cut = end.file.truncate(end.bytes).and_then(|()| end.file.sync());
            cut.map_err(disk("cut off what a failed write left of the record"))?;
        }
        self.uncut = false;
        Ok(())
    }

    /// Makes sure of a file with room.
    fn roll(&mut self) -> Result<(), AuditError> {
        if self.end.as_ref().is_some_and(|end| end.bytes < self.segment_bytes) {
            return Ok(());
        }
        let mut mark = [0; 8];
        self.parts.random.fill(&[b"audit mark".as_slice(), &self.tenant.0.to_le_bytes()].concat(), &mut mark);
        let (first, mark) = (self.sequence + 1, u64::from_le_bytes(mark));
        let header = SegmentHeader { tenant: self.tenant, first, before: self.link, mark };
        let path = self.path(first);
        let make = || {
            self.parts.disk.create_dir_all(&self.folder)?;
            // One that an earlier try left has no entry.
            if self.parts.disk.exists(&path) {
                self.parts.disk.remove(&path)?;
            }
            let file: Arc<dyn DiskFile> = self.parts.disk.create(&path)?.into();
            file.write_at(0, &header.encode())?;
            file.sync()?;
            self.parts.disk.sync_dir(&self.folder)?;
            Ok(file)
        };
        let file = make().map_err(disk("begin a new file of the record"))?;
        self.segments.push(first);
        self.end = Some(End { file, mark, bytes: SegmentHeader::BYTES as u64 });
        Ok(())
    }

    /// Whether a segment is the one that is written to.
    pub(super) fn is_last(&self, first: u64) -> bool {
        self.segments.last() == Some(&first)
    }

    /// A segment's file, to be overwritten in place.
    pub(super) fn file(&self, first: u64) -> Result<Arc<dyn DiskFile>, AuditError> {
        match &self.end {
            Some(end) if self.is_last(first) => Ok(Arc::clone(&end.file)),
            _ => Ok(self.parts.disk.open(&self.path(first)).map_err(disk("open the record"))?.into()),
        }
    }
}

fn first_of(name: &Path) -> Option<u64> {
    let digits = name.to_str()?.strip_suffix(".log").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok().filter(|first| *first > 0)
}
