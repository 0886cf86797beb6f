//! A labelled set in BEIR's layout (Thakur et al., NeurIPS 2021): `corpus.jsonl`, `queries.jsonl`, `qrels/<split>.tsv`.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::path::Path;

use ibid_core::DocumentId;
use serde::Deserialize;

use crate::lines::{parse_json, read_lines};
use crate::{EvalError, Qrels};

const CORPUS: &str = "corpus.jsonl";
const QUERIES: &str = "queries.jsonl";

/// A document of the corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeirDocument {
    /// Its id, unique in the set.
    pub id: DocumentId,
    /// Its title; empty if it has none.
    pub title: String,
    /// Its text; may be empty.
    pub text: String,
}

/// A query that has a relevant document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeirQuery {
    /// Its id, unique in the set.
    pub id: String,
    /// What is asked.
    pub text: String,
}

/// Something about a set that its reader should know, and that does not keep it from being measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// Judged documents that the corpus does not have. Their judgements count all the same, as trec_eval counts them:
    /// something relevant that cannot be found.
    UnknownDocuments {
        /// How many documents.
        count: usize,
        /// The first by id.
        first: DocumentId,
    },
    /// Judged queries whose text the set does not have. They are left out.
    UnknownQueries {
        /// How many queries.
        count: usize,
        /// The first by id.
        first: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::UnknownDocuments { count, first } => {
                write!(f, "{count} judged documents are not in {CORPUS} and can never be found, {first} among them")
            }
            Warning::UnknownQueries { count, first } => {
                write!(f, "{count} judged queries are not in {QUERIES} and are left out, {first} among them")
            }
        }
    }
}

/// A labelled set: `queries` and `qrels` name the same queries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beir {
    /// The corpus, in the file's order.
    pub documents: Vec<BeirDocument>,
    /// The queries to ask, in the file's order.
    pub queries: Vec<BeirQuery>,
    /// What should be found.
    pub qrels: Qrels,
    /// How many queries of the set are not asked, because this split judges nothing relevant for them.
    pub queries_left_out: usize,
    /// What to tell the reader of the figures.
    pub warnings: Vec<Warning>,
}

#[derive(Deserialize)]
struct CorpusLine {
    #[serde(rename = "_id")]
    id: Id,
    title: Option<String>,
    text: String,
}

#[derive(Deserialize)]
struct QueryLine {
    #[serde(rename = "_id")]
    id: Id,
    text: String,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`_id` is neither a string nor a number")]
enum Id {
    Text(String),
    Number(serde_json::Number),
}

impl Id {
    fn into_text(self) -> String {
        match self {
            Id::Text(text) => text,
            Id::Number(number) => number.to_string(),
        }
    }
}

impl Beir {
    /// Reads the set in `folder` with the judgements of its `test` split.
    ///
    /// # Errors
    /// As [`Beir::open_split`].
    pub fn open(folder: &Path) -> Result<Beir, EvalError> {
        Beir::open_split(folder, "test")
    }

    /// Reads the set in `folder` with the judgements in `qrels/<split>.tsv`, with or without a header, in BEIR's three
    /// columns or TREC's four.
    ///
    /// # Errors
    /// [`EvalError::Read`]; [`EvalError::Line`] for a line that its format does not allow, an id given twice, or two grades
    /// for one pair; [`EvalError::NothingJudged`] if no query is left.
    pub fn open_split(folder: &Path, split: &str) -> Result<Beir, EvalError> {
        let judged_in = format!("qrels/{split}.tsv");
        let mut qrels = Qrels::read(folder, &judged_in)?;
        let (queries, queries_left_out) = read_queries(folder, &qrels)?;
        let documents = read_corpus(folder)?;

        let asked: HashSet<&str> = queries.iter().map(|query| query.id.as_str()).collect();
        let unasked = qrels.iter().map(|(query, _)| query).filter(|query| !asked.contains(query));
        let unknown_queries: BTreeSet<String> = unasked.map(str::to_owned).collect();
        qrels.retain(|query| !unknown_queries.contains(query));
        if queries.is_empty() {
            return Err(EvalError::NothingJudged { qrels: judged_in });
        }

        let in_corpus: HashSet<&DocumentId> = documents.iter().map(|document| &document.id).collect();
        let judged = qrels.iter().flat_map(|(_, judgements)| judgements.keys());
        let unknown_documents: BTreeSet<&DocumentId> = judged.filter(|id| !in_corpus.contains(id)).collect();

        let mut warnings = Vec::new();
        if let Some(first) = unknown_documents.first() {
            let first = DocumentId::clone(first);
            warnings.push(Warning::UnknownDocuments { count: unknown_documents.len(), first });
        }
        if let Some(first) = unknown_queries.first() {
            warnings.push(Warning::UnknownQueries { count: unknown_queries.len(), first: first.clone() });
        }
        Ok(Beir { documents, queries, qrels, queries_left_out, warnings })
    }
}

/// The queries that `qrels` judges, and how many it does not.
fn read_queries(folder: &Path, qrels: &Qrels) -> Result<(Vec<BeirQuery>, usize), EvalError> {
    let mut queries = Vec::new();
    let mut seen = HashSet::new();
    read_lines(folder, QUERIES, |_, text| {
        let line: QueryLine = parse_json(text)?;
        let id = line.id.into_text();
        if !seen.insert(id.clone()) {
            return Err(format!("query id {id:?} is given twice"));
        }
        if qrels.of(&id).is_some() {
            queries.push(BeirQuery { id, text: line.text });
        }
        Ok(())
    })?;
    let left_out = seen.len() - queries.len();
    Ok((queries, left_out))
}

fn read_corpus(folder: &Path) -> Result<Vec<BeirDocument>, EvalError> {
    let mut documents = Vec::new();
    let mut seen = HashSet::new();
    read_lines(folder, CORPUS, |_, text| {
        let line: CorpusLine = parse_json(text)?;
        let id = DocumentId::new(&line.id.into_text()).map_err(|error| format!("`_id` {error}"))?;
        if !seen.insert(id.clone()) {
            return Err(format!("document id {:?} is given twice", id.as_str()));
        }
        documents.push(BeirDocument { id, title: line.title.unwrap_or_default(), text: line.text });
        Ok(())
    })?;
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTS: &str = concat!(
        r#"{"_id": "a", "title": "A", "text": "one", "metadata": {"url": "x"}}"#,
        "\n",
        r#"{"_id": 7, "title": null, "text": "two"}"#,
        "\r\n\n",
        r#"{"_id": "c", "text": ""}"#,
    );
    const ASKED: &str = "{\"_id\": 1, \"text\": \"first\"}\n{\"_id\": \"2\", \"text\": \"second\"}\n";

    fn open(corpus: &str, queries: &str, qrels: &str) -> Result<Beir, EvalError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("qrels")).unwrap();
        for (file, content) in [(CORPUS, corpus), (QUERIES, queries), ("qrels/test.tsv", qrels)] {
            std::fs::write(folder.path().join(file), content).unwrap();
        }
        Beir::open(folder.path())
    }

    #[track_caller]
    fn refused(corpus: &str, queries: &str, qrels: &str, expected: &str) {
        assert_eq!(open(corpus, queries, qrels).unwrap_err().to_string(), expected);
    }

    #[test]
    fn the_layout_is_read_with_its_liberties() {
        let set = open(DOCUMENTS, ASKED, "query-id\tcorpus-id\tscore\n1\ta\t2\n1\t7\t0\n2\tc\t-1\n").unwrap();
        let documents: Vec<_> = set.documents.iter().map(|d| (d.id.as_str(), &d.title[..], &d.text[..])).collect();
        assert_eq!(documents, [("a", "A", "one"), ("7", "", "two"), ("c", "", "")]);
        assert_eq!(set.queries, [BeirQuery { id: "1".to_owned(), text: "first".to_owned() }]);
        assert_eq!((set.queries_left_out, set.warnings.len()), (1, 0));
        let judged: Vec<_> = set.qrels.of("1").unwrap().iter().map(|(id, grade)| (id.as_str(), *grade)).collect();
        assert_eq!(judged, [("7", 0), ("a", 2)]);
    }

    #[test]
    fn header_or_not_and_trec_or_beir_make_no_difference() {
        let expected = open(DOCUMENTS, ASKED, "query-id\tcorpus-id\tscore\n1\ta\t1\n2\tc\t2\n").unwrap();
        for qrels in ["1\ta\t1\n2\tc\t2", "1\t0\ta\t1\r\n2\t0\tc\t2\r\n", "1 0 a 1\n\n2 Q0  c 2\n"] {
            assert_eq!(open(DOCUMENTS, ASKED, qrels).unwrap(), expected, "{qrels:?}");
        }
    }

    #[test]
    fn what_is_judged_and_missing_is_told() {
        let set = open(DOCUMENTS, ASKED, "1\ta\t1\n1\tgone\t1\n9\ta\t1\n9\tlost\t1\n").unwrap();
        let warnings: Vec<String> = set.warnings.iter().map(Warning::to_string).collect();
        assert_eq!(
            warnings,
            [
                "1 judged documents are not in corpus.jsonl and can never be found, gone among them",
                "1 judged queries are not in queries.jsonl and are left out, 9 among them",
            ]
        );
        assert_eq!(set.qrels.of("1").unwrap().len(), 2, "what cannot be found still counts");
        assert_eq!(set.qrels.iter().count(), set.queries.len());
    }

    #[test]
    fn a_bad_line_is_named() {
        let good = "1\ta\t1\n";
        let broken = format!("{DOCUMENTS}\n{{\"_id\": \"d\"}}");
        refused(&broken, ASKED, good, "corpus.jsonl, line 5: column 12: missing field `text`");
        let twice = format!("{DOCUMENTS}\n{{\"_id\": \"7\", \"text\": \"\"}}");
        refused(&twice, ASKED, good, "corpus.jsonl, line 5: document id \"7\" is given twice");
        let list = "{\"_id\": [1], \"text\": \"\"}";
        refused(DOCUMENTS, list, good, "queries.jsonl, line 1: column 11: `_id` is neither a string nor a number");
        refused(DOCUMENTS, ASKED, "1\ta\t0.5\n", "qrels/test.tsv, line 1: grade \"0.5\" is not a whole number");
        refused(
            DOCUMENTS,
            ASKED,
            "h\th\th\n1\ta\n",
            "qrels/test.tsv, line 2: has 2 columns, expected query, document, grade",
        );
        refused(
            DOCUMENTS,
            ASKED,
            "1\ta\t1\n1\ta\t0\n",
            "qrels/test.tsv, line 2: query \"1\", document \"a\" has grade 0, and 1 further up",
        );
        refused(
            DOCUMENTS,
            ASKED,
            "1\ta\t0\n",
            "qrels/test.tsv has no positive judgement for any query of queries.jsonl",
        );
    }

    #[test]
    fn a_missing_file_and_bytes_that_are_no_text_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Beir::open_split(folder.path(), "dev").unwrap_err().to_string(), "read qrels/dev.tsv");
        std::fs::create_dir(folder.path().join("qrels")).unwrap();
        std::fs::write(folder.path().join("qrels/dev.tsv"), b"1\ta\t1\n1\t\xff\t1\n").unwrap();
        let error = Beir::open_split(folder.path(), "dev").unwrap_err();
        assert_eq!(error.to_string(), "qrels/dev.tsv, line 2: is not UTF-8 at byte 2");
    }
}
