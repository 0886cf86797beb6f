//! A frozen HNSW graph (Malkov, Yashunin, TPAMI 2018) and the search through it.
//!
//! A node is an ordinal of the segment. Rows with the same vector, bit for bit, share one node, the first of them: many
//! copies of one text would otherwise link to each other only, and a walk that met them would not get out. Every node is
//! in the base layer; each upper layer holds a sample of the one below. The graph holds links only, the vectors stay in the
//! segment.

use std::collections::BinaryHeap;

use ibid_runtime::{Ctx, Stopped};
use ndarray::ArrayView2;

use crate::distance::cosine;
use crate::segment::row;
use crate::top::{Scored, Top};
use crate::unit::UnitVector;
use crate::visited::{Visited, VisitedPool};

/// Cosines computed between two looks at the context.
const BLOCK_EVALUATIONS: usize = 4_096;

/// Neighbour lists, one after the other.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Links {
    /// List `i` is `neighbours[offsets[i]..offsets[i + 1]]`.
    offsets: Vec<usize>,
    neighbours: Vec<u32>,
}

/// Lists for some nodes only.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SparseLinks {
    /// The nodes that have one, ascending.
    pub(crate) nodes: Vec<u32>,
    /// A list for each of `nodes`.
    pub(crate) links: Links,
}

/// A graph in which every row is a node that is reached from the entry point along the base layer, or the copy of one. It
/// never changes.
#[derive(Debug)]
pub(crate) struct FrozenGraph {
    parts: GraphParts,
    visited: VisitedPool,
}

/// What a graph is made of.
#[derive(Debug)]
pub(crate) struct GraphParts {
    /// A node of the top layer.
    pub(crate) entry: u32,
    /// The neighbours of every row; none for a copy.
    pub(crate) base: Links,
    /// The layers above, upwards.
    pub(crate) upper: Vec<SparseLinks>,
    /// The further rows with a node's vector.
    pub(crate) copies: SparseLinks,
}

impl Links {
    pub(crate) fn from_lists(lists: impl IntoIterator<Item = Vec<u32>>) -> Links {
        let (mut offsets, mut neighbours) = (vec![0], Vec::new());
        for list in lists {
            neighbours.extend(list);
            offsets.push(neighbours.len());
        }
        Links { offsets, neighbours }
    }

    /// How many lists.
    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(crate) fn list(&self, at: usize) -> &[u32] {
        &self.neighbours[self.offsets[at]..self.offsets[at + 1]]
    }

    pub(crate) fn lists(&self) -> impl Iterator<Item = &[u32]> {
        self.offsets.windows(2).map(|ends| &self.neighbours[ends[0]..ends[1]])
    }
}

impl SparseLinks {
    /// Lists for the nodes they stand beside, in any order.
    pub(crate) fn new(mut lists: Vec<(u32, Vec<u32>)>) -> SparseLinks {
        lists.sort_unstable_by_key(|(node, _)| *node);
        let (nodes, lists): (Vec<u32>, Vec<Vec<u32>>) = lists.into_iter().unzip();
        SparseLinks { nodes, links: Links::from_lists(lists) }
    }

    /// The list of `node`; empty if it has none.
    fn list(&self, node: u32) -> &[u32] {
        self.nodes.binary_search(&node).map_or(&[], |at| self.links.list(at))
    }

    /// Whether there is one list for each node, and all are nodes as `is_node` sees it.
    fn is_sound(&self, is_node: impl Fn(&u32) -> bool) -> bool {
        self.nodes.len() == self.links.len() && self.nodes.is_sorted_by(|a, b| a < b) && self.nodes.iter().all(is_node)
    }
}

impl FrozenGraph {
    /// Checks that `parts` are a graph which can be searched.
    ///
    /// # Errors
    /// Why they are not, in words that follow the name of what they were read from.
    pub(crate) fn new(parts: GraphParts) -> Result<FrozenGraph, &'static str> {
        let rows = parts.base.len();
        let mut reached = Visited::new(rows);
        for copy in &parts.copies.links.neighbours {
            if *copy as usize >= rows || !reached.insert(*copy) {
                return Err("has a graph with a row that is a copy twice, or does not exist");
            }
        }
        let is_node = |node: &u32| (*node as usize) < rows && !reached.contains(*node);
        if !is_node(&parts.entry) || !parts.base.neighbours.iter().all(is_node) || !parts.copies.is_sound(is_node) {
            return Err("has a graph with a link to what is not a node");
        }
        let is_layer = |layer: &SparseLinks| layer.is_sound(is_node) && layer.links.neighbours.iter().all(is_node);
        if !parts.upper.iter().all(is_layer) {
            return Err("has a graph with a layer whose nodes and lists do not match");
        }
        reach(parts.entry, |node| parts.base.list(node as usize), &mut reached);
        if reached.len() != rows {
            return Err("has a node that its graph does not reach");
        }
        Ok(FrozenGraph { parts, visited: VisitedPool::default() })
    }

    pub(crate) fn parts(&self) -> &GraphParts {
        &self.parts
    }

    /// The rows nearest to `query`, in no order, of those that `admits` lets through: the best `ef` nodes with such a row,
    /// of what the walk meets before nothing better is in sight (algorithms 2 and 5; other nodes are walked through and not
    /// kept). `None` if that took more than `evaluations_max` cosines.
    pub(crate) fn search(
        &self,
        ctx: &Ctx,
        vectors: ArrayView2<'_, f32>,
        query: &UnitVector,
        ef: usize,
        evaluations_max: usize,
        admits: impl Fn(u32) -> bool,
    ) -> Result<Option<Vec<Scored>>, Stopped> {
        let walk = Walk { ctx, vectors, query: query.as_slice(), ef, evaluations_max };
        let rows_of = |node: u32| std::iter::once(node).chain(self.parts.copies.list(node).iter().copied());
        let neighbours = |node: u32| self.parts.base.list(node as usize);
        let start = self.descend(&walk);
        let found = self.visited.with(self.parts.base.len(), |visited| {
            walk.beam(start, neighbours, |node| rows_of(node).any(&admits), visited)
        })?;
        let expand = |one: Scored| rows_of(one.id).filter(|row| admits(*row)).map(move |id| Scored { id, ..one });
        Ok(found.map(|nodes| nodes.into_sorted().into_iter().flat_map(expand).collect()))
    }

    /// Goes down the upper layers, in each to a node that has no better neighbour.
    fn descend(&self, walk: &Walk<'_>) -> u32 {
        let mut nearest = walk.score(self.parts.entry);
        for layer in self.parts.upper.iter().rev() {
            loop {
                let better = layer.list(nearest.id).iter().map(|node| walk.score(*node)).max();
                match better {
                    Some(better) if better > nearest => nearest = better,
                    Some(_) | None => break,
                }
            }
        }
        nearest.id
    }
}

/// Adds to `reached` what is reached from `start`, breadth first, not going through what was there before.
pub(crate) fn reach<'g>(start: u32, neighbours: impl Fn(u32) -> &'g [u32], reached: &mut Visited) {
    let mut frontier = Vec::from([start]);
    reached.insert(start);
    while !frontier.is_empty() {
        let from = std::mem::take(&mut frontier);
        for node in from.iter().flat_map(|node| neighbours(*node)) {
            if reached.insert(*node) {
                frontier.push(*node);
            }
        }
    }
}

/// One search through one layer.
pub(crate) struct Walk<'a> {
    pub(crate) ctx: &'a Ctx,
    pub(crate) vectors: ArrayView2<'a, f32>,
    /// Of length one.
    pub(crate) query: &'a [f32],
    /// How many admitted nodes are kept.
    pub(crate) ef: usize,
    /// Cosines after which the walk gives up.
    pub(crate) evaluations_max: usize,
}

impl Walk<'_> {
    fn score(&self, node: u32) -> Scored {
        Scored { cosine: cosine(row(self.vectors, node), self.query), id: node }
    }

    /// The best `ef` admitted nodes met on the way, or `None` if `evaluations_max` did not suffice. `visited` is empty.
    pub(crate) fn beam<'g>(
        &self,
        start: u32,
        neighbours: impl Fn(u32) -> &'g [u32],
        admits: impl Fn(u32) -> bool,
        visited: &mut Visited,
    ) -> Result<Option<Top>, Stopped> {
        let mut best = Top::new(self.ef);
        let mut candidates = BinaryHeap::new();
        let mut check_at = 0;
        let start = self.score(start);
        visited.insert(start.id);
        candidates.push(start);
        if admits(start.id) {
            best.offer(start);
        }
        while let Some(candidate) = candidates.pop() {
            if best.bar().is_some_and(|bar| candidate < bar) {
                break;
            }
            if visited.len() > self.evaluations_max {
                return Ok(None);
            }
            if visited.len() >= check_at {
                self.ctx.check()?;
                check_at = visited.len() + BLOCK_EVALUATIONS;
            }
            for node in neighbours(candidate.id) {
                if !visited.insert(*node) {
                    continue;
                }
                let scored = self.score(*node);
                if best.bar().is_none_or(|bar| scored > bar) {
                    candidates.push(scored);
                    if admits(scored.id) {
                        best.offer(scored);
                    }
                }
            }
        }
        Ok(Some(best))
    }
}
