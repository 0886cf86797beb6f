//! What can still be told of a damaged piece of the log.

use crate::contents::Place;
use crate::frame::RecordHeader;
use crate::ledger::Ledger;
use crate::log::{Damaged, Log};
use crate::{LedgerError, Record, RecordKind};

/// What is left where the log is damaged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Remains {
    /// The kind of record, if its header can be read, or its file's table of contents has it.
    pub kind: Option<RecordKind>,
    /// What its bytes read as all the same. It is not what was written: whoever takes something of it has to prove that.
    pub doubtful: Option<Record>,
}

impl RecordKind {
    const ALL: [RecordKind; 17] = [
        RecordKind::FolderCreated,
        RecordKind::TenantCreated,
        RecordKind::TenantDeleted,
        RecordKind::KeyCreated,
        RecordKind::KeyRevoked,
        RecordKind::CollectionCreated,
        RecordKind::CollectionUpdated,
        RecordKind::CollectionDeleted,
        RecordKind::DocumentPut,
        RecordKind::DocumentChunked,
        RecordKind::DocumentEmbedded,
        RecordKind::DocumentDeleted,
        RecordKind::IndexCheckpoint,
        RecordKind::CollectionEmbedding,
        RecordKind::PartitionMarked,
        RecordKind::PutRemembered,
        RecordKind::VectorsGiven,
    ];

    /// The kind with this number; `None` if it is none of this version's.
    pub(crate) fn of(number: u8) -> Option<RecordKind> {
        RecordKind::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// What it is of, for people.
    pub fn describe(self) -> &'static str {
        match self {
            RecordKind::FolderCreated => "the folder's first record",
            RecordKind::TenantCreated => "a tenant",
            RecordKind::TenantDeleted => "a tenant's deletion",
            RecordKind::KeyCreated => "a key",
            RecordKind::KeyRevoked => "a key's revocation",
            RecordKind::CollectionCreated => "a collection",
            RecordKind::CollectionUpdated => "a collection's settings",
            RecordKind::CollectionDeleted => "a collection's deletion",
            RecordKind::DocumentPut => "a document",
            RecordKind::DocumentChunked => "a document's chunks",
            RecordKind::DocumentEmbedded => "a document's vectors",
            RecordKind::DocumentDeleted => "a document's deletion",
            RecordKind::IndexCheckpoint => "a checkpoint of the index",
            RecordKind::CollectionEmbedding => "a collection's models",
            RecordKind::PartitionMarked => "what a collection has used up",
            RecordKind::PutRemembered => "an idempotency key",
            RecordKind::VectorsGiven => "a document's vectors",
        }
    }
}

impl Ledger {
    /// What can still be told of what stood there.
    ///
    /// # Errors
    /// [`LedgerError::Read`], [`LedgerError::Newer`], [`LedgerError::Older`].
    pub fn remains(&self, damaged: &Damaged) -> Result<Remains, LedgerError> {
        self.log().remains(damaged)
    }
}

impl Log {
    fn remains(&self, damaged: &Damaged) -> Result<Remains, LedgerError> {
        let segments = self.segments();
        let Some(segment) = segments.iter().find(|segment| segment.number == damaged.segment) else {
            return Ok(Remains::default());
        };
        let mut header = [0; RecordHeader::BYTES];
        let fits = damaged.offset + header.len() as u64 <= segment.end;
        let header = match fits {
            true => {
                segment.file.read_at(damaged.offset, &mut header).map_err(LedgerError::read("read a record"))?;
                RecordHeader::decode(&header, self.folder())?.filter(|header| header.sequence == damaged.sequence)
            }
            false => None,
        };
        let place = header.map(|header| Place::of(&header, damaged.offset));
        let place = place.or_else(|| segment.contents.find(damaged.sequence).filter(|it| it.offset == damaged.offset));
        let Some(place) = place else { return Ok(Remains::default()) };
        let kind = RecordKind::of(place.kind);
        if !segment.holds(&place) || header.is_some_and(|header| header.seal.is_some()) {
            return Ok(Remains { kind, doubtful: None });
        }
        let mut body = vec![0; place.bytes as usize - RecordHeader::BYTES];
        let start = place.offset + RecordHeader::BYTES as u64;
        segment.file.read_at(start, &mut body).map_err(LedgerError::read("read a record"))?;
        let doubtful = Record::decode(&body).filter(|record| Some(record.kind()) == kind);
        Ok(Remains { kind, doubtful })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_number() {
        for number in 0..RecordKind::ALL.len() as u8 {
            assert_eq!(RecordKind::of(number).map(|kind| kind as u8), Some(number));
        }
        assert_eq!(RecordKind::of(RecordKind::ALL.len() as u8), None);
    }
}
