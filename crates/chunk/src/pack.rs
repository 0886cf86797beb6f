//! Atoms to chunks: the cuts that cost least in sum.
//!
//! As a paragraph is broken into lines (Knuth, Plass, "Breaking Paragraphs into Lines", 1981): a chunk costs the square of
//! its distance from the target, a cut costs what it tears apart, and dynamic programming finds the cheapest sum. Tiny
//! remainders and lone lead-ins are avoided because they are dear, without a rule for each.

use std::ops::Range;

use crate::Config;
use crate::length::weight;
use crate::split::{Atom, Joint};

/// What a chunk of no length or of twice the target costs.
const FAR_OFF: u64 = 1000;

impl Joint {
    /// What a cut here costs, in thousandths of a chunk that is the whole target too short or too long.
    fn cost(self) -> u64 {
        match self {
            Joint::Section | Joint::Block => 0,
            Joint::Part => 30,
            Joint::Sentence => 50,
            Joint::Line => 80,
            Joint::LeadIn => 200,
            Joint::Word => 300,
            // A heading alone says nothing: only where its text would not fit beside it.
            Joint::Heading => 5000,
        }
    }
}

/// The chunks, as runs of `atoms`: none empty, all of them together, none above `tokens_max` unless it is one atom.
/// Takes `atoms.len()` steps for each token of `tokens_max` at most.
pub(crate) fn pack(atoms: &[Atom], config: Config) -> Vec<Range<usize>> {
    // For each number of first atoms, the least cost of packing them and where their last chunk starts.
    let mut best: Vec<(u64, usize)> = vec![(0, 0)];
    for end in 1..=atoms.len() {
        let last = &atoms[end - 1];
        let mut least = (u64::MAX, end - 1);
        for start in (0..end).rev() {
            let first = &atoms[start];
            let length = weight(&(first.tokens.start..last.tokens.end), &(first.bytes.start..last.bytes.end));
            if length > config.tokens_max && start + 1 < end {
                break;
            }
            let cut = if start == 0 { 0 } else { first.joint.cost() };
            let cost = best[start].0.saturating_add(cut + length_cost(length, config));
            if cost < least.0 {
                least = (cost, start);
            }
        }
        best.push(least);
    }
    let mut runs = Vec::new();
    let mut end = atoms.len();
    while end > 0 {
        let start = best[end].1;
        runs.push(start..end);
        end = start;
    }
    runs.reverse();
    runs
}

fn length_cost(length: u32, config: Config) -> u64 {
    let target = u64::from(config.tokens_target);
    let off = u64::from(length.min(config.tokens_max)).abs_diff(target);
    off * off * FAR_OFF / (target * target)
}
