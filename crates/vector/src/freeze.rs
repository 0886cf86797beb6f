//! hnsw_rs builds the graph; we take it over, mend it and freeze it.
//!
//! - Vectors are inserted in a shuffled order. When a list overflows, hnsw_rs keeps the nearest, so that a cluster inserted in
//!   one go (a folder of near-equal documents) closes in on itself: 12,000 vectors in 30 tight clusters, inserted one cluster
//!   after the other, fell into 570 parts, and recall@10 at `ef` 96 was 0.83; shuffled it is 1.00.
//! - Of rows with equal vectors only the first is inserted (see `graph.rs`).
//! - hnsw_rs lists neighbours in layers where they, or the node itself, are not: those are left out.
//! - Some nodes can be reached from nowhere, also when shuffled: each is linked from the nearest node that can.
//!
//! Pruning the lists again, by algorithm 4 of Malkov and Yashunin over the links of both directions, changed neither recall
//! nor the length of walks on such data; it is not done.

use hnsw_rs::hnsw::Hnsw;
use ibid_runtime::{Ctx, Stopped};
use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::distance::CosineDistance;
use crate::graph::{FrozenGraph, GraphParts, Links, SparseLinks, Walk, reach};
use crate::segment::row;
use crate::visited::Visited;
use crate::{Build, Config};

/// hnsw_rs has no more.
const LAYERS_MAX: usize = 16;

/// Vectors inserted between two looks at the context: about a second's work.
const BLOCK_INSERTS: usize = 256;

/// A graph that may still have unreachable nodes: it cannot be searched, only frozen.
pub(crate) struct GraphBuilder<'v> {
    hnsw: Hnsw<'v, f32, CosineDistance>,
    vectors: ArrayView2<'v, f32>,
    copies: SparseLinks,
    config: Config,
}

impl<'v> GraphBuilder<'v> {
    /// Links all of `vectors`: at least one row, each of length one.
    pub(crate) fn build(ctx: &Ctx, vectors: ArrayView2<'v, f32>, config: &Config) -> Result<GraphBuilder<'v>, Stopped> {
        let (mut nodes, copies) = nodes_and_copies(vectors);
        nodes.sort_by_key(|node| shuffled(*node));
        let hnsw = Hnsw::new(config.m, nodes.len(), LAYERS_MAX, config.ef_construction, CosineDistance);
        let insert = |node: &u32| hnsw.insert_slice((row(vectors, *node), *node as usize));
        for block in nodes.chunks(BLOCK_INSERTS) {
            ctx.check()?;
            match config.build {
                Build::Serial => block.iter().for_each(insert),
                Build::Parallel => block.par_iter().for_each(insert),
            }
        }
        Ok(GraphBuilder { hnsw, vectors, copies, config: *config })
    }

    /// The graph, mended.
    pub(crate) fn freeze(self, ctx: &Ctx) -> Result<FrozenGraph, Stopped> {
        let (mut base, upper) = export(&self.hnsw, self.vectors.nrows());
        drop(self.hnsw);
        // Row 0 is the copy of none before it.
        let entry = upper.last().and_then(|layer| layer.nodes.first()).copied().unwrap_or(0);
        let linked = link_unreachable(ctx, self.vectors, entry, &mut base, &self.copies, &self.config)?;
        tracing::debug!(nodes = base.len(), linked, "a graph is frozen");
        let parts = GraphParts { entry, base: Links::from_lists(base), upper, copies: self.copies };
        Ok(FrozenGraph::new(parts).expect("every node was exported, and linked if it was not reachable"))
    }
}

/// The first row of each vector, and the further ones.
fn nodes_and_copies(vectors: ArrayView2<'_, f32>) -> (Vec<u32>, SparseLinks) {
    let bits = |ordinal: u32| row(vectors, ordinal).iter().map(|x| x.to_bits());
    let mut rows: Vec<u32> = (0..vectors.nrows() as u32).collect();
    // Stable: equal rows stay in order.
    rows.sort_by(|a, b| bits(*a).cmp(bits(*b)));
    let (mut nodes, mut copies) = (Vec::new(), Vec::new());
    for equal in rows.chunk_by(|a, b| bits(*a).eq(bits(*b))) {
        nodes.push(equal[0]);
        if equal.len() > 1 {
            copies.push((equal[0], equal[1..].to_vec()));
        }
    }
    (nodes, SparseLinks::new(copies))
}

/// A key that puts ordinals in an order without pattern, the same each time: the mixer of SplitMix64 (Steele, Lea, Flood,
/// OOPSLA 2014).
fn shuffled(ordinal: u32) -> u64 {
    let mut mixed = u64::from(ordinal).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The base layer's list of each of `rows` rows, and the upper layers. A point is in the layers up to its own level; what
/// hnsw_rs lists above that level, or lists in a layer above the neighbour's level, is left out. Its entry point is
/// private; any point of the top layer serves.
fn export(hnsw: &Hnsw<'_, f32, CosineDistance>, rows: usize) -> (Vec<Vec<u32>>, Vec<SparseLinks>) {
    let points = hnsw.get_point_indexation();
    let top = usize::from(hnsw.get_max_level_observed());
    let mut base = vec![Vec::new(); rows];
    let mut upper: Vec<Vec<(u32, Vec<u32>)>> = vec![Vec::new(); top];
    for point in (0..=top).flat_map(|level| points.get_layer_iterator(level)) {
        let node = point.get_origin_id();
        let level = usize::from(point.get_point_id().0);
        for (layer, neighbours) in point.get_neighborhood_id().into_iter().enumerate().take(level + 1) {
            let inside = neighbours.iter().filter(|neighbour| usize::from(neighbour.p_id.0) >= layer);
            let list = inside.map(|neighbour| neighbour.d_id as u32).collect();
            match layer.checked_sub(1) {
                None => base[node] = list,
                Some(above) => upper[above].push((node as u32, list)),
            }
        }
    }
    (base, upper.into_iter().map(SparseLinks::new).collect())
}

/// Links every node that the base layer does not reach from `entry`; returns how many links that took.
fn link_unreachable(
    ctx: &Ctx,
    vectors: ArrayView2<'_, f32>,
    entry: u32,
    base: &mut [Vec<u32>],
    copies: &SparseLinks,
    config: &Config,
) -> Result<usize, Stopped> {
    let links_max = 2 * config.m;
    let mut reached = Visited::new(base.len());
    let mut seen = Visited::new(base.len());
    for copy in copies.links.lists().flatten() {
        reached.insert(*copy);
    }
    reach(entry, |node| &base[node as usize], &mut reached);
    let mut linked = 0;
    for orphan in 0..base.len() as u32 {
        if reached.contains(orphan) {
            continue;
        }
        let query = row(vectors, orphan);
        let walk = Walk { ctx, vectors, query, ef: config.ef_construction, evaluations_max: usize::MAX };
        let near = walk.beam(entry, |node| &base[node as usize], |_| true, &mut seen)?;
        seen.clear();
        let near = near.expect("the walk has no limit").into_sorted();
        // The nearest with room left. There may be none; then a list grows longer than it should.
        let with_room = near.iter().find(|one| base[one.id as usize].len() < links_max);
        let from = with_room.or(near.first()).expect("the walk meets its start at least").id;
        base[from as usize].push(orphan);
        if base[orphan as usize].len() < links_max {
            base[orphan as usize].push(from);
        }
        reach(orphan, |node| &base[node as usize], &mut reached);
        linked += 1;
    }
    Ok(linked)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::scan::scan;
    use crate::segment::{Segment, Wanted};
    use crate::testing::{clustered, ctx, recall, small};
    use crate::top::Top;
    use crate::unit::UnitVector;

    fn segment(raw: Vec<(u32, Vec<f32>)>, dimension: usize) -> Segment {
        let unit = |(label, vector): (u32, Vec<f32>)| (label, UnitVector::of(&vector, dimension).unwrap());
        Segment::of(raw.into_iter().map(unit).collect(), dimension)
    }

    fn freeze(segment: &Segment, config: &Config) -> FrozenGraph {
        GraphBuilder::build(&ctx(), segment.vectors(), config).unwrap().freeze(&ctx()).unwrap()
    }

    /// `count` vectors, one kind after the other, each kind `noise` around a centre; and the centres.
    fn kinds(count: u32, kinds: u32, noise: f32) -> (Segment, Vec<UnitVector>) {
        let centres = clustered(31, kinds, 8, kinds as usize);
        let noises = clustered(35, count, 8, count as usize);
        let near = |at: u32| {
            let centre = &centres[(at * kinds / count) as usize].1;
            centre.iter().zip(&noises[at as usize].1).map(|(centre, other)| centre + noise * other).collect()
        };
        let segment = segment((0..count).map(|label| (label, near(label))).collect(), 8);
        (segment, centres.iter().map(|(_, centre)| UnitVector::of(centre, 8).unwrap()).collect())
    }

    /// Freezing panics if a node stays out of reach; without the mending, hnsw_rs leaves some behind here.
    #[test]
    fn every_node_is_reached_among_vectors_that_differ_by_rounding() {
        for build in [Build::Serial, Build::Parallel] {
            let config = Config { m: 4, ef_construction: 16, build, ..small(8) };
            for (count, noise) in [(3, 1e-6), (10, 1e-7), (40, 1e-7)] {
                freeze(&kinds(800, count, noise).0, &config);
            }
        }
    }

    #[test]
    fn many_copies_of_one_vector_are_all_found_and_do_not_hide_the_others() {
        for count in [1, 4, 40] {
            let (segment, centres) = kinds(800, count, 0.0);
            let graph = freeze(&segment, &Config { m: 4, ef_construction: 16, ..small(8) });
            for centre in &centres {
                let found = graph.search(&ctx(), segment.vectors(), centre, 10, usize::MAX, |_| true).unwrap().unwrap();
                let copies = found.iter().filter(|one| one.cosine > 0.9999).count();
                assert_eq!(copies, 800 / count as usize, "{count} kinds");
            }
        }
    }

    /// The filtered walk itself, without the planner, which would scan here.
    #[test]
    fn a_walk_finds_the_nearest_of_those_it_may_keep_in_tight_clusters_inserted_in_order() {
        const DIMENSION: usize = 16;
        let config = Config { m: 16, ef_construction: 64, ..small(DIMENSION) };
        let centres = clustered(32, 20, DIMENSION, 20);
        let noise = clustered(33, 3_020, DIMENSION, 3_020);
        let near = |at: usize| -> Vec<f32> {
            let centre = &centres[at % 3_000 / 150].1;
            centre.iter().zip(&noise[at].1).map(|(centre, noise)| centre + 0.05 * noise).collect()
        };
        let segment = segment((0..3_000).map(|at| (at, near(at as usize))).collect(), DIMENSION);
        let graph = freeze(&segment, &config);
        for step in [1, 2, 10, 50] {
            let allowed = (0..3_000).filter(|label| label % step == 0).collect();
            let wanted = Wanted::Only(Cow::Owned(allowed));
            let mut sum = 0.0;
            for at in 0..20 {
                let query = UnitVector::of(&near(at * 150), DIMENSION).unwrap();
                let mut top = Top::new(10);
                scan(&ctx(), &segment, &wanted, &query, &mut top).unwrap();
                let scored = |found: Vec<crate::top::Scored>| found.iter().map(|one| (one.id, one.cosine)).collect();
                let exact: Vec<(u32, f32)> = scored(top.into_sorted());
                let admits = |ordinal| wanted.contains(segment.label(ordinal));
                let found = graph.search(&ctx(), segment.vectors(), &query, 48, usize::MAX, admits).unwrap().unwrap();
                sum += recall(&scored(found), &exact);
            }
            assert!(sum / 20.0 >= 0.98, "one in {step}: recall@10 is {}", sum / 20.0);
        }
    }

    #[test]
    fn a_walk_gives_up_at_its_limit() {
        let segment = segment(clustered(34, 500, 8, 5), 8);
        let graph = freeze(&segment, &small(8));
        let query = UnitVector::of(&[1.0; 8], 8).unwrap();
        let search = |limit| graph.search(&ctx(), segment.vectors(), &query, 10, limit, |_| false).unwrap();
        assert!(search(50).is_none());
        assert_eq!(search(500).unwrap(), [], "nothing is admitted");
    }
}
