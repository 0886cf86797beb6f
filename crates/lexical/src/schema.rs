//! What a chunk is in the index: one field of terms and its label.
//!
//! Title, headings and text go into one field, one after the other: BM25F (Robertson, Zaragoza, Taylor, CIKM 2004) with
//! all weights 1 and one length. No positions are kept and no text is stored: that is the ledger's.

use tantivy::schema::{Field, IndexRecordOption, NumericOptions, Schema, TextFieldIndexing, TextOptions};

use crate::Analysis;

pub(crate) const LABEL: &str = "label";
const TEXT: &str = "text";

#[derive(Clone, Copy)]
pub(crate) struct Fields {
    pub(crate) label: Field,
    pub(crate) text: Field,
}

/// The schema names its analyzer: an index of another analysis has another schema.
pub(crate) fn schema(analysis: Analysis) -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let label = schema.add_u64_field(LABEL, NumericOptions::default().set_indexed().set_fast());
    let terms = TextFieldIndexing::default()
        .set_tokenizer(&analysis.to_string())
        .set_index_option(IndexRecordOption::WithFreqs)
        .set_fieldnorms(true);
    let text = schema.add_text_field(TEXT, TextOptions::default().set_indexing_options(terms));
    (schema.build(), Fields { label, text })
}
