//! From a plan's numbers to what the engine is given, and back.

use std::collections::BTreeMap;

use ibid_core::{
    CollectionName, CollectionSettings, DocumentId, Language, MediaType, Metadata, Operator, Readers, TenantName, Trust,
};
use ibid_engine::{Put, ReadyChunk, Stage};

use crate::plan::{self, Putting};
use crate::words::Words;

pub(crate) fn operator() -> Operator {
    Operator::of_this_process()
}

pub(crate) fn tenant_name(tenant: u8) -> TenantName {
    TenantName::new(&format!("tenant{tenant}")).unwrap()
}

pub(crate) fn collection_name(collection: u8) -> CollectionName {
    CollectionName::new(&format!("docs{collection}")).unwrap()
}

pub(crate) fn document_id(document: u8) -> DocumentId {
    DocumentId::new(&format!("document{document}")).unwrap()
}

/// The number that a name ends with.
pub(crate) fn number_of(name: &str) -> u8 {
    name.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

pub(crate) fn settings(words: &Words) -> CollectionSettings {
    CollectionSettings {
        embedder: words.id.clone(),
        language: Language::English,
        stemming: true,
        stop_words: false,
        chunk_tokens: 32,
        chunk_overlap_tokens: 0,
        chunk_context: true,
        metadata_schema: BTreeMap::new(),
        trust: Trust::Trusted,
    }
}

pub(crate) fn request(Putting { place, document, content, key }: Putting, wait_for: Stage, words: &Words) -> Put {
    let text = plan::text(place, document, content);
    Put {
        id: document_id(document),
        media_type: MediaType::Markdown,
        title: String::new(),
        source_uri: String::new(),
        metadata: Metadata::new(),
        readers: Readers::default(),
        chunks: if plan::comes_with_vectors(content) { ready(&text, words) } else { Vec::new() },
        content: text.into(),
        idempotency_key: key.map(|key| format!("key{key}")),
        wait_for,
    }
}

/// A text's parts, with the vectors that the embedder would make of them.
fn ready(text: &str, words: &Words) -> Vec<ReadyChunk> {
    let mut starts: Vec<usize> = text.match_indices("## Part").map(|(start, _)| start).collect();
    starts[0] = 0;
    let ends = starts[1..].iter().copied().chain([text.len()]);
    let chunk = |(start, end): (&usize, usize)| ReadyChunk {
        bytes: *start..end,
        vector: Some(words.vector(&text[*start..end])),
    };
    starts.iter().zip(ends).map(chunk).collect()
}
