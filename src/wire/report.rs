//! What was noticed while a collection's documents were read and cut.

use std::cmp::Reverse;

use ibid_core::{CollectionName, DocumentId};
use ibid_engine::Report;

use crate::proto as pb;

pub(crate) fn render(collection: &CollectionName, report: Report) -> pb::IngestReport {
    let ids = |documents: Vec<DocumentId>| documents.iter().map(DocumentId::to_string).collect();
    let mut formats: Vec<pb::FormatCount> = report
        .formats
        .into_iter()
        .map(|(media, count)| pb::FormatCount {
            media_type: media.as_str().to_owned(),
            documents: count.documents,
            complete: count.complete,
            chunks: count.chunks,
        })
        .collect();
    formats.sort_by(|a, b| (Reverse(a.documents), &a.media_type).cmp(&(Reverse(b.documents), &b.media_type)));
    let languages = report.languages.into_iter();
    let mut languages: Vec<pb::LanguageCount> =
        languages.map(|(language, documents)| pb::LanguageCount { language, documents }).collect();
    languages.sort_by(|a, b| (Reverse(a.documents), &a.language).cmp(&(Reverse(b.documents), &b.language)));
    let step = |(tokens_from, chunks): (u32, u64)| pb::TokenCount {
        tokens_from,
        tokens_below: tokens_from + Report::STEP_TOKENS,
        chunks,
    };
    pb::IngestReport {
        collection: collection.to_string(),
        formats,
        token_histogram: report.token_histogram.into_iter().map(step).collect(),
        chunks: report.chunks,
        chunks_oversize: report.oversize,
        chunks_tiny: report.tiny,
        chunks_table: report.tables,
        chunks_code: report.code,
        chunks_duplicate: report.duplicates,
        dropped_bytes: report.dropped_bytes,
        left_out_bytes: report.left_out_bytes,
        languages,
        noisy_document_ids: ids(report.noisy),
        instructing_document_ids: ids(report.instructing),
        parked_document_ids: ids(report.parked),
        empty_document_ids: ids(report.empty),
    }
}
