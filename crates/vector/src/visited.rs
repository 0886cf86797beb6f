//! Which nodes a walk has seen.

use std::sync::{Mutex, PoisonError};

/// A set of nodes, cheap to empty again: only what was touched is cleared.
#[derive(Debug)]
pub(crate) struct Visited {
    words: Vec<u64>,
    touched: Vec<u32>,
}

impl Visited {
    pub(crate) fn new(nodes: usize) -> Visited {
        Visited { words: vec![0; nodes.div_ceil(64)], touched: Vec::new() }
    }

    /// Adds `node`; `false` if it was there.
    pub(crate) fn insert(&mut self, node: u32) -> bool {
        let (word, bit) = (&mut self.words[node as usize / 64], 1 << (node % 64));
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        self.touched.push(node);
        true
    }

    pub(crate) fn contains(&self, node: u32) -> bool {
        self.words[node as usize / 64] & (1 << (node % 64)) != 0
    }

    /// How many nodes were added.
    pub(crate) fn len(&self) -> usize {
        self.touched.len()
    }

    pub(crate) fn clear(&mut self) {
        for node in self.touched.drain(..) {
            self.words[node as usize / 64] = 0;
        }
    }
}

/// Empty sets for walks through one graph: as many as ran at once.
#[derive(Debug, Default)]
pub(crate) struct VisitedPool(Mutex<Vec<Visited>>);

impl VisitedPool {
    /// Runs `walk` with an empty set for `nodes` nodes.
    pub(crate) fn with<T>(&self, nodes: usize, walk: impl FnOnce(&mut Visited) -> T) -> T {
        let pooled = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut visited = pooled.unwrap_or_else(|| Visited::new(nodes));
        let found = walk(&mut visited);
        visited.clear();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(visited);
        found
    }
}
