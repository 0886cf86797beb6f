//! candle models: embedder, cross-encoder, tokenizers and the model store.
