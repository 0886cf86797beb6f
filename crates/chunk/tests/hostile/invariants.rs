//! What must hold of whatever was read and cut, for the hostile files and for `examples/fuzz.rs`.

use ibid_chunk::Chunked;
use ibid_core::Span;

#[path = "words.rs"]
mod words;

pub(crate) use words::Words;

/// Whether the spans are pieces of the text, in order, and hold all of it that is not blank.
pub(crate) fn check(text: &str, chunked: &Chunked, may_overlap: bool) -> Result<(), String> {
    let (mut start, mut end) = (0, 0);
    for span in chunked.chunks.iter().map(|chunk| &chunk.span) {
        let is_after = if may_overlap { start <= span.range().start } else { end <= span.range().start };
        if !is_after || span.range().end <= end {
            return Err(format!("{span:?} is not behind {start}..{end}"));
        }
        (start, end) = (span.range().start, span.range().end);
    }
    let mut contexts = chunked.chunks.iter().filter_map(|chunk| chunk.context.as_ref());
    if let Some(context) = contexts.find(|context| context.quote(text).is_none()) {
        return Err(format!("the context {context:?} is no piece of the text"));
    }
    let mut spans: Vec<&Span> = chunked.chunks.iter().map(|chunk| &chunk.span).chain(&chunked.dropped).collect();
    spans.sort_by_key(|span| span.range().start);
    let mut end = 0;
    for span in spans {
        let quote = span.quote(text).ok_or_else(|| format!("{span:?} is no piece of the text"))?;
        if quote != quote.trim() {
            return Err(format!("{span:?} has white space at an end"));
        }
        if text.get(end..span.range().start).is_some_and(|between| !between.trim().is_empty()) {
            return Err(format!("{end}..{} is in no span", span.range().start));
        }
        end = end.max(span.range().end);
    }
    if text[end..].trim().is_empty() { Ok(()) } else { Err(format!("{end}.. is in no span")) }
}
