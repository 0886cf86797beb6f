//! Labels and vectors side by side.

use std::borrow::Cow;
use std::sync::Arc;

use ibid_core::Label;
use ndarray::{Array2, ArrayView2, Axis};
use roaring::RoaringBitmap;

use crate::graph::FrozenGraph;
use crate::unit::UnitVector;

/// Vectors that never change, sorted by label. An *ordinal* is a place in it, from 0.
#[derive(Debug)]
pub(crate) struct Segment {
    labels: Vec<Label>,
    vectors: Array2<f32>,
    graph: Option<FrozenGraph>,
}

/// Whether a run is still written, and whether it has a file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Writes may merge it with the run after it.
    Fresh,
    /// It is being merged into a sealed one; writes leave it alone but for taking labels away.
    Sealing,
    /// Merged by `maintain`; saved in a file that is written once.
    Sealed,
}

/// A segment and what is alive in it.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) segment: Arc<Segment>,
    pub(crate) live: Arc<RoaringBitmap>,
    pub(crate) stage: Stage,
}

/// Which rows of a segment a search is about.
#[derive(Debug)]
pub(crate) enum Wanted<'a> {
    /// Every row.
    All,
    /// The rows with these labels; each of them is in the segment.
    Only(Cow<'a, RoaringBitmap>),
}

impl Segment {
    /// A segment without a graph. `labels` ascend, and there is a row of `vectors`, of length one, for each.
    pub(crate) fn new(labels: Vec<Label>, vectors: Array2<f32>) -> Segment {
        debug_assert!(labels.is_sorted_by(|a, b| a < b), "labels ascend");
        debug_assert_eq!(labels.len(), vectors.nrows(), "a row for each label");
        Segment { labels, vectors, graph: None }
    }

    /// A segment of single vectors. Of several with one label the last stays.
    pub(crate) fn of(mut rows: Vec<(Label, UnitVector)>, dimension: usize) -> Segment {
        // Stable, so that the last of equal labels is the last of its group; the others are passed over.
        rows.sort_by_key(|(label, _)| *label);
        let mut labels = Vec::with_capacity(rows.len());
        let mut flat = Vec::with_capacity(rows.len() * dimension);
        for (at, (label, vector)) in rows.iter().enumerate() {
            if rows.get(at + 1).is_none_or(|(next, _)| next != label) {
                labels.push(*label);
                flat.extend_from_slice(vector.as_slice());
            }
        }
        let shape = (labels.len(), dimension);
        Segment::new(labels, Array2::from_shape_vec(shape, flat).expect("`UnitVector::of` checked each dimension"))
    }

    /// What is alive in `runs`, as one segment.
    pub(crate) fn merge<'a>(runs: impl IntoIterator<Item = &'a Run>, dimension: usize) -> Segment {
        let mut rows: Vec<(Label, &[f32])> = Vec::new();
        for run in runs {
            let segment = &*run.segment;
            rows.extend(segment.ordinals(&run.live).map(|ordinal| (segment.label(ordinal), segment.vector(ordinal))));
        }
        // A label is alive in one run at most, so no two are equal.
        rows.sort_unstable_by_key(|(label, _)| *label);
        let mut vectors = Array2::zeros((rows.len(), dimension));
        for (mut to, (_, from)) in vectors.axis_iter_mut(Axis(0)).zip(&rows) {
            to.assign(&ndarray::aview1(from));
        }
        Segment::new(rows.into_iter().map(|(label, _)| label).collect(), vectors)
    }

    /// The same segment with a graph over its rows.
    pub(crate) fn with_graph(self, graph: FrozenGraph) -> Segment {
        Segment { graph: Some(graph), ..self }
    }

    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    pub(crate) fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// One row for each label.
    pub(crate) fn vectors(&self) -> ArrayView2<'_, f32> {
        self.vectors.view()
    }

    pub(crate) fn graph(&self) -> Option<&FrozenGraph> {
        self.graph.as_ref()
    }

    pub(crate) fn label(&self, ordinal: u32) -> Label {
        self.labels[ordinal as usize]
    }

    pub(crate) fn vector(&self, ordinal: u32) -> &[f32] {
        row(self.vectors.view(), ordinal)
    }

    /// Where `label` is.
    pub(crate) fn ordinal(&self, label: Label) -> Option<u32> {
        self.labels.binary_search(&label).ok().map(|at| at as u32)
    }

    /// Where the labels of `wanted` are, ascending; labels that are not here are passed over.
    pub(crate) fn ordinals(&self, wanted: &RoaringBitmap) -> impl Iterator<Item = u32> {
        let mut from = 0;
        wanted.iter().filter_map(move |label| {
            from += gallop(&self.labels[from..], label);
            (self.labels.get(from) == Some(&label)).then_some(from as u32)
        })
    }
}

/// A row of `vectors`, which are stored row after row.
pub(crate) fn row(vectors: ArrayView2<'_, f32>, ordinal: u32) -> &[f32] {
    vectors.index_axis_move(Axis(0), ordinal as usize).to_slice().expect("a row of a matrix in row order is contiguous")
}

/// How many of `labels` are below `label`: steps that double, then halve, so that dense and sparse runs are both cheap.
fn gallop(labels: &[Label], label: Label) -> usize {
    let mut bound = 1;
    while bound < labels.len() && labels[bound - 1] < label {
        bound *= 2;
    }
    let start = bound / 2;
    start + labels[start..bound.min(labels.len())].partition_point(|one| *one < label)
}

impl Run {
    /// A run in which all of `segment` is alive.
    pub(crate) fn new(segment: Segment, stage: Stage) -> Run {
        let live = RoaringBitmap::from_sorted_iter(segment.labels.iter().copied()).expect("labels ascend");
        Run { segment: Arc::new(segment), live: Arc::new(live), stage }
    }

    /// How many vectors are alive.
    pub(crate) fn live_len(&self) -> usize {
        self.live.len() as usize
    }

    /// The rows that are alive and in `allowed`.
    pub(crate) fn wanted<'a>(&'a self, allowed: Option<&RoaringBitmap>) -> Wanted<'a> {
        match allowed {
            None if self.live_len() == self.segment.len() => Wanted::All,
            None => Wanted::Only(Cow::Borrowed(&self.live)),
            Some(allowed) => {
                let both = &*self.live & allowed;
                if both.len() as usize == self.segment.len() { Wanted::All } else { Wanted::Only(Cow::Owned(both)) }
            }
        }
    }
}

impl Wanted<'_> {
    /// How many rows of `segment` are wanted.
    pub(crate) fn len(&self, segment: &Segment) -> usize {
        match self {
            Wanted::All => segment.len(),
            Wanted::Only(labels) => labels.len() as usize,
        }
    }

    pub(crate) fn contains(&self, label: Label) -> bool {
        match self {
            Wanted::All => true,
            Wanted::Only(labels) => labels.contains(label),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn ordinals_are_where_a_search_would_find_them(
            labels in prop::collection::btree_set(0u32..300, 0..120),
            wanted in prop::collection::btree_set(0u32..300, 0..120),
        ) {
            let rows = labels.iter().map(|label| (*label, UnitVector::of(&[1.0], 1).unwrap())).collect();
            let segment = Segment::of(rows, 1);
            let found: Vec<u32> = segment.ordinals(&wanted.iter().copied().collect()).collect();
            let expected: BTreeSet<u32> = wanted.iter().filter_map(|label| segment.ordinal(*label)).collect();
            prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
