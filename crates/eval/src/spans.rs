//! The handbook put into an engine, its questions asked: how much of the words that answer comes back.

use std::collections::BTreeMap;
use std::ops::Range;

use ibid_core::{
    CollectionName, CollectionSettings, DocumentId, Floor, MediaType, Metadata, Operator, Readers, Span, TenantName,
};
use ibid_engine::{EmbedModel, Expand, Partition, Put, ReadyChunk, Stage};
use ibid_retrieve::{Duplicates, Fusion, Mode, Query, Rerank, Retriever};
use serde::{Deserialize, Serialize};

use crate::{EvalError, Handbook, HandbookDocument, Measurement, Progress, Question, QuestionKind};

/// Hits that a question is measured at.
const HITS: usize = 5;
/// Candidates an arm that a search gives by default.
const CANDIDATES: usize = 50;

/// How documents are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cutting {
    /// By their structure, as the collection's settings say.
    Structure,
    /// Every so many tokens, wherever that is.
    Windows(u32),
}

/// What five hits bring back of the words that answer a question.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Spans {
    /// Of the bytes that answer, the share within hits.
    #[serde(rename = "span_recall@5")]
    pub recall: f64,
    /// Of the hits' bytes, the share that answers.
    #[serde(rename = "span_precision@5")]
    pub precision: f64,
    /// Bytes that answer within hits, of all that are in hits or answer.
    #[serde(rename = "span_iou@5")]
    pub iou: f64,
}

/// The figures of one measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpanReport {
    /// Means over the questions that the tenant who asks has an answer to.
    #[serde(flatten)]
    pub mean: Spans,
    /// The same by kind of question, and how many there are.
    pub by_kind: BTreeMap<String, (usize, Spans)>,
    /// Hits, of any question, that are not words of the tenant who asks.
    pub leaks: usize,
    /// Chunks of all tenants.
    pub chunks: u64,
    /// Each such question's, by its id, in the set's order.
    pub questions: Vec<(String, Spans)>,
}

impl Measurement<'_> {
    /// Puts every tenant's documents into the engine and asks every question once, in the name of the tenant who asks.
    ///
    /// # Errors
    /// [`EvalError`]: the engine or a model failed.
    pub async fn handbook(
        &self,
        handbook: &Handbook,
        settings: &CollectionSettings,
        cutting: Cutting,
        model: &dyn EmbedModel,
        tell: &dyn Fn(Progress),
    ) -> Result<SpanReport, EvalError> {
        let mut partitions = BTreeMap::new();
        let mut chunks = 0;
        for (done, (tenant, documents)) in handbook.tenants.iter().enumerate() {
            tell(Progress::Stored(done, handbook.tenants.len()));
            let partition = self.tenant(tenant, settings).await?;
            for (id, document) in documents {
                // Ready chunks are of a text that is stored as it comes.
                let (media_type, content) = match cutting {
                    Cutting::Structure => (document.media_type, document.content.clone()),
                    Cutting::Windows(_) => (MediaType::Plain, document.text.clone().into_bytes()),
                };
                let put = Put {
                    id: id.clone(),
                    media_type,
                    title: String::new(),
                    source_uri: String::new(),
                    metadata: Metadata::new(),
                    readers: Readers::default(),
                    content,
                    chunks: ready(document, cutting, model),
                    idempotency_key: None,
                    wait_for: Stage::Durable,
                };
                partition.put(&self.ctx(), put).await?;
            }
            let made = std::cell::Cell::new(0);
            partition
                .settled(&self.ctx(), |status| {
                    made.set(status.chunks);
                    tell(Progress::Embedded(status.chunks_embedded, status.chunks));
                })
                .await?;
            chunks += made.get();
            partitions.insert(tenant, partition);
        }
        let mut report =
            SpanReport { mean: Spans::default(), by_kind: BTreeMap::new(), leaks: 0, chunks, questions: Vec::new() };
        let mut of_kind: BTreeMap<String, Vec<Spans>> = BTreeMap::new();
        for (asked, question) in handbook.questions.iter().enumerate() {
            tell(Progress::Asked("questions", asked, handbook.questions.len()));
            let documents = &handbook.tenants[&question.tenant];
            let hits = self.hits(&partitions[&question.tenant], &question.text).await?;
            let is_own = |(id, span, text): &&(DocumentId, Span, String)| {
                documents.get(id).is_some_and(|document| span.quote(&document.text) == Some(text))
            };
            report.leaks += hits.len() - hits.iter().filter(is_own).count();
            if question.spans.is_empty() {
                continue;
            }
            let found: Vec<_> = hits.into_iter().map(|(id, span, _)| (id, span)).collect();
            let spans = Spans::of(question, &found);
            of_kind.entry(kind_name(question.kind).to_owned()).or_default().push(spans);
            report.questions.push((question.id.clone(), spans));
        }
        report.mean = Spans::mean(report.questions.iter().map(|(_, spans)| *spans));
        report.by_kind =
            of_kind.into_iter().map(|(kind, all)| (kind, (all.len(), Spans::mean(all.iter().copied())))).collect();
        Ok(report)
    }

    async fn tenant(&self, tenant: &TenantName, settings: &CollectionSettings) -> Result<Partition, EvalError> {
        let operator = Operator::of_this_process();
        let collection = CollectionName::new("handbook").expect("a valid name");
        self.engine.create_tenant(&operator, tenant.clone()).await?;
        let right = self.engine.enter(&operator, tenant)?;
        self.engine.create_collection(&self.ctx(), &right, collection.clone(), settings.clone()).await?;
        Ok(self.engine.partition(&self.ctx(), &right, &collection).await?)
    }

    async fn hits(&self, partition: &Partition, question: &str) -> Result<Vec<(DocumentId, Span, String)>, EvalError> {
        let (rerank, rerankers) = match self.rerank_depth {
            0 => (Rerank::Off, None),
            depth => (
                Rerank::Top { depth, weight: Rerank::WEIGHT, budget: self.rerank_budget },
                Some(self.rerankers.clone()),
            ),
        };
        let query = Query {
            question: question.to_owned(),
            vector: None,
            mode: Mode::Hybrid,
            top_k: HITS,
            neighbour_weight: self.neighbour_weight,
            candidates: CANDIDATES,
            fusion: Fusion::default(),
            rerank,
            filter: None,
            floor: Floor::default(),
            generation: None,
            expand: Expand::None,
            duplicates: Duplicates::Collapse,
        };
        let retriever = Retriever::new(self.pool.clone(), rerankers);
        let retrieved = retriever.retrieve(&self.ctx(), std::slice::from_ref(partition), &query).await?;
        Ok(retrieved.hits.into_iter().map(|hit| (hit.document, hit.span, hit.text)).collect())
    }
}

/// The name of a kind as the files have it.
fn kind_name(kind: QuestionKind) -> &'static str {
    match kind {
        QuestionKind::Lexical => "lexical",
        QuestionKind::Semantic => "semantic",
        QuestionKind::MultiDocument => "multi-document",
        QuestionKind::Unanswerable => "unanswerable",
        QuestionKind::OtherTenant => "other-tenant",
    }
}

/// The document's chunks where it is not cut by its structure.
fn ready(document: &HandbookDocument, cutting: Cutting, model: &dyn EmbedModel) -> Vec<ReadyChunk> {
    let Cutting::Windows(tokens) = cutting else { return Vec::new() };
    let mut starts = Vec::new();
    model.token_starts(&document.text, &mut starts);
    let bounds: Vec<usize> = starts.iter().step_by(tokens.max(1) as usize).map(|start| *start as usize).collect();
    let ends = bounds.iter().skip(1).copied().chain([document.text.len()]);
    let trimmed = |bytes: Range<usize>| {
        let piece = &document.text[bytes.clone()];
        let start = bytes.start + (piece.len() - piece.trim_start().len());
        start..start + piece.trim().len()
    };
    let windows = bounds.iter().zip(ends).map(|(start, end)| trimmed(*start..end));
    windows.filter(|bytes| !bytes.is_empty()).map(|bytes| ReadyChunk { bytes, vector: None }).collect()
}

impl Spans {
    /// The figures of a question from the hits' documents and spans.
    fn of(question: &Question, hits: &[(DocumentId, Span)]) -> Spans {
        let asked: usize = question.spans.iter().map(|labelled| labelled.span.range().len()).sum();
        let retrieved: usize = hits.iter().map(|(_, span)| span.range().len()).sum();
        let mut found = 0;
        for labelled in &question.spans {
            let own = hits.iter().filter(|(document, _)| *document == labelled.document);
            let mut parts: Vec<Range<usize>> = own
                .map(|(_, span)| {
                    let (a, b) = (labelled.span.range(), span.range());
                    a.start.max(b.start)..a.end.min(b.end)
                })
                .filter(|part| !part.is_empty())
                .collect();
            parts.sort_by_key(|part| part.start);
            let mut end = 0;
            for part in parts {
                found += part.end.saturating_sub(end.max(part.start));
                end = end.max(part.end);
            }
        }
        let (asked, retrieved, found) = (asked as f64, retrieved as f64, found as f64);
        Spans {
            recall: found / asked.max(1.0),
            precision: found / retrieved.max(1.0),
            iou: found / (retrieved + asked - found).max(1.0),
        }
    }

    fn mean(all: impl ExactSizeIterator<Item = Spans>) -> Spans {
        let count = all.len().max(1) as f64;
        let sum = all.fold(Spans::default(), |sum, one| Spans {
            recall: sum.recall + one.recall,
            precision: sum.precision + one.precision,
            iou: sum.iou + one.iou,
        });
        Spans { recall: sum.recall / count, precision: sum.precision / count, iou: sum.iou / count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LabelledSpan;

    #[test]
    fn bytes_that_answer_count_once() {
        let text = "x".repeat(100);
        let span = |bytes: Range<usize>| Span::of(&text, bytes).unwrap();
        let id = |name: &str| DocumentId::new(name).unwrap();
        let labelled = |name: &str, bytes| LabelledSpan { document: id(name), span: span(bytes) };
        let question = Question {
            id: "1".to_owned(),
            tenant: TenantName::new("harbor").unwrap(),
            kind: QuestionKind::MultiDocument,
            text: "?".to_owned(),
            spans: vec![labelled("a", 10..20), labelled("b", 0..10)],
            answer: String::new(),
            holder: None,
        };
        let hits = [(id("a"), span(0..15)), (id("a"), span(5..18)), (id("c"), span(0..10))];
        let Spans { recall, precision, iou } = Spans::of(&question, &hits);
        assert_eq!((recall, precision, iou), (8.0 / 20.0, 8.0 / 38.0, 8.0 / (38.0 + 20.0 - 8.0)));
        assert_eq!(Spans::of(&question, &[]).recall, 0.0);
    }
}
