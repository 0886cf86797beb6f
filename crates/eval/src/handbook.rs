//! A labelled set in our own layout: `questions*.jsonl` beside one folder of files a tenant.
//!
//! A document's id is its path below its tenant's folder, with `/` between the parts. A question's spans are bytes of
//! the texts as they are stored, and each line repeats the words they stand for, so that an edit to a file cannot move a
//! label unseen. A span of a text that is made from its file (PDF, say) may give the words alone, where they stand once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;

use ibid_chunk::{Limits, detect, parse};
use ibid_core::{DocumentId, MediaType, Span, TenantName};
use serde::Deserialize;

use crate::EvalError;
use crate::lines::{parse_json, read_lines};

/// What a question tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuestionKind {
    /// It holds a code, number or name that has to be matched exactly.
    Lexical,
    /// It shares few words with the text that answers it.
    Semantic,
    /// It needs at least two documents.
    MultiDocument,
    /// No tenant has the answer.
    Unanswerable,
    /// Another tenant has the answer, and whoever asks must not get it.
    OtherTenant,
}

/// A piece of a document that answers a question; never empty, never cutting a character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledSpan {
    /// The document.
    pub document: DocumentId,
    /// Where in its text.
    pub span: Span,
}

/// The tenant who has what another one asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The tenant; never the one who asks.
    pub tenant: TenantName,
    /// Where the answer stands in this tenant's documents; never empty.
    pub spans: Vec<LabelledSpan>,
}

/// A labelled question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its id, unique in the set.
    pub id: String,
    /// Who asks.
    pub tenant: TenantName,
    /// What it tests.
    pub kind: QuestionKind,
    /// What is asked.
    pub text: String,
    /// Where the answer stands in the asking tenant's documents; empty if it does not.
    pub spans: Vec<LabelledSpan>,
    /// A short right answer.
    pub answer: String,
    /// Who has the answer; there for [`QuestionKind::OtherTenant`] alone.
    pub holder: Option<Holder>,
}

/// A file of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandbookDocument {
    /// How it is read.
    pub media_type: MediaType,
    /// The file's content.
    pub content: Vec<u8>,
    /// The text that is stored of it.
    pub text: String,
}

/// A labelled set of several tenants. Every span quotes what its line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handbook {
    /// Each tenant's documents.
    pub tenants: BTreeMap<TenantName, BTreeMap<DocumentId, HandbookDocument>>,
    /// The questions, in the file's order.
    pub questions: Vec<Question>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuestionLine {
    id: String,
    tenant: TenantName,
    kind: QuestionKind,
    question: String,
    spans: Vec<SpanLine>,
    answer: String,
    holder: Option<TenantName>,
    #[serde(default)]
    holder_spans: Vec<SpanLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpanLine {
    document: DocumentId,
    start: Option<usize>,
    end: Option<usize>,
    quote: String,
}

impl Handbook {
    /// Reads the set in `folder`: every folder inside is a tenant, every file below it a document. Names that start with
    /// a dot are passed over.
    ///
    /// # Errors
    /// [`EvalError::Read`]; [`EvalError::Document`] for a file or folder whose name or content cannot be used;
    /// [`EvalError::Line`] for a question with an id given before, an unknown tenant or document, a span that does not
    /// read what its quote says, or spans that do not fit its kind.
    pub fn open(folder: &Path) -> Result<Handbook, EvalError> {
        let mut tenants = BTreeMap::new();
        for name in names_in(folder, "")? {
            if folder.join(&name).is_dir() {
                let tenant = TenantName::new(&name)
                    .map_err(|error| EvalError::Document { file: name.clone(), reason: format!("name {error}") })?;
                let mut documents = BTreeMap::new();
                read_documents(folder, &name, name.len() + 1, &mut documents)?;
                tenants.insert(tenant, documents);
            }
        }
        let mut handbook = Handbook { tenants, questions: Vec::new() };
        let mut seen = BTreeSet::new();
        for file in
            names_in(folder, "")?.iter().filter(|name| name.starts_with("questions") && name.ends_with(".jsonl"))
        {
            read_lines(folder, file, |_, text| {
                let question = handbook.check(parse_json(text)?)?;
                if !seen.insert(question.id.clone()) {
                    return Err(format!("question id {:?} is given twice", question.id));
                }
                handbook.questions.push(question);
                Ok(())
            })?;
        }
        Ok(handbook)
    }

    fn check(&self, line: QuestionLine) -> Result<Question, String> {
        let spans = self.check_spans(&line.tenant, line.spans)?;
        let holder = match line.holder {
            Some(tenant) if tenant == line.tenant => return Err("holder is the tenant who asks".to_owned()),
            Some(tenant) => Some(Holder { spans: self.check_spans(&tenant, line.holder_spans)?, tenant }),
            None if line.holder_spans.is_empty() => None,
            None => return Err("has holder_spans and no holder".to_owned()),
        };
        let documents: BTreeSet<&DocumentId> = spans.iter().map(|labelled| &labelled.document).collect();
        let (fits, expected) = match line.kind {
            QuestionKind::Lexical | QuestionKind::Semantic => {
                (!spans.is_empty() && holder.is_none(), "spans and no holder")
            }
            QuestionKind::MultiDocument => {
                (documents.len() > 1 && holder.is_none(), "spans in two documents and no holder")
            }
            QuestionKind::Unanswerable => (spans.is_empty() && holder.is_none(), "neither spans nor a holder"),
            QuestionKind::OtherTenant => {
                let held = holder.as_ref().is_some_and(|holder| !holder.spans.is_empty());
                (spans.is_empty() && held, "no spans and a holder with some")
            }
        };
        if !fits {
            return Err(format!("a question of this kind needs {expected}"));
        }
        let QuestionLine { id, tenant, kind, question, answer, .. } = line;
        Ok(Question { id, tenant, kind, text: question, spans, answer, holder })
    }

    fn check_spans(&self, tenant: &TenantName, lines: Vec<SpanLine>) -> Result<Vec<LabelledSpan>, String> {
        let documents = self.tenants.get(tenant).ok_or_else(|| format!("tenant {tenant} has no folder"))?;
        let checked = lines.into_iter().map(|SpanLine { document, start, end, quote }| {
            let text = &documents.get(&document).ok_or_else(|| format!("{tenant} has no document {document}"))?.text;
            let (start, end) = match (start, end) {
                (Some(start), Some(end)) => (start, end),
                (None, None) => {
                    let found = find_words(text, &quote).map_err(|count| {
                        format!("{document} has the quote {quote:?} {count} times, expected it once")
                    })?;
                    let span = Span::of(text, found);
                    return span.map(|span| LabelledSpan { document, span }).ok_or_else(|| "an empty quote".to_owned());
                }
                (Some(_), None) | (None, Some(_)) => {
                    return Err("a span has start without end, or end without start".to_owned());
                }
            };
            let span = Span::of(text, start..end)
                .ok_or_else(|| format!("bytes {start}..{end} of {document} are no span of its {} bytes", text.len()))?;
            match span.quote(text) {
                Some(found) if found == quote => Ok(LabelledSpan { document, span }),
                Some(_) | None => Err(format!("bytes {start}..{end} of {document} do not read as the quote says")),
            }
        });
        checked.collect()
    }
}

/// Where the words of `quote` stand in `text`, whatever white space is between them; how often they stand there, if that is
/// not once.
fn find_words(text: &str, quote: &str) -> Result<Range<usize>, usize> {
    let words: Vec<&str> = quote.split_whitespace().collect();
    let Some(first) = words.first() else { return Err(0) };
    let mut found = text.match_indices(first).filter_map(|(start, _)| {
        let mut end = start + first.len();
        for word in &words[1..] {
            let rest = text[end..].trim_start();
            if rest.len() == text.len() - end || !rest.starts_with(word) {
                return None;
            }
            end = text.len() - rest.len() + word.len();
        }
        Some(start..end)
    });
    match (found.next(), found.count()) {
        (Some(only), 0) => Ok(only),
        (None, _) => Err(0),
        (Some(_), others) => Err(others + 1),
    }
}

/// Reads the files below `folder/path`; their ids are their paths within `folder` from byte `id_start` on.
fn read_documents(
    folder: &Path,
    path: &str,
    id_start: usize,
    documents: &mut BTreeMap<DocumentId, HandbookDocument>,
) -> Result<(), EvalError> {
    for name in names_in(folder, path)? {
        let file = format!("{path}/{name}");
        if folder.join(&file).is_dir() {
            read_documents(folder, &file, id_start, documents)?;
            continue;
        }
        let unusable = |reason| EvalError::Document { file: file.clone(), reason };
        let id = DocumentId::new(&file[id_start..]).map_err(|error| unusable(format!("id {error}")))?;
        let content = fs::read(folder.join(&file)).map_err(|source| EvalError::Read { file: file.clone(), source })?;
        let media_type = detect(&name, &content).ok_or_else(|| unusable("is of no kind that is read".to_owned()))?;
        let parsed = parse(&content, media_type, &Limits::NONE).map_err(|error| unusable(error.to_string()))?;
        let text = parsed.text.into_owned();
        documents.insert(id, HandbookDocument { media_type, content, text });
    }
    Ok(())
}

/// The names in `folder/path` that do not start with a dot, sorted.
fn names_in(folder: &Path, path: &str) -> Result<Vec<String>, EvalError> {
    let unread = |source| EvalError::Read { file: if path.is_empty() { "." } else { path }.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.join(path)).map_err(unread)? {
        let name = entry.map_err(unread)?.file_name().into_string().map_err(|name| EvalError::Document {
            file: name.to_string_lossy().into_owned(),
            reason: "name is not UTF-8".to_owned(),
        })?;
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEES: &str = "The fee is €5.\n";

    fn open(questions: &str) -> Result<Handbook, EvalError> {
        let folder = tempfile::tempdir().unwrap();
        for (file, content) in [
            ("README.md", "not a document"),
            ("harbor/fees.md", FEES),
            ("harbor/desk/hours.txt", "Open from 9."),
            ("linden/fees.md", "The fee is €7.\n"),
            ("linden/.hidden", "passed over"),
            ("questions.jsonl", questions),
        ] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Handbook::open(folder.path())
    }

    fn line(kind: &str, rest: &str) -> String {
        format!(r#"{{"id":"1","tenant":"harbor","kind":"{kind}","question":"How much?","answer":"5",{rest}}}"#)
    }

    const FIVE: &str = r#"{"document":"fees.md","start":11,"end":15,"quote":"€5"}"#;
    const SEVEN: &str = r#"{"document":"fees.md","start":11,"end":15,"quote":"€7"}"#;

    #[test]
    fn questions_are_read_with_the_spans_that_answer_them() {
        let other = format!(r#""spans":[],"holder":"linden","holder_spans":[{SEVEN}]"#);
        let lines = line("lexical", &format!(r#""spans":[{FIVE}]"#));
        let handbook =
            open(&format!("{lines}\n{}\n", line("other-tenant", &other).replace(r#""1""#, r#""2""#))).unwrap();
        let harbor = &handbook.tenants[&TenantName::new("harbor").unwrap()];
        let ids: Vec<_> = harbor.iter().map(|(id, document)| (id.as_str(), document.media_type)).collect();
        assert_eq!(ids, [("desk/hours.txt", MediaType::Plain), ("fees.md", MediaType::Markdown)]);
        assert_eq!(handbook.questions[0].spans[0].span.quote(FEES), Some("€5"));
        let holder = handbook.questions[1].holder.as_ref().unwrap();
        assert_eq!((holder.tenant.as_str(), holder.spans.len()), ("linden", 1));
    }

    #[track_caller]
    fn refused(line: &str, expected: &str) {
        assert_eq!(open(line).unwrap_err().to_string(), format!("questions.jsonl, line 1: {expected}"));
    }

    #[test]
    fn a_label_that_does_not_hold_is_refused() {
        let spans = |span: &str| line("semantic", &format!(r#""spans":[{span}]"#));
        refused(&spans(SEVEN), "bytes 11..15 of fees.md do not read as the quote says");
        refused(&spans(&FIVE.replace("11", "12")), "bytes 12..15 of fees.md are no span of its 17 bytes");
        refused(&spans(&FIVE.replace("fees", "fines")), "harbor has no document fines.md");
        refused(&spans(""), "a question of this kind needs spans and no holder");
        refused(&spans(FIVE).replace("harbor", "nobody"), "tenant nobody has no folder");
        refused(
            &line("unanswerable", &format!(r#""spans":[{FIVE}]"#)),
            "a question of this kind needs neither spans nor a holder",
        );
        let one_document = format!(r#""spans":[{FIVE},{FIVE}]"#);
        refused(
            &line("multi-document", &one_document),
            "a question of this kind needs spans in two documents and no holder",
        );
        let own = format!(r#""spans":[],"holder":"harbor","holder_spans":[{FIVE}]"#);
        refused(&line("other-tenant", &own), "holder is the tenant who asks");
        refused(
            &line("other-tenant", r#""spans":[],"holder":"linden""#),
            "a question of this kind needs no spans and a holder with some",
        );
    }

    /// The set that the repository ships: a file edited without its labels fails here.
    #[test]
    fn the_shipped_handbook_holds() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/handbook");
        let handbook = Handbook::open(&folder).unwrap();
        let kinds: BTreeSet<(&str, QuestionKind)> =
            handbook.questions.iter().map(|question| (question.tenant.as_str(), question.kind)).collect();
        assert_eq!((handbook.tenants.len(), kinds.len()), (3, 15), "every tenant has questions of all five kinds");
    }
}
