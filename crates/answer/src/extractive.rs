//! A generator without a language model: the sources' own best sentences.
//!
//! It cannot join, shorten or translate; what it says stands in a source. The cross-encoder scores the units of the
//! sources against the question. It reads a unit with its headings, so that all units below the right heading please it:
//! what of the question's rarer words a unit holds itself decides between them. Those near the best one are said, each
//! with its marker. A question that names a code which no source has is not answered with what another code means.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use ibid_core::{
    BoxFuture, FinishReason, Generate, GenerateRequest, Generated, GenerationStream, ModelError, Passage, Rerank,
    Source,
};
use ibid_runtime::Ctx;

use crate::NO_INFORMATION;
use crate::markers::{canonical, neutral};
use crate::units::{Unit, UnitKind, units};
use crate::words::words;

/// How much is looked at and said. Scores are the cross-encoder's logits, raised by what of the question the unit holds.
#[derive(Debug, Clone, Copy)]
pub struct ExtractiveConfig {
    /// The most units that the cross-encoder scores; those with most of the question's words come first.
    pub units_max: usize,
    /// The most units that are said.
    pub picks_max: usize,
    /// How far below the best unit's score another one may be and still be said.
    pub margin: f32,
    /// The least score of the best unit; below it the sources do not hold the answer.
    pub floor: f32,
}

/// The extractive generator.
#[derive(Debug)]
pub struct Extractive {
    rerank: Arc<dyn Rerank>,
    config: ExtractiveConfig,
}

/// A unit of a source that may be said.
#[derive(Debug, Clone)]
struct Candidate {
    source: u32,
    context: String,
    kind: UnitKind,
    text: String,
    /// Which share of the question's words it holds, the rarer ones counting more, 0 to 1.
    coverage: f32,
}

/// What a unit that holds all of the question's words gains, in logits.
const COVERAGE_GAIN: f32 = 4.0;
/// How often a word with a digit counts: who names a code asks about nothing else.
const CODE_WEIGHT: f32 = 3.0;
/// What a unit loses that cannot stand alone: a fence of code, the beginning or the end of a sentence.
const FRAGMENT_LOSS: f32 = 2.0;

impl Extractive {
    /// Its public name, by which [`crate::Finish`] knows it.
    pub const NAME: &str = "extractive";

    /// A generator whose units `rerank` scores.
    pub fn new(rerank: Arc<dyn Rerank>, config: ExtractiveConfig) -> Extractive {
        Extractive { rerank, config }
    }

    async fn picks(&self, ctx: &Ctx, request: &GenerateRequest) -> Result<Vec<Candidate>, ModelError> {
        let candidates = candidates(&request.question, &request.sources, self.config.units_max);
        if candidates.is_empty() {
            return Ok(candidates);
        }
        let passages: Vec<Passage> =
            candidates.iter().map(|one| Passage { context: one.context.clone(), text: one.text.clone() }).collect();
        let logits = self.rerank.score(ctx, &request.question, &passages).await?;
        if logits.len() != candidates.len() {
            let detail = format!("gave {} scores for {} passages", logits.len(), candidates.len());
            return Err(ModelError::Failed { model: self.rerank.model().to_string(), detail });
        }
        let scores: Vec<f32> = candidates.iter().zip(logits).map(|(one, logit)| one.score(logit)).collect();
        Ok(choose(candidates, &scores, &self.config))
    }
}

impl Generate for Extractive {
    fn generators(&self) -> Vec<String> {
        vec![Extractive::NAME.to_owned()]
    }

    fn generate<'a>(
        &'a self,
        ctx: &'a Ctx,
        request: GenerateRequest,
    ) -> BoxFuture<'a, Result<GenerationStream, ModelError>> {
        Box::pin(async move {
            if !matches!(request.generator.as_str(), "" | Extractive::NAME) {
                let detail = format!("there is no such generator, expected {}", Extractive::NAME);
                return Err(ModelError::Refused { model: request.generator, detail });
            }
            let text = say(&self.picks(ctx, &request).await?);
            let deltas: Vec<_> = text
                .split_inclusive(char::is_whitespace)
                .map(|word| Generated::Delta(word.to_owned()))
                .chain([Generated::Done(FinishReason::Stop)])
                .map(Ok)
                .collect();
            Ok(stream::iter(deltas).boxed())
        })
    }
}

impl Candidate {
    fn score(&self, logit: f32) -> f32 {
        logit + COVERAGE_GAIN * self.coverage - if self.stands_alone() { 0.0 } else { FRAGMENT_LOSS }
    }

    /// Whether it says something without what stands before and behind it. A line without a small letter is a heading.
    fn stands_alone(&self) -> bool {
        // Behind the last sign may stand a quotation mark, emphasis or the number of a footnote.
        let behind = |found: char| found.is_ascii_digit() || matches!(found, '"' | '”' | '(' | ')' | '*' | '_' | '`');
        let end = self.text.trim_end_matches(behind);
        match self.kind {
            UnitKind::Sentence => {
                !self.text.starts_with(char::is_lowercase) && end.ends_with(['.', '!', '?', '…', '。', '！', '？'])
            }
            UnitKind::Item | UnitKind::Row => !end.ends_with(':') && self.text.contains(char::is_lowercase),
            UnitKind::Code | UnitKind::Heading => false,
        }
    }
}

/// The units of `sources` in their order: of more than `units_max` those with most of the question's words, of equals the
/// earlier ones. Headings say nothing by themselves, and nothing is said twice. None at all if the question names a code
/// that stands in no source.
fn candidates(question: &str, sources: &[Source], units_max: usize) -> Vec<Candidate> {
    let asked: BTreeSet<String> = words(question).collect();
    let mut seen = BTreeSet::new();
    let mut found: Vec<(BTreeSet<String>, Candidate)> = Vec::new();
    for Source { number, context, text } in sources {
        for Unit { bytes, kind } in units(text).into_iter().filter(|unit| unit.kind != UnitKind::Heading) {
            let text = shown(&text[bytes], kind);
            let said: BTreeSet<String> = words(&text).collect();
            if !said.is_empty() && seen.insert(text.clone()) {
                let unit = Candidate { source: *number, context: context.clone(), kind, text, coverage: 0.0 };
                found.push((said, unit));
            }
        }
    }
    let is_there = |code: &String| {
        found.iter().any(|(said, unit)| said.contains(code) || words(&unit.context).any(|word| word == *code))
    };
    if !codes(question).iter().all(is_there) {
        return Vec::new();
    }
    let weights: Vec<(&String, f32)> = asked
        .iter()
        .map(|word| {
            let units_with = found.iter().filter(|(said, _)| said.contains(word)).count();
            let weight = (1.0 + found.len() as f32 / (1.0 + units_with as f32)).ln();
            (word, if word.chars().any(char::is_numeric) { CODE_WEIGHT * weight } else { weight })
        })
        .collect();
    let all: f32 = weights.iter().map(|(_, weight)| weight).sum();
    for (said, unit) in &mut found {
        let held: f32 = weights.iter().filter(|(word, _)| said.contains(*word)).map(|(_, weight)| weight).sum();
        unit.coverage = if all > 0.0 { held / all } else { 0.0 };
    }
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_by(|a, b| found[*b].1.coverage.total_cmp(&found[*a].1.coverage).then(a.cmp(b)));
    order.truncate(units_max);
    order.sort_unstable();
    order.into_iter().map(|ordinal| found[ordinal].1.clone()).collect()
}

/// The words of the question that are codes: letters or signs joined with digits, as in E-4102, RP-3 or v1.2. A bare number
/// is none: it may be written in words, or in another unit.
fn codes(question: &str) -> BTreeSet<String> {
    let code = |token: &&str| {
        let (letters, digits) = (token.chars().any(char::is_alphabetic), token.chars().any(char::is_numeric));
        letters && digits
    };
    let tokens = question.split(|found: char| !(found.is_alphanumeric() || matches!(found, '-' | '_' | '.' | '/')));
    let parts = tokens.filter(code).flat_map(|token| words(token).collect::<Vec<_>>());
    parts.filter(|word| word.chars().any(char::is_numeric)).collect()
}

/// A unit on one line, code apart, and with no marker that would be taken for one of ours.
fn shown(unit: &str, kind: UnitKind) -> String {
    let unit = neutral(unit);
    match kind {
        UnitKind::Code => unit.into_owned(),
        UnitKind::Sentence | UnitKind::Item | UnitKind::Row | UnitKind::Heading => {
            unit.split_whitespace().collect::<Vec<_>>().join(" ")
        }
    }
}

/// Those within the margin of the best, the best first, of equals the earlier one; none if the best is below the floor.
fn choose(candidates: Vec<Candidate>, scores: &[f32], config: &ExtractiveConfig) -> Vec<Candidate> {
    let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if best < config.floor {
        return Vec::new();
    }
    let mut order: Vec<usize> = (0..scores.len()).filter(|ordinal| scores[*ordinal] >= best - config.margin).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order.truncate(config.picks_max);
    order.into_iter().map(|ordinal| candidates[ordinal].clone()).collect()
}

/// One line a pick, its marker at the end; behind code on a line of its own, for nothing may follow a fence.
fn say(picks: &[Candidate]) -> String {
    if picks.is_empty() {
        return NO_INFORMATION.to_owned();
    }
    let line = |pick: &Candidate| {
        let gap = if pick.kind == UnitKind::Code { '\n' } else { ' ' };
        format!("{}{gap}{}", pick.text, canonical(pick.source))
    };
    picks.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Overlap, ctx, request};
    use futures::executor::block_on;

    const SOURCES: [&str; 2] = [
        "## Refunds\n\nRefunds are paid\nwithin 14 days.[1] We like cats.\n\n- Refunds for gifts: never",
        "| Plan | Price |\n|---|---|\n| Basic plan | 10 EUR |\n\n```\nplan = [1]\n```\n",
    ];

    fn generate(question: &str, config: ExtractiveConfig) -> Vec<String> {
        let sources = (1..)
            .zip(SOURCES)
            .map(|(number, text)| Source { number, context: "Terms".to_owned(), text: text.to_owned() })
            .collect();
        let extractive = Extractive::new(Arc::new(Overlap::new()), config);
        let pieces: Vec<_> =
            block_on(async { extractive.generate(&ctx(), request(question, sources)).await.unwrap().collect().await });
        let mut deltas = Vec::new();
        for (ordinal, piece) in pieces.iter().enumerate() {
            match piece.as_ref().unwrap() {
                Generated::Delta(delta) => deltas.push(delta.clone()),
                Generated::Done(FinishReason::Stop) => assert_eq!(ordinal + 1, pieces.len()),
                other @ (Generated::ToolCall(_) | Generated::Usage(_) | Generated::Call(_) | Generated::Done(_)) => {
                    panic!("{other:?}")
                }
            }
        }
        deltas
    }

    const CONFIG: ExtractiveConfig = ExtractiveConfig { units_max: 40, picks_max: 3, margin: 0.6, floor: 1.0 };

    #[track_caller]
    fn check(question: &str, config: ExtractiveConfig, expected: &str) {
        assert_eq!(generate(question, config).concat(), expected);
    }

    #[test]
    fn the_best_units_are_said_the_best_first() {
        check("when are refunds paid?", CONFIG, "Refunds are paid within 14 days.(1) [doc_1]");
        let both = "Refunds are paid within 14 days.(1) [doc_1]\nRefunds for gifts: never [doc_1]";
        check("gifts and refunds paid", CONFIG, both);
        check("price of the basic plan", CONFIG, "Basic plan | 10 EUR [doc_2]");
        let wide = ExtractiveConfig { margin: 2.5, ..CONFIG };
        check("plan", wide, "Basic plan | 10 EUR [doc_2]\n```\nplan = [1]\n```\n[doc_2]");
        check("plan", CONFIG, "Basic plan | 10 EUR [doc_2]");
        check("plan", ExtractiveConfig { picks_max: 1, ..wide }, "Basic plan | 10 EUR [doc_2]");
        assert_eq!(generate("refunds paid", CONFIG)[..2], ["Refunds ", "are "]);
    }

    #[test]
    fn what_no_unit_holds_is_not_said() {
        check("who wrote Faust?", CONFIG, NO_INFORMATION);
        check("does the basic plan X-99 have a price?", CONFIG, NO_INFORMATION);
        assert_eq!(codes("is E-4102 in v1.2 or 14 days?"), BTreeSet::from(["4102".to_owned(), "v1.2".to_owned()]));
        check("when are refunds paid?", ExtractiveConfig { units_max: 0, ..CONFIG }, NO_INFORMATION);
    }

    #[test]
    fn the_units_with_the_questions_words_are_scored_first() {
        check("basic", ExtractiveConfig { units_max: 1, ..CONFIG }, "Basic plan | 10 EUR [doc_2]");
    }
}
