//! Documents on their way in and out.

use bytes::Bytes;
use ibid_core::{CollectionName, DocumentId, MediaType, Readers, Revision};
use ibid_engine::{DocumentInfo, Invalid, Put, PutAck, ReadyChunk, Stage};
use prost::Message;

use super::{collection, key, text, time, value};
use crate::proto as pb;

/// The largest message that puts one document.
pub(crate) const PUT_BYTES_MAX: usize = 16 << 20;
const TITLE_BYTES_MAX: usize = 1_024;
const SOURCE_URI_BYTES_MAX: usize = 2_048;
const CHUNKS_MAX: usize = 65_536;
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

/// Where a document belongs, read before its content is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) collection: CollectionName,
    pub(crate) id: DocumentId,
}

/// The address in a header.
pub(crate) fn header_address(header: &pb::DocumentHeader) -> Result<Address, Invalid> {
    Ok(Address {
        collection: collection::name("header.collection", &header.collection)?,
        id: text::name("header.document_id", &header.document_id, DocumentId::new)?,
    })
}

/// The address in a request that has it at its top.
pub(crate) fn address(collection: &str, document_id: &str) -> Result<Address, Invalid> {
    Ok(Address { collection: collection::name("collection", collection)?, id: id(document_id)? })
}

fn id(given: &str) -> Result<DocumentId, Invalid> {
    text::name("document_id", given, DocumentId::new)
}

/// The parts of a request that puts one document.
pub(crate) fn put_request(request: pb::PutDocumentRequest) -> Result<(Address, pb::DocumentHeader, Bytes), Invalid> {
    let bytes = request.encoded_len();
    if bytes > PUT_BYTES_MAX {
        let problem = format!("makes a message of {bytes} bytes, expected at most {PUT_BYTES_MAX}; put it by Ingest");
        return Err(Invalid::new("content", problem));
    }
    let header = request.header.ok_or_else(|| Invalid::new("header", "is missing"))?;
    Ok((header_address(&header)?, header, request.content))
}

/// A document to be put. Reads the whole content: a few milliseconds for a large one.
pub(crate) fn put(address: Address, header: pb::DocumentHeader, content: Bytes) -> Result<Put, Invalid> {
    let media_type = media_type(&header.media_type, &address.id, &content)?;
    let idempotency_key = text::bounded("header.idempotency_key", header.idempotency_key, IDEMPOTENCY_KEY_BYTES_MAX)?;
    Ok(Put {
        id: address.id,
        media_type,
        title: text::bounded("header.title", header.title, TITLE_BYTES_MAX)?,
        source_uri: text::bounded("header.source_uri", header.source_uri, SOURCE_URI_BYTES_MAX)?,
        metadata: value::metadata("header.metadata", header.metadata)?,
        readers: Readers::of(key::principals("header.principals", header.principals)?),
        content: content.into(),
        chunks: ready_chunks(header.chunks)?,
        idempotency_key: Some(idempotency_key).filter(|key| !key.is_empty()),
        wait_for: stage("header.wait_for", header.wait_for)?,
    })
}

fn media_type(given: &str, id: &DocumentId, content: &[u8]) -> Result<MediaType, Invalid> {
    const SUPPORTED: &str = "expected one that `ibid formats` lists, such as text/markdown or application/pdf";
    if !given.is_empty() {
        let problem = || Invalid::new("header.media_type", format!("is not supported, {SUPPORTED}"));
        return MediaType::parse(given).ok_or_else(problem);
    }
    if let Some(media) = ibid_chunk::detect(id.as_str(), content) {
        return Ok(media);
    }
    // That the content is no text has an error of its own, which says where.
    if std::str::from_utf8(content).is_err() {
        return Ok(MediaType::Plain);
    }
    let problem = format!("is empty, and document_id and content do not tell what it is; {SUPPORTED}");
    Err(Invalid::new("header.media_type", problem))
}

fn ready_chunks(given: Vec<pb::ReadyChunk>) -> Result<Vec<ReadyChunk>, Invalid> {
    text::no_more_than("header.chunks", given.len(), CHUNKS_MAX)?;
    let chunk = |(ordinal, chunk): (usize, pb::ReadyChunk)| {
        let bytes = value::span(&format!("header.chunks[{ordinal}].span"), chunk.span)?;
        Ok(ReadyChunk { bytes, vector: Some(chunk.vector).filter(|vector| !vector.is_empty()) })
    };
    given.into_iter().enumerate().map(chunk).collect()
}

fn stage(field: &str, number: i32) -> Result<Stage, Invalid> {
    Ok(match text::known(field, number)? {
        pb::Stage::Unspecified | pb::Stage::Durable => Stage::Durable,
        pb::Stage::Lexical => Stage::Lexical,
        pb::Stage::Vector => Stage::Vector,
    })
}

/// Which piece of which revision is wanted; `end` is `None` for the end of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) address: Address,
    pub(crate) start: u64,
    pub(crate) end: Option<u64>,
    pub(crate) revision: Option<Revision>,
    /// Of the document's own bytes, not of its stored text.
    pub(crate) original: bool,
}

pub(crate) fn piece(request: &pb::GetDocumentRequest) -> Result<Piece, Invalid> {
    let (start, end) = (request.start_byte, Some(request.end_byte).filter(|end| *end > 0));
    if end.is_some_and(|end| end < start) {
        return Err(Invalid::new("end_byte", format!("is before start_byte ({start}), expected it behind, or 0")));
    }
    Ok(Piece {
        address: address(&request.collection, &request.document_id)?,
        start,
        end,
        revision: Some(request.revision).filter(|revision| *revision > 0).map(Revision),
        original: request.original,
    })
}

fn render_stage(stage: Stage) -> i32 {
    match stage {
        Stage::Durable => pb::Stage::Durable,
        Stage::Lexical => pb::Stage::Lexical,
        Stage::Vector => pb::Stage::Vector,
    }
    .into()
}

pub(crate) fn render_ack(id: &DocumentId, ack: PutAck) -> pb::PutResult {
    pb::PutResult {
        document_id: id.to_string(),
        revision: ack.revision.0,
        generation: ack.generation.0,
        stage: render_stage(ack.stage),
        chunks_new: ack.chunks_new,
        chunks_reused: ack.chunks_reused,
        unchanged: ack.unchanged,
        warnings: ack.warnings,
    }
}

pub(crate) fn render(collection: &CollectionName, info: DocumentInfo) -> pb::Document {
    pb::Document {
        collection: collection.to_string(),
        document_id: info.id.to_string(),
        revision: info.revision.0,
        generation: info.generation.0,
        media_type: info.media_type.as_str().to_owned(),
        title: info.title,
        source_uri: info.source_uri,
        metadata: value::render_metadata(info.metadata),
        principals: info.readers.principals().iter().cloned().collect(),
        content_bytes: info.bytes,
        updated_at: Some(time::render_ours(info.updated_ms)),
        stage: render_stage(info.stage),
        chunks: info.chunks,
        chunks_embedded: info.chunks_embedded,
        language: info.findings.language,
        noisy: info.findings.noisy,
        instructs: info.findings.instructs,
        dropped_bytes: info.findings.dropped_bytes.into(),
        left_out_bytes: info.findings.left_out_bytes.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> pb::DocumentHeader {
        pb::DocumentHeader { collection: "c".to_owned(), document_id: "d.md".to_owned(), ..Default::default() }
    }

    fn parse(header: pb::DocumentHeader, content: &'static [u8]) -> Result<Put, Invalid> {
        put(header_address(&header)?, header, Bytes::from_static(content))
    }

    #[track_caller]
    fn check(change: impl Fn(&mut pb::DocumentHeader), content: &'static [u8], expected: &str) {
        let mut header = good();
        change(&mut header);
        assert_eq!(parse(header, content).unwrap_err().field, expected);
    }

    #[test]
    fn every_refused_field_is_named() {
        check(|header| header.collection.clear(), b"a", "header.collection");
        check(|header| header.document_id = "a\0".to_owned(), b"a", "header.document_id");
        check(|header| header.media_type = "application/zip".to_owned(), b"a", "header.media_type");
        check(|header| header.document_id = "a.pdf".to_owned(), b"a", "header.media_type");
        check(|header| header.title = "x".repeat(1_025), b"a", "header.title");
        check(|header| header.source_uri = "x".repeat(2_049), b"a", "header.source_uri");
        check(|header| header.metadata = [("a".to_owned(), pb::Value::default())].into(), b"a", "header.metadata[a]");
        check(|header| header.principals = vec![String::new()], b"a", "header.principals[0]");
        check(|header| header.idempotency_key = "x".repeat(129), b"a", "header.idempotency_key");
        check(|header| header.wait_for = 99, b"a", "header.wait_for");
        check(|header| header.chunks = vec![pb::ReadyChunk::default()], b"a", "header.chunks[0].span");
        check(|header| header.chunks = vec![pb::ReadyChunk::default(); 65_537], b"a", "header.chunks");
    }

    #[test]
    fn a_request_without_header_or_too_large_is_refused() {
        let refused = |header, content: Vec<u8>| {
            put_request(pb::PutDocumentRequest { header, content: content.into() }).unwrap_err().field
        };
        assert_eq!(refused(None, vec![]), "header");
        assert_eq!(refused(Some(good()), vec![b'a'; PUT_BYTES_MAX]), "content");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_place() {
        let refused = parse(good(), "ä\u{0}".as_bytes()).unwrap_err();
        assert_eq!(refused.field, "header.media_type");
        // Whoever reads it says where it is wrong.
        assert_eq!(parse(good(), b"\xc3\xa4\xff").unwrap().media_type, MediaType::Plain);
    }

    #[test]
    fn the_media_type_is_found_out_where_it_is_not_given() {
        assert_eq!(parse(good(), b"a").unwrap().media_type, MediaType::Markdown);
        let given = pb::DocumentHeader { media_type: "text/plain; charset=utf-8".to_owned(), ..good() };
        assert_eq!(parse(given, b"a").unwrap().media_type, MediaType::Plain);
    }

    #[test]
    fn a_piece_ends_behind_its_start() {
        let request = |start_byte, end_byte| pb::GetDocumentRequest {
            collection: "c".to_owned(),
            document_id: "d".to_owned(),
            start_byte,
            end_byte,
            revision: 0,
            original: false,
        };
        assert_eq!(piece(&request(5, 4)).unwrap_err().field, "end_byte");
        let all = piece(&request(5, 0)).unwrap();
        assert_eq!((all.start, all.end, all.revision), (5, None, None));
    }
}
