//! A model's shape, from its `config.json`.

use std::path::Path;

use serde::Deserialize;

use crate::InferError;

/// The part of `config.json` that the forward pass depends on.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct BertConfig {
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    model_type: Option<String>,
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) intermediate_size: usize,
    hidden_act: String,
    pub(crate) max_position_embeddings: usize,
    pub(crate) type_vocab_size: usize,
    pub(crate) layer_norm_eps: f32,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

impl BertConfig {
    /// Reads and checks a `config.json`.
    ///
    /// # Errors
    /// Not readable, malformed, or of a family that this encoder does not run.
    pub(crate) fn read(path: &Path) -> Result<BertConfig, InferError> {
        let bytes = std::fs::read(path).map_err(|source| InferError::Read { path: path.to_owned(), source })?;
        let config: BertConfig = serde_json::from_slice(&bytes)
            .map_err(|error| InferError::Malformed { path: path.to_owned(), detail: error.to_string() })?;
        config.check(path)?;
        Ok(config)
    }

    /// Whether the head scores a pair of texts.
    pub(crate) fn is_classifier(&self) -> bool {
        self.architectures.iter().any(|name| name == "BertForSequenceClassification")
    }

    /// Floats a head reads and writes for each token.
    pub(crate) fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    fn check(&self, path: &Path) -> Result<(), InferError> {
        let family = self.model_type.as_deref().unwrap_or("bert");
        if family != "bert" {
            return Err(InferError::Unsupported {
                what: format!("model type {family:?}"),
                way_out: "choose a model whose config.json says \"model_type\": \"bert\"",
            });
        }
        if self.hidden_act != "gelu" {
            return Err(InferError::Unsupported {
                what: format!("activation {:?}", self.hidden_act),
                way_out: "choose a model whose config.json says \"hidden_act\": \"gelu\"",
            });
        }
        if let Some(positions) = self.position_embedding_type.as_deref().filter(|name| *name != "absolute") {
            return Err(InferError::Unsupported {
                what: format!("position embedding {positions:?}"),
                way_out: "choose a model with absolute positions",
            });
        }
        let sizes = [
            self.vocab_size,
            self.hidden_size,
            self.num_hidden_layers,
            self.num_attention_heads,
            self.intermediate_size,
            self.max_position_embeddings,
            self.type_vocab_size,
        ];
        if sizes.contains(&0) || !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err(InferError::Malformed {
                path: path.to_owned(),
                detail: "sizes are at least 1, and hidden_size is a multiple of num_attention_heads".to_owned(),
            });
        }
        Ok(())
    }
}
