//! What must hold, by id, and whether it does.
//!
//! The ledger is the truth: what is checked here is that all the rest follows from it. The simulation asks after each crash;
//! recovery and an operator's command ask the same. A violation names ids and documents, and never a tenant's text.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use ibid_core::{
    ChunkId, CollectionName, DocumentId, DocumentKey, Generation, Label, PartitionKey, Revision, TenantName,
};
use ibid_ledger::{Damaged, Head, Ledger, Record, Sequence};
use ibid_runtime::Ctx;
use roaring::{RoaringBitmap, RoaringTreemap};

use crate::catalog::CollectionEntry;
use crate::documents::{Cut, Documents, Entry, Version};
use crate::engine::{Engine, Shared};
use crate::error::EngineError;
use crate::partition::{State, stored};
use crate::past::Kept;
use crate::recover;

/// Something that must hold. The first letter says of what: laws for clients, views over the ledger, revisions, the index
/// over the log, writes, snapshots, progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// No reply holds anything of another tenant.
    NoOtherTenant,
    /// What was acknowledged is there after any crash.
    AckedSurvives,
    /// A version is found whole or not at all, and never two versions of a document at once.
    NoHalfDocument,
    /// What was deleted does not come back, neither with a tenant or a collection of the same name.
    NoResurrection,
    /// The index of words holds exactly the chunks of served versions.
    WordsEqualLedger,
    /// The indexes of vectors hold exactly the vectors that the ledger has of served versions.
    VectorsEqualLedger,
    /// A revision stands for one content, for good.
    RevisionNeverReused,
    /// The index over the log is what a replay of the log gives.
    IndexEqualsReplay,
    /// The documents in memory are those that opening the partition would find.
    DocumentsEqualLedger,
    /// Putting what is there already embeds nothing and writes nothing.
    UnchangedCostsNothing,
    /// A write that is repeated with its idempotency key gives the first reply and changes nothing.
    RepeatedChangesNothing,
    /// A snapshot that is there is whole, and restoring it gives what was acknowledged when it was made.
    SnapshotRestores,
    /// What cannot be done is refused with the error that says so.
    FailsAsSaid,
    /// The folder opens, reads are answered while nothing can be written, and documents reach their last stage once it can.
    GoesOn,
}

impl Invariant {
    /// Its id: lasting, for reports.
    pub fn id(self) -> &'static str {
        match self {
            Invariant::NoOtherTenant => "L1-no-other-tenant",
            Invariant::AckedSurvives => "L2-acked-survives",
            Invariant::NoHalfDocument => "L2-no-half-document",
            Invariant::NoResurrection => "L2-no-resurrection",
            Invariant::WordsEqualLedger => "V1-words-index-equals-ledger",
            Invariant::VectorsEqualLedger => "V2-vectors-equal-ledger",
            Invariant::DocumentsEqualLedger => "V3-documents-equal-ledger",
            Invariant::RevisionNeverReused => "R1-revision-never-reused",
            Invariant::IndexEqualsReplay => "I1-index-equals-replay",
            Invariant::UnchangedCostsNothing => "W1-unchanged-costs-nothing",
            Invariant::RepeatedChangesNothing => "W2-repeated-changes-nothing",
            Invariant::SnapshotRestores => "S1-snapshot-restores",
            Invariant::FailsAsSaid => "P1-fails-as-said",
            Invariant::GoesOn => "P2-goes-on",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// Where.
    pub partition: PartitionKey,
    /// The document it shows at, if it is one's.
    pub document: Option<DocumentId>,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}: {}", self.invariant, self.partition, self.what)?;
        self.document.as_ref().map_or(Ok(()), |document| write!(f, " (document {document})"))
    }
}

impl Engine {
    /// Reads the ledger from its start and looks whether all that is derived from it follows. Opens every collection. Documents
    /// that are on their way may show as violations that are none: ask while nothing is written.
    ///
    /// # Errors
    /// [`EngineError`]: the ledger cannot be read, or a collection cannot be opened.
    pub async fn violations(&self, ctx: &Ctx) -> Result<Vec<Violation>, EngineError> {
        let shared = &self.shared;
        let mut log = ReadLog::of(ctx, &shared.ledger)?;
        for (_, name, entry) in self.collections() {
            ctx.check()?;
            let state = shared.open_partition(&name, entry.clone()).await?;
            log.compare(shared, &name, &entry, &state)?;
        }
        log.compare_deleted(shared)
    }

    /// Every collection of every tenant.
    pub(crate) fn collections(&self) -> Vec<(TenantName, CollectionName, CollectionEntry)> {
        self.catalog(|catalog| {
            let tenants = catalog.tenants.iter();
            let all = tenants.flat_map(|(tenant, entry)| entry.collections.iter().map(move |one| (tenant, one)));
            all.map(|(tenant, (name, entry))| (tenant.clone(), name.clone(), entry.clone())).collect()
        })
    }
}

/// What the log says of a document, record by record.
struct Logged {
    revision: Revision,
    deleted: bool,
    /// How the newest revision was cut last: its first label, and how many chunks.
    cut: Option<(Label, usize)>,
    /// A deletion forgets it.
    id: Option<DocumentId>,
}

type LoggedPartition = BTreeMap<[u8; 16], Logged>;

/// All of the log, read without the index over it.
#[derive(Default)]
pub(crate) struct ReadLog {
    /// The records that could be read.
    pub(crate) records: RoaringTreemap,
    /// Where none could be.
    pub(crate) damaged: Vec<Damaged>,
    partitions: BTreeMap<PartitionKey, LoggedPartition>,
    found: Vec<Violation>,
}

impl ReadLog {
    /// # Errors
    /// The ledger cannot be read, or the caller's time is over.
    pub(crate) fn of(ctx: &Ctx, ledger: &Ledger) -> Result<ReadLog, EngineError> {
        let mut log = ReadLog::default();
        let mut cuts = Vec::new();
        let mut stopped = Ok(());
        let damaged = ledger.scan(Sequence(1), &mut |sequence, record| {
            log.records.insert(sequence.0);
            match record {
                Record::DocumentPut { partition, document, put } => {
                    log.note(partition, document, Some(put.id), put.revision, false);
                }
                Record::DocumentDeleted { partition, document, revision, .. } => {
                    log.note(partition, document, None, revision, true);
                }
                Record::DocumentChunked { partition, document, revision, first_label, chunks, .. } => {
                    cuts.push((partition, document, revision, (first_label, chunks.len())));
                }
                Record::FolderCreated { .. }
                | Record::TenantCreated { .. }
                | Record::TenantDeleted { .. }
                | Record::KeyCreated { .. }
                | Record::KeyRevoked { .. }
                | Record::CollectionCreated { .. }
                | Record::CollectionUpdated { .. }
                | Record::CollectionDeleted { .. }
                | Record::DocumentEmbedded { .. }
                | Record::IndexCheckpoint { .. }
                | Record::CollectionEmbedding { .. }
                | Record::PartitionMarked { .. }
                | Record::PutRemembered { .. }
                | Record::VectorsGiven { .. } => {}
            }
            stopped = ctx.check();
            if stopped.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        stopped?;
        log.damaged = damaged.map_err(EngineError::of_ledger)?;
        for (partition, document, revision, cut) in cuts {
            let document = log.partitions.get_mut(&partition).and_then(|documents| documents.get_mut(&document.0));
            if let Some(document) = document.filter(|document| document.revision == revision && !document.deleted) {
                document.cut = Some(cut);
            }
        }
        Ok(log)
    }

    fn note(
        &mut self,
        partition: PartitionKey,
        document: DocumentKey,
        id: Option<DocumentId>,
        revision: Revision,
        deleted: bool,
    ) {
        let documents = self.partitions.entry(partition).or_default();
        if let Some(earlier) = documents.get(&document.0)
            && earlier.revision >= revision
        {
            let what = "the log has two writes of one revision, or an older one after a newer one";
            let mut check = Check { key: partition, log_is_damaged: false, found: &mut self.found };
            return check.violated(Invariant::RevisionNeverReused, id.as_ref(), what);
        }
        documents.insert(document.0, Logged { revision, deleted, cut: None, id });
    }

    /// The id of a document that some record of it has.
    pub(crate) fn id_of(&self, partition: PartitionKey, document: DocumentKey) -> Option<&DocumentId> {
        self.partitions.get(&partition)?.get(&document.0)?.id.as_ref()
    }

    /// Looks whether a partition follows from it.
    ///
    /// # Errors
    /// The ledger or an index cannot be read.
    pub(crate) fn compare(
        &mut self,
        shared: &Shared,
        name: &CollectionName,
        entry: &CollectionEntry,
        state: &State,
    ) -> Result<(), EngineError> {
        let heads = shared.ledger.heads(entry.key).map_err(EngineError::of_ledger)?;
        let logged = self.partitions.remove(&entry.key).unwrap_or_default();
        let log_is_damaged = !self.damaged.is_empty();
        let mut partition = Check { key: entry.key, log_is_damaged, found: &mut self.found };
        partition.index(&logged, &heads, &self.records);
        let expected = recover::documents(shared, name, entry)?;
        let _changing = state.lock(&state.changing);
        partition.documents(shared, &expected, &state.documents());
        partition.whole(shared, &expected)?;
        partition.words(state, &expected)?;
        partition.vectors(state, &expected)
    }

    /// What no collection was compared with was deleted. All that does not hold.
    ///
    /// # Errors
    /// The ledger's index cannot be read.
    pub(crate) fn compare_deleted(mut self, shared: &Shared) -> Result<Vec<Violation>, EngineError> {
        for key in self.partitions.into_keys().filter(|key| !shared.is_in_catalog(*key)) {
            if !shared.ledger.heads(key).map_err(EngineError::of_ledger)?.is_empty() {
                let what = "the index has documents of a collection that is deleted";
                let mut check = Check { key, log_is_damaged: false, found: &mut self.found };
                check.violated(Invariant::NoResurrection, None, what);
            }
        }
        Ok(self.found)
    }
}

/// The records that an entry of the index names.
pub(crate) fn records_of(head: &Head) -> impl Iterator<Item = Sequence> {
    head.all_versions().flat_map(|version| {
        let parts = version.embedded.iter().flat_map(|embedded| &embedded.parts);
        version.put.iter().chain(&version.deleted).chain(&version.chunked).chain(parts).copied()
    })
}

/// One partition, looked at.
struct Check<'a> {
    key: PartitionKey,
    /// What the log has lost is no violation of what follows from it.
    log_is_damaged: bool,
    found: &'a mut Vec<Violation>,
}

impl Check<'_> {
    fn violated(&mut self, invariant: Invariant, document: Option<&DocumentId>, what: &'static str) {
        self.found.push(Violation { invariant, partition: self.key, document: document.cloned(), what });
    }

    /// The index over the log against the log. What of a document is damaged in the log, the index may know.
    fn index(&mut self, logged: &LoggedPartition, heads: &[(DocumentKey, Head)], records: &RoaringTreemap) {
        let heads: BTreeMap<[u8; 16], &Head> = heads.iter().map(|(key, head)| (key.0, head)).collect();
        let damage = self.log_is_damaged;
        let is_damaged = |head: &Head| damage && records_of(head).any(|record| !records.contains(record.0));
        let violated = Invariant::IndexEqualsReplay;
        for (key, document) in logged {
            if heads.get(key).is_some_and(|head| is_damaged(head)) {
                continue;
            }
            let current = heads.get(key).map(|head| &head.current);
            let id = document.id.as_ref();
            match current {
                // A deletion may be forgotten once nothing is left that it deletes.
                None if document.deleted => {}
                None => self.violated(violated, id, "the log has it, the index has not"),
                Some(current) if current.revision != document.revision => {
                    self.violated(violated, id, "the index has another revision than the log");
                }
                Some(current) if current.is_tombstone() != document.deleted => {
                    self.violated(violated, id, "deleted in one of log and index, and not in the other");
                }
                Some(current) => {
                    let cut = current.chunked.is_some().then_some((current.first_label, current.chunks as usize));
                    if cut != document.cut {
                        self.violated(violated, id, "the index has other chunks than the log");
                    }
                }
            }
        }
        if heads.iter().any(|(key, head)| !logged.contains_key(key) && !is_damaged(head)) {
            self.violated(violated, None, "the index has a document that the log has not");
        }
    }

    /// The documents in memory against those of the ledger.
    fn documents(&mut self, shared: &Shared, expected: &Documents, held: &Documents) {
        let (violated, window) = (Invariant::DocumentsEqualLedger, shared.window());
        for (key, entry) in expected.listed(None) {
            if shared.keys.document(self.key, &entry.id) != *key {
                self.violated(
                    Invariant::NoOtherTenant,
                    Some(&entry.id),
                    "it is stored under a key that is not its own",
                );
            }
            match held.entry(key) {
                None => self.violated(violated, Some(&entry.id), "the ledger has it, memory has not"),
                Some(held) if !held.versions().map(outline).eq(entry.versions().map(outline)) => {
                    self.violated(violated, Some(&entry.id), "memory has other versions than the ledger");
                }
                Some(held) if !held.kept(window).map(kept_outline).eq(entry.kept(window).map(kept_outline)) => {
                    self.violated(violated, Some(&entry.id), "memory keeps other earlier versions than the ledger");
                }
                Some(_) => {}
            }
        }
        for (_, entry) in held.listed(None).filter(|(key, _)| expected.entry(key).is_none()) {
            self.violated(Invariant::NoResurrection, Some(&entry.id), "memory has it, the ledger has not");
        }
    }

    /// Served versions: stored as they are known, and each chunk the text that its id was made from.
    fn whole(&mut self, shared: &Shared, expected: &Documents) -> Result<(), EngineError> {
        for (key, entry, version, cut) in served(expected) {
            let read = stored(&shared.ledger, version.put)
                .and_then(|stored| Ok((stored.text.unpack().map_err(EngineError::of_ledger)?, stored)));
            let (text, stored) = match read {
                Ok(read) => read,
                Err(EngineError::Damaged(_)) => {
                    self.violated(Invariant::NoHalfDocument, Some(&entry.id), "its text cannot be read");
                    continue;
                }
                Err(error) => return Err(error),
            };
            if (&stored.id, stored.revision) != (&entry.id, version.revision) {
                self.violated(Invariant::NoHalfDocument, Some(&entry.id), "another document stands in its place");
            }
            let mut occurrences: HashMap<&str, u32> = HashMap::new();
            let fits = cut.chunks.iter().all(|chunk| {
                chunk.chunk.span.quote(&text).is_some_and(|content| {
                    let occurrence = occurrences.entry(content).or_insert(0);
                    *occurrence += 1;
                    ChunkId::of(self.key, *key, content, *occurrence - 1) == chunk.id
                })
            });
            if !fits {
                self.violated(Invariant::NoHalfDocument, Some(&entry.id), "its chunks are not of its text");
            }
        }
        Ok(())
    }

    fn words(&mut self, state: &State, expected: &Documents) -> Result<(), EngineError> {
        let wanted: RoaringBitmap = served(expected).flat_map(|(.., cut)| cut.labels()).collect();
        let held = state.reading().lexical.snapshot().labels().map_err(EngineError::of_lexical)?;
        self.labels(Invariant::WordsEqualLedger, expected, &wanted, &held);
        Ok(())
    }

    fn vectors(&mut self, state: &State, expected: &Documents) -> Result<(), EngineError> {
        for (which, lane) in state.lanes().all() {
            let vectors = lane.vector.snapshot();
            let labels = |version: &Version| recover::embedded_labels(version, which);
            let wanted: RoaringBitmap = served(expected).flat_map(|(_, _, version, _)| labels(version)).collect();
            self.labels(Invariant::VectorsEqualLedger, expected, &wanted, &vectors.labels());
            for (key, entry, version, _) in served(expected) {
                let made = match recover::vectors(state, *key, version.revision, lane.version.key()) {
                    Ok(made) => made.unwrap_or_default(),
                    Err(EngineError::Damaged(_)) if self.log_is_damaged => continue,
                    Err(error) => return Err(error),
                };
                let equal = |(label, made): (Label, Vec<f32>)| {
                    vectors.vector(label).is_none_or(|held| is_one_direction(&held, &made))
                };
                if !labels(version).zip(made).all(equal) {
                    let what = "the index has another vector than the ledger";
                    self.violated(Invariant::VectorsEqualLedger, Some(&entry.id), what);
                }
            }
        }
        Ok(())
    }

    fn labels(&mut self, invariant: Invariant, expected: &Documents, wanted: &RoaringBitmap, held: &RoaringBitmap) {
        if let Some(label) = (wanted - held).min() {
            let id = expected.resolve(label).map(|(labelled, _)| labelled.id.clone());
            self.violated(invariant, id.as_ref(), "the index lacks a chunk of it");
        }
        if !(held - wanted).is_empty() {
            self.violated(invariant, None, "the index has a chunk that is not served");
        }
    }
}

/// The versions that are served.
fn served(documents: &Documents) -> impl Iterator<Item = (&DocumentKey, &Entry, &Version, &Arc<Cut>)> {
    documents.listed(None).filter_map(|(key, entry)| {
        let version = entry.served()?;
        Some((key, entry, version, version.cut.as_ref()?))
    })
}

/// What of a version follows from the ledger.
fn outline(version: &Version) -> (Revision, Option<&Cut>, u32, u32) {
    (version.revision, version.cut.as_deref(), version.embedded, version.embedded_second)
}

/// What of a version that is kept follows from the ledger.
fn kept_outline(Kept { record, .. }: &Kept) -> (Revision, Generation, u64) {
    (record.version.revision, record.until, record.superseded_ms)
}

/// Whether two vectors point the same way, but for rounding.
fn is_one_direction(one: &[f32], other: &[f32]) -> bool {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(x * y)).sum::<f64>();
    let lengths = (dot(one, one) * dot(other, other)).sqrt();
    one.len() == other.len() && dot(one, other) > lengths * (1.0 - 1e-5)
}
