//! Hits, a cross-encoder and a request for the tests of this crate.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ibid_core::{
    BoxFuture, Calibration, Caller, ChunkId, CollectionKey, CollectionName, DocumentId, DocumentKey, GenerateRequest,
    Hit, MediaType, Metadata, ModelError, ModelId, Origin, Pairs, PartitionKey, Passage, Rerank, Revision, Scores,
    Source, Span, TenantKey,
};
use ibid_runtime::{Ctx, ManualClock, Priority};

use crate::words::words;

/// What stands before a test's chunk in its document, so that offsets in the two differ.
pub(crate) const PREFACE: &str = "Größe:\n\n";

/// The `number`-th document's one chunk, which reads `text` and stands behind [`PREFACE`].
pub(crate) fn hit(number: u32, text: &str) -> Hit {
    let stored = format!("{PREFACE}{text}");
    let partition = PartitionKey { tenant: TenantKey(1), collection: CollectionKey(1) };
    let key = DocumentKey([u8::try_from(number).unwrap(); 16]);
    Hit {
        collection: CollectionName::new("docs").unwrap(),
        document: DocumentId::new(&format!("{number}.md")).unwrap(),
        revision: Revision(3),
        chunk: ChunkId::of(partition, key, text, 0),
        span: Span::of(&stored, PREFACE.len()..stored.len()).unwrap(),
        title: format!("Title {number}"),
        source_uri: String::new(),
        media_type: MediaType::Markdown,
        heading_path: vec!["Part".to_owned(), "Section".to_owned()],
        text: text.to_owned(),
        metadata: Metadata::new(),
        context: None,
        places: Vec::new(),
        duplicates: Vec::new(),
        passage: None,
        scores: Scores::default(),
    }
}

/// A cross-encoder that counts the question's words in a passage.
#[derive(Debug)]
pub(crate) struct Overlap(ModelId);

impl Overlap {
    pub(crate) fn new() -> Overlap {
        Overlap(ModelId::new("overlap").unwrap())
    }
}

impl Rerank for Overlap {
    fn model(&self) -> &ModelId {
        &self.0
    }

    fn revision(&self) -> &str {
        "1"
    }

    fn calibration(&self) -> Calibration {
        Calibration::default()
    }

    fn pairs<'a>(
        &'a self,
        _: &'a Ctx,
        question: &'a str,
        passages: &'a [Passage],
    ) -> BoxFuture<'a, Result<Box<dyn Pairs + 'a>, ModelError>> {
        let asked: Vec<String> = words(question).collect();
        let common = |passage: &Passage| words(&passage.text).filter(|word| asked.contains(word)).count() as f32;
        let scores = Scored(passages.iter().map(common).collect());
        Box::pin(async move { Ok(Box::new(scores) as Box<dyn Pairs>) })
    }
}

#[derive(Debug)]
struct Scored(Vec<f32>);

impl Pairs for Scored {
    fn expected(&self, _: Range<usize>) -> Option<Duration> {
        None
    }

    fn score(&self, range: Range<usize>) -> BoxFuture<'_, Result<Vec<f32>, ModelError>> {
        Box::pin(async move { Ok(self.0[range].to_vec()) })
    }
}

pub(crate) fn ctx() -> Ctx {
    Ctx::new(Arc::new(ManualClock::at(0)), Priority::Query, None)
}

pub(crate) fn request(question: &str, sources: Arc<[Source]>) -> GenerateRequest {
    GenerateRequest {
        tenant: TenantKey(1),
        caller: Caller::default(),
        origin: Origin::default(),
        generator: String::new(),
        messages: Vec::new(),
        question: question.to_owned(),
        sources,
        tokens_max: 100,
        temperature: 0.0,
    }
}
