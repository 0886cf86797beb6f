//! How a batch of writes joins the fresh runs.
//!
//! A batch becomes a run of its own, and takes in the fresh runs before it that are no larger, as a binary counter carries:
//! a vector is copied at most ten times before its run is large enough to be left alone, and there are never many small
//! runs. Nothing that a reader may hold is changed.

use std::sync::Arc;

use ibid_core::Label;

use crate::segment::{Run, Segment, Stage};

/// Live vectors above which fresh runs are no longer merged.
const FRESH_MERGED_MAX: usize = 1_024;

/// Takes `labels` out of `runs`. Runs in which nothing is alive any more go.
pub(crate) fn remove(runs: &mut Vec<Run>, labels: impl IntoIterator<Item = Label>) {
    for label in labels {
        if let Some(run) = runs.iter_mut().find(|run| run.live.contains(label)) {
            Arc::make_mut(&mut run.live).remove(label);
        }
    }
    runs.retain(|run| !run.live.is_empty());
}

/// Adds `batch`, none of whose labels is alive in `runs`.
pub(crate) fn append(runs: &mut Vec<Run>, batch: Segment, dimension: usize) {
    let mut carry = Run::new(batch, Stage::Fresh);
    while let Some(last) = runs.pop_if(|last| {
        last.stage == Stage::Fresh
            && last.live_len() <= carry.live_len()
            && last.live_len() + carry.live_len() <= FRESH_MERGED_MAX
    }) {
        carry = Run::new(Segment::merge([&last, &carry], dimension), Stage::Fresh);
    }
    if carry.segment.len() > 0 {
        runs.push(carry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::UnitVector;

    #[test]
    fn single_writes_leave_few_runs_and_no_run_is_copied_for_ever() {
        let mut runs = Vec::new();
        for label in 0..3_000 {
            append(&mut runs, Segment::of(vec![(label, UnitVector::of(&[1.0], 1).unwrap())], 1), 1);
        }
        let sizes: Vec<usize> = runs.iter().map(Run::live_len).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 3_000);
        assert!(sizes.len() <= 2 + 10 && sizes.iter().all(|size| *size <= FRESH_MERGED_MAX), "{sizes:?}");
    }
}
