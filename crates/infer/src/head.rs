//! From a pair's hidden states to its logit: the heads that classifiers of one label carry.

use candle_core::cpu::erf::erf_f64;
use candle_transformers::models::modernbert::ClassifierPooling;

use crate::InferError;
use crate::config::{Architecture, ModelConfig};
use crate::encoder::Needs;
use crate::kernels::dot;
use crate::weights::Weights;

/// A head of one label.
#[derive(Debug)]
pub(crate) struct ScoreHead {
    dense: Linear,
    between: Between,
    out: Linear,
}

/// What happens between the two linear layers, and what the first reads.
#[derive(Debug)]
enum Between {
    /// tanh, over the first token: BERT's pooler and classifier, RoBERTa's classifier.
    Tanh,
    /// GELU and layer norm (ModernBERT).
    Gelu { gain: Vec<f32>, epsilon: f64, pooling: ClassifierPooling },
}

#[derive(Debug)]
struct Linear {
    /// A row an output.
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl ScoreHead {
    /// Reads the head's weights.
    ///
    /// # Errors
    /// A tensor is missing, or has another shape than that of one label.
    pub(crate) fn load(weights: &Weights<'_>, config: &ModelConfig) -> Result<ScoreHead, InferError> {
        let hidden = config.hidden_size();
        let linear = |name: &str, outputs: usize| {
            let weight = weights.head(&format!("{name}.weight"), &[outputs, hidden])?;
            Ok(Linear { weight, bias: weights.head(&format!("{name}.bias"), &[outputs])? })
        };
        match &config.architecture {
            Architecture::Bert(_) => {
                let dense = Linear {
                    weight: weights.matrix("pooler.dense.weight", hidden, hidden)?,
                    bias: weights.vector("pooler.dense.bias", hidden)?,
                };
                Ok(ScoreHead { dense, between: Between::Tanh, out: linear("classifier", 1)? })
            }
            Architecture::Roberta(_) => {
                let (dense, out) = (linear("classifier.dense", hidden)?, linear("classifier.out_proj", 1)?);
                Ok(ScoreHead { dense, between: Between::Tanh, out })
            }
            Architecture::ModernBert(modern) => {
                let weight = weights.head("head.dense.weight", &[hidden, hidden])?;
                let between = Between::Gelu {
                    gain: weights.head("head.norm.weight", &[hidden])?,
                    epsilon: modern.shape.layer_norm_eps,
                    pooling: modern.classifier_pooling,
                };
                let dense = Linear { weight, bias: vec![0.0; hidden] };
                Ok(ScoreHead { dense, between, out: linear("classifier", 1)? })
            }
        }
    }

    /// Which states of a pair it reads.
    pub(crate) fn needs(&self) -> Needs {
        match &self.between {
            Between::Tanh | Between::Gelu { pooling: ClassifierPooling::CLS, .. } => Needs::First,
            Between::Gelu { pooling: ClassifierPooling::MEAN, .. } => Needs::All,
        }
    }

    /// The logit of a pair with these hidden states, `[length, hidden]`.
    pub(crate) fn score(&self, states: &[f32]) -> f32 {
        let hidden = self.dense.bias.len();
        let first = &states[..hidden];
        let inner = match &self.between {
            Between::Tanh => self.dense.apply(first).into_iter().map(f32::tanh).collect(),
            Between::Gelu { gain, epsilon, pooling } => {
                let inner = match pooling {
                    ClassifierPooling::CLS => self.dense.apply(first),
                    ClassifierPooling::MEAN => self.dense.apply(&mean(states, hidden)),
                };
                gelu_and_norm(&inner, gain, *epsilon)
            }
        };
        dot(&inner, &self.out.weight) + self.out.bias[0]
    }
}

impl Linear {
    fn apply(&self, x: &[f32]) -> Vec<f32> {
        let rows = self.weight.chunks_exact(x.len()).zip(&self.bias);
        rows.map(|(row, bias)| dot(row, x) + bias).collect()
    }
}

/// One row a pair, so it need not be fast.
fn gelu_and_norm(row: &[f32], gain: &[f32], epsilon: f64) -> Vec<f32> {
    let gelu = |x: &f32| f64::from(*x) * 0.5 * (1.0 + erf_f64(f64::from(*x) * std::f64::consts::FRAC_1_SQRT_2));
    let row: Vec<f64> = row.iter().map(gelu).collect();
    let mean = row.iter().sum::<f64>() / row.len() as f64;
    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
    let scale = 1.0 / (variance + epsilon).sqrt();
    row.iter().zip(gain).map(|(x, gain)| ((x - mean) * scale) as f32 * gain).collect()
}

fn mean(states: &[f32], hidden: usize) -> Vec<f32> {
    let (rows, mut mean) = (states.chunks_exact(hidden), vec![0.0; hidden]);
    let share = 1.0 / rows.len() as f32;
    for row in rows {
        mean.iter_mut().zip(row).for_each(|(mean, state)| *mean += state * share);
    }
    mean
}
