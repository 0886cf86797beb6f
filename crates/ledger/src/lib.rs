//! The durable truth: an append-only log; sled as the disposable index over it.
