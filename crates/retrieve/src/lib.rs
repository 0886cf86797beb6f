//! The query path: retrieve, fuse, rerank, cut.
