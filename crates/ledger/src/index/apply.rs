//! What a record changes in the index: the one place that says so, for writing and for replay.

use std::ops::Range;

use ibid_core::{DocumentKey, Generation, Label, PartitionKey, Revision, TenantKey};

use super::{IndexError, Overlay, Owner, key};
use crate::{
    EarlierPut, Embedded, Embedding, Head, ModelKey, PartitionMark, Record, Sequence, StoredDocument, Version,
};

/// Adds to `view` what a record changes. A record that was applied before changes nothing, and records of deleted tenants
/// and collections change nothing but that they were seen.
pub(crate) fn apply(view: &mut Overlay<'_>, sequence: Sequence, record: &Record) -> Result<(), IndexError> {
    if view.get(key::APPLIED)?.is_some_and(|applied: Sequence| applied >= sequence) {
        return Ok(());
    }
    match record {
        // It speaks of the index; it is not in it.
        Record::IndexCheckpoint { .. } => return Ok(()),
        Record::FolderCreated { .. } | Record::KeyRevoked { .. } => view.put(key::catalog(sequence), &Owner::Folder),
        Record::TenantCreated { tenant, .. } => of_tenant(view, sequence, *tenant)?,
        Record::KeyCreated { key: api_key } => match api_key.tenant {
            Some(tenant) => of_tenant(view, sequence, tenant)?,
            None => view.put(key::catalog(sequence), &Owner::Folder),
        },
        Record::CollectionCreated { partition, .. } | Record::CollectionUpdated { partition, .. } => {
            of_collection(view, sequence, *partition)?;
        }
        Record::TenantDeleted { tenant, .. } => {
            forget(view, &tenant.0.to_be_bytes())?;
            view.delete_where(key::CATALOG, |owner| match owner {
                Owner::Folder => false,
                Owner::Tenant(owner) => owner == tenant,
                Owner::Collection(owner) => owner.tenant == *tenant,
            })?;
            view.put(key::deleted_tenant(*tenant), &sequence);
        }
        Record::CollectionDeleted { partition, .. } => {
            forget(view, &partition.to_bytes())?;
            view.delete_where(key::CATALOG, |owner: &Owner| *owner == Owner::Collection(*partition))?;
            view.put(key::deleted_partition(*partition), &sequence);
        }
        Record::PartitionMarked { partition, generation, next_label } => {
            mark(view, sequence, *partition, *generation, *next_label)?;
        }
        Record::PutRemembered { partition, document, idempotency, revision, generation, put_ms } => {
            if mark(view, sequence, *partition, *generation, 0)? {
                let (document, revision, generation, put_ms) = (*document, *revision, *generation, *put_ms);
                let earlier = EarlierPut { document, revision, generation, put_ms, record: sequence };
                view.put(key::idempotency(*partition, idempotency), &earlier);
            }
        }
        Record::DocumentPut { partition, document, put: stored } => {
            if mark(view, sequence, *partition, stored.generation, 0)? {
                put(view, *partition, *document, stored, sequence)?;
            }
        }
        Record::DocumentChunked { partition, document, revision, first_label, chunks, .. } => {
            let count = u32::try_from(chunks.len()).map_err(|_| IndexError::Failed("too many chunks".to_owned()))?;
            if mark(view, sequence, *partition, Generation(0), first_label.saturating_add(count))? {
                note_lost_put(view, *partition, *document, *revision)?;
                change_version(view, *partition, *document, *revision, |version| {
                    version.chunked = Some(sequence);
                    version.chunks = count;
                    version.first_label = *first_label;
                    version.embedded.clear();
                })?;
            }
        }
        Record::DocumentEmbedded {
            partition,
            document,
            revision,
            model,
            model_revision,
            first_ordinal,
            dimension,
            vectors,
        } => {
            let count = vectors.len().checked_div(*dimension as usize).unwrap_or(0);
            let count = u32::try_from(count).map_err(|_| IndexError::Failed("too many vectors".to_owned()))?;
            let model = ModelKey::of(model, model_revision, *dimension);
            embedded(
                view,
                sequence,
                (*partition, *document, *revision),
                model,
                *first_ordinal..first_ordinal.saturating_add(count),
            )?;
        }
        Record::VectorsGiven {
            partition,
            document,
            revision,
            model,
            model_revision,
            first_ordinal,
            count,
            dimension,
        } => {
            let model = ModelKey::of(model, model_revision, *dimension);
            embedded(
                view,
                sequence,
                (*partition, *document, *revision),
                model,
                *first_ordinal..first_ordinal.saturating_add(*count),
            )?;
        }
        Record::CollectionEmbedding { partition, embedding } => {
            of_collection(view, sequence, *partition)?;
            // A second model that comes or goes on adds nothing yet; one that is gone takes its vectors along.
            if mark(view, sequence, *partition, Generation(0), 0)? && embedding.second.is_none() {
                drop_others(view, *partition, embedding)?;
            }
        }
        Record::DocumentDeleted { partition, document, revision, generation, .. } => {
            if mark(view, sequence, *partition, *generation, 0)? {
                let place = key::head(*partition, *document);
                let known: Option<Head> = view.get(&place)?;
                let revision = known.map_or(*revision, |head| head.current.revision.max(*revision));
                let current =
                    Version { put: None, deleted: Some(sequence), ..version(revision, *generation, sequence) };
                // It is in no past either.
                view.put(place, &Head { current, previous: None, retained: Vec::new() });
            }
        }
    }
    view.put(key::APPLIED.to_vec(), &sequence);
    Ok(())
}

/// Notes in the partition's mark what a write used up. `false` if the partition or its tenant is deleted.
fn mark(
    view: &mut Overlay<'_>,
    sequence: Sequence,
    partition: PartitionKey,
    generation: Generation,
    next_label: Label,
) -> Result<bool, IndexError> {
    if is_deleted(view, partition)? {
        return Ok(false);
    }
    let place = key::mark(partition);
    let known: PartitionMark = view.get(&place)?.unwrap_or_default();
    let mark = PartitionMark {
        generation: known.generation.max(generation),
        next_label: known.next_label.max(next_label),
        generated: if generation > known.generation { sequence } else { known.generated },
        labelled: if next_label > known.next_label { sequence } else { known.labelled },
    };
    if mark != known {
        view.put(place, &mark);
    }
    Ok(true)
}

fn is_deleted(view: &Overlay<'_>, partition: PartitionKey) -> Result<bool, IndexError> {
    Ok(view.has(&key::deleted_partition(partition))? || view.has(&key::deleted_tenant(partition.tenant))?)
}

/// Notes a tenant's record in the catalog, unless the tenant is deleted.
fn of_tenant(view: &mut Overlay<'_>, sequence: Sequence, tenant: TenantKey) -> Result<(), IndexError> {
    if !view.has(&key::deleted_tenant(tenant))? {
        view.put(key::catalog(sequence), &Owner::Tenant(tenant));
    }
    Ok(())
}

/// Notes a collection's record in the catalog, unless the collection is deleted.
fn of_collection(view: &mut Overlay<'_>, sequence: Sequence, partition: PartitionKey) -> Result<(), IndexError> {
    if !is_deleted(view, partition)? {
        view.put(key::catalog(sequence), &Owner::Collection(partition));
    }
    Ok(())
}

fn put(
    view: &mut Overlay<'_>,
    partition: PartitionKey,
    document: DocumentKey,
    stored: &StoredDocument,
    sequence: Sequence,
) -> Result<(), IndexError> {
    let (revision, generation) = (stored.revision, stored.generation);
    if let Some(hash) = &stored.idempotency {
        let earlier = EarlierPut { document, revision, generation, put_ms: stored.created_ms, record: sequence };
        view.put(key::idempotency(partition, hash), &earlier);
    }
    let (put_ms, retain_ms) = (stored.created_ms, stored.retain_ms);
    follow(view, partition, document, Version { put_ms, retain_ms, ..version(revision, generation, sequence) })
}

/// A version that is newer than those there are.
fn follow(
    view: &mut Overlay<'_>,
    partition: PartitionKey,
    document: DocumentKey,
    current: Version,
) -> Result<(), IndexError> {
    let place = key::head(partition, document);
    let head = match view.get::<Head>(&place)? {
        // Written after the revision that supersedes it.
        Some(head) if head.current.revision >= current.revision => return Ok(()),
        Some(head) => head.followed_by(current),
        None => Head { current, previous: None, retained: Vec::new() },
    };
    view.put(place, &head);
    Ok(())
}

/// A version of which only the document itself is there.
fn version(revision: Revision, generation: Generation, put: Sequence) -> Version {
    Version {
        revision,
        generation,
        put: Some(put),
        deleted: None,
        chunked: None,
        chunks: 0,
        first_label: 0,
        embedded: Vec::new(),
        put_ms: 0,
        retain_ms: None,
    }
}

/// Chunks are of a revision that the log does not have: the document's own is damaged, or was compacted away because
/// a still later one takes its place. It is not forgotten, and no older revision is served in its place.
fn note_lost_put(
    view: &mut Overlay<'_>,
    partition: PartitionKey,
    document: DocumentKey,
    revision: Revision,
) -> Result<(), IndexError> {
    // Nobody knows whether it replaced something: if a later version did, that one still does.
    let lost = Version { retain_ms: Some(0), ..version(revision, Generation(0), Version::LOST) };
    follow(view, partition, document, lost)
}

/// Notes that a revision's chunks of these ordinals have vectors.
fn embedded(
    view: &mut Overlay<'_>,
    sequence: Sequence,
    (partition, document, revision): (PartitionKey, DocumentKey, Revision),
    model: ModelKey,
    ordinals: Range<u32>,
) -> Result<(), IndexError> {
    if mark(view, sequence, partition, Generation(0), 0)? {
        let count = ordinals.end.saturating_sub(ordinals.start);
        change_version(view, partition, document, revision, |version| {
            add_part(version, model, ordinals.start, count, sequence);
        })?;
    }
    Ok(())
}

/// Notes vectors of `count` chunks. A part twice, or of chunks that were replaced meanwhile, adds nothing.
fn add_part(version: &mut Version, model: ModelKey, first_ordinal: u32, count: u32, part: Sequence) {
    let known = version.embedded_by(model).map_or(0, |embedded| embedded.chunks);
    let follows = version.chunked.is_some() && first_ordinal == known;
    if !follows || !(1..=version.chunks - known).contains(&count) {
        return;
    }
    match version.embedded.iter_mut().find(|embedded| embedded.model == model) {
        Some(embedded) => {
            embedded.parts.push(part);
            embedded.chunks += count;
        }
        None => version.embedded.push(Embedded { model, parts: vec![part], chunks: count }),
    }
}

/// Forgets the vectors of every model but the one that is served.
fn drop_others(view: &mut Overlay<'_>, partition: PartitionKey, embedding: &Embedding) -> Result<(), IndexError> {
    let serving = embedding.serving.key();
    view.change_prefix(&key::heads(partition), |head: &mut Head| {
        for version in head.all_versions_mut() {
            version.embedded.retain(|embedded| embedded.model == serving);
        }
    })
}

/// Changes the version of that revision, if it is still of use. Once the current one is complete, the previous one is not.
fn change_version(
    view: &mut Overlay<'_>,
    partition: PartitionKey,
    document: DocumentKey,
    revision: Revision,
    change: impl FnOnce(&mut Version),
) -> Result<(), IndexError> {
    let place = key::head(partition, document);
    let Some(mut head) = view.get::<Head>(&place)? else { return Ok(()) };
    let versions = std::iter::once(&mut head.current).chain(&mut head.previous);
    let mut of_revision = versions.filter(|version| version.revision == revision && !version.is_tombstone());
    match of_revision.next() {
        Some(version) => change(version),
        None => return Ok(()),
    }
    if let Some(previous) = head.previous.as_mut().filter(|previous| previous.is_complete()) {
        // As a replay finds it of which the versions between were compacted away: there it is complete before the next one comes.
        previous.deleted = None;
        head.current.deleted = None;
    }
    if head.current.is_complete() {
        head.completed();
    }
    view.put(place, &head);
    Ok(())
}

fn forget(view: &mut Overlay<'_>, owner: &[u8]) -> Result<(), IndexError> {
    key::OWNED.iter().try_for_each(|first| view.delete_prefix(&[&[*first], owner].concat()))
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use ibid_core::{CollectionKey, Findings, ModelId};
    use proptest::prelude::*;

    use super::super::{Index, MemoryIndex, digest, get};
    use super::*;
    use crate::record::strategy;
    use crate::{ModelVersion, SecondModel, SecondRole};

    /// Applies `records` from sequence 1 on, `batch` of them at a time.
    fn replay(index: &dyn Index, records: &[Record], batch: usize) {
        let numbered: Vec<(Sequence, &Record)> = (1..).map(Sequence).zip(records).collect();
        for part in numbered.chunks(batch) {
            let mut view = Overlay::new(index);
            for (sequence, record) in part {
                apply(&mut view, *sequence, record).unwrap();
            }
            view.commit().unwrap();
        }
    }

    proptest! {
        #[test]
        fn replay_twice_is_replay_once_whatever_the_batches(
            records in prop::collection::vec(strategy::record(), 0..60),
            batch in 1..9usize,
        ) {
            let (once, twice) = (MemoryIndex::default(), MemoryIndex::default());
            replay(&once, &records, 1);
            replay(&twice, &records, batch);
            prop_assert_eq!(digest(&once).unwrap(), digest(&twice).unwrap());
            replay(&twice, &records, batch);
            prop_assert_eq!(digest(&once).unwrap(), digest(&twice).unwrap());
        }
    }

    const DOCUMENT: DocumentKey = DocumentKey([1; 16]);

    fn here() -> PartitionKey {
        PartitionKey { tenant: TenantKey(1), collection: CollectionKey(1) }
    }

    fn put(revision: u64) -> Record {
        let put = Box::new(strategy::stored(revision, "text", Some([7; 16])));
        Record::DocumentPut { partition: here(), document: DOCUMENT, put }
    }

    fn chunked(revision: u64, labels: std::ops::Range<u32>) -> Record {
        Record::DocumentChunked {
            partition: here(),
            document: DOCUMENT,
            revision: Revision(revision),
            chunker: String::new(),
            first_label: labels.start,
            title: String::new(),
            chunks: strategy::chunks(labels.end - labels.start),
            with_context: true,
            findings: Findings::default(),
        }
    }

    fn embedded(revision: u64, ordinals: RangeInclusive<u32>) -> Record {
        embedded_by("old", revision, ordinals)
    }

    fn embedded_by(weights: &str, revision: u64, ordinals: RangeInclusive<u32>) -> Record {
        Record::DocumentEmbedded {
            partition: here(),
            document: DOCUMENT,
            revision: Revision(revision),
            model: ModelId::new("model").unwrap(),
            model_revision: weights.to_owned(),
            first_ordinal: *ordinals.start(),
            dimension: 2,
            vectors: vec![0.0; 2 * ordinals.count()],
        }
    }

    fn model(weights: &str) -> ModelVersion {
        ModelVersion { id: ModelId::new("model").unwrap(), revision: weights.to_owned(), dimension: 2 }
    }

    fn serving(weights: &str, second: Option<&str>) -> Record {
        let second = second.map(|weights| SecondModel { model: model(weights), role: SecondRole::Kept, since_ms: 0 });
        let embedding = Embedding { serving: model(weights), since: Generation(0), second };
        Record::CollectionEmbedding { partition: here(), embedding }
    }

    fn deleted(revision: u64) -> Record {
        Record::DocumentDeleted {
            partition: here(),
            document: DOCUMENT,
            revision: Revision(revision),
            generation: Generation(99),
            deleted_ms: 0,
        }
    }

    /// `expected`: revision, chunks with a vector of chunks, of the current version and of the one before.
    #[track_caller]
    fn check(records: &[Record], expected: &[(u64, u32, u32)]) {
        let index = MemoryIndex::default();
        replay(&index, records, 1);
        let head: Head = get(&index, &key::head(here(), DOCUMENT)).unwrap().unwrap();
        let versions = std::iter::once(head.current).chain(head.previous);
        let embedded = |one: &Version| one.embedded_by(model("old").key()).map_or(0, |embedded| embedded.chunks);
        let found: Vec<_> = versions.map(|one| (one.revision.0, embedded(&one), one.chunks)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_old_revision_is_kept_until_the_new_one_is_complete() {
        let complete = [put(1), chunked(1, 0..3), embedded(1, 0..=1), embedded(1, 2..=2)];
        check(&complete, &[(1, 3, 3)]);
        let replaced = [&complete[..], &[put(2)]].concat();
        check(&replaced, &[(2, 0, 0), (1, 3, 3)]);
        let cut = [&replaced[..], &[chunked(2, 3..5), embedded(2, 0..=0)]].concat();
        check(&cut, &[(2, 1, 2), (1, 3, 3)]);
        check(&[&cut[..], &[embedded(2, 1..=1)]].concat(), &[(2, 2, 2)]);
        // An incomplete one in between is not worth keeping; a complete one is.
        check(&[&cut[..], &[put(3)]].concat(), &[(3, 0, 0), (1, 3, 3)]);
        check(&[&replaced[..], &[deleted(3)]].concat(), &[(3, 0, 0)]);
        check(&[&replaced[..], &[deleted(3), put(4)]].concat(), &[(4, 0, 0)]);
    }

    /// A version that is complete, put at `created_ms`, which keeps the one before for `retain_ms`.
    fn complete(revision: u64, created_ms: u64, retain_ms: Option<u64>) -> [Record; 3] {
        let put = StoredDocument { created_ms, retain_ms, ..strategy::stored(revision, "text", None) };
        let put = Record::DocumentPut { partition: here(), document: DOCUMENT, put: Box::new(put) };
        [put, chunked(revision, 0..1), embedded(revision, 0..=0)]
    }

    /// `expected`: revision, generation that took its place, and when, of the versions that are kept.
    #[track_caller]
    fn kept(records: &[Record], expected: &[(u64, u64, u64)]) {
        let index = MemoryIndex::default();
        replay(&index, records, 2);
        let head: Head = get(&index, &key::head(here(), DOCUMENT)).unwrap().unwrap();
        let found: Vec<_> =
            head.retained.iter().map(|one| (one.version.revision.0, one.until.0, one.superseded_ms)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_version_that_was_served_is_kept_as_long_as_the_one_in_its_place_says() {
        let (one, two) = (complete(1, 100, None), complete(2, 200, Some(50)));
        kept(&[&one[..], &two[..2]].concat(), &[]);
        let both = [&one[..], &two].concat();
        kept(&both, &[(1, 12, 200)]);
        // One that was never in sight is in no past, and hides none.
        let unseen = [&both[..], &complete(3, 210, Some(50))[..1], &complete(4, 220, Some(50))].concat();
        kept(&unseen, &[(2, 14, 220), (1, 12, 200)]);
        // Nor does what compaction leaves of it.
        let left = [&both[..], &complete(3, 210, Some(50))[1..2], &complete(4, 220, Some(50))].concat();
        kept(&left, &[(2, 14, 220), (1, 12, 200)]);

        kept(&[&both[..], &complete(3, 250, Some(50))].concat(), &[(2, 13, 250), (1, 12, 200)]);
        kept(&[&both[..], &complete(3, 251, Some(50))].concat(), &[(2, 13, 251)]);
        kept(&[&both[..], &complete(3, 201, Some(0))].concat(), &[]);
        kept(&[&both[..], &[deleted(3)]].concat(), &[]);
        // What a deletion left in the log is not there for the document that was made anew.
        kept(&[&both[..], &complete(4, 300, None), &complete(5, 310, Some(50))].concat(), &[(4, 15, 310)]);
    }

    #[test]
    fn a_document_of_which_only_later_records_are_left_is_not_forgotten() {
        check(&[chunked(1, 0..2), embedded(1, 0..=1)], &[(1, 2, 2)]);
        let complete = [put(1), chunked(1, 0..1), embedded(1, 0..=0)];
        check(&[&complete[..], &[chunked(2, 1..3)]].concat(), &[(2, 0, 2), (1, 1, 1)]);
        // Compacting may leave chunks of a version that another one has replaced before it was complete.
        check(&[&complete[..], &[chunked(2, 1..3), put(3)]].concat(), &[(3, 0, 0), (1, 1, 1)]);
        check(&[chunked(1, 0..2), embedded(1, 0..=1), put(2)], &[(2, 0, 0)]);
        check(&[chunked(2, 1..3), deleted(3)], &[(3, 0, 0)]);
        check(&[deleted(3), chunked(2, 1..3)], &[(3, 0, 0)]);
    }

    #[test]
    fn a_part_that_does_not_follow_adds_nothing() {
        let start = [put(2), chunked(2, 0..2)];
        for stray in [embedded(2, 1..=1), embedded(1, 0..=0), embedded(2, 0..=2), chunked(1, 0..3), put(1)] {
            check(&[&start[..], &[stray]].concat(), &[(2, 0, 2)]);
        }
        check(&[&start[..], &[embedded(2, 0..=0), embedded(2, 0..=0)]].concat(), &[(2, 1, 2)]);
        // Cut again, its vectors are to be made again.
        check(&[&start[..], &[embedded(2, 0..=0), chunked(2, 2..5)]].concat(), &[(2, 0, 3)]);
    }

    #[test]
    fn a_second_models_vectors_stand_beside_the_first_ones_until_one_of_both_is_dropped() {
        let both = [
            put(1),
            chunked(1, 0..2),
            serving("old", Some("new")),
            embedded(1, 0..=1),
            embedded_by("new", 1, 0..=0),
            embedded_by("new", 1, 1..=1),
        ];
        #[track_caller]
        fn parts(records: &[Record], expected: &[(&str, usize)]) {
            let index = MemoryIndex::default();
            replay(&index, records, 2);
            let head: Head = get(&index, &key::head(here(), DOCUMENT)).unwrap().unwrap();
            let found: Vec<_> = head.current.embedded.iter().map(|one| (one.model, one.parts.len())).collect();
            let expected: Vec<_> = expected.iter().map(|(weights, parts)| (model(weights).key(), *parts)).collect();
            assert_eq!(found, expected);
        }
        parts(&both, &[("old", 1), ("new", 2)]);
        parts(&[&both[..], &[serving("new", Some("old"))]].concat(), &[("old", 1), ("new", 2)]);
        parts(&[&both[..], &[serving("old", None)]].concat(), &[("old", 1)]);
        parts(&[&both[..], &[serving("new", None)]].concat(), &[("new", 2)]);
    }

    #[test]
    fn a_mark_only_rises_and_a_deleted_collection_stays_deleted() {
        let index = MemoryIndex::default();
        let end = Record::CollectionDeleted { partition: here(), deleted_ms: 0 };
        let records = [put(3), chunked(3, 4..9), put(4), chunked(4, 0..1), end, put(5), chunked(5, 9..10)];
        replay(&index, &records[..4], 4);
        let mark: PartitionMark = get(&index, &key::mark(here())).unwrap().unwrap();
        let expected =
            PartitionMark { generation: Generation(14), next_label: 9, generated: Sequence(3), labelled: Sequence(2) };
        assert_eq!(mark, expected);
        let earlier: EarlierPut = get(&index, &key::idempotency(here(), &[7; 16])).unwrap().unwrap();
        assert_eq!((earlier.document, earlier.revision), (DOCUMENT, Revision(4)));

        replay(&index, &records, 7);
        for gone in [key::mark(here()), key::head(here(), DOCUMENT), key::idempotency(here(), &[7; 16])] {
            assert_eq!(index.get(&gone).unwrap(), None);
        }
    }
}
