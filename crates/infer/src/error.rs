//! What can go wrong with a model, by what somebody would do about it.

use std::io;
use std::path::PathBuf;

use ibid_core::ModelId;

/// Why a model could not be found, read, fetched or made.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// No root holds the model.
    #[error("model {id} is not installed; looked in {looked_in}; installed: {installed}; pull it or import its folder")]
    Unknown {
        /// The model asked for.
        id: ModelId,
        /// The roots, in order.
        looked_in: String,
        /// The models there are.
        installed: String,
    },
    /// The model exists and does something else.
    #[error("model {id} is no {expected}; choose one that is")]
    Kind {
        /// The model.
        id: ModelId,
        /// What was asked for.
        expected: &'static str,
    },
    /// A folder of that name is already there.
    #[error("{} is already there; remove it first or choose another name", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file could not be written.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not what its name says.
    #[error("{} is malformed: {detail}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A model of a kind this encoder does not run.
    #[error("{what} is not supported: {way_out}")]
    Unsupported {
        /// What was found.
        what: String,
        /// What would work.
        way_out: &'static str,
    },
    /// A device failed, such as one that is out of memory.
    #[error("the device failed: {detail}; try again, or choose the device \"cpu\"")]
    Device {
        /// What happened.
        detail: String,
    },
    /// A tensor the architecture needs is not in the weights.
    #[error("tensor {tensor} is missing from {}", path.display())]
    Missing {
        /// The tensor.
        tensor: String,
        /// The weights.
        path: PathBuf,
    },
    /// A tensor has another shape than `config.json` says.
    #[error("tensor {tensor} has shape {given:?}, config.json says {expected:?}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// Its shape.
        given: Vec<usize>,
        /// The shape expected.
        expected: Vec<usize>,
    },
    /// A file differs from what the manifest or the hub says.
    #[error("{} has sha256 {given}, expected {expected}; fetch it again", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// Its hash.
        given: String,
        /// The hash expected.
        expected: String,
    },
    /// The hub refused or could not be reached. What had arrived is kept; the next try resumes.
    #[error("fetch {url}: {detail}")]
    Fetch {
        /// What was fetched.
        url: String,
        /// What happened.
        detail: String,
    },
}
