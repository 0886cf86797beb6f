//! A GGUF file: metadata by key, tensors by name and shape, whatever they are quantised to.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, Value};
use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::InferError;

/// An open file whose header has been read.
pub(crate) struct Gguf {
    path: PathBuf,
    file: BufReader<File>,
    content: Content,
}

impl Gguf {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// Not readable, or no GGUF file.
    pub(crate) fn open(path: &Path) -> Result<Gguf, InferError> {
        let unreadable = |source| InferError::Read { path: path.to_owned(), source };
        let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
        let content = Content::read(&mut file)
            .map_err(|error| InferError::Malformed { path: path.to_owned(), detail: error.to_string() })?;
        Ok(Gguf { path: path.to_owned(), file, content })
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The error that says what is wrong with this file.
    pub(crate) fn malformed(&self, detail: impl Into<String>) -> InferError {
        InferError::Malformed { path: self.path.clone(), detail: detail.into() }
    }

    /// What stands under `key`, as `read` sees it; `None` without that key.
    ///
    /// # Errors
    /// It is there, and `read` sees nothing `expected` in it.
    fn get<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, InferError> {
        let Some(value) = self.content.metadata.get(key) else { return Ok(None) };
        let mistyped = || self.malformed(format!("{key} has another type than expected: {expected}"));
        read(value).map(Some).ok_or_else(mistyped)
    }

    /// `found`, or the error that `key` is missing.
    pub(crate) fn needed<T>(&self, key: &str, found: Option<T>) -> Result<T, InferError> {
        found.ok_or_else(|| self.malformed(format!("it has no {key}")))
    }

    /// A text.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, InferError> {
        self.get(key, "a text", |value| value.to_string().ok().map(String::as_str))
    }

    /// A whole number from 0.
    pub(crate) fn whole(&self, key: &str) -> Result<Option<usize>, InferError> {
        self.get(key, "a whole number", whole)
    }

    /// A float.
    pub(crate) fn float(&self, key: &str) -> Result<Option<f32>, InferError> {
        self.get(key, "a float", |value| value.to_f32().ok())
    }

    /// Yes or no.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, InferError> {
        self.get(key, "yes or no", |value| value.to_bool().ok())
    }

    /// A list of texts.
    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, InferError> {
        self.get(key, "a list of texts", |value| {
            let values = value.to_vec().ok()?;
            values.iter().map(|value| value.to_string().ok().map(String::as_str)).collect()
        })
    }

    /// A list of whole numbers.
    pub(crate) fn wholes(&self, key: &str) -> Result<Option<Vec<usize>>, InferError> {
        self.get(key, "a list of whole numbers", |value| value.to_vec().ok()?.iter().map(whole).collect())
    }

    /// A list of floats.
    pub(crate) fn floats(&self, key: &str) -> Result<Option<Vec<f32>>, InferError> {
        self.get(key, "a list of floats", |value| {
            value.to_vec().ok()?.iter().map(|value| value.to_f32().ok()).collect()
        })
    }

    /// The names of all tensors.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &str> {
        self.content.tensor_infos.keys().map(String::as_str)
    }

    /// A vector.
    ///
    /// # Errors
    /// It is missing, has another length or a value that is not finite.
    pub(crate) fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, InferError> {
        self.dequantized(name, &[len])
    }

    /// A matrix, `[rows, columns]`, row after row, as halves.
    ///
    /// # Errors
    /// It is missing, has another shape or a value that is no finite half.
    pub(crate) fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Vec<f16>, InferError> {
        let floats = self.dequantized(name, &[rows, columns])?;
        let mut halves = vec![f16::ZERO; floats.len()];
        halves.convert_from_f32_slice(&floats);
        if halves.iter().any(|half| !half.is_finite()) {
            return Err(self.malformed(format!("tensor {name} has a weight beyond 65,504")));
        }
        Ok(halves)
    }

    fn dequantized(&mut self, name: &str, expected: &[usize]) -> Result<Vec<f32>, InferError> {
        let Some(info) = self.content.tensor_infos.get(name) else {
            return Err(InferError::Missing { tensor: name.to_owned(), path: self.path.clone() });
        };
        if info.shape.dims() != expected {
            let given = info.shape.dims();
            return Err(self.malformed(format!("tensor {name} has shape {given:?}, the metadata say {expected:?}")));
        }
        let tensor = self.content.tensor(&mut self.file, name, &Device::Cpu);
        let floats = tensor.and_then(|tensor| tensor.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>());
        let floats = floats.map_err(|error| self.malformed(format!("tensor {name}: {error}")))?;
        if floats.iter().any(|weight| !weight.is_finite()) {
            return Err(self.malformed(format!("tensor {name} has a weight that is not finite")));
        }
        Ok(floats)
    }
}

/// A whole number, whatever its width.
fn whole(value: &Value) -> Option<usize> {
    let signed = || value.to_i64().ok().or_else(|| value.to_i32().ok().map(i64::from));
    match value.to_u64() {
        Ok(number) => usize::try_from(number).ok(),
        Err(_) => signed().and_then(|number| usize::try_from(number).ok()),
    }
}
