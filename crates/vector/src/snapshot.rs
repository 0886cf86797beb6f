//! Search over all runs.

use std::sync::Arc;

use ibid_core::Label;
use ibid_runtime::{Ctx, Stopped};
use roaring::RoaringBitmap;

use crate::planner::{Plan, plan};
use crate::segment::{Run, Wanted};
use crate::top::{Scored, Top};
use crate::unit::UnitVector;
use crate::{Config, VectorError, scan};

/// An index as it was at one moment. Clones share everything.
#[derive(Clone)]
pub struct Snapshot {
    config: Config,
    runs: Arc<Vec<Run>>,
}

impl Snapshot {
    pub(crate) fn new(config: Config, runs: Arc<Vec<Run>>) -> Snapshot {
        Snapshot { config, runs }
    }

    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// How many vectors there are.
    pub fn len(&self) -> usize {
        self.runs.iter().map(Run::live_len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many vectors were removed and still take up room in a segment.
    pub fn removed(&self) -> usize {
        self.runs.iter().map(|run| run.segment.len() - run.live_len()).sum()
    }

    /// Whether there is a vector with this label.
    pub fn contains(&self, label: Label) -> bool {
        self.runs.iter().any(|run| run.live.contains(label))
    }

    /// The labels of all vectors.
    pub fn labels(&self) -> RoaringBitmap {
        self.runs.iter().fold(RoaringBitmap::new(), |all, run| all | &*run.live)
    }

    /// The vector with this label, at length one.
    pub fn vector(&self, label: Label) -> Option<Vec<f32>> {
        let run = self.runs.iter().find(|run| run.live.contains(label))?;
        run.segment.ordinal(label).map(|ordinal| run.segment.vector(ordinal).to_vec())
    }

    /// The `k` labels whose vectors have the highest cosine to `query` (any length above zero), of those in `allowed`; of
    /// all for `None`. Highest first, equal cosines by ascending label. Exact where runs are scanned; where a graph is
    /// walked, nearly all of the best are found (see `planner.rs`).
    ///
    /// # Errors
    /// [`VectorError::Dimensions`], [`VectorError::NotFinite`], [`VectorError::Zero`] for the query, and
    /// [`VectorError::Stopped`].
    pub fn search(
        &self,
        ctx: &Ctx,
        query: &[f32],
        k: usize,
        allowed: Option<&RoaringBitmap>,
    ) -> Result<Vec<(Label, f32)>, VectorError> {
        let query = UnitVector::of(query, self.config.dimension)?;
        let mut top = Top::new(k);
        for run in self.runs.iter() {
            self.search_run(ctx, run, &query, &run.wanted(allowed), &mut top)?;
        }
        Ok(top.into_sorted().into_iter().map(|one| (one.id, one.cosine)).collect())
    }

    /// Offers the best of one run, by label, to `top`.
    fn search_run(
        &self,
        ctx: &Ctx,
        run: &Run,
        query: &UnitVector,
        wanted: &Wanted<'_>,
        top: &mut Top,
    ) -> Result<(), Stopped> {
        let segment = &*run.segment;
        match plan(&self.config, segment.graph(), segment.len(), wanted.len(segment), top.k()) {
            Plan::Nothing => Ok(()),
            Plan::Scan => scan::scan(ctx, segment, wanted, query, top),
            Plan::Walk { graph, ef, evaluations_max } => {
                let admits = |ordinal| wanted.contains(segment.label(ordinal));
                let found = graph.search(ctx, segment.vectors(), query, ef, evaluations_max, admits)?;
                let Some(found) = found else {
                    return scan::scan(ctx, segment, wanted, query, top);
                };
                for one in found {
                    top.offer(Scored { id: segment.label(one.id), ..one });
                }
                Ok(())
            }
        }
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("vectors", &self.len()).field("runs", &self.runs.len()).finish()
    }
}

#[cfg(test)]
mod tests;
