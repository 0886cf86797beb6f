//! Encoders by candle: ModernBERT, and every other one where the device is not the processor.
//!
//! Models of candle-transformers with f32 weights, whatever they are stored as, and candle's own kernels. Each text goes
//! through alone, so nothing is padded and no result depends on the texts beside it; on the processor several run side by
//! side. It shares no arithmetic with `encoder.rs`, which makes it the oracle of the tests and benches.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::bert::{self, BertModel};
use candle_transformers::models::modernbert::ModernBert;
use candle_transformers::models::xlm_roberta::{self, XLMRobertaModel};
use rayon::prelude::*;
use safetensors::Dtype;

use crate::config::{Architecture, BertConfig, ModelConfig, ModernBertConfig};
use crate::manifest::{CONFIG, WEIGHTS, read};
use crate::weights::Weights;
use crate::{Device, InferError, Tokens};

/// An encoder with its weights on a device.
pub struct Candle {
    model: Model,
    device: candle_core::Device,
}

enum Model {
    Bert(BertModel),
    Roberta(XLMRobertaModel),
    ModernBert(ModernBert),
}

impl std::fmt::Debug for Candle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candle").field("device", &self.device).finish_non_exhaustive()
    }
}

impl Candle {
    /// Loads the encoder of the model in `dir` onto `device`.
    ///
    /// # Errors
    /// A file is missing or malformed, the device cannot be used, or candle refuses the model.
    pub fn open(dir: &Path, device: Device) -> Result<Candle, InferError> {
        let config = ModelConfig::read(&dir.join(CONFIG))?;
        let path = dir.join(WEIGHTS);
        let bytes = read(&path)?;
        Candle::load(&Weights::parse(&path, &bytes)?, &config, device)
    }

    /// Loads an encoder of this shape onto `device`.
    ///
    /// # Errors
    /// The device cannot be used, a tensor is missing or has another shape, or the weights do not fit on the device.
    pub(crate) fn load(weights: &Weights<'_>, config: &ModelConfig, device: Device) -> Result<Candle, InferError> {
        let device = device.open()?;
        let refused = |error: candle_core::Error| weights.malformed(error.to_string());
        let mut tensors = HashMap::new();
        for (name, stored_name) in weights.encoder_names() {
            let (shape, dtype) = weights.shape(&stored_name)?;
            // Old checkpoints carry the positions' numbers, which are no weights.
            if dtype != Dtype::I64 {
                let tensor = Tensor::from_vec(weights.floats(&stored_name)?, shape, &device).map_err(refused)?;
                tensors.insert(name, tensor);
            }
        }
        let source = VarBuilder::from_tensors(tensors, DType::F32, &device);
        let model = match &config.architecture {
            Architecture::Bert(bert) => load_bert(source, bert),
            Architecture::Roberta(roberta) => load_roberta(source, roberta),
            Architecture::ModernBert(modern) => {
                // candle takes a norm it cannot read for one that is not there, as it is in the first layer alone.
                for layer in 1..modern.shape.num_hidden_layers {
                    weights.vector(&format!("layers.{layer}.attn_norm.weight"), modern.shape.hidden_size)?;
                }
                load_modernbert(source, modern)
            }
        };
        Ok(Candle { model: model.map_err(refused)?, device })
    }

    /// The hidden states of each text, `[length, hidden]`. Runs in the current rayon pool.
    ///
    /// # Errors
    /// The device failed.
    pub fn encode(&self, texts: &[Tokens]) -> Result<Vec<Vec<f32>>, InferError> {
        let states = |text| self.states(text);
        let all: candle_core::Result<_> = match self.device.is_cpu() {
            true => texts.par_iter().map(states).collect(),
            false => texts.iter().map(states).collect(),
        };
        all.map_err(|error| InferError::Device { detail: error.to_string() })
    }

    fn states(&self, text: &Tokens) -> candle_core::Result<Vec<f32>> {
        let length = text.ids.len();
        let row = |row: Vec<u32>| Tensor::from_vec(row, (1, length), &self.device);
        let ids = row(text.ids.clone())?;
        let types = || row((0..length).map(|place| u32::from(place >= text.second)).collect());
        let mask = || row(vec![1; length]);
        let states = match &self.model {
            Model::Bert(model) => model.forward(&ids, &types()?, None)?,
            Model::Roberta(model) => model.forward(&ids, &mask()?, &types()?, None, None, None)?,
            Model::ModernBert(model) => model.forward(&ids, &mask()?)?,
        };
        states.flatten_all()?.to_vec1()
    }
}

fn load_bert(source: VarBuilder<'_>, config: &BertConfig) -> candle_core::Result<Model> {
    let shape = bert::Config {
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        num_hidden_layers: config.num_hidden_layers,
        num_attention_heads: config.num_attention_heads,
        intermediate_size: config.intermediate_size,
        max_position_embeddings: config.max_position_embeddings,
        type_vocab_size: config.type_vocab_size,
        layer_norm_eps: f64::from(config.layer_norm_eps),
        ..bert::Config::default()
    };
    Ok(Model::Bert(BertModel::load(source, &shape)?))
}

fn load_roberta(source: VarBuilder<'_>, config: &BertConfig) -> candle_core::Result<Model> {
    let padding = config.first_position.saturating_sub(1);
    let shape = xlm_roberta::Config {
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        num_hidden_layers: config.num_hidden_layers,
        num_attention_heads: config.num_attention_heads,
        intermediate_size: config.intermediate_size,
        hidden_act: Activation::Gelu,
        max_position_embeddings: config.max_position_embeddings,
        position_embedding_type: "absolute".to_owned(),
        type_vocab_size: config.type_vocab_size,
        layer_norm_eps: f64::from(config.layer_norm_eps),
        pad_token_id: u32::try_from(padding).map_err(candle_core::Error::wrap)?,
        attention_probs_dropout_prob: 0.0,
        hidden_dropout_prob: 0.0,
    };
    Ok(Model::Roberta(XLMRobertaModel::new(&shape, source)?))
}

fn load_modernbert(source: VarBuilder<'_>, config: &ModernBertConfig) -> candle_core::Result<Model> {
    // candle asks for the names of a model with a head on it.
    let source = source.rename_f(|name| name.strip_prefix("model.").unwrap_or(name).to_owned());
    Ok(Model::ModernBert(ModernBert::load(source, &config.shape)?))
}
