//! Scan or walk: decided for each segment and search, from how many rows are wanted.
//!
//! A scan costs a cosine for each wanted row. A walk that is to keep `ef` wanted nodes must meet about `ef / share` nodes
//! when the wanted are spread evenly among the others, and looks at [`EVALUATIONS_PER_KEPT`] for each. When they are not
//! spread evenly (the wanted are far from the query) it can take any number, so that a walk that has cost as much as the
//! scan gives up and the scan takes over: a search never costs much more than twice the cheaper way, and a filter that is
//! hard for the graph costs time, not recall.

use crate::Config;
use crate::graph::FrozenGraph;

/// Cosines a walk computes for each wanted node it meets: 10 to 21 measured at `ef` 64 and 96, on 30,000 vectors of 384
/// dimensions in clusters.
const EVALUATIONS_PER_KEPT: usize = 16;

/// What a cosine costs in a walk, in cosines of a scan: rows in no order, and two heaps to keep. Measured on the same:
/// 0.20 to 0.26 µs against 0.11 µs.
const WALK_COST: usize = 2;

/// How one segment is searched.
#[derive(Debug)]
pub(crate) enum Plan<'a> {
    /// Nothing is wanted of it.
    Nothing,
    /// All that is wanted, one after the other.
    Scan,
    /// Through the graph.
    Walk {
        graph: &'a FrozenGraph,
        /// How many the walk keeps.
        ef: usize,
        /// Cosines after which it gives up.
        evaluations_max: usize,
    },
}

/// How the best `k` of `wanted` out of `rows` rows are found.
pub(crate) fn plan<'a>(
    config: &Config,
    graph: Option<&'a FrozenGraph>,
    rows: usize,
    wanted: usize,
    k: usize,
) -> Plan<'a> {
    if wanted == 0 || k == 0 {
        return Plan::Nothing;
    }
    let Some(graph) = graph else { return Plan::Scan };
    // The last of the best k are found less surely when no more than k are kept.
    let ef = config.ef_search.max(k.saturating_mul(2));
    let met = ef.saturating_mul(rows) / wanted;
    let walk_cost = met.saturating_mul(EVALUATIONS_PER_KEPT * WALK_COST);
    if walk_cost >= wanted {
        return Plan::Scan;
    }
    Plan::Walk { graph, ef, evaluations_max: wanted / WALK_COST }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{GraphParts, Links, SparseLinks};
    use crate::testing::small;

    #[track_caller]
    fn check(wanted: usize, k: usize, expected: &str) {
        let config = Config { ef_search: 96, ..small(384) };
        let base = Links::from_lists([Vec::new()]);
        let parts = GraphParts { entry: 0, base, upper: Vec::new(), copies: SparseLinks::new(Vec::new()) };
        let graph = FrozenGraph::new(parts).unwrap();
        let plan = match plan(&config, Some(&graph), 30_000, wanted, k) {
            Plan::Nothing => "nothing".to_owned(),
            Plan::Scan => "scan".to_owned(),
            Plan::Walk { ef, evaluations_max, .. } => format!("walk ef {ef} at most {evaluations_max}"),
        };
        assert_eq!(plan, expected);
    }

    #[test]
    fn few_wanted_are_scanned_and_many_are_walked_to() {
        check(30_000, 10, "walk ef 96 at most 15000");
        check(15_000, 10, "walk ef 96 at most 7500");
        check(3_000, 10, "scan");
        check(1, 10, "scan");
        check(0, 10, "nothing");
        check(30_000, 0, "nothing");
        check(30_000, 200, "walk ef 400 at most 15000");
        check(30_000, 1_000, "scan");
    }
}
