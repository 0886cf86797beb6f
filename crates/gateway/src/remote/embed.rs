//! Texts to vectors, at a provider.

use ibid_core::{BoxFuture, Embed, ModelError, ModelId, Purpose};
use ibid_runtime::Ctx;
use serde_json::{Value, json};

use super::{Remote, RemoteConfig, finite};
use crate::GatewayError;

/// How an embedder is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbedProtocol {
    /// OpenAI's `/embeddings`, as vLLM, Ollama, llama.cpp and others speak it too; `base_url` ends before it.
    OpenAi,
    /// Text Embeddings Inference's `/embed`.
    Tei,
}

/// An embedder at a provider. Its vectors have length 1, whatever the provider says.
#[derive(Debug)]
pub struct RemoteEmbedder {
    remote: Remote,
    protocol: EmbedProtocol,
    id: ModelId,
    revision: String,
    dimension: usize,
    prefixes: [String; 2],
}

impl RemoteEmbedder {
    /// The embedder called `id`, whose vectors have `dimension` numbers. `prefixes` stand before questions and before
    /// passages, for models that want it; empty for others. Connects to nobody yet.
    ///
    /// # Errors
    /// [`GatewayError`]: an address, a key or a number that cannot be used.
    pub fn new(
        config: RemoteConfig,
        protocol: EmbedProtocol,
        id: ModelId,
        dimension: usize,
        prefixes: [String; 2],
    ) -> Result<RemoteEmbedder, GatewayError> {
        if dimension == 0 {
            return Err(GatewayError::OutOfRange { name: config.name, key: "dimension", expected: "at least 1" });
        }
        let path = match protocol {
            EmbedProtocol::OpenAi => "embeddings",
            EmbedProtocol::Tei => "embed",
        };
        // Which weights answer is the provider's secret: its name for them and how we ask is all there is to hash.
        let read = [&config.model, &prefixes[0], &prefixes[1]].map(|part| format!("{}:{part}", part.len())).concat();
        let revision = blake3::hash(read.as_bytes()).to_hex()[..16].to_owned();
        let remote = Remote::new(config, &[path])?;
        Ok(RemoteEmbedder { remote, protocol, id, revision, dimension, prefixes })
    }

    async fn vectors(&self, ctx: &Ctx, texts: Vec<String>) -> Result<Vec<Vec<f32>>, ModelError> {
        let expected = texts.len();
        let body = match self.protocol {
            EmbedProtocol::OpenAi => {
                json!({ "model": self.remote.model, "input": texts, "encoding_format": "float" })
            }
            EmbedProtocol::Tei => json!({ "inputs": texts, "truncate": true }),
        };
        let reply = self.remote.ask(ctx, &body).await?;
        let rows: Option<Vec<&Value>> = match self.protocol {
            EmbedProtocol::Tei => reply.as_array().map(|rows| rows.iter().collect()),
            // In whatever order: each says where it belongs.
            EmbedProtocol::OpenAi => reply["data"].as_array().and_then(|data| {
                let at = |index: usize| data.iter().find(|row| row["index"].as_u64() == Some(index as u64));
                (0..data.len()).map(|index| at(index).map(|row| &row["embedding"])).collect()
            }),
        };
        let rows = rows.filter(|rows| rows.len() == expected);
        let rows = rows.ok_or_else(|| self.remote.nonsense("its reply does not have a vector for each text"))?;
        rows.into_iter().map(|row| self.vector(row)).collect()
    }

    fn vector(&self, row: &Value) -> Result<Vec<f32>, ModelError> {
        let numbers: Option<Vec<f32>> = row.as_array().and_then(|row| row.iter().map(finite).collect());
        let numbers = numbers.ok_or_else(|| self.remote.nonsense("a vector has something that is no number"))?;
        if numbers.len() != self.dimension {
            let (given, expected) = (numbers.len(), self.dimension);
            return Err(self.remote.nonsense(&format!("its vectors have {given} numbers, expected {expected}")));
        }
        let length = numbers.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
        if length == 0.0 {
            return Err(self.remote.nonsense("a vector has no direction"));
        }
        Ok(numbers.into_iter().map(|number| (f64::from(number) / length) as f32).collect())
    }
}

impl Embed for RemoteEmbedder {
    fn model(&self) -> &ModelId {
        &self.id
    }

    fn revision(&self) -> &str {
        &self.revision
    }

    fn dimension(&self) -> usize {
        self.dimension
    }

    fn embed<'a>(
        &'a self,
        ctx: &'a Ctx,
        purpose: Purpose,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, ModelError>> {
        Box::pin(async move {
            let prefix = match purpose {
                Purpose::Query => &self.prefixes[0],
                Purpose::Passage => &self.prefixes[1],
            };
            let mut vectors = Vec::with_capacity(texts.len());
            for batch in texts.chunks(self.remote.batch_texts_max) {
                // Providers refuse a text without a character.
                let text = |text: &String| if text.is_empty() { " ".to_owned() } else { format!("{prefix}{text}") };
                vectors.extend(self.vectors(ctx, batch.iter().map(text).collect()).await?);
            }
            Ok(vectors)
        })
    }
}
