//! Chunkers compared by what their chunks bring back of the passages that answer: Chroma's set and measures (Smith,
//! Troynikov, "Evaluating Chunking Strategies for Retrieval", 2024).
//!
//! A question's answer is ranges of a document's characters. Of the `k` chunks nearest to the question, all characters
//! count as retrieved, those of overlapping chunks twice:
//!
//! - recall: answer characters retrieved / answer characters
//! - precision: answer characters retrieved / characters retrieved
//! - IoU: answer characters retrieved / (characters retrieved + answer characters missed)
//!
//! Small chunks look good at the same `k` in precision and IoU, large ones in recall; so they are compared at the same
//! number of tokens retrieved. A budget between the tokens that `k` and `k + 1` chunks have in the mean is met by
//! retrieving `k` for one share of the time and `k + 1` for the rest: figures are interpolated between the two, question
//! by question. A budget below one chunk cannot be met.

use std::fs;
use std::ops::Range;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;

use crate::EvalError;

const QUESTIONS: &str = "questions_df.csv";

/// Chroma's set: documents, and questions with the ranges that answer them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkingSet {
    /// The documents, by name.
    pub documents: Vec<ChunkingDocument>,
    /// The questions, in the file's order.
    pub questions: Vec<ChunkingQuestion>,
}

/// A document of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkingDocument {
    /// The file's name without `.md`.
    pub name: String,
    /// The file's content.
    pub text: String,
    /// The first byte of each character, and the text's length.
    bytes: Vec<usize>,
}

/// A question and where its answer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkingQuestion {
    /// What is asked.
    pub text: String,
    /// The document that answers, as its place among the documents.
    pub document: usize,
    /// Ranges of its characters; ordered and disjoint, at least one, none empty.
    pub answer: Vec<Range<usize>>,
}

/// A chunk of one of the documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The document, as its place among the documents.
    pub document: usize,
    /// Where it stands, in characters.
    pub chars: Range<usize>,
    /// Its length in the embedder's tokens, without what is embedded beside it.
    pub tokens: u32,
}

/// What the first `k` chunks bring back for one question.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Retrieved {
    /// Their tokens.
    pub tokens: f64,
    /// Of the answer's characters, the share retrieved.
    pub recall: f64,
    /// Of the characters retrieved, the share that answers.
    pub precision: f64,
    /// Answer characters retrieved, of all that are retrieved or in the answer.
    pub iou: f64,
}

/// One way of cutting the documents, measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// For `k` from 1, each question's figures.
    by_k: Vec<Vec<Retrieved>>,
    /// Their means, by `k`.
    means: Vec<Retrieved>,
}

/// A ratio of two means over the same questions, with the interval that holds it in 95 of 100 draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Over the questions as they are.
    pub ratio: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

#[derive(Deserialize)]
struct Row {
    question: String,
    references: String,
    corpus_id: String,
}

#[derive(Deserialize)]
struct Reference {
    content: String,
    start_index: usize,
    end_index: usize,
}

impl ChunkingSet {
    /// Reads the set in `folder`: `questions_df.csv` and the `.md` files that it names.
    ///
    /// # Errors
    /// [`EvalError::Read`]; [`EvalError::Line`] for a row that is not as expected, a document that is not there, and a
    /// range that does not read what the row says.
    pub fn open(folder: &Path) -> Result<ChunkingSet, EvalError> {
        let unread = |file: &str| {
            let file = file.to_owned();
            move |source| EvalError::Read { file, source }
        };
        let table = fs::read_to_string(folder.join(QUESTIONS)).map_err(unread(QUESTIONS))?;
        let mut set = ChunkingSet { documents: Vec::new(), questions: Vec::new() };
        let mut rows = csv::Reader::from_reader(table.as_bytes());
        for (n, row) in rows.deserialize::<Row>().enumerate() {
            // The heading is line 1.
            let refuse = |reason: String| EvalError::Line { file: QUESTIONS.to_owned(), line: n + 2, reason };
            let row = row.map_err(|error| refuse(error.to_string()))?;
            let known = set.documents.iter().position(|document| document.name == row.corpus_id);
            let document = match known {
                Some(document) => document,
                None => {
                    let file = format!("{}.md", row.corpus_id);
                    let text = fs::read_to_string(folder.join(&file)).map_err(unread(&file))?;
                    set.documents.push(ChunkingDocument::new(row.corpus_id.clone(), text));
                    set.documents.len() - 1
                }
            };
            let answer = set.documents[document].answer(&row.references).map_err(refuse)?;
            set.questions.push(ChunkingQuestion { text: row.question, document, answer });
        }
        Ok(set)
    }

    /// Measures a way of cutting: for each question the places of the chunks in `pieces`, nearest first, as deep as it is
    /// to be measured.
    pub fn measure(&self, pieces: &[Piece], rankings: &[Vec<usize>]) -> Trial {
        let depth = rankings.iter().map(Vec::len).max().unwrap_or(0);
        let mut by_k = vec![Vec::with_capacity(self.questions.len()); depth];
        for (question, ranking) in self.questions.iter().zip(rankings) {
            let figures = question.figures(ranking.iter().map(|place| &pieces[*place]));
            // Fewer chunks than others have: all of them are retrieved.
            let last = figures.last().copied().unwrap_or_default();
            let rest = std::iter::repeat(last);
            by_k.iter_mut().zip(figures.into_iter().chain(rest)).for_each(|(at_k, figures)| at_k.push(figures));
        }
        let means = by_k.iter().map(|figures| mean(figures)).collect();
        Trial { by_k, means }
    }
}

impl ChunkingDocument {
    fn new(name: String, text: String) -> ChunkingDocument {
        let bytes = text.char_indices().map(|(byte, _)| byte).chain([text.len()]).collect();
        ChunkingDocument { name, text, bytes }
    }

    /// The place of a byte in characters.
    pub fn char_of(&self, byte: usize) -> usize {
        self.bytes.partition_point(|start| *start < byte)
    }

    /// The text of a range of characters; `None` for one that is not in it.
    pub fn chars(&self, chars: Range<usize>) -> Option<&str> {
        self.text.get(*self.bytes.get(chars.start)?..*self.bytes.get(chars.end)?)
    }

    fn answer(&self, references: &str) -> Result<Vec<Range<usize>>, String> {
        let references: Vec<Reference> =
            serde_json::from_str(references).map_err(|error| format!("references: {error}"))?;
        let mut answer = Vec::new();
        for Reference { content, start_index, end_index } in references {
            if content.is_empty() || self.chars(start_index..end_index) != Some(&content) {
                return Err(format!("characters {start_index}..{end_index} of {} do not read as given", self.name));
            }
            answer.push(start_index..end_index);
        }
        if answer.is_empty() {
            return Err("no references".to_owned());
        }
        Ok(union(answer))
    }
}

impl ChunkingQuestion {
    /// The figures of the first chunk, of the first two, and so on.
    fn figures<'p>(&self, ranking: impl Iterator<Item = &'p Piece>) -> Vec<Retrieved> {
        let asked = length(&self.answer) as f64;
        let (mut tokens, mut chars) = (0.0, 0.0);
        let mut found: Vec<Range<usize>> = Vec::new();
        let mut figures = Vec::new();
        for piece in ranking {
            tokens += f64::from(piece.tokens);
            chars += piece.chars.len() as f64;
            if piece.document == self.document {
                found.extend(self.answer.iter().map(|range| intersection(range, &piece.chars)));
                found = union(found);
            }
            let hits = length(&found) as f64;
            figures.push(Retrieved {
                tokens,
                recall: hits / asked,
                precision: if chars > 0.0 { hits / chars } else { 0.0 },
                iou: hits / (chars + asked - hits),
            });
        }
        figures
    }
}

impl Trial {
    /// The means over all questions, for `k` from 1.
    pub fn means(&self) -> &[Retrieved] {
        &self.means
    }

    /// Each question's figures at a number of tokens retrieved in the mean; `None` where it takes less than one chunk, or
    /// more than were measured.
    pub fn at(&self, budget: f64) -> Option<Vec<Retrieved>> {
        let above = self.means.iter().position(|mean| mean.tokens >= budget)?;
        if self.means[above].tokens == budget {
            return Some(self.by_k[above].clone());
        }
        let below = above.checked_sub(1)?;
        let (low, high) = (self.means[below].tokens, self.means[above].tokens);
        let share = (budget - low) / (high - low);
        let pairs = self.by_k[below].iter().zip(&self.by_k[above]);
        Some(pairs.map(|(low, high)| low.scaled(1.0 - share).plus(high.scaled(share))).collect())
    }
}

impl Retrieved {
    fn plus(self, other: Retrieved) -> Retrieved {
        Retrieved {
            tokens: self.tokens + other.tokens,
            recall: self.recall + other.recall,
            precision: self.precision + other.precision,
            iou: self.iou + other.iou,
        }
    }

    fn scaled(self, by: f64) -> Retrieved {
        let Retrieved { tokens, recall, precision, iou } = self;
        Retrieved { tokens: tokens * by, recall: recall * by, precision: precision * by, iou: iou * by }
    }
}

/// For each question the places of the chunks nearest to it by the dot product of their vectors, nearest first, the same
/// number for all: as many as it takes until every question has `tokens_min` tokens. Equals stand in their own order.
pub fn nearest(questions: &[Vec<f32>], chunks: &[Vec<f32>], pieces: &[Piece], tokens_min: f64) -> Vec<Vec<usize>> {
    let ranked = |question: &Vec<f32>| {
        let dot = |chunk: &Vec<f32>| -> f32 { chunk.iter().zip(question).map(|(a, b)| a * b).sum() };
        let mut ranking: Vec<(f32, usize)> = chunks.iter().map(dot).zip(0..).collect();
        ranking.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        ranking.into_iter().map(|(_, place)| place).collect()
    };
    let mut rankings: Vec<Vec<usize>> = questions.iter().map(ranked).collect();
    let depth = |ranking: &Vec<usize>| {
        let mut tokens = 0.0;
        let before = ranking.iter().take_while(|place| {
            let goes_on = tokens < tokens_min;
            tokens += f64::from(pieces[**place].tokens);
            goes_on
        });
        before.count()
    };
    let depth = rankings.iter().map(depth).max().unwrap_or(0);
    rankings.iter_mut().for_each(|ranking| ranking.truncate(depth));
    rankings
}

/// The means of questions' figures.
pub fn mean(figures: &[Retrieved]) -> Retrieved {
    let sum = figures.iter().fold(Retrieved::default(), |sum, figures| sum.plus(*figures));
    sum.scaled(1.0 / figures.len().max(1) as f64)
}

/// `ours / theirs` for the same questions, in the mean over several comparisons (budgets), each a pair of values by
/// question. The interval is a paired bootstrap's: questions are drawn with replacement, the same ones for both sides and
/// all comparisons (Efron, Tibshirani, "An Introduction to the Bootstrap", 1993).
pub fn ratio(comparisons: &[(Vec<f64>, Vec<f64>)]) -> Ratio {
    const DRAWS: usize = 2000;
    let questions = comparisons.first().map_or(0, |(ours, _)| ours.len());
    let of = |drawn: &[usize]| {
        let sum = |values: &[f64]| drawn.iter().map(|question| values[*question]).sum::<f64>();
        let ratios = comparisons.iter().map(|(ours, theirs)| sum(ours) / sum(theirs));
        ratios.sum::<f64>() / comparisons.len() as f64
    };
    let mut random = StdRng::seed_from_u64(1);
    let mut drawn = vec![0; questions];
    let mut ratios: Vec<f64> = (0..DRAWS)
        .map(|_| {
            drawn.iter_mut().for_each(|question| *question = random.random_range(0..questions));
            of(&drawn)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let all: Vec<usize> = (0..questions).collect();
    Ratio { ratio: of(&all), low: ratios[DRAWS / 40], high: ratios[DRAWS - 1 - DRAWS / 40] }
}

fn intersection(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    a.start.max(b.start)..a.end.min(b.end)
}

/// Ordered and disjoint, without the empty ones.
fn union(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut out: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            Some(_) | None => out.push(range),
        }
    }
    out
}

fn length(ranges: &[Range<usize>]) -> usize {
    ranges.iter().map(Range::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(chars: Range<usize>) -> Piece {
        Piece { document: 0, tokens: u32::try_from(chars.len()).unwrap(), chars }
    }

    fn question(answer: &[Range<usize>]) -> ChunkingQuestion {
        ChunkingQuestion { text: String::new(), document: 0, answer: answer.to_vec() }
    }

    fn rounded(figures: &[Retrieved]) -> Vec<(f64, f64, f64)> {
        let round = |value: f64| (value * 1000.0).round() / 1000.0;
        figures.iter().map(|at| (round(at.recall), round(at.precision), round(at.iou))).collect()
    }

    #[test]
    fn figures_are_those_of_the_report() {
        // 20 characters answer. The first chunk holds 10 of them, the second the same again, the third the rest.
        let pieces = [piece(0..40), piece(20..40), piece(100..120), Piece { document: 1, ..piece(100..110) }];
        let figures = question(&[30..40, 105..115]).figures(pieces.iter());
        assert_eq!(rounded(&figures), [(0.5, 0.25, 0.2), (0.5, 0.167, 0.143), (1.0, 0.25, 0.25), (1.0, 0.222, 0.222)]);
    }

    #[test]
    fn a_budget_between_two_numbers_of_chunks_is_met_by_both() {
        let (first, second) = (0..10, 10..20);
        let questions = vec![question(std::slice::from_ref(&first)), question(std::slice::from_ref(&second))];
        let set = ChunkingSet { documents: Vec::new(), questions };
        let trial = set.measure(&[piece(0..10), piece(10..20)], &[vec![0, 1], vec![0, 1]]);
        assert_eq!(trial.at(9.0), None);
        assert_eq!(trial.at(21.0), None);
        let at = |budget| trial.at(budget).unwrap().iter().map(|figures| figures.recall).collect::<Vec<_>>();
        assert_eq!((at(10.0), at(15.0), at(20.0)), (vec![1.0, 0.0], vec![1.0, 0.5], vec![1.0, 1.0]));
    }

    #[test]
    fn a_ratio_has_an_interval() {
        let values = |scale: f64| (1..=50).map(|value| scale * f64::from(value)).collect::<Vec<_>>();
        let Ratio { ratio: same, low, high } = ratio(&[(values(2.0), values(1.0)), (values(4.0), values(1.0))]);
        assert_eq!((same, low, high), (3.0, 3.0, 3.0), "what is paired does not spread");
        let mut other = values(1.0);
        other.reverse();
        let Ratio { ratio: mean, low, high } = ratio(&[(values(1.0), other)]);
        assert!(mean == 1.0 && low < 0.9 && high > 1.1, "{low}..{high}");
    }

    #[test]
    fn rankings_are_equally_deep_and_deep_enough() {
        let pieces = [piece(0..5), piece(5..20), piece(20..25)];
        let chunks = [vec![1.0, 0.0], vec![0.0, 1.0], vec![0.6, 0.8]];
        let rankings = nearest(&[vec![1.0, 0.0], vec![0.0, 1.0]], &chunks, &pieces, 10.0);
        assert_eq!(rankings, [[0, 2], [1, 2]]);
    }
}
