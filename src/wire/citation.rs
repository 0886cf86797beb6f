//! What has become of something cited.

use ibid_core::{ChunkId, CollectionName, Revision};
use ibid_engine::{Cited, CitedState, Invalid, Resolved};

use super::{document, value};
use crate::proto as pb;

pub(crate) fn request(given: pb::ResolveCitationRequest) -> Result<(CollectionName, Cited), Invalid> {
    let document::Address { collection, id } = document::address(&given.collection, &given.document_id)?;
    let chunk = Some(given.chunk_id.as_str()).filter(|text| !text.is_empty());
    let wrong = || Invalid::new("chunk_id", "is no chunk's id, expected 32 hexadecimal digits");
    let hash = Some(&given.quote_blake3[..]).filter(|hash| !hash.is_empty());
    let length = || Invalid::new("quote_blake3", format!("has {} bytes, expected 32", given.quote_blake3.len()));
    let cited = Cited {
        document: id,
        revision: Revision(given.revision),
        chunk: chunk.map(|text| ChunkId::parse(text).ok_or_else(wrong)).transpose()?,
        bytes: given.span.map(|span| value::span("span", Some(span))).transpose()?,
        quote_hash: hash.map(|hash| hash.try_into().map_err(|_| length())).transpose()?,
    };
    Ok((collection, cited))
}

pub(crate) fn render(resolved: Resolved) -> pb::ResolveCitationResponse {
    let state = match resolved.state {
        CitedState::Current => pb::CitationState::Current,
        CitedState::Superseded => pb::CitationState::Superseded,
        CitedState::Erased => pb::CitationState::Erased,
    };
    let place = resolved
        .place
        .map(|place| pb::ChunkPlace { revision: place.revision.0, span: Some(value::render_span(place.span)) });
    pb::ResolveCitationResponse {
        state: state.into(),
        current_revision: resolved.newest.map_or(0, |newest| newest.0),
        stored: resolved.stored,
        quote: resolved.quote.unwrap_or_default().into(),
        quote_matches: resolved.quote_matches,
        chunk_place: place,
    }
}
