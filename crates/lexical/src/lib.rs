//! BM25 on tantivy: one index per partition.
