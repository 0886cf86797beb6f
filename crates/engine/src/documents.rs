//! A partition's documents and their versions, in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::{Bound, Range};
use std::sync::{Arc, Weak};

use ibid_core::{DocumentId, DocumentKey, Findings, Generation, Label, MediaType, Metadata, Reader, Readers, Revision};
use ibid_ledger::{Sequence, StoredChunk, StoredDocument};
use roaring::RoaringBitmap;

use crate::lanes::Which;
use crate::past::{Kept, Window};
use crate::snapshot::View;

/// How far a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// It survives a crash.
    Durable,
    /// It is found by words; a replaced one: its new version is served.
    Lexical,
    /// It is found by meaning too.
    Vector,
}

/// Chunks of equal input that are looked at for a vector.
const EQUAL_INPUTS_MAX: usize = 8;

/// How far a second model is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Chunks that the serving model has embedded.
    pub(crate) chunks: u64,
    /// Those of them that the second one has embedded too.
    pub(crate) embedded: u64,
    /// Versions of which it has some left.
    pub(crate) behind: Vec<(DocumentKey, Revision)>,
}

/// What is known of a version without reading its text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Version {
    pub(crate) revision: Revision,
    pub(crate) generation: Generation,
    pub(crate) put: Sequence,
    pub(crate) meta: Arc<Meta>,
    /// `None` until it is cut.
    pub(crate) cut: Option<Arc<Cut>>,
    /// How many of its chunks, from the first, have vectors of the serving model in the ledger.
    pub(crate) embedded: u32,
    /// How many have vectors of the second model, if there is one.
    pub(crate) embedded_second: u32,
    /// How many of its chunks the version before had too.
    pub(crate) reused: u32,
    /// Its embedding failed too often; it stays found by words.
    pub(crate) parked: bool,
}

/// A document's record apart from its text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Meta {
    pub(crate) media_type: MediaType,
    /// As the client gave it; may be empty.
    pub(crate) title: String,
    pub(crate) source_uri: String,
    pub(crate) metadata: Metadata,
    pub(crate) readers: Readers,
    pub(crate) content_hash: [u8; 32],
    pub(crate) bytes: u64,
    pub(crate) updated_ms: u64,
    /// Something of the document was in sight when it was put.
    pub(crate) replaces: bool,
    /// The document's first revision since it was made, or made anew after its deletion.
    pub(crate) first: Revision,
}

impl Meta {
    pub(crate) fn of(stored: &StoredDocument) -> Meta {
        Meta {
            media_type: stored.media_type,
            title: stored.title.clone(),
            source_uri: stored.source_uri.clone(),
            metadata: stored.metadata.clone(),
            readers: stored.readers.clone(),
            content_hash: stored.content_hash,
            bytes: u64::from(stored.text.bytes()),
            updated_ms: stored.created_ms,
            replaces: stored.retain_ms.is_some(),
            first: stored.first,
        }
    }
}

/// How a version was cut.
#[derive(Debug, PartialEq)]
pub(crate) struct Cut {
    /// The label of its first chunk; the others follow.
    pub(crate) first_label: Label,
    /// The title: the client's, or the one found in the text; may be empty.
    pub(crate) title: String,
    pub(crate) chunks: Vec<StoredChunk>,
    /// Whether the embedder reads title, headings and context with each chunk.
    pub(crate) with_context: bool,
    pub(crate) findings: Findings,
}

impl Cut {
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.chunks.len()).expect("a document of at most 64 MiB has fewer than 2^32 chunks")
    }

    pub(crate) fn labels(&self) -> Range<Label> {
        self.first_label..self.first_label + self.count()
    }
}

impl Version {
    pub(crate) fn is_complete(&self) -> bool {
        self.cut.as_ref().is_some_and(|cut| self.embedded >= cut.count())
    }

    pub(crate) fn embedded_in(&self, which: Which) -> u32 {
        match which {
            Which::Serving => self.embedded,
            Which::Second => self.embedded_second,
        }
    }

    pub(crate) fn embedded_in_mut(&mut self, which: Which) -> &mut u32 {
        match which {
            Which::Serving => &mut self.embedded,
            Which::Second => &mut self.embedded_second,
        }
    }

    /// How many chunks the second model has still to embed.
    pub(crate) fn behind(&self) -> u32 {
        self.embedded.saturating_sub(self.embedded_second)
    }

    pub(crate) fn title(&self) -> &str {
        self.cut.as_ref().map_or(&self.meta.title, |cut| &cut.title)
    }
}

/// One document: the newest durable version, and the older one that is served until that is complete.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) id: DocumentId,
    pub(crate) current: Version,
    /// Always cut.
    pub(crate) previous: Option<Version>,
    /// What was served before, newest first: [`Entry::kept`] says what of it still counts.
    pub(crate) retained: Vec<Kept>,
    /// Deletions of it that are on their way.
    pub(crate) deleting: u32,
    /// Something of it was in sight once and could not be read when the partition was opened.
    pub(crate) unsure: bool,
}

impl Entry {
    /// A document with one version.
    pub(crate) fn new(id: DocumentId, current: Version) -> Entry {
        Entry { id, current, previous: None, retained: Vec::new(), deleting: 0, unsure: false }
    }

    /// What was served before and is kept still, newest first.
    pub(crate) fn kept(&self, window: Window) -> impl Iterator<Item = &Kept> {
        self.retained.iter().take_while(move |one| window.keeps(&one.record))
    }

    /// From which generation on everything is known that was served of it.
    fn known_from(&self, window: Window) -> Generation {
        let Some(served) = self.served() else {
            // What was in sight before this version is damaged.
            let lost = self.unsure || self.current.meta.replaces;
            return if lost { Documents::NOTHING_KNOWN } else { Generation(0) };
        };
        let oldest = self.kept(window).last().map(|one| (&one.meta, one.record.version.generation));
        let (meta, generation) = oldest.unwrap_or((&served.meta, served.generation));
        if meta.replaces { generation } else { Generation(0) }
    }

    /// How long the version in sight is kept once one that is put now has taken its place, in milliseconds; `None`: nothing
    /// of it was ever in sight.
    fn retained_for(&self, window: Window) -> Option<u64> {
        let lost = self.unsure || self.current.meta.replaces;
        if self.served().is_some() { Some(window.retain_ms) } else { lost.then_some(0) }
    }

    pub(crate) fn served(&self) -> Option<&Version> {
        self.previous.as_ref().or_else(|| Some(&self.current).filter(|version| version.cut.is_some()))
    }

    /// How far the newest version is.
    pub(crate) fn stage(&self) -> Stage {
        match &self.previous {
            // Nothing of the newest version is in sight yet.
            Some(_) => Stage::Durable,
            None if self.current.is_complete() => Stage::Vector,
            None if self.current.cut.is_some() => Stage::Lexical,
            None => Stage::Durable,
        }
    }

    /// The version with this number, if it is still here.
    pub(crate) fn version(&self, revision: Revision) -> Option<&Version> {
        self.versions().find(|version| version.revision == revision)
    }

    /// The newest version, then the older one.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &Version> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    pub(crate) fn versions_mut(&mut self) -> impl Iterator<Item = &mut Version> {
        std::iter::once(&mut self.current).chain(&mut self.previous)
    }
}

/// A version whose labels the indexes of some snapshot may hold.
#[derive(Debug)]
pub(crate) struct Labelled {
    pub(crate) id: DocumentId,
    pub(crate) revision: Revision,
    pub(crate) put: Sequence,
    pub(crate) meta: Arc<Meta>,
    pub(crate) cut: Arc<Cut>,
}

/// All documents of a partition.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    entries: HashMap<DocumentKey, Entry>,
    by_id: BTreeMap<DocumentId, DocumentKey>,
    /// Documents whose newest record cannot be read: nobody knows their names, nor who may read them.
    damaged: HashSet<DocumentKey>,
    /// The highest revision given out, of deleted documents too.
    assigned: HashMap<DocumentKey, Revision>,
    /// Of documents that were deleted: the deletion's revision.
    erased: HashMap<DocumentKey, Revision>,
    /// Served versions, and retired ones that a snapshot may still name, by first label.
    labelled: BTreeMap<Label, Arc<Labelled>>,
    /// The chunks of served versions, by what the embedder reads of them: equal inputs have equal vectors.
    by_input: BTreeSet<([u8; 16], Label)>,
    /// First labels of versions that are served no more, with the number of the view they were last part of.
    retired: Vec<(u64, Label)>,
    /// The views that may be in use, oldest first; the first one's number is `views_from`.
    views: VecDeque<Weak<View>>,
    views_from: u64,
    /// Counts what was deleted.
    deletions: u64,
    pub(crate) generation: Generation,
    pub(crate) next_label: Label,
}

impl Documents {
    pub(crate) fn entry(&self, key: &DocumentKey) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(crate) fn entry_mut(&mut self, key: &DocumentKey) -> Option<&mut Entry> {
        self.entries.get_mut(key)
    }

    pub(crate) fn insert(&mut self, key: DocumentKey, entry: Entry) {
        self.note_revision(key, entry.current.revision);
        self.by_id.insert(entry.id.clone(), key);
        self.entries.insert(key, entry);
        self.damaged.remove(&key);
    }

    /// The document is there, and cannot be read.
    pub(crate) fn note_damaged(&mut self, key: DocumentKey) {
        self.damaged.insert(key);
    }

    pub(crate) fn is_damaged(&self, key: &DocumentKey) -> bool {
        self.damaged.contains(key)
    }

    pub(crate) fn damaged(&self) -> usize {
        self.damaged.len()
    }

    /// It was deleted.
    pub(crate) fn forget_damaged(&mut self, key: &DocumentKey) {
        self.damaged.remove(key);
    }

    pub(crate) fn remove(&mut self, key: &DocumentKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.by_id.remove(&entry.id);
        self.deletions += 1;
        Some(entry)
    }

    /// How many documents were deleted since the partition was opened.
    pub(crate) fn deletions(&self) -> u64 {
        self.deletions
    }

    /// Later than all: of the past nothing is known for sure.
    const NOTHING_KNOWN: Generation = Generation(u64::MAX);

    /// From which generation on everything is known that was served, but for what was deleted since. While a document is
    /// damaged nothing is: nobody knows since when it was there.
    pub(crate) fn known_from(&self, window: Window) -> Generation {
        if !self.damaged.is_empty() {
            return Documents::NOTHING_KNOWN;
        }
        self.entries.values().map(|entry| entry.known_from(window)).max().unwrap_or_default()
    }

    /// Whether a deletion of the document is on its way.
    pub(crate) fn is_ending(&self, key: &DocumentKey) -> bool {
        self.entry(key).is_some_and(|entry| entry.deleting > 0)
    }

    /// `revision` was given out: it is never given out again.
    pub(crate) fn note_revision(&mut self, key: DocumentKey, revision: Revision) {
        let highest = self.assigned.entry(key).or_insert(revision);
        *highest = revision.max(*highest);
    }

    /// A deletion of that revision was made.
    pub(crate) fn note_erased(&mut self, key: DocumentKey, revision: Revision) {
        self.erased.insert(key, revision);
    }

    /// How long the version in sight is kept once one that is put now has taken its place, in milliseconds; `None`: nothing
    /// of the document was ever in sight.
    pub(crate) fn retained_for(&self, key: &DocumentKey, window: Window) -> Option<u64> {
        match self.entry(key) {
            Some(entry) => entry.retained_for(window),
            None => self.is_damaged(key).then_some(0),
        }
    }

    /// The first revision of a document that is put now, since it was made or deleted.
    pub(crate) fn first(&self, key: &DocumentKey) -> Revision {
        let entry = self.entry(key).map(|entry| entry.current.meta.first);
        entry.unwrap_or_else(|| Revision(self.erased.get(key).map_or(1, |deletion| deletion.0 + 1)))
    }

    /// A revision and a generation for the next write of a document.
    pub(crate) fn assign(&mut self, key: DocumentKey) -> (Revision, Generation) {
        let revision = Revision(self.assigned.get(&key).map_or(1, |highest| highest.0 + 1));
        self.assigned.insert(key, revision);
        self.generation = Generation(self.generation.0 + 1);
        (revision, self.generation)
    }

    /// Labels for `count` chunks; the first one.
    pub(crate) fn assign_labels(&mut self, count: u32) -> Label {
        let first = self.next_label;
        self.next_label += count;
        first
    }

    /// Every document, by id, from the one after `after`.
    pub(crate) fn listed(&self, after: Option<&DocumentId>) -> impl Iterator<Item = (&DocumentKey, &Entry)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = self.by_id.range::<DocumentId, _>((from, Bound::Unbounded));
        keys.filter_map(|(_, key)| self.entries.get(key).map(|entry| (key, entry)))
    }

    /// From now on `version`'s labels stand for it.
    pub(crate) fn label(&mut self, id: &DocumentId, version: &Version) {
        let Some(cut) = version.cut.as_ref().filter(|cut| !cut.chunks.is_empty()) else { return };
        let labelled = Labelled {
            id: id.clone(),
            revision: version.revision,
            put: version.put,
            meta: Arc::clone(&version.meta),
            cut: Arc::clone(cut),
        };
        self.labelled.insert(cut.first_label, Arc::new(labelled));
        self.by_input.extend(cut.chunks.iter().map(|chunk| chunk.input_hash).zip(cut.labels()));
    }

    /// Served chunks of which the embedder reads the same as of a chunk of the document `id`, some of them: of that document
    /// itself, or of one that whoever may read `readers` may read too. Else the time a write takes would tell of texts that
    /// nobody of its readers may see.
    pub(crate) fn equal_inputs(&self, input: [u8; 16], id: &DocumentId, readers: &Readers) -> Vec<Label> {
        let equal = self.by_input.range((input, Label::MIN)..=(input, Label::MAX)).map(|(_, label)| *label);
        let readable = |label: &Label| {
            let labelled = self.resolve(*label).map(|(labelled, _)| labelled);
            labelled.is_some_and(|one| one.id == *id || one.meta.readers.is_open() || one.meta.readers == *readers)
        };
        equal.take(EQUAL_INPUTS_MAX).filter(readable).collect()
    }

    /// How far the second model is: chunks of which there are vectors, those of them that it has embedded too, and the
    /// versions of which some are left, oldest id first.
    pub(crate) fn second(&self) -> Progress {
        let mut progress = Progress::default();
        for (key, entry) in self.listed(None) {
            for version in entry.versions() {
                progress.chunks += u64::from(version.embedded);
                progress.embedded += u64::from(version.embedded.min(version.embedded_second));
                if version.behind() > 0 {
                    progress.behind.push((*key, version.revision));
                }
            }
        }
        progress
    }

    /// Changes every version.
    pub(crate) fn change_all(&mut self, change: impl Fn(&mut Version)) {
        self.entries.values_mut().flat_map(Entry::versions_mut).for_each(change);
    }

    /// `version` is not part of the next view.
    pub(crate) fn retire(&mut self, version: &Version) {
        // A version without chunks has no labels: the number it notes may be the next version's first.
        if let Some(cut) = version.cut.as_ref().filter(|cut| !cut.chunks.is_empty()) {
            self.retired.push((self.view_number(), cut.first_label));
            for chunk in cut.chunks.iter().map(|chunk| chunk.input_hash).zip(cut.labels()) {
                self.by_input.remove(&chunk);
            }
        }
    }

    /// The records that a question may still ask for.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = Sequence> {
        self.labelled.values().map(|labelled| labelled.put)
    }

    /// The number of the view in use.
    fn view_number(&self) -> u64 {
        self.views_from + (self.views.len() as u64).saturating_sub(1)
    }

    /// `view` is in use from now on. Forgets the labels of retired versions that no view in use can name.
    pub(crate) fn published(&mut self, view: &Arc<View>) {
        self.views.push_back(Arc::downgrade(view));
        while self.views.front().is_some_and(|oldest| oldest.strong_count() == 0) {
            self.views.pop_front();
            self.views_from += 1;
        }
        let Documents { retired, labelled, views_from, .. } = self;
        retired.retain(|(last, first_label)| {
            let in_use = last >= views_from;
            if !in_use {
                labelled.remove(first_label);
            }
            in_use
        });
    }

    /// The version and the ordinal of its chunk that `label` stands for.
    pub(crate) fn resolve(&self, label: Label) -> Option<(&Arc<Labelled>, usize)> {
        let (first, labelled) = self.labelled.range(..=label).next_back()?;
        let ordinal = (label - first) as usize;
        (ordinal < labelled.cut.chunks.len()).then_some((labelled, ordinal))
    }

    /// The labels of every served version that `reader` may read and `fulfils` holds for. While a document is replaced, both
    /// its versions must be readable: a right that was withdrawn is gone at once.
    pub(crate) fn allowed(&self, reader: &Reader, fulfils: impl Fn(&Metadata) -> bool) -> RoaringBitmap {
        let mut allowed = RoaringBitmap::new();
        for entry in self.entries.values().filter(|entry| reader.may_read(&entry.current.meta.readers)) {
            let served = entry.served().filter(|v| reader.may_read(&v.meta.readers) && fulfils(&v.meta.metadata));
            if let Some(cut) = served.and_then(|version| version.cut.as_ref()) {
                allowed.insert_range(cut.labels());
            }
        }
        allowed
    }

    /// The served versions, in the order of their documents' ids.
    pub(crate) fn served(&self) -> Vec<(DocumentKey, Version)> {
        self.listed(None).filter_map(|(key, entry)| entry.served().map(|version| (*key, version.clone()))).collect()
    }
}

/// A document, without its text.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentInfo {
    /// The client's id.
    pub id: DocumentId,
    /// Its newest revision.
    pub revision: Revision,
    /// The partition's generation when that was put.
    pub generation: Generation,
    /// How its bytes are read.
    pub media_type: MediaType,
    /// Its title; may be empty.
    pub title: String,
    /// Where it came from; may be empty.
    pub source_uri: String,
    /// Its metadata.
    pub metadata: Metadata,
    /// Who may read it.
    pub readers: Readers,
    /// Length of its text in bytes.
    pub bytes: u64,
    /// When this revision was put, milliseconds since the Unix epoch.
    pub updated_ms: u64,
    /// How far it is.
    pub stage: Stage,
    /// How many chunks it has; 0 until it is cut.
    pub chunks: u32,
    /// How many of them have vectors.
    pub chunks_embedded: u32,
    /// What was noticed while it was cut; nothing before.
    pub findings: Findings,
}

impl DocumentInfo {
    pub(crate) fn of(id: &DocumentId, version: &Version, stage: Stage) -> DocumentInfo {
        DocumentInfo {
            id: id.clone(),
            revision: version.revision,
            generation: version.generation,
            media_type: version.meta.media_type,
            title: version.title().to_owned(),
            source_uri: version.meta.source_uri.clone(),
            metadata: version.meta.metadata.clone(),
            readers: version.meta.readers.clone(),
            bytes: version.meta.bytes,
            updated_ms: version.meta.updated_ms,
            stage,
            chunks: version.cut.as_ref().map_or(0, |cut| cut.count()),
            chunks_embedded: version.embedded,
            findings: version.cut.as_ref().map(|cut| cut.findings.clone()).unwrap_or_default(),
        }
    }
}
