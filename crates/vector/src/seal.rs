//! Merging runs in the background.
//!
//! What is due is decided from sizes alone. Fresh runs are sealed together once they hold `seal_from` vectors; a sealed
//! segment is merged again when 30 % of it is dead, when it is large enough for a graph and has none, or when as much
//! as it holds is being merged anyhow. So sizes grow as in a binary counter: a vector is merged a logarithmic number of
//! times, and the segments without a graph hold less than about twice `graph_from` vectors together.

use std::sync::{Arc, TryLockError};

use ibid_runtime::{Ctx, Stopped};
use roaring::RoaringBitmap;

use crate::freeze::GraphBuilder;
use crate::index::lock;
use crate::segment::{Run, Segment, Stage};
use crate::{Config, VectorError, VectorIndex};

/// The share of dead rows, in percent, above which a segment is rebuilt.
const DEAD_PERCENT_MAX: usize = 30;

/// What [`VectorIndex::maintain`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Maintained {
    /// Segments made.
    pub segments: usize,
    /// Vectors in them.
    pub vectors: usize,
    /// How many of them carry a graph.
    pub graphs: usize,
}

impl VectorIndex {
    /// Merges runs and builds graphs until nothing is due. May take minutes: call it inside the compute pool. Writes and
    /// readers go on meanwhile. While another call is at work, it returns at once, having done nothing.
    ///
    /// # Errors
    /// [`VectorError::Stopped`]; what was finished before stays.
    pub fn maintain(&self, ctx: &Ctx) -> Result<Maintained, VectorError> {
        let _maintaining = match self.maintainer.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(Maintained::default()),
        };
        self.merge_while_due(ctx, DEAD_PERCENT_MAX)
    }

    /// Merges what is due, and every segment in which a vector is dead: once the index is saved, none of what was removed
    /// before this call is on the disk. Waits for a call of [`VectorIndex::maintain`] that is at work.
    ///
    /// # Errors
    /// [`VectorError::Stopped`]; what was finished before stays.
    pub fn erase(&self, ctx: &Ctx) -> Result<Maintained, VectorError> {
        let _maintaining = lock(&self.maintainer);
        self.forget_removed();
        self.merge_while_due(ctx, 0)
    }

    /// Takes what was removed out of what is in memory alone, which a save leaves out anyway.
    fn forget_removed(&self) {
        let dimension = self.config().dimension;
        self.republish(|runs| {
            for run in runs.iter_mut().filter(|run| run.stage == Stage::Fresh && run.live_len() < run.segment.len()) {
                *run = Run::new(Segment::merge([&*run], dimension), Stage::Fresh);
            }
            runs.retain(|run| run.segment.len() > 0);
        });
    }

    fn merge_while_due(&self, ctx: &Ctx, dead_percent_max: usize) -> Result<Maintained, VectorError> {
        let mut done = Maintained::default();
        while let Some(chosen) = self.choose(dead_percent_max) {
            let segment = merge(ctx, &chosen, self.config())?;
            done.segments += 1;
            done.vectors += segment.len();
            done.graphs += usize::from(segment.graph().is_some());
            self.replace(&chosen, segment);
        }
        Ok(done)
    }

    /// The runs to merge next, marked so that writes leave them alone.
    fn choose(&self, dead_percent_max: usize) -> Option<Vec<Run>> {
        self.republish(|runs| {
            let due = due(runs, self.config(), dead_percent_max);
            let chosen = due.iter().map(|at| {
                if runs[*at].stage == Stage::Fresh {
                    runs[*at].stage = Stage::Sealing;
                }
                runs[*at].clone()
            });
            Some(chosen.collect::<Vec<_>>()).filter(|chosen| !chosen.is_empty())
        })
    }

    /// Puts `segment` in the place of the runs it was merged from, less what was removed since.
    fn replace(&self, merged: &[Run], segment: Segment) {
        self.republish(|runs| {
            let is_merged = |run: &mut Run| merged.iter().any(|one| Arc::ptr_eq(&one.segment, &run.segment));
            // Labels are only ever taken away from a run, so each one that is still alive is in the merged segment.
            let mut live = RoaringBitmap::new();
            for run in runs.extract_if(.., is_merged) {
                live |= &*run.live;
            }
            if !live.is_empty() {
                runs.insert(0, Run { segment: Arc::new(segment), live: Arc::new(live), stage: Stage::Sealed });
            }
        });
    }
}

/// What is alive in `runs` as one segment, with a graph if it is large enough.
fn merge(ctx: &Ctx, runs: &[Run], config: &Config) -> Result<Segment, Stopped> {
    ctx.check()?;
    let segment = Segment::merge(runs, config.dimension);
    if segment.len() < config.graph_from {
        return Ok(segment);
    }
    let graph = GraphBuilder::build(ctx, segment.vectors(), config)?.freeze(ctx)?;
    Ok(segment.with_graph(graph))
}

/// Which of `runs` should become one segment; none if all is well.
fn due(runs: &[Run], config: &Config, dead_percent_max: usize) -> Vec<usize> {
    let of = |wanted: fn(Stage) -> bool| (0..runs.len()).filter(move |at| wanted(runs[*at].stage));
    let fresh: Vec<usize> = of(|stage| stage != Stage::Sealed).collect();
    let fresh_rows: usize = fresh.iter().map(|at| runs[*at].segment.len()).sum();
    let mut chosen = if fresh_rows >= config.seal_from { fresh } else { Vec::new() };

    let mut others: Vec<usize> = Vec::new();
    for at in of(|stage| stage == Stage::Sealed) {
        let (live, rows) = (runs[at].live_len(), runs[at].segment.len());
        let much_is_dead = (rows - live) * 100 > rows * dead_percent_max;
        let lacks_graph = live >= config.graph_from && runs[at].segment.graph().is_none();
        if much_is_dead || lacks_graph { chosen.push(at) } else { others.push(at) }
    }
    if chosen.is_empty() {
        return chosen;
    }
    let mut merged: usize = chosen.iter().map(|at| runs[*at].live_len()).sum();
    others.sort_by_key(|at| runs[*at].live_len());
    for at in others {
        if runs[at].live_len() <= merged {
            merged += runs[at].live_len();
            chosen.push(at);
        }
    }
    chosen
}
