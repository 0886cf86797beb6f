//! One door to the forward passes: ours where it runs, candle's elsewhere.

use crate::candle::Candle;
use crate::config::{Architecture, ModelConfig};
use crate::encoder::{Encoder, Needs};
use crate::product::Spread;
use crate::weights::Weights;
use crate::{Compute, Device, InferError, Tokens};

/// An encoder that is loaded.
#[derive(Debug)]
pub(crate) enum Forward {
    /// BERT or RoBERTa on the processor.
    Fused(Encoder),
    /// Another architecture or device.
    Candle(Candle),
}

impl Forward {
    /// Loads the encoder of a model for `compute`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape than `config` says, or the device cannot be used.
    pub(crate) fn load(weights: &Weights<'_>, config: &ModelConfig, compute: Compute) -> Result<Forward, InferError> {
        match (&config.architecture, compute.device) {
            (Architecture::Bert(bert) | Architecture::Roberta(bert), Device::Cpu) => {
                Ok(Forward::Fused(Encoder::load(weights, bert, compute.numbers)?))
            }
            (Architecture::Bert(_) | Architecture::Roberta(_) | Architecture::ModernBert(_), device) => {
                Ok(Forward::Candle(Candle::load(weights, config, device)?))
            }
        }
    }

    /// As [`Encoder::encode`]; candle gives all states, whatever `needs` says, takes the pool's threads as it likes and
    /// makes no way.
    ///
    /// # Errors
    /// The device failed.
    ///
    /// # Panics
    /// If a text is empty, or has a token, position or type that the model has not: who makes [`Tokens`] sees to that.
    pub(crate) fn encode<T: Send>(
        &self,
        texts: &[Tokens],
        needs: Needs,
        spread: Spread,
        make_way: &(dyn Fn() + Sync),
        read: impl Fn(&[f32]) -> T + Sync,
    ) -> Result<Vec<T>, InferError> {
        match self {
            Forward::Fused(encoder) => Ok(encoder.encode(texts, needs, spread, make_way, read)),
            Forward::Candle(candle) => Ok(candle.encode(texts)?.iter().map(|states| read(states)).collect()),
        }
    }
}
