//! From a document's bytes to the text that is stored, and its outline.

use std::borrow::Cow;

use ibid_core::MediaType;

#[cfg(feature = "code")]
use crate::code;
#[cfg(feature = "email")]
use crate::email;
#[cfg(feature = "html")]
use crate::html;
use crate::outline::Outline;
#[cfg(feature = "pdf")]
use crate::pdf;
use crate::{delimited, json, markdown, plain, yaml};
#[cfg(feature = "office")]
use crate::{docx, pptx, xlsx};

/// The longest text a document may come to, whatever its bytes are: 64 MiB.
pub const TEXT_BYTES_MAX: usize = 64 << 20;

/// How much work a document may make.
#[derive(Clone, Copy)]
pub struct Limits<'s> {
    /// The longest text it may come to, in bytes.
    pub text_bytes_max: usize,
    /// Asked every few thousand steps: `true` ends the work, because its time is up or the caller has left.
    pub stop: &'s dyn Fn() -> bool,
}

impl Limits<'static> {
    /// No time limit, and the longest text.
    pub const NONE: Limits<'static> = Limits { text_bytes_max: TEXT_BYTES_MAX, stop: &|| false };
}

/// A document that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed<'b> {
    /// The text that is stored: what spans are bytes of. Borrowed where it is the document's own bytes.
    pub text: Cow<'b, str>,
    /// Its structure.
    pub outline: Outline,
}

/// Why a document cannot be read. Texts name places and limits, never content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The bytes are no text in the encoding they claim.
    #[error("is not {encoding} from byte {byte} on")]
    Encoding {
        /// Its name.
        encoding: &'static str,
        /// The first byte that is wrong, from 0.
        byte: usize,
    },
    /// The bytes are not what the media type says.
    #[error("is no readable {format} (byte {byte}: {problem})")]
    Malformed {
        /// The format's name.
        format: &'static str,
        /// Where, from 0.
        byte: usize,
        /// What.
        problem: String,
    },
    /// It is encrypted.
    #[error("is an encrypted {format}; put it without a password")]
    Encrypted {
        /// The format's name.
        format: &'static str,
    },
    /// It has pictures of text, and no text.
    #[error("has {pages} pages and no text: scanned pages need text recognition (OCR) first")]
    Scanned {
        /// How many pages.
        pages: usize,
    },
    /// It comes to more than a limit.
    #[error("{what} come to more than {limit}; found at byte {byte}")]
    TooLarge {
        /// What there is too much of, in the plural.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// Where, from 0; of the part that is unpacked, for a packed format.
        byte: usize,
    },
    /// It nests too deep.
    #[error("nests deeper than {limit} levels at byte {byte}")]
    TooDeep {
        /// The limit.
        limit: usize,
        /// Where, from 0.
        byte: usize,
    },
    /// The program was built without the format.
    #[error("is {media_type}, which this build of the program does not read")]
    NotBuiltIn {
        /// The media type.
        media_type: &'static str,
    },
    /// [`Limits::stop`] said so.
    #[error("takes longer to read than the time that was left")]
    Stopped,
}

/// Reads a document.
///
/// # Errors
/// [`ParseError`]: it cannot be read, with the byte where that shows.
pub fn parse<'b>(bytes: &'b [u8], media: MediaType, limits: &Limits<'_>) -> Result<Parsed<'b>, ParseError> {
    let parsed = if media.is_converted() {
        let (text, outline) = convert(bytes, media, limits)?;
        let outline = fitting(&text, outline);
        Parsed { text: Cow::Owned(text), outline }
    } else {
        let text = decode(bytes)?;
        within(text.len(), limits)?;
        let outline = outline(&text, media, limits)?;
        Parsed { text, outline }
    };
    within(parsed.text.len(), limits)?;
    Ok(parsed)
}

/// An outline that fits its text. One that does not is a reader's mistake, which may cost the document's structure and never
/// the document.
fn fitting(text: &str, outline: Outline) -> Outline {
    let fits = outline.fits(text);
    debug_assert_eq!(fits, Ok(()));
    if fits.is_ok() { outline } else { plain::read(text).unwrap_or_default() }
}

fn within(text_bytes: usize, limits: &Limits<'_>) -> Result<(), ParseError> {
    let limit = limits.text_bytes_max;
    if text_bytes > limit { Err(ParseError::TooLarge { what: "bytes of text", limit, byte: limit }) } else { Ok(()) }
}

/// The outline of a stored text whose format is its own text: what [`parse`] gave for it.
///
/// # Errors
/// [`ParseError`]: it cannot be read. A converted format has no text of its own to be read again.
pub fn outline(text: &str, media: MediaType, limits: &Limits<'_>) -> Result<Outline, ParseError> {
    #[allow(clippy::wildcard_enum_match_arm, reason = "what is left depends on the features")]
    let outline = match media {
        MediaType::Markdown => markdown::read(text),
        MediaType::Plain => plain::read(text),
        MediaType::Csv => delimited::read(text, None, limits),
        MediaType::Tsv => delimited::read(text, Some(b'\t'), limits),
        MediaType::Json => json::read(text, limits),
        MediaType::JsonLines => json::read_lines(text, limits),
        MediaType::Yaml => yaml::read(text, limits),
        #[cfg(feature = "code")]
        MediaType::Code(language) => code::read(text, language, limits),
        _ => Err(ParseError::NotBuiltIn { media_type: media.as_str() }),
    };
    outline.map(|outline| fitting(text, outline))
}

/// Text and outline of a format whose stored text is made from it.
#[allow(unused_variables, reason = "without any of the features nobody asks for them")]
fn convert(bytes: &[u8], media: MediaType, limits: &Limits<'_>) -> Result<(String, Outline), ParseError> {
    #[allow(clippy::wildcard_enum_match_arm, reason = "what is left depends on the features")]
    match media {
        #[cfg(feature = "office")]
        MediaType::Docx => docx::convert(bytes, limits),
        #[cfg(feature = "office")]
        MediaType::Pptx => pptx::convert(bytes, limits),
        #[cfg(feature = "office")]
        MediaType::Xlsx => xlsx::convert(bytes, limits),
        #[cfg(feature = "html")]
        MediaType::Html => html::convert(bytes, limits),
        #[cfg(feature = "email")]
        MediaType::Email => email::convert(bytes, limits),
        #[cfg(feature = "pdf")]
        MediaType::Pdf => pdf::convert(bytes, limits),
        _ => Err(ParseError::NotBuiltIn { media_type: media.as_str() }),
    }
}

/// The text of bytes that are text: UTF-8, or UTF-16 with a byte order mark.
pub(crate) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, ParseError> {
    let units: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => {
            let text = std::str::from_utf8(bytes);
            return text
                .map(Cow::Borrowed)
                .map_err(|error| ParseError::Encoding { encoding: "UTF-8", byte: error.valid_up_to() });
        }
    };
    let mut text = String::with_capacity(bytes.len());
    let mut byte = 2;
    let pairs = bytes[2..].chunks(2).map(|pair| units([pair[0], pair.get(1).copied().unwrap_or(0)]));
    for char in char::decode_utf16(pairs) {
        let wrong = ParseError::Encoding { encoding: "UTF-16", byte };
        let char = char.map_err(|_| wrong.clone())?;
        byte += 2 * char.len_utf16();
        if byte > bytes.len() {
            return Err(wrong);
        }
        text.push(char);
    }
    Ok(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf16_is_text_with_a_byte_order_mark_and_refused_where_it_breaks() {
        let utf16 =
            |text: &str| [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        let bytes = utf16("Käse 🧀");
        assert_eq!(decode(&bytes).unwrap(), "Käse 🧀");
        assert_eq!(decode(&bytes[..bytes.len() - 2]), Err(ParseError::Encoding { encoding: "UTF-16", byte: 12 }));
        assert_eq!(decode(&bytes[..5]), Err(ParseError::Encoding { encoding: "UTF-16", byte: 4 }));
        assert_eq!(decode(b"a\xff"), Err(ParseError::Encoding { encoding: "UTF-8", byte: 1 }));
    }
}
