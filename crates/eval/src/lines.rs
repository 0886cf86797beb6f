//! Files of one record a line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::EvalError;

/// Gives each line of `folder/file` that is not blank to `each`, with its number from 1 and without its end.
///
/// # Errors
/// [`EvalError::Read`], or [`EvalError::Line`] for bytes that are not UTF-8 and for what `each` refuses, with its reason.
pub(crate) fn read_lines(
    folder: &Path,
    file: &str,
    mut each: impl FnMut(usize, &str) -> Result<(), String>,
) -> Result<(), EvalError> {
    let unread = |source| EvalError::Read { file: file.to_owned(), source };
    let mut reader = BufReader::new(File::open(folder.join(file)).map_err(unread)?);
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes).map_err(unread)? == 0 {
            break;
        }
        let taken = match std::str::from_utf8(&bytes) {
            Ok(text) if text.trim().is_empty() => Ok(()),
            Ok(text) => each(line, text.trim_end_matches(['\r', '\n'])),
            Err(error) => Err(format!("is not UTF-8 at byte {}", error.valid_up_to())),
        };
        taken.map_err(|reason| EvalError::Line { file: file.to_owned(), line, reason })?;
    }
    Ok(())
}

/// Reads one line's JSON object; the error is a reason with its column.
pub(crate) fn parse_json<T: DeserializeOwned>(line: &str) -> Result<T, String> {
    serde_json::from_str(line).map_err(|error| {
        // serde_json counts lines within what it was given, which is always the first here.
        let place = format!(" at line {} column {}", error.line(), error.column());
        let text = error.to_string();
        format!("column {}: {}", error.column(), text.strip_suffix(&place).unwrap_or(&text))
    })
}
