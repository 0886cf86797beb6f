//! The best k seen so far.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A vector and its cosine to the query. The greater is the better one: higher cosine, then lower id. The id is an ordinal
/// or a label; within a segment both give the same order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scored {
    pub(crate) cosine: f32,
    pub(crate) id: u32,
}

impl Ord for Scored {
    fn cmp(&self, other: &Scored) -> Ordering {
        self.cosine.total_cmp(&other.cosine).then(other.id.cmp(&self.id))
    }
}
impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Scored) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Scored {
    fn eq(&self, other: &Scored) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Scored {}

/// Keeps the best `k` of what it is offered.
#[derive(Debug)]
pub(crate) struct Top {
    k: usize,
    /// The worst of the best on top.
    heap: BinaryHeap<Reverse<Scored>>,
}

impl Top {
    pub(crate) fn new(k: usize) -> Top {
        Top { k, heap: BinaryHeap::new() }
    }

    /// How many are kept at most.
    pub(crate) fn k(&self) -> usize {
        self.k
    }

    pub(crate) fn offer(&mut self, one: Scored) {
        if self.heap.len() < self.k {
            self.heap.push(Reverse(one));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && one > worst.0
        {
            // The heap is restored when `worst` is dropped.
            worst.0 = one;
        }
    }

    /// The worst that is kept, once there are `k`: only what is better is kept from then on.
    pub(crate) fn bar(&self) -> Option<Scored> {
        let full = self.heap.len() == self.k;
        self.heap.peek().filter(|_| full).map(|worst| worst.0)
    }

    /// Best first.
    pub(crate) fn into_sorted(self) -> Vec<Scored> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(one)| one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_keeps_what_sorting_would(cosines in prop::collection::vec(-3i8..3, 0..50), k in 0usize..20) {
            let all: Vec<Scored> =
                cosines.iter().zip(0..).map(|(cosine, id)| Scored { cosine: f32::from(*cosine), id }).collect();
            let mut top = Top::new(k);
            all.iter().rev().for_each(|one| top.offer(*one));
            let mut sorted = all;
            sorted.sort_by(|a, b| b.cosine.total_cmp(&a.cosine).then(a.id.cmp(&b.id)));
            sorted.truncate(k);
            prop_assert_eq!(top.into_sorted(), sorted);
        }
    }
}
