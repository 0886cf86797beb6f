//! Models that read text: the embedder, the cross-encoder, a language model, their tokenizers, and the store.
//!
//! | file               | responsibility                                                                        |
//! | ------------------ | ------------------------------------------------------------------------------------- |
//! | `config.rs`        | a model's architecture and shape, from its `config.json`                              |
//! | `weights.rs`       | tensors of a safetensors file by name and shape, whatever they are stored as          |
//! | `tokenizer.rs`     | text to tokens, in bounded memory, with exact byte offsets; what stands around a text |
//! | `wordpiece.rs`     | BERT's tokenizer in one pass                                                          |
//! | `isa.rs`           | what the processor can do, and which of it is used                                    |
//! | `kernels/`         | the loops that the time goes to, for several processors                               |
//! | `product.rs`       | linear layers: weights packed once; products in f32 or int8, and what follows them    |
//! | `attention.rs`     | attention within one text                                                             |
//! | `encoder.rs`       | the BERT forward pass over texts of different lengths, without padding                |
//! | `scheduler.rs`     | one scheduler a model: who waits, which texts share a forward pass                    |
//! | `device.rs`        | [`Device`]: what a model computes on                                                  |
//! | `candle.rs`        | [`Candle`]: other architectures and devices, and what tests and benches compare with  |
//! | `forward.rs`       | one door to both                                                                      |
//! | `head.rs`          | from a pair's hidden states to its logit                                              |
//! | `embedder.rs`      | [`Embedder`]: texts to vectors                                                        |
//! | `cross_encoder.rs` | [`CrossEncoder`]: a question and passages to scores                                   |
//! | `pace.rs`          | what the next texts will take, from what earlier ones took                            |
//! | `language_model.rs` | [`LanguageModel`]: messages to text, token by token                                 |
//! | `gguf.rs`          | metadata and tensors of a GGUF file                                                   |
//! | `llama.rs`         | the Llama forward pass, with what was computed for earlier tokens kept                |
//! | `llama/columns.rs` | its loops, over tokens that stand side by side                                        |
//! | `vocabulary.rs`    | text to tokens and back, as a GGUF file says                                          |
//! | `chat.rs`          | messages to a prompt, by the model's chat template                                    |
//! | `detokenizer.rs`   | tokens to text as they come, never half a character                                   |
//! | `manifest.rs`      | what is written down about a model                                                    |
//! | `store.rs`         | [`ModelStore`]: folders of models; list, verify, import, load                         |
//! | `pull.rs`          | download from a model hub: resumed, verified, atomic                                  |
//! | `quantize.rs`      | int8 rows: a model at a quarter of its size, and what that costs                      |
//!
//! Invariants: a text's result does not depend, to the last bit, on the texts that share its forward pass. What a text says is
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
mod candle;
mod chat;
mod config;
mod cross_encoder;
mod detokenizer;
mod device;
mod embedder;
mod encoder;
mod error;
mod forward;
mod gguf;
mod head;
mod isa;
mod kernels;
mod language_model;
mod llama;
mod manifest;
mod pace;
mod product;
mod pull;
mod quantize;
mod scheduler;
mod store;
#[cfg(test)]
mod testing;
mod tokenizer;
mod vocabulary;
mod weights;
mod wordpiece;

pub use candle::Candle;
pub use cross_encoder::CrossEncoder;
pub use device::{Compute, Device, NoDevice, NoNumbers};
pub use embedder::Embedder;
pub use encoder::Tokens;
pub use error::InferError;
pub use isa::{Isa, fma_peak, isa};
pub use language_model::{LanguageModel, LanguageModelConfig};
pub use manifest::{FullForm, ModelEntry, ModelKind, Pooling, Precision};
pub use product::Numbers;
pub use pull::{HUB, Progress, pull};
pub use quantize::{Agreement, compare, quantize};
pub use store::{FileState, Installed, ModelStore};
