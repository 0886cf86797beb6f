//! The same encoder by candle, which tests and benches compare with.
//!
//! `BertModel` of candle-transformers on dequantized weights: padded batches, candle's own kernels. It shares no arithmetic
//! with `encoder.rs`, which makes it an oracle, and it is where another device than the processor would start from.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};

use crate::manifest::{CONFIG, WEIGHTS, read};
use crate::weights::Weights;
use crate::{InferError, Tokens};

/// candle's encoder with a model's weights.
pub struct Reference {
    model: BertModel,
}

impl std::fmt::Debug for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reference").finish_non_exhaustive()
    }
}

impl Reference {
    /// Loads the model in `dir`.
    ///
    /// # Errors
    /// A file is missing or malformed, or candle refuses the model.
    pub fn load(dir: &Path) -> Result<Reference, InferError> {
        let (config_path, path) = (dir.join(CONFIG), dir.join(WEIGHTS));
        let config: Config = serde_json::from_slice(&read(&config_path)?)
            .map_err(|error| InferError::Malformed { path: config_path, detail: error.to_string() })?;
        let bytes = read(&path)?;
        let weights = Weights::parse(&path, &bytes)?;
        let refused =
            |error: candle_core::Error| InferError::Malformed { path: path.clone(), detail: error.to_string() };
        let mut tensors = HashMap::new();
        for name in weights.names() {
            let (shape, dtype) = weights.shape(&name)?;
            if dtype == safetensors::Dtype::I64 {
                continue;
            }
            let tensor = Tensor::from_vec(weights.floats(&name)?, shape, &Device::Cpu).map_err(refused)?;
            let plain = name.strip_prefix("bert.").unwrap_or(&name).to_owned();
            tensors.insert(plain, tensor);
        }
        let source = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        Ok(Reference { model: BertModel::load(source, &config).map_err(refused)? })
    }

    /// The hidden states of each text, `[length, hidden]`. Runs in the current rayon pool.
    ///
    /// # Errors
    /// candle's, such as a token beyond the vocabulary.
    pub fn encode(&self, texts: &[Tokens]) -> candle_core::Result<Vec<Vec<f32>>> {
        let longest = texts.iter().map(|text| text.ids.len()).max().unwrap_or(0);
        let padded = |of: &dyn Fn(&Tokens, usize) -> u32| {
            let rows = texts.iter().flat_map(|text| (0..longest).map(move |place| of(text, place)));
            Tensor::from_iter(rows.collect::<Vec<_>>(), &Device::Cpu)?.reshape((texts.len(), longest))
        };
        let ids = padded(&|text, place| text.ids.get(place).copied().unwrap_or(0))?;
        let types = padded(&|text, place| u32::from(place >= text.second && place < text.ids.len()))?;
        let mask = padded(&|text, place| u32::from(place < text.ids.len()))?;
        let states = self.model.forward(&ids, &types, Some(&mask))?;
        let of_text = |(ordinal, text): (usize, &Tokens)| {
            states.get(ordinal)?.narrow(0, 0, text.ids.len())?.flatten_all()?.to_vec1()
        };
        texts.iter().enumerate().map(of_text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BertConfig;
    use crate::encoder::{Encoder, Needs};
    use crate::product::Numbers;

    #[test]
    fn our_encoder_computes_what_candle_computes() {
        let dir = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/rerank-minilm-l6-int8"));
        let path = dir.join(WEIGHTS);
        let bytes = read(&path).unwrap();
        let config = BertConfig::read(&dir.join(CONFIG)).unwrap();
        let encoder = Encoder::load(&Weights::parse(&path, &bytes).unwrap(), &config, Numbers::F32).unwrap();
        let texts: Vec<Tokens> = [2, 3, 17, 64, 200]
            .into_iter()
            .map(|length| Tokens {
                ids: (0..length).map(|n| 999 + n * 7919 % 20_000).collect(),
                second: 2 + length as usize / 2,
            })
            .collect();
        let theirs = Reference::load(dir).unwrap().encode(&texts).unwrap();
        let ours = encoder.encode(&texts, Needs::All, || (), <[f32]>::to_vec);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours.len(), theirs.len());
            let difference = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(difference < 1e-4, "{difference} in a text of {} tokens", ours.len() / config.hidden_size);
        }
    }
}
