//! The piece of its document that comes with a hit, told once where hits share it.

use std::collections::HashMap;
use std::ops::Range;

use ibid_core::{CollectionName, DocumentId, Hit, HitPassage, Revision};
use ibid_engine::{EngineError, Expand, Passage, Snapshot};

use crate::candidates::Candidates;

/// Bytes of a document, and the hit that they are the passage of.
type Piece = (Range<usize>, usize);

/// Gives every hit its passage. Passages of one document that overlap are merged: the hit that is ranked first has the merged
/// text, the others name its rank.
pub(crate) fn expand(
    hits: &mut [Hit],
    snapshots: &[Snapshot],
    found: &Candidates,
    expand: Expand,
) -> Result<(), EngineError> {
    let mut by_document: HashMap<(CollectionName, DocumentId, Revision), Vec<Piece>> = HashMap::new();
    for (ordinal, hit) in hits.iter().enumerate() {
        let place = &found.places[&hit.chunk];
        let bytes = snapshots[place.collection].passage_bytes(place.label, expand)?;
        let document = (hit.collection.clone(), hit.document.clone(), hit.revision);
        by_document.entry(document).or_default().push((bytes, ordinal));
    }
    for passages in by_document.into_values() {
        for (bytes, ordinals) in merged(passages) {
            let first = ordinals.iter().copied().min().unwrap_or_default();
            let place = &found.places[&hits[first].chunk];
            let Passage { span, text } = snapshots[place.collection].passage(place.label, bytes)?;
            let rank = u32::try_from(first + 1).unwrap_or(u32::MAX);
            ordinals.iter().for_each(|&ordinal| hits[ordinal].passage = Some(HitPassage::WithRank(rank)));
            hits[first].passage = Some(HitPassage::Text { span, text });
        }
    }
    Ok(())
}

/// Overlapping ranges as one, with the hits of each.
fn merged(mut passages: Vec<Piece>) -> Vec<(Range<usize>, Vec<usize>)> {
    passages.sort_by_key(|(bytes, ordinal)| (bytes.start, *ordinal));
    let mut out: Vec<(Range<usize>, Vec<usize>)> = Vec::new();
    for (bytes, ordinal) in passages {
        match out.last_mut().filter(|(last, _)| bytes.start < last.end) {
            Some((last, ordinals)) => {
                last.end = last.end.max(bytes.end);
                ordinals.push(ordinal);
            }
            None => out.push((bytes, vec![ordinal])),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_is_one_passage_and_what_touches_is_not() {
        assert_eq!(
            merged(vec![(10..20, 0), (0..5, 1), (15..30, 2), (30..40, 3)]),
            [(0..5, vec![1]), (10..30, vec![0, 2]), (30..40, vec![3]),]
        );
    }
}
