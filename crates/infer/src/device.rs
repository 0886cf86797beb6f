//! What a model computes on, and in which numbers.

use std::fmt;
use std::str::FromStr;

use crate::isa::{Bytes, isa};
use crate::{InferError, Numbers};

/// What a model computes on, and in which numbers: floats on the processor, unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compute {
    /// The device.
    pub device: Device,
    /// How the products of an encoder on the processor are computed; candle computes in floats.
    pub numbers: Numbers,
}

/// A device. The processor is always there; the others where the program was built with candle's kernels for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU by its number; needs the feature `cuda`.
    Cuda(usize),
    /// Apple's GPU; needs the feature `metal`.
    Metal,
}

impl Device {
    /// candle's device.
    ///
    /// # Errors
    /// The program was built without it, or the machine has none.
    pub(crate) fn open(self) -> Result<candle_core::Device, InferError> {
        let without = |way_out| Err(InferError::Unsupported { what: format!("device {self} in this build"), way_out });
        let opened = match self {
            Device::Cpu => Ok(candle_core::Device::Cpu),
            Device::Cuda(_) if !cfg!(feature = "cuda") => {
                return without("build with `cargo build --release --features cuda`, or choose the device \"cpu\"");
            }
            Device::Metal if !cfg!(feature = "metal") => {
                return without("build with `cargo build --release --features metal`, or choose the device \"cpu\"");
            }
            Device::Cuda(number) => candle_core::Device::new_cuda(number),
            Device::Metal => candle_core::Device::new_metal(0),
        };
        opened.map_err(|error| InferError::Device { detail: format!("open {self}: {error}") })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => write!(f, "cpu"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
            Device::Metal => write!(f, "metal"),
        }
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Numbers::F32 => "f32",
            Numbers::Int8 => "int8",
        })
    }
}

impl FromStr for Numbers {
    type Err = NoNumbers;

    /// `auto`: what is fastest on this machine.
    fn from_str(text: &str) -> Result<Numbers, NoNumbers> {
        if text == "auto" {
            return Ok(if isa().bytes() == Bytes::Plain { Numbers::F32 } else { Numbers::Int8 });
        }
        [Numbers::F32, Numbers::Int8].into_iter().find(|numbers| numbers.to_string() == text).ok_or(NoNumbers)
    }
}

/// What a text that names no [`Numbers`] should have been.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("auto, f32 or int8")]
pub struct NoNumbers;

/// What a text that names no device should have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected cpu, cuda:0 (or another number) or metal")]
pub struct NoDevice;

impl FromStr for Device {
    type Err = NoDevice;

    fn from_str(text: &str) -> Result<Device, NoDevice> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Device::Cpu),
            None if text == "metal" => Ok(Device::Metal),
            None if text == "cuda" => Ok(Device::Cuda(0)),
            Some(("cuda", number)) => number.parse().map(Device::Cuda).map_err(|_| NoDevice),
            None | Some(_) => Err(NoDevice),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_read_as_it_is_written() {
        for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(3), Device::Metal] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cpu:0"] {
            assert_eq!(wrong.parse::<Device>(), Err(NoDevice));
        }
    }

    #[test]
    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    fn a_device_of_another_build_is_refused_with_the_way_out() {
        let refused = Device::Cuda(1).open().unwrap_err().to_string();
        assert!(refused.contains("cuda:1") && refused.contains("--features cuda"), "{refused}");
        assert!(Device::Metal.open().unwrap_err().to_string().contains("--features metal"));
    }
}
