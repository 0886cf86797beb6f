//! int8 rows: a model at a quarter of its size, and what that costs.
//!
//! Each row of a matrix (an output of a linear layer, a token of a table) is stored as int8 codes and one f32 scale, zero
//! being zero. The scale is the one of [`SHRINKS`] times `max |w| / 127` with the least squared error: a few clipped weights
//! may cost less than a coarser grid for all.

use std::collections::HashMap;
use std::path::Path;

use ibid_core::{Embed, ModelError, ModelId, Purpose};
use ibid_runtime::Ctx;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use tokenizers::Tokenizer;

use crate::kernels::dot;
use crate::manifest::{CONFIG, TOKENIZER, WEIGHTS, folder_of, hashes, read};
use crate::store::install;
use crate::weights::Weights;
use crate::{InferError, ModelEntry, Precision};

/// The scales tried, as shares of the one that clips nothing.
const SHRINKS: [f32; 8] = [1.0, 0.975, 0.95, 0.925, 0.9, 0.875, 0.85, 0.8];

/// A matrix of fewer rows is kept as it is: it weighs nothing, and everything rests on it (a classifier, token types).
const ROWS_MIN: usize = 8;

/// Writes the model in `source` as int8 rows into the new folder `target`, with its tokenizer (truncation and padding taken
/// out), its configuration and an `ibid.toml` under the name `id`. Returns that entry.
///
/// # Errors
/// `source` holds no model that runs here, `target` is already there, or a file cannot be written; then nothing remains.
pub fn quantize(source: &Path, target: &Path, id: &ModelId) -> Result<ModelEntry, InferError> {
    let described = ModelEntry::of(source, id)?;
    let folder = target.file_name().map_or_else(|| folder_of(id), |name| name.to_string_lossy().into_owned());
    let mut entry = ModelEntry { id: id.clone(), folder, precision: Precision::Int8Rows, ..described };
    install(target, |fresh| {
        write(&fresh.join(WEIGHTS), &quantized(&source.join(WEIGHTS))?)?;
        write(&fresh.join(TOKENIZER), plain_tokenizer(&source.join(TOKENIZER))?.as_bytes())?;
        write(&fresh.join(CONFIG), &read(&source.join(CONFIG))?)?;
        entry.sha256 = hashes(fresh)?;
        entry.write(fresh)
    })?;
    Ok(entry)
}

/// How far the vectors of two embedders agree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Texts compared.
    pub texts: usize,
    /// The mean cosine of a text's two vectors.
    pub cosine_mean: f64,
    /// The least.
    pub cosine_min: f64,
}

/// Embeds `texts` as passages with both and compares.
///
/// # Errors
/// One of the models gave none.
pub async fn compare(
    ctx: &Ctx,
    full: &dyn Embed,
    small: &dyn Embed,
    texts: &[String],
) -> Result<Agreement, ModelError> {
    let (a, b) = (full.embed(ctx, Purpose::Passage, texts).await?, small.embed(ctx, Purpose::Passage, texts).await?);
    let cosine = |a: &[f32], b: &[f32]| f64::from(dot(a, b)) / f64::from(dot(a, a) * dot(b, b)).sqrt();
    let cosines: Vec<f64> = a.iter().zip(&b).map(|(a, b)| cosine(a, b)).collect();
    Ok(Agreement {
        texts: cosines.len(),
        cosine_mean: cosines.iter().sum::<f64>() / cosines.len().max(1) as f64,
        cosine_min: cosines.iter().copied().fold(1.0, f64::min),
    })
}

struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn quantized(path: &Path) -> Result<Vec<u8>, InferError> {
    let bytes = read(path)?;
    let weights = Weights::parse(path, &bytes)?;
    let mut stored = Vec::new();
    for name in weights.names() {
        let (shape, dtype) = weights.shape(&name)?;
        // Old checkpoints carry the positions' numbers, which are no weights.
        if dtype == Dtype::I64 {
            continue;
        }
        let floats = weights.floats(&name)?;
        match shape.as_slice() {
            &[rows, columns] if rows >= ROWS_MIN && columns > 0 => {
                let (codes, scales) = int8_rows(&floats, columns);
                let codes = codes.iter().map(|code| code.to_le_bytes()[0]).collect();
                stored.push((format!("{name}.scale"), f32_tensor(&[rows], &scales)));
                stored.push((name, Stored { dtype: Dtype::I8, shape, bytes: codes }));
            }
            _ => stored.push((name, f32_tensor(&shape, &floats))),
        }
    }
    let malformed = |error: safetensors::SafeTensorError| InferError::Malformed {
        path: path.to_owned(),
        detail: error.to_string(),
    };
    let views = stored
        .iter()
        .map(|(name, one)| Ok((name, TensorView::new(one.dtype, one.shape.clone(), &one.bytes)?)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(malformed)?;
    let about = HashMap::from([("format".to_owned(), "ibid int8 rows: weight = code * scale of its row".to_owned())]);
    safetensors::serialize(views, Some(about)).map_err(malformed)
}

fn f32_tensor(shape: &[usize], floats: &[f32]) -> Stored {
    let bytes = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
    Stored { dtype: Dtype::F32, shape: shape.to_vec(), bytes }
}

/// Codes of all rows, and a scale a row.
pub(crate) fn int8_rows(floats: &[f32], columns: usize) -> (Vec<i8>, Vec<f32>) {
    let (mut codes, mut scales) = (Vec::with_capacity(floats.len()), Vec::new());
    for row in floats.chunks_exact(columns) {
        let top = row.iter().fold(0.0_f32, |top, weight| top.max(weight.abs())) / 127.0;
        let error = |scale: f32| -> f64 {
            row.iter().map(|weight| f64::from(weight - f32::from(code(*weight, scale)) * scale).powi(2)).sum()
        };
        let tried = SHRINKS.iter().map(|shrink| top * shrink);
        let scale = tried.min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap_or(top);
        codes.extend(row.iter().map(|weight| code(*weight, scale)));
        scales.push(scale);
    }
    (codes, scales)
}

#[allow(clippy::cast_possible_truncation, reason = "clamped to what an i8 holds")]
fn code(weight: f32, scale: f32) -> i8 {
    // A row of zeros has the scale 0.
    if scale > 0.0 { (weight / scale).round().clamp(-127.0, 127.0) as i8 } else { 0 }
}

fn plain_tokenizer(path: &Path) -> Result<String, InferError> {
    let malformed =
        |error: tokenizers::Error| InferError::Malformed { path: path.to_owned(), detail: error.to_string() };
    let mut tokenizer = Tokenizer::from_bytes(read(path)?).map_err(malformed)?;
    tokenizer.with_truncation(None).map_err(malformed)?;
    tokenizer.with_padding(None);
    tokenizer.to_string(false).map_err(malformed)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), InferError> {
    std::fs::write(path, bytes).map_err(|source| InferError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_coded_within_its_grid_and_no_worse_than_without_clipping() {
        let columns = 64;
        let mut rows: Vec<f32> = (0..columns).map(|n| ((n * 37 % 64) as f32 - 31.5) / 500.0).collect();
        // Many small weights and one large one: clipping it pays.
        rows.extend((0..columns).map(|n| if n == 5 { 1.0 } else { ((n * 29 % 64) as f32 - 31.5) / 90.0 }));
        rows.extend(vec![0.0; columns]);
        let (codes, scales) = int8_rows(&rows, columns);
        for (row, weights) in rows.chunks(columns).enumerate() {
            let top = weights.iter().fold(0.0_f32, |top, weight| top.max(weight.abs())) / 127.0;
            let squares = |scale: f32, codes: &[i8]| -> f32 {
                weights.iter().zip(codes).map(|(w, c)| (w - f32::from(*c) * scale).powi(2)).sum()
            };
            let plain: Vec<i8> = weights.iter().map(|weight| code(*weight, top)).collect();
            assert!(squares(scales[row], &codes[row * columns..(row + 1) * columns]) <= squares(top, &plain));
        }
        assert_eq!((scales[2], &codes[2 * columns..]), (0.0, &[0; 64][..]));
    }
}
