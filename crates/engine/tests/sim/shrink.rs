//! A failing plan, made short.

use std::time::Duration;

use ibid_engine::Invariant;
use ibid_runtime::Clock;

use crate::plan::Op;
use crate::run::run;

/// Drops operations for as long as the rest violates the same invariant, the most of them first (Zeller, Hildebrandt,
/// "Simplifying and Isolating Failure-Inducing Input", 2002). Ends when nothing can be dropped or `time` is over.
pub(crate) fn shrink(mut plan: Vec<Op>, invariant: Invariant, clock: &dyn Clock, time: Duration) -> Vec<Op> {
    let until = clock.monotonic() + time;
    let fails_once = |plan: &[Op]| run(plan).is_err_and(|(_, failure)| failure.invariant == invariant);
    // Twice, so that what is left fails when it is run again.
    let fails = |plan: &[Op]| fails_once(plan) && fails_once(plan);
    let mut piece = plan.len().div_ceil(2);
    loop {
        let mut dropped = false;
        let mut from = 0;
        while from < plan.len() {
            if clock.monotonic() >= until {
                return plan;
            }
            let end = (from + piece).min(plan.len());
            let rest = [&plan[..from], &plan[end..]].concat();
            if fails(&rest) {
                (plan, dropped) = (rest, true);
            } else {
                from = end;
            }
        }
        match (piece, dropped) {
            (1, false) => return plan,
            (1, true) => {}
            (_, _) => piece = piece.div_ceil(2),
        }
    }
}
