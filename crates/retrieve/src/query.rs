//! A valid query.

use std::time::Duration;

use ibid_core::{Filter, Floor, Generation};
use ibid_engine::{Expand, Invalid};

/// Which arms look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// By words and by meaning, fused.
    Hybrid,
    /// By words only.
    Lexical,
    /// By meaning only.
    Vector,
}

impl Mode {
    /// Whether words are looked for.
    pub fn by_words(self) -> bool {
        matches!(self, Mode::Hybrid | Mode::Lexical)
    }

    /// Whether meaning is looked for.
    pub fn by_meaning(self) -> bool {
        matches!(self, Mode::Hybrid | Mode::Vector)
    }
}

/// How ranked lists become one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fusion {
    /// The constant in `weight / (k + rank)`, above 0.
    pub k: f32,
    /// Weight of the list by words.
    pub lexical_weight: f32,
    /// Weight of the list by meaning.
    pub vector_weight: f32,
}

impl Default for Fusion {
    /// The published constant, both arms alike.
    fn default() -> Fusion {
        Fusion { k: 60.0, lexical_weight: 1.0, vector_weight: 1.0 }
    }
}

/// How the head of the fused list is scored again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rerank {
    /// Not at all.
    Off,
    /// By the cross-encoders.
    Top {
        /// How many are scored, from the first.
        depth: usize,
        /// Share of the relevance in the mixed score, 0 to 1.
        weight: f32,
        /// Time for it; what is not scored by then counts as not relevant. `None`: until the deadline.
        budget: Option<Duration>,
    },
}

impl Rerank {
    /// The relevance's share where a request does not say.
    pub const WEIGHT: f32 = 0.7;
}

/// What is looked for, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// The question. May be empty with a vector and [`Mode::Vector`].
    pub question: String,
    /// A vector to search by in place of the question's own.
    pub vector: Option<Vec<f32>>,
    /// Which arms look.
    pub mode: Mode,
    /// How many hits.
    pub top_k: usize,
    /// How much the text around a chunk counts in its meaning, 0 to 1: the weight of the vectors of the chunks beside it, before
    /// it falls with their distance. [`Query::NEIGHBOUR_WEIGHT`] where a request does not say.
    pub neighbour_weight: f32,
    /// How many candidates each arm gives; fewer than `top_k` counts as `top_k`.
    pub candidates: usize,
    /// How the arms' lists are fused.
    pub fusion: Fusion,
    /// How the head is scored again.
    pub rerank: Rerank,
    /// Only documents that fulfil it.
    pub filter: Option<Filter>,
    /// Hits below are left out.
    pub floor: Floor,
    /// The generation of the one collection that is searched; `None`: the present one.
    pub generation: Option<Generation>,
    /// How much of its document comes with a hit.
    pub expand: Expand,
    /// What becomes of chunks that say the same.
    pub duplicates: Duplicates,
}

/// What becomes of chunks that say the same in nearly the same words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// The best one is a hit and names the others.
    Collapse,
    /// Each is a hit by itself.
    Keep,
}

impl Query {
    /// The longest question, in bytes.
    pub const QUESTION_BYTES_MAX: usize = 8_192;
    /// The most hits, and candidates an arm.
    pub const HITS_MAX: usize = 1_000;
    /// The deepest rerank.
    pub const RERANK_MAX: usize = 200;
    /// How much a neighbour counts where a request does not say; docs/chunking.md has what it is worth.
    pub const NEIGHBOUR_WEIGHT: f32 = 0.35;

    /// Whether hits may be left out, so that what stands below moves up.
    pub(crate) fn is_floored(&self) -> bool {
        self.floor != Floor::default()
    }

    /// Checks everything that does not depend on a collection. Fields are named as in the API.
    ///
    /// # Errors
    /// [`Invalid`], the first one found.
    pub fn validate(&self) -> Result<(), Invalid> {
        let by_vector_alone = self.vector.is_some() && self.mode == Mode::Vector;
        if self.question.trim().is_empty() && !by_vector_alone {
            return Err(Invalid::new("question", "is empty, expected text"));
        }
        if self.question.len() > Query::QUESTION_BYTES_MAX {
            let problem = format!("has {} bytes, expected at most {}", self.question.len(), Query::QUESTION_BYTES_MAX);
            return Err(Invalid::new("question", problem));
        }
        within("settings.top_k", self.top_k, 1, Query::HITS_MAX)?;
        within("settings.candidates", self.candidates, 1, Query::HITS_MAX)?;
        real("settings.neighbour_weight", self.neighbour_weight, 0.0, 1.0)?;
        real("settings.fusion.k", self.fusion.k, f32::MIN_POSITIVE, 10_000.0)?;
        real("settings.fusion.lexical_weight", self.fusion.lexical_weight, 0.0, 100.0)?;
        real("settings.fusion.vector_weight", self.fusion.vector_weight, 0.0, 100.0)?;
        if let Rerank::Top { depth, weight, .. } = self.rerank {
            within("settings.rerank.depth", depth, 1, Query::RERANK_MAX)?;
            real("settings.rerank.weight", weight, 0.0, 1.0)?;
        }
        if let Some(filter) = &self.filter {
            filter.validate().map_err(|error| Invalid::new("settings.filter", error))?;
        }
        Ok(())
    }
}

fn within(field: &str, given: usize, min: usize, max: usize) -> Result<(), Invalid> {
    let fits = (min..=max).contains(&given);
    fits.then_some(()).ok_or_else(|| Invalid::new(field, format!("is {given}, expected {min} to {max}")))
}

fn real(field: &str, given: f32, min: f32, max: f32) -> Result<(), Invalid> {
    let fits = given >= min && given <= max;
    fits.then_some(()).ok_or_else(|| Invalid::new(field, format!("is {given}, expected {min} to {max}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> Query {
        Query {
            question: "how?".to_owned(),
            vector: None,
            mode: Mode::Hybrid,
            top_k: 10,
            neighbour_weight: Query::NEIGHBOUR_WEIGHT,
            candidates: 50,
            fusion: Fusion::default(),
            rerank: Rerank::Off,
            filter: None,
            floor: Floor::default(),
            generation: None,
            expand: Expand::None,
            duplicates: Duplicates::Collapse,
        }
    }

    #[track_caller]
    fn refused(query: Query, field: &str) {
        assert_eq!(query.validate().unwrap_err().field, field);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_field() {
        query().validate().unwrap();
        refused(Query { question: " ".to_owned(), ..query() }, "question");
        refused(Query { question: "x".repeat(9_000), ..query() }, "question");
        refused(Query { top_k: 0, ..query() }, "settings.top_k");
        refused(Query { top_k: 1_000_000_000, ..query() }, "settings.top_k");
        refused(Query { neighbour_weight: f32::NAN, ..query() }, "settings.neighbour_weight");
        refused(Query { fusion: Fusion { k: 0.0, ..Fusion::default() }, ..query() }, "settings.fusion.k");
        refused(
            Query { fusion: Fusion { vector_weight: f32::NAN, ..Fusion::default() }, ..query() },
            "settings.fusion.vector_weight",
        );
        refused(
            Query { rerank: Rerank::Top { depth: 500, weight: 0.5, budget: None }, ..query() },
            "settings.rerank.depth",
        );
        let by_vector = Query { question: String::new(), vector: Some(vec![1.0]), mode: Mode::Vector, ..query() };
        by_vector.validate().unwrap();
    }
}
