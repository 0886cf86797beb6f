//! Tensors of a safetensors file by name and shape, whatever they are stored as.
//!
//! Stored as f32, f16, bf16, or as int8 rows: codes under the tensor's name and one f32 a row under `<name>.scale`, a
//! weight being `code * scale`. Everything is read as f32 but [`Table`]s, which keep their codes: a table is looked up, not
//! multiplied, and so costs a quarter of the memory.

use std::path::Path;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use crate::InferError;

/// What a model with a head puts before the names of its encoder's tensors.
const PREFIXES: [&str; 3] = ["bert.", "roberta.", "model."];

/// A parsed file. Names are those of the bare encoder; a prefix before them, as classifiers have, is found by itself.
pub(crate) struct Weights<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
    prefix: &'static str,
}

/// Rows to look up by number.
#[derive(Debug)]
pub(crate) enum Table {
    /// Floats, row after row.
    F32(Vec<f32>),
    /// int8 codes, row after row, and each row's scale.
    Int8 { codes: Vec<i8>, scales: Vec<f32> },
}

impl Table {
    /// All rows, `columns` floats each.
    pub(crate) fn into_floats(self, columns: usize) -> Vec<f32> {
        match self {
            Table::F32(rows) => rows,
            Table::Int8 { codes, scales } => dequantized(&codes, &scales, columns),
        }
    }

    /// Adds row `row` to `out`, whose length is the row's.
    pub(crate) fn add_row(&self, row: usize, out: &mut [f32]) {
        let start = row * out.len();
        match self {
            Table::F32(rows) => {
                let row = &rows[start..start + out.len()];
                out.iter_mut().zip(row).for_each(|(out, value)| *out += value);
            }
            Table::Int8 { codes, scales } => {
                let (codes, scale) = (&codes[start..start + out.len()], scales[row]);
                out.iter_mut().zip(codes).for_each(|(out, code)| *out += f32::from(*code) * scale);
            }
        }
    }
}

impl<'a> Weights<'a> {
    /// Parses the bytes of the file at `path`; the path is for messages only.
    ///
    /// # Errors
    /// Not a safetensors file.
    pub(crate) fn parse(path: &'a Path, bytes: &'a [u8]) -> Result<Weights<'a>, InferError> {
        let tensors = SafeTensors::deserialize(bytes)
            .map_err(|error| InferError::Malformed { path: path.to_owned(), detail: error.to_string() })?;
        let leads =
            |prefix: &&str| tensors.names().iter().any(|name| name.starts_with(&format!("{prefix}embeddings.")));
        let prefix = PREFIXES.into_iter().find(leads).unwrap_or_default();
        Ok(Weights { path, tensors, prefix })
    }

    /// The names of all tensors as stored, scales left out, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.tensors.names().into_iter().filter(|name| !self.is_scale(name)).map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Each tensor of the encoder by its plain name, and its name as stored.
    pub(crate) fn encoder_names(&self) -> impl Iterator<Item = (String, String)> {
        let plain = |stored: String| Some((stored.strip_prefix(self.prefix)?.to_owned(), stored));
        self.names().into_iter().filter_map(plain)
    }

    /// A vector of the encoder.
    pub(crate) fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, InferError> {
        self.shaped(&format!("{}{name}", self.prefix), &[len])
    }

    /// A matrix of the encoder, `[rows, columns]`, row after row.
    pub(crate) fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Vec<f32>, InferError> {
        self.shaped(&format!("{}{name}", self.prefix), &[rows, columns])
    }

    /// A tensor outside the encoder: a head. `name` as stored.
    pub(crate) fn head(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, InferError> {
        self.shaped(name, shape)
    }

    /// A table of the encoder, `[rows, columns]`.
    pub(crate) fn table(&self, name: &str, rows: usize, columns: usize) -> Result<Table, InferError> {
        let name = format!("{}{name}", self.prefix);
        let (shape, dtype) = self.shape(&name)?;
        check_shape(&name, &shape, &[rows, columns])?;
        if dtype != Dtype::I8 {
            return Ok(Table::F32(self.floats(&name)?));
        }
        let codes = self.codes(&name)?;
        Ok(Table::Int8 { codes, scales: self.scales(&name, rows)? })
    }

    /// A tensor's shape and what it is stored as.
    pub(crate) fn shape(&self, stored_name: &str) -> Result<(Vec<usize>, Dtype), InferError> {
        let view = self.view(stored_name)?;
        Ok((view.shape().to_vec(), view.dtype()))
    }

    /// What a tensor of the encoder is stored as.
    pub(crate) fn stored_as(&self, name: &str) -> Result<Dtype, InferError> {
        Ok(self.shape(&format!("{}{name}", self.prefix))?.1)
    }

    /// A tensor as f32. `stored_name` with its prefix, as in [`Weights::names`].
    ///
    /// # Errors
    /// Missing, of a type that holds no weights, or with a weight that is not finite.
    #[allow(clippy::wildcard_enum_match_arm, reason = "a foreign enum; everything else holds no weights")]
    pub(crate) fn floats(&self, stored_name: &str) -> Result<Vec<f32>, InferError> {
        let view = self.view(stored_name)?;
        let bytes = view.data();
        let floats = match view.dtype() {
            Dtype::F32 => floats_of(bytes),
            Dtype::F16 => {
                let halves: Vec<f16> = bytes.as_chunks().0.iter().map(|pair| f16::from_le_bytes(*pair)).collect();
                halves.to_f32_vec()
            }
            Dtype::BF16 => {
                let halves: Vec<bf16> = bytes.as_chunks().0.iter().map(|pair| bf16::from_le_bytes(*pair)).collect();
                halves.to_f32_vec()
            }
            Dtype::I8 => self.dequantized(stored_name)?,
            other => return Err(self.malformed(format!("tensor {stored_name} is stored as {other:?}"))),
        };
        if floats.iter().any(|weight| !weight.is_finite()) {
            return Err(self.malformed(format!("tensor {stored_name} has a weight that is not finite")));
        }
        Ok(floats)
    }

    fn dequantized(&self, stored_name: &str) -> Result<Vec<f32>, InferError> {
        let (shape, _) = self.shape(stored_name)?;
        let &[rows, columns] = shape.as_slice() else {
            return Err(self.malformed(format!("tensor {stored_name} is int8 and no matrix")));
        };
        Ok(dequantized(&self.codes(stored_name)?, &self.scales(stored_name, rows)?, columns))
    }

    fn codes(&self, stored_name: &str) -> Result<Vec<i8>, InferError> {
        Ok(self.view(stored_name)?.data().iter().map(|byte| i8::from_le_bytes([*byte])).collect())
    }

    fn scales(&self, stored_name: &str, rows: usize) -> Result<Vec<f32>, InferError> {
        let name = format!("{stored_name}.scale");
        let (shape, dtype) = self.shape(&name)?;
        check_shape(&name, &shape, &[rows])?;
        if dtype != Dtype::F32 {
            return Err(self.malformed(format!("tensor {name} is stored as {dtype:?}, expected F32")));
        }
        self.floats(&name)
    }

    fn shaped(&self, stored_name: &str, expected: &[usize]) -> Result<Vec<f32>, InferError> {
        let (given, _) = self.shape(stored_name)?;
        check_shape(stored_name, &given, expected)?;
        self.floats(stored_name)
    }

    fn view(&self, stored_name: &str) -> Result<safetensors::tensor::TensorView<'a>, InferError> {
        self.tensors
            .tensor(stored_name)
            .map_err(|_| InferError::Missing { tensor: stored_name.to_owned(), path: self.path.to_owned() })
    }

    fn is_scale(&self, name: &str) -> bool {
        name.strip_suffix(".scale").is_some_and(|of| self.tensors.tensor(of).is_ok())
    }

    /// The error that says what is wrong with this file.
    pub(crate) fn malformed(&self, detail: String) -> InferError {
        InferError::Malformed { path: self.path.to_owned(), detail }
    }
}

fn check_shape(tensor: &str, given: &[usize], expected: &[usize]) -> Result<(), InferError> {
    if given == expected {
        return Ok(());
    }
    Err(InferError::Shape { tensor: tensor.to_owned(), given: given.to_vec(), expected: expected.to_vec() })
}

fn dequantized(codes: &[i8], scales: &[f32], columns: usize) -> Vec<f32> {
    let rows = codes.chunks_exact(columns.max(1)).zip(scales);
    rows.flat_map(|(row, scale)| row.iter().map(move |code| f32::from(*code) * scale)).collect()
}

fn floats_of(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn file(tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> Vec<u8> {
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
        safetensors::serialize(views, None).unwrap()
    }

    fn le(floats: &[f32]) -> Vec<u8> {
        floats.iter().flat_map(|float| float.to_le_bytes()).collect()
    }

    #[test]
    fn what_is_stored_in_any_form_reads_as_floats() {
        let halves = [1.5, -2.0].map(f16::from_f32).iter().flat_map(|half| half.to_le_bytes()).collect();
        let codes = [1_i8, -2, 127, -127].iter().map(|code| code.to_le_bytes()[0]).collect();
        let bytes = file(&[
            ("half", Dtype::F16, &[2], halves),
            ("rows", Dtype::I8, &[2, 2], codes),
            ("rows.scale", Dtype::F32, &[2], le(&[0.5, 2.0])),
        ]);
        let weights = Weights::parse(Path::new("file"), &bytes).unwrap();
        assert_eq!(weights.names(), ["half", "rows"]);
        assert_eq!(weights.vector("half", 2).unwrap(), [1.5, -2.0]);
        assert_eq!(weights.matrix("rows", 2, 2).unwrap(), [0.5, -1.0, 254.0, -254.0]);
        let mut row = [1.0, 1.0];
        weights.table("rows", 2, 2).unwrap().add_row(1, &mut row);
        assert_eq!(row, [255.0, -253.0]);
    }

    #[test]
    fn what_does_not_fit_is_a_typed_error() {
        let bytes = file(&[
            ("bert.embeddings.word_embeddings.weight", Dtype::F32, &[1, 1], le(&[0.0])),
            ("bert.bias", Dtype::F32, &[2], le(&[0.0, f32::NAN])),
        ]);
        let weights = Weights::parse(Path::new("file"), &bytes).unwrap();
        let shape = weights.vector("bias", 3).unwrap_err().to_string();
        assert_eq!(shape, "tensor bert.bias has shape [2], config.json says [3]");
        let missing = weights.vector("gain", 2).unwrap_err().to_string();
        assert_eq!(missing, "tensor bert.gain is missing from file");
        let nan = weights.vector("bias", 2).unwrap_err().to_string();
        assert_eq!(nan, "file is malformed: tensor bert.bias has a weight that is not finite");
        assert!(matches!(Weights::parse(Path::new("file"), b"no tensors"), Err(InferError::Malformed { .. })));
    }
}
