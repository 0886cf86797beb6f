//! A model's architecture and shape, from its `config.json`.

use std::collections::BTreeMap;
use std::path::Path;

use candle_transformers::models::modernbert;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::InferError;
use crate::manifest::read;

/// What `config.json` says.
#[derive(Debug, Clone)]
pub(crate) struct ModelConfig {
    pub(crate) architecture: Architecture,
    /// Whether a head on the encoder scores a pair of texts.
    pub(crate) is_classifier: bool,
}

/// The encoders that run here. To add one: a variant, its shape, and its forward pass in `forward.rs`.
#[derive(Debug, Clone)]
pub(crate) enum Architecture {
    /// BERT (Devlin et al. 2019).
    Bert(BertConfig),
    /// RoBERTa, XLM-RoBERTa: BERT but for the first position and the names of tensors.
    Roberta(BertConfig),
    /// ModernBERT (Warner et al. 2024).
    ModernBert(ModernBertConfig),
}

/// The shape of a BERT encoder.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct BertConfig {
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) intermediate_size: usize,
    hidden_act: String,
    /// Rows of the table of positions.
    pub(crate) max_position_embeddings: usize,
    pub(crate) type_vocab_size: usize,
    pub(crate) layer_norm_eps: f32,
    #[serde(default)]
    position_embedding_type: Option<String>,
    /// The row of the table of positions that a text's first token has.
    #[serde(skip)]
    pub(crate) first_position: usize,
}

/// The shape of a ModernBERT encoder, as candle reads it, and the pooling of its classifier.
#[derive(Debug, Clone)]
pub(crate) struct ModernBertConfig {
    pub(crate) shape: modernbert::Config,
    pub(crate) classifier_pooling: modernbert::ClassifierPooling,
}

impl ModelConfig {
    /// Reads and checks a `config.json`.
    ///
    /// # Errors
    /// Not readable, malformed, or of an architecture that does not run here.
    pub(crate) fn read(path: &Path) -> Result<ModelConfig, InferError> {
        #[derive(Deserialize)]
        struct Kind {
            #[serde(default)]
            architectures: Vec<String>,
            #[serde(default)]
            model_type: Option<String>,
        }
        let bytes = read(path)?;
        let kind: Kind = parse(path, &bytes)?;
        let architecture = match kind.model_type.as_deref().unwrap_or("bert") {
            "bert" => Architecture::Bert(BertConfig::parse(path, &bytes)?),
            "roberta" | "xlm-roberta" => Architecture::Roberta(BertConfig::parse_roberta(path, &bytes)?),
            "modernbert" => Architecture::ModernBert(ModernBertConfig::parse(path, &bytes)?),
            other => {
                return Err(InferError::Unsupported {
                    what: format!("model type {other:?}"),
                    way_out: "choose a model whose config.json names bert, roberta, xlm-roberta or modernbert",
                });
            }
        };
        let is_classifier = kind.architectures.iter().any(|name| name.ends_with("ForSequenceClassification"));
        let config = ModelConfig { architecture, is_classifier };
        config.check(path)?;
        Ok(config)
    }

    /// Tokens that the encoder knows.
    pub(crate) fn vocabulary(&self) -> usize {
        match &self.architecture {
            Architecture::Bert(bert) | Architecture::Roberta(bert) => bert.vocab_size,
            Architecture::ModernBert(modern) => modern.shape.vocab_size,
        }
    }

    /// Floats of a token's state.
    pub(crate) fn hidden_size(&self) -> usize {
        match &self.architecture {
            Architecture::Bert(bert) | Architecture::Roberta(bert) => bert.hidden_size,
            Architecture::ModernBert(modern) => modern.shape.hidden_size,
        }
    }

    /// The longest text, special tokens included.
    pub(crate) fn tokens_max(&self) -> usize {
        match &self.architecture {
            Architecture::Bert(bert) | Architecture::Roberta(bert) => {
                bert.max_position_embeddings.saturating_sub(bert.first_position)
            }
            Architecture::ModernBert(modern) => modern.shape.max_position_embeddings,
        }
    }

    /// Kinds of segments that the encoder tells apart.
    pub(crate) fn token_types(&self) -> usize {
        match &self.architecture {
            Architecture::Bert(bert) | Architecture::Roberta(bert) => bert.type_vocab_size,
            Architecture::ModernBert(_) => 1,
        }
    }

    /// The tensor, within the encoder, of the tokens' embeddings.
    pub(crate) fn words(&self) -> &'static str {
        match &self.architecture {
            Architecture::Bert(_) | Architecture::Roberta(_) => "embeddings.word_embeddings.weight",
            Architecture::ModernBert(_) => "embeddings.tok_embeddings.weight",
        }
    }

    fn check(&self, path: &Path) -> Result<(), InferError> {
        let (layers, heads, intermediate) = match &self.architecture {
            Architecture::Bert(bert) | Architecture::Roberta(bert) => {
                (bert.num_hidden_layers, bert.num_attention_heads, bert.intermediate_size)
            }
            Architecture::ModernBert(ModernBertConfig { shape, .. }) => {
                (shape.num_hidden_layers, shape.num_attention_heads, shape.intermediate_size)
            }
        };
        let hidden = self.hidden_size();
        let sizes = [self.vocabulary(), hidden, layers, heads, intermediate, self.tokens_max(), self.token_types()];
        if sizes.contains(&0) || !hidden.is_multiple_of(heads) {
            return Err(malformed(path, "sizes are at least 1, and hidden_size is a multiple of num_attention_heads"));
        }
        Ok(())
    }
}

impl BertConfig {
    fn parse(path: &Path, bytes: &[u8]) -> Result<BertConfig, InferError> {
        let config: BertConfig = parse(path, bytes)?;
        expect(
            "hidden_act",
            &config.hidden_act,
            "gelu",
            "choose a model whose config.json says \"hidden_act\": \"gelu\"",
        )?;
        let positions = config.position_embedding_type.as_deref().unwrap_or("absolute");
        expect("position_embedding_type", positions, "absolute", "choose a model with absolute positions")?;
        Ok(config)
    }

    /// RoBERTa counts positions from behind the padding token's number (Liu et al. 2019, as fairseq wrote it).
    fn parse_roberta(path: &Path, bytes: &[u8]) -> Result<BertConfig, InferError> {
        #[derive(Deserialize)]
        struct Padding {
            #[serde(default = "roberta_padding")]
            pad_token_id: usize,
        }
        fn roberta_padding() -> usize {
            1
        }
        let padding: Padding = parse(path, bytes)?;
        Ok(BertConfig { first_position: padding.pad_token_id.saturating_add(1), ..BertConfig::parse(path, bytes)? })
    }

    /// Floats a head reads and writes for each token.
    pub(crate) fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}

impl ModernBertConfig {
    fn parse(path: &Path, bytes: &[u8]) -> Result<ModernBertConfig, InferError> {
        #[derive(Deserialize)]
        struct Config {
            vocab_size: usize,
            hidden_size: usize,
            num_hidden_layers: usize,
            num_attention_heads: usize,
            intermediate_size: usize,
            max_position_embeddings: usize,
            norm_eps: f64,
            #[serde(default)]
            pad_token_id: u32,
            hidden_activation: String,
            #[serde(default)]
            norm_bias: bool,
            #[serde(default)]
            attention_bias: bool,
            #[serde(default)]
            mlp_bias: bool,
            #[serde(default)]
            classifier_bias: bool,
            #[serde(default)]
            classifier_pooling: modernbert::ClassifierPooling,
            #[serde(default = "gelu")]
            classifier_activation: String,
            local_attention: usize,
            #[serde(default = "every_third_layer")]
            global_attn_every_n_layers: usize,
            #[serde(default)]
            layer_types: Option<Vec<String>>,
            #[serde(default)]
            global_rope_theta: Option<f64>,
            #[serde(default)]
            local_rope_theta: Option<f64>,
            /// Newer files name the two bases here.
            #[serde(default)]
            rope_parameters: BTreeMap<String, Rope>,
        }
        #[derive(Deserialize)]
        struct Rope {
            rope_type: String,
            rope_theta: f64,
        }
        fn gelu() -> String {
            "gelu".to_owned()
        }
        fn every_third_layer() -> usize {
            3
        }
        let config: Config = parse(path, bytes)?;
        let plain = "choose a model whose config.json is ModernBERT's in this";
        expect("hidden_activation", &config.hidden_activation, "gelu", plain)?;
        expect("classifier_activation", &config.classifier_activation, "gelu", plain)?;
        if config.norm_bias || config.attention_bias || config.mlp_bias || config.classifier_bias {
            return Err(InferError::Unsupported { what: "ModernBERT with biases".to_owned(), way_out: plain });
        }
        let every = config.global_attn_every_n_layers;
        let global = |layer: usize| layer.is_multiple_of(every);
        let types = config.layer_types.iter().flatten().enumerate();
        if every == 0 || types.into_iter().any(|(layer, kind)| (kind == "full_attention") != global(layer)) {
            let what = "ModernBERT with another order of layers".to_owned();
            return Err(InferError::Unsupported { what, way_out: plain });
        }
        let theta = |older: Option<f64>, newer: &str| match (older, config.rope_parameters.get(newer)) {
            (Some(theta), _) => Ok(theta),
            (None, Some(rope)) => expect("rope_type", &rope.rope_type, "default", plain).map(|()| rope.rope_theta),
            (None, None) => Err(malformed(path, "it names no rope_theta")),
        };
        let shape = modernbert::Config {
            vocab_size: config.vocab_size,
            hidden_size: config.hidden_size,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            intermediate_size: config.intermediate_size,
            max_position_embeddings: config.max_position_embeddings,
            layer_norm_eps: config.norm_eps,
            pad_token_id: config.pad_token_id,
            global_attn_every_n_layers: every,
            global_rope_theta: theta(config.global_rope_theta, "full_attention")?,
            local_attention: config.local_attention,
            local_rope_theta: theta(config.local_rope_theta, "sliding_attention")?,
            // The head is ours: candle's ends in a softmax over labels.
            classifier_config: None,
        };
        Ok(ModernBertConfig { shape, classifier_pooling: config.classifier_pooling })
    }
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, InferError> {
    serde_json::from_slice(bytes).map_err(|error| malformed(path, &error.to_string()))
}

fn expect(field: &str, given: &str, expected: &str, way_out: &'static str) -> Result<(), InferError> {
    if given == expected {
        return Ok(());
    }
    Err(InferError::Unsupported { what: format!("{field} {given:?}"), way_out })
}

fn malformed(path: &Path, detail: &str) -> InferError {
    InferError::Malformed { path: path.to_owned(), detail: detail.to_owned() }
}
