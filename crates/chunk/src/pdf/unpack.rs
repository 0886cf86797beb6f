//! How far a file's streams unpack, found before they are: the library unpacks whatever it is given, without a limit.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::ZlibDecoder;
use hayro_syntax::Filter;
use hayro_syntax::object::Stream;
use memchr::memmem;

use crate::parse::ParseError;

/// One stream may unpack to this much,
const STREAM_BYTES_MAX: usize = 32 << 20;
/// or to this much at the very worst, where that is all that can be told before.
const STREAM_BYTES_WORST: usize = 192 << 20;
/// All streams that are read for text and fonts together.
const STREAMS_BYTES_MAX: usize = 1 << 30;
/// All streams of objects together: the library keeps them.
const OBJECTS_BYTES_MAX: usize = 192 << 20;
/// Where the dictionary of a stream is looked for.
const DICTIONARY_BYTES_MAX: usize = 2048;

/// A match of 258 bytes for two bits; a string of 3,838 bytes for a code of 12 bits.
const DEFLATE_RATIO_MAX: usize = 1032;
const LZW_RATIO_MAX: usize = 2560;

/// Refuses a file whose streams of objects come to too much. The library unpacks these by itself, as soon as it follows a
/// reference. Those of an encrypted file cannot be measured; they count as if they were packed as tight as can be.
pub(super) fn check_objects(bytes: &[u8], stop: &dyn Fn() -> bool) -> Result<(), ParseError> {
    let mut left = OBJECTS_BYTES_MAX;
    // Streams that could not be measured and whose end has not come.
    let (mut open, mut open_starts) = (0_usize, 0_usize);
    for (n, word) in memmem::find_iter(bytes, b"stream").enumerate() {
        let too_large =
            || ParseError::TooLarge { what: "bytes of packed objects", limit: OBJECTS_BYTES_MAX, byte: word };
        if n % 256 == 0 && stop() {
            return Err(ParseError::Stopped);
        }
        if bytes[..word].ends_with(b"end") {
            let packed = (open * word).saturating_sub(open_starts);
            left =
                packed.checked_mul(DEFLATE_RATIO_MAX).and_then(|size| left.checked_sub(size)).ok_or_else(too_large)?;
            (open, open_starts) = (0, 0);
            continue;
        }
        let data = match &bytes[word + b"stream".len()..] {
            [b'\r', b'\n', data @ ..] | [b'\n' | b'\r', data @ ..] => data,
            _ => continue,
        };
        let dictionary = &bytes[word.saturating_sub(DICTIONARY_BYTES_MAX)..word];
        if !may_hold_objects(dictionary) {
            continue;
        }
        if packed_twice(dictionary) {
            return Err(too_large());
        }
        match inflated(data, left) {
            Some(size) => left = left.checked_sub(size).ok_or_else(too_large)?,
            None => {
                open += 1;
                open_starts += bytes.len() - data.len();
            }
        }
    }
    Ok(())
}

/// Whether a stream may be one of objects, by the text before it. It is not, if a dictionary begins there that is plain to
/// read (no escapes, comments or strings that could hide its true begin) and lacks what such a stream must have.
fn may_hold_objects(before: &[u8]) -> bool {
    let Some(start) = memmem::rfind(before, b"obj") else { return true };
    let line = before[..start].iter().rposition(|byte| matches!(byte, b'\n' | b'\r')).map_or(0, |end| end + 1);
    let (line, dictionary) = (&before[line..start], &before[start..]);
    let has = |name: &[u8]| memmem::find(dictionary, name).is_some();
    has(b"/First")
        || has(b"/XRef")
        || memmem::find_iter(dictionary, b"/W").any(|at| !dictionary.get(at + 2).is_some_and(u8::is_ascii_alphabetic))
        || !has(b"<<")
        || dictionary.iter().any(|byte| matches!(byte, b'#' | b'%' | b'(' | b')'))
        || line.iter().any(|byte| matches!(byte, b'%' | b'(' | b'<'))
}

/// Whether a stream of objects is packed in a way that no program packs it: its size could not be told.
fn packed_twice(before: &[u8]) -> bool {
    let start = memmem::rfind(before, b"obj").unwrap_or(0);
    let dictionary = &before[start..];
    memmem::find_iter(dictionary, b"FlateDecode").nth(1).is_some()
        || [&b"LZW"[..], b"RunLength", b"/Fl/", b"/RL"].iter().any(|name| memmem::find(dictionary, name).is_some())
}

/// What zlib data comes to, up to one more than `limit`; `None` if it breaks.
fn inflated(data: &[u8], limit: usize) -> Option<usize> {
    // Most of what is no such stream shows in its first two bytes (RFC 1950), before there is anything to be set up.
    let [method, check, ..] = *data else { return None };
    if method & 0xf != 8 || !u16::from_be_bytes([method, check]).is_multiple_of(31) {
        return None;
    }
    let mut reader = ZlibDecoder::new(data).take(limit as u64 + 1);
    let mut buffer = [0; 16 << 10];
    let mut size = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Some(size),
            Ok(read) => size += read,
            Err(_) => return None,
        }
    }
}

/// Unpacks streams as long as they are small.
pub(super) struct Unpacker {
    left: usize,
}

impl Unpacker {
    pub(super) fn new() -> Unpacker {
        Unpacker { left: STREAMS_BYTES_MAX }
    }

    /// A stream's data. `None` for one that cannot be unpacked.
    pub(super) fn unpack<'a>(&mut self, stream: &Stream<'a>) -> Result<Option<Cow<'a, [u8]>>, ParseError> {
        check(stream)?;
        let Ok(data) = stream.decoded_data() else { return Ok(None) };
        self.charge(data.len())?;
        Ok(Some(data))
    }

    /// Notes that something of this size is unpacked.
    fn charge(&mut self, size: usize) -> Result<(), ParseError> {
        let too_large = ParseError::TooLarge { what: "bytes of unpacked streams", limit: STREAMS_BYTES_MAX, byte: 0 };
        self.left = self.left.checked_sub(size).ok_or(too_large)?;
        Ok(())
    }
}

/// Refuses a stream that unpacks to too much.
pub(super) fn check(stream: &Stream<'_>) -> Result<(), ParseError> {
    let data = stream.raw_data();
    let size = match stream.filters()[..] {
        [] => data.len(),
        [Filter::FlateDecode] if data.len() > STREAM_BYTES_MAX / DEFLATE_RATIO_MAX => {
            inflated(&data, STREAM_BYTES_MAX).unwrap_or(usize::MAX)
        }
        ref filters => {
            let worst = filters.iter().fold(data.len(), |size, filter| size.saturating_mul(ratio_max(*filter)));
            if worst <= STREAM_BYTES_WORST { 0 } else { worst }
        }
    };
    if size <= STREAM_BYTES_MAX {
        return Ok(());
    }
    Err(ParseError::TooLarge { what: "bytes of an unpacked stream", limit: STREAM_BYTES_MAX, byte: 0 })
}

/// What one packed byte can at most become.
fn ratio_max(filter: Filter) -> usize {
    match filter {
        Filter::FlateDecode => DEFLATE_RATIO_MAX,
        Filter::LzwDecode => LZW_RATIO_MAX,
        Filter::RunLengthDecode => 64,
        // Five characters are four bytes, but for the `z` that are zeros: those do not stand before another filter.
        Filter::Ascii85Decode | Filter::AsciiHexDecode | Filter::Crypt => 1,
        // Pictures are not unpacked.
        Filter::CcittFaxDecode | Filter::Jbig2Decode | Filter::DctDecode | Filter::JpxDecode => 1,
    }
}
