//! From bytes and a media type to blocks, and from blocks to chunks with exact spans.
