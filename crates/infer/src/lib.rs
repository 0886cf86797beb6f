//! Models that read text: the embedder, the cross-encoder, their tokenizer, and the store they are loaded from.
//!
//! | file               | responsibility                                                                        |
//! | ------------------ | ------------------------------------------------------------------------------------- |
//! | `config.rs`        | a model's shape, from its `config.json`                                               |
//! | `weights.rs`       | tensors of a safetensors file by name and shape, whatever they are stored as          |
//! | `tokenizer.rs`     | text to wordpieces, in bounded memory, with exact byte offsets                        |
//! | `isa.rs`           | what the processor can do, and which of it is used                                    |
//! | `kernels/`         | the loops that the time goes to, for several processors                               |
//! | `product.rs`       | linear layers: weights packed once; products in f32 or int8, and what follows them    |
//! | `attention.rs`     | attention within one text                                                             |
//! | `encoder.rs`       | the BERT forward pass over texts of different lengths, without padding                |
//! | `batch.rs`         | forward passes on the compute pool, in batches bounded by tokens                      |
//! | `embedder.rs`      | [`Embedder`]: texts to vectors                                                        |
//! | `cross_encoder.rs` | [`CrossEncoder`]: a question and passages to scores                                   |
//! | `reference.rs`     | [`Reference`]: the same encoder by candle, which tests and benches compare with       |
//! | `manifest.rs`      | what is written down about a model                                                    |
//! | `store.rs`         | [`ModelStore`]: folders of models; list, verify, import, load                         |
//! | `pull.rs`          | download from a model hub: resumed, verified, atomic                                  |
//! | `quantize.rs`      | int8 rows: a model at a quarter of its size, and what that costs                      |
//!
//! Invariants: a text's result does not depend, to the last bit, on the texts beside it in a call. What a text says is
//! never read as a special token. Weights are hashed when they are loaded and refused if the manifest names another hash.
//! This crate knows no tenant, no partition, no configuration file and no environment.
//!
//! ```
//! use ibid_core::{Embed, ModelId, Purpose};
//! use ibid_infer::ModelStore;
//! use ibid_runtime::{Ctx, Pool, Priority, SystemClock};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = ModelStore::new(vec![concat!(env!("CARGO_MANIFEST_DIR"), "/../../models").into()]);
//! let embedder = store.load_embedder(&ModelId::new("all-MiniLM-L6-v2-int8")?, &Pool::new(2, 64)?, 2_048)?;
//! let ctx = Ctx::new(std::sync::Arc::new(SystemClock::new()), Priority::Query, None);
//! let texts = ["Where does it say so?".to_owned()];
//! let vectors = futures::executor::block_on(embedder.embed(&ctx, Purpose::Query, &texts))?;
//! assert_eq!(vectors[0].len(), 384);
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

mod attention;
mod batch;
mod config;
mod cross_encoder;
mod embedder;
mod encoder;
mod error;
mod isa;
mod kernels;
mod manifest;
mod product;
mod pull;
mod quantize;
mod reference;
mod store;
mod tokenizer;
mod weights;

pub use cross_encoder::CrossEncoder;
pub use embedder::Embedder;
pub use encoder::Tokens;
pub use error::InferError;
pub use isa::{Isa, fma_peak, isa};
pub use manifest::{FullForm, ModelEntry, ModelKind, Pooling, Precision};
pub use product::Numbers;
pub use pull::{HUB, Progress, pull};
pub use quantize::{Agreement, compare, quantize};
pub use reference::Reference;
pub use store::{FileState, Installed, ModelStore};
