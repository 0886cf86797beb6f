//! Judgements: which document answers which query, and how well.

use std::collections::BTreeMap;
use std::path::Path;

use ibid_core::DocumentId;

use crate::EvalError;
use crate::lines::read_lines;

/// What was judged for one query: a grade for each document. Above 0 is relevant, the higher the better; 0 and below is
/// not, and neither is a document that was never judged.
pub type Judgements = BTreeMap<DocumentId, i32>;

/// The judgements of every query that has a relevant document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Qrels {
    by_query: BTreeMap<String, Judgements>,
}

impl Qrels {
    /// Keeps the queries with at least one positive grade: for others every metric is 0, whatever a search finds.
    pub fn new(judged: impl IntoIterator<Item = (String, Judgements)>) -> Qrels {
        let has_relevant = |judgements: &Judgements| judgements.values().any(|grade| *grade > 0);
        Qrels { by_query: judged.into_iter().filter(|(_, judgements)| has_relevant(judgements)).collect() }
    }

    /// Reads `folder/file`: a judgement a line, as `query, document, grade` between tabs (BEIR; the first line may be a
    /// header) or `query, anything, document, grade` between tabs or blanks (TREC).
    ///
    /// # Errors
    /// [`EvalError::Read`]; [`EvalError::Line`] for another number of columns, a grade that is no whole number, an id that
    /// is no [`DocumentId`], and a second, different grade for the same pair.
    pub(crate) fn read(folder: &Path, file: &str) -> Result<Qrels, EvalError> {
        let mut judged: BTreeMap<String, Judgements> = BTreeMap::new();
        read_lines(folder, file, |line, text| {
            let (query, document, grade) = columns(text)?;
            // A header names its columns; a grade starts with a digit or a sign.
            if line == 1 && grade.starts_with(|first: char| first.is_ascii_alphabetic()) {
                return Ok(());
            }
            let grade = grade.parse().map_err(|_| format!("grade {grade:?} is not a whole number"))?;
            let id = DocumentId::new(document).map_err(|error| format!("document id {error}"))?;
            let judgements = judged.entry(query.to_owned()).or_default();
            match judgements.insert(id, grade) {
                Some(before) if before != grade => {
                    Err(format!("query {query:?}, document {document:?} has grade {grade}, and {before} further up"))
                }
                Some(_) | None => Ok(()),
            }
        })?;
        Ok(Qrels::new(judged))
    }

    /// What was judged for `query`; `None` if nothing is relevant for it.
    pub fn of(&self, query: &str) -> Option<&Judgements> {
        self.by_query.get(query)
    }

    /// The queries and their judgements, by query id.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Judgements)> {
        self.by_query.iter().map(|(query, judgements)| (query.as_str(), judgements))
    }

    /// Takes out the queries that `keep` refuses.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.by_query.retain(|query, _| keep(query));
    }
}

fn columns(text: &str) -> Result<(&str, &str, &str), String> {
    let parts: Vec<&str> =
        if text.contains('\t') { text.split('\t').map(str::trim).collect() } else { text.split_whitespace().collect() };
    match parts[..] {
        [query, document, grade] | [query, _, document, grade] => Ok((query, document, grade)),
        _ => Err(format!("has {} columns, expected query, document, grade", parts.len())),
    }
}
