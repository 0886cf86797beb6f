//! One door to the forward passes: ours where it runs, candle's elsewhere.

use crate::candle::Candle;
use crate::config::{Architecture, ModelConfig};
use crate::encoder::Encoder;
use crate::weights::Weights;
use crate::{Device, InferError, Tokens};

/// An encoder that is loaded.
#[derive(Debug)]
pub(crate) enum Forward {
    /// BERT or RoBERTa on the processor.
    Fused(Encoder),
    /// Another architecture or device.
    Candle(Candle),
}

impl Forward {
    /// Loads the encoder of a model for `device`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape than `config` says, or the device cannot be used.
    pub(crate) fn load(weights: &Weights<'_>, config: &ModelConfig, device: Device) -> Result<Forward, InferError> {
        match (&config.architecture, device) {
            (Architecture::Bert(bert) | Architecture::Roberta(bert), Device::Cpu) => {
                Ok(Forward::Fused(Encoder::load(weights, bert)?))
            }
            (Architecture::Bert(_) | Architecture::Roberta(_) | Architecture::ModernBert(_), device) => {
                Ok(Forward::Candle(Candle::load(weights, config, device)?))
            }
        }
    }

    /// Takes each text through all layers and hands its hidden states, `[length, hidden]`, to `read`; returns what `read`
    /// gave, in order. Runs in the current rayon pool. A text's states do not depend on the texts beside it.
    ///
    /// # Errors
    /// The device failed.
    ///
    /// # Panics
    /// If a text is empty, or has a token, position or type that the model has not: who makes [`Tokens`] sees to that.
    pub(crate) fn encode<T: Send>(
        &self,
        texts: &[Tokens],
        read: impl Fn(&[f32]) -> T + Sync,
    ) -> Result<Vec<T>, InferError> {
        match self {
            Forward::Fused(encoder) => Ok(encoder.encode(texts, read)),
            Forward::Candle(candle) => Ok(candle.encode(texts)?.iter().map(|states| read(states)).collect()),
        }
    }
}
