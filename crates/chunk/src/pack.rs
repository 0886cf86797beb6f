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

/// What it costs in addition to join a piece of a paragraph with its neighbours: two subjects, one of them torn.
const MIXED: u64 = 150;

impl Joint {
    /// Whether a cut here tears running text.
    fn tears(self) -> bool {
        matches!(self, Joint::Sentence | Joint::Line | Joint::Word)
    }

    /// Whether a block or a part of one ends here and another begins.
    fn bounds(self) -> bool {
        matches!(self, Joint::Section | Joint::Block | Joint::Part)
    }

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
        let mut target = Target::default();
        let torn_behind = atoms.get(end).is_some_and(|next| next.joint.tears());
        let mut holds_bounds = false;
        for start in (0..end).rev() {
            let first = &atoms[start];
            target.add(first, config);
            let length = weight(&(first.tokens.start..last.tokens.end), &(first.bytes.start..last.bytes.end));
            if length > config.tokens_max && start + 1 < end {
                break;
            }
            let cut = if start == 0 { 0 } else { first.joint.cost() };
            let torn = torn_behind || (start > 0 && first.joint.tears());
            let mixed = if torn && holds_bounds { MIXED } else { 0 };
            let cost = cut + mixed + length_cost(length, target.tokens(config), config);
            let cost = best[start].0.saturating_add(cost);
            if cost < least.0 {
                least = (cost, start);
            }
            holds_bounds |= first.joint.bounds();
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

fn length_cost(length: u32, target: u32, config: Config) -> u64 {
    let target = u64::from(target);
    let off = u64::from(length.min(config.tokens_max)).abs_diff(target);
    off * off * FAR_OFF / (target * target)
}

/// The length aimed at for a chunk: between that of running text and that of structured blocks, by its share of both.
#[derive(Default)]
struct Target {
    tokens: u64,
    /// The sum over the tokens of what each aims at.
    aims: u64,
}

impl Target {
    fn add(&mut self, atom: &Atom, config: Config) {
        let tokens = u64::from(atom.tokens.end - atom.tokens.start);
        self.tokens += tokens;
        self.aims += tokens * u64::from(config.target(atom.kind));
    }

    fn tokens(&self, config: Config) -> u32 {
        let mean = self.aims.checked_div(self.tokens).and_then(|mean| u32::try_from(mean).ok());
        mean.unwrap_or(config.tokens_target)
    }
}

/// Where a chunk of this run starts, the sentences included that it repeats.
pub(crate) fn overlapped(atoms: &[Atom], run: &Range<usize>, config: Config) -> usize {
    let end = &atoms[run.end - 1];
    let first = &atoms[run.start];
    let repeats = |&start: &usize| {
        let before = &atoms[start];
        atoms[start + 1].joint == Joint::Sentence
            && first.tokens.start - before.tokens.start <= config.overlap_tokens
            && weight(&(before.tokens.start..end.tokens.end), &(before.bytes.start..end.bytes.end)) <= config.tokens_max
    };
    (0..run.start).rev().take_while(repeats).last().unwrap_or(run.start)
}
