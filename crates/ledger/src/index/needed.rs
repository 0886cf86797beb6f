//! Which records of the log the index needs: compacting keeps those.

use super::{Index, IndexError, Owner, key, scan};
use crate::log::Needed;
use crate::{EarlierPut, Head, PartitionMark, Sequence, Version};

/// The records that what `index` says rests on. Idempotency keys of puts before `remembered_from_ms` are forgotten, and so are
/// versions whose place was taken before `retained_from_ms`.
///
/// Records that are applied meanwhile do not matter: what is not needed any more never is again.
pub(crate) fn needed(index: &dyn Index, remembered_from_ms: u64, retained_from_ms: u64) -> Result<Needed, IndexError> {
    let mut needed = Needed { up_to: super::get(index, key::APPLIED)?.unwrap_or_default(), ..Needed::default() };
    for (rest, _) in scan::<Owner>(index, key::CATALOG)? {
        needed.whole.insert(key::sequence(&rest)?.0);
    }
    for (_, deletion) in scan::<Sequence>(index, key::DELETED)? {
        if !planted!(TombstoneForgotten) {
            needed.whole.insert(deletion.0);
        }
    }
    let [heads, marks, idempotency] = key::OWNED;
    for (_, head) in scan::<Head>(index, &[heads])? {
        let retained = head.retained.iter().filter(|one| one.superseded_ms >= retained_from_ms);
        for version in head.versions().chain(retained.map(|one| &one.version)) {
            needed.whole.extend(records_of(version).map(|sequence| sequence.0));
        }
    }
    for (_, mark) in scan::<PartitionMark>(index, &[marks])? {
        needed.remainder.extend([mark.generated.0, mark.labelled.0]);
    }
    for (_, earlier) in scan::<EarlierPut>(index, &[idempotency])? {
        if earlier.put_ms >= remembered_from_ms {
            needed.remainder.insert(earlier.record.0);
        }
    }
    Ok(needed)
}

fn records_of(version: &Version) -> impl Iterator<Item = Sequence> {
    let parts = version.embedded.iter().flat_map(|embedded| &embedded.parts);
    let deleted = version.deleted.iter().filter(|_| !planted!(TombstoneForgotten));
    version.put.iter().chain(deleted).chain(&version.chunked).chain(parts).copied()
}
