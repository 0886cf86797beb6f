//! Texts as they arrive: UTF-8 or not, and of any length.

use bytes::Bytes;
use ibid_engine::Invalid;

/// `bytes` as text.
///
/// # Errors
/// Names the first byte that is not UTF-8.
pub(crate) fn utf8(field: &str, bytes: Bytes) -> Result<String, Invalid> {
    String::from_utf8(bytes.into()).map_err(|error| {
        let byte = error.utf8_error().valid_up_to();
        Invalid::new(field, format!("is not UTF-8 from byte {byte} on"))
    })
}

/// Refuses more than `bytes_max` bytes.
pub(crate) fn at_most(field: &str, given: usize, bytes_max: usize) -> Result<(), Invalid> {
    if given <= bytes_max {
        return Ok(());
    }
    Err(Invalid::new(field, format!("has {given} bytes, expected at most {bytes_max}")))
}

/// A text of at most `bytes_max` bytes.
pub(crate) fn bounded(field: &str, text: String, bytes_max: usize) -> Result<String, Invalid> {
    at_most(field, text.len(), bytes_max)?;
    Ok(text)
}

/// Refuses more than `max` entries.
pub(crate) fn no_more_than(field: &str, given: usize, max: usize) -> Result<(), Invalid> {
    if given <= max {
        return Ok(());
    }
    Err(Invalid::new(field, format!("has {given} entries, expected at most {max}")))
}

/// A name: `new` is the constructor of its type.
pub(crate) fn name<T>(
    field: &str,
    text: &str,
    new: impl Fn(&str) -> Result<T, ibid_core::NameError>,
) -> Result<T, Invalid> {
    new(text).map_err(|error| Invalid::new(field, error))
}

/// An enum's variant by its number.
pub(crate) fn known<T: TryFrom<i32>>(field: &str, number: i32) -> Result<T, Invalid> {
    T::try_from(number).map_err(|_| Invalid::new(field, format!("is {number}, which this version does not know")))
}
