//! How deep dictionaries are nested, found before the library looks: where a file's table of objects is damaged it tries to
//! read a dictionary at every `<<`, each time from there to the end or down 512 levels.

use memchr::memchr2_iter;

use crate::parse::ParseError;

/// Where the library gives up.
const LEVELS_MAX: usize = 512;
/// Each byte may be read as a part of so many dictionaries, in the mean over the whole file. Real files have two or three;
/// a picture's bytes begin one by chance every 16 MB.
const LEVELS_MEAN_MAX: usize = 8;
/// What is allowed beyond, in bytes read: a small file may be all depth.
const BYTES_SPARED: usize = 16 << 20;

/// Refuses a file whose dictionaries are nested so deep that trying them would take longer than reading it a few times.
pub(super) fn check(bytes: &[u8]) -> Result<(), ParseError> {
    let bytes_read_max = LEVELS_MEAN_MAX * bytes.len() + BYTES_SPARED;
    let (mut levels, mut bytes_read, mut before) = (0_usize, 0_usize, 0_usize);
    for byte in memchr2_iter(b'<', b'>', bytes) {
        if byte < before {
            continue;
        }
        bytes_read += levels.min(LEVELS_MAX) * (byte - before);
        before = byte;
        if bytes_read > bytes_read_max {
            return Err(ParseError::TooDeep { limit: LEVELS_MAX, byte });
        }
        match &bytes[byte..] {
            [b'<', b'<', rest @ ..] if begins(rest) => levels += 1,
            [b'>', b'>', ..] => levels = levels.saturating_sub(1),
            _ => continue,
        }
        before = byte + 2;
    }
    if bytes_read + levels.min(LEVELS_MAX) * (bytes.len() - before.min(bytes.len())) > bytes_read_max {
        return Err(ParseError::TooDeep { limit: LEVELS_MAX, byte: before });
    }
    Ok(())
}

/// Whether what follows `<<` can be a dictionary's first key.
fn begins(rest: &[u8]) -> bool {
    let blank = |byte: &&u8| byte.is_ascii_whitespace() || **byte == 0;
    matches!(rest.iter().find(|byte| !blank(byte)), Some(b'/' | b'%'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(count: usize) -> Vec<u8> {
        [b"<</A ".repeat(count), b"1".to_vec(), b">>".repeat(count)].concat()
    }

    #[test]
    fn a_file_of_dictionaries_in_dictionaries_is_refused() {
        assert_eq!(check(&levels(3).repeat(100_000)), Ok(()));
        assert_eq!(check(&levels(500)), Ok(()), "depth alone is no harm");
        assert!(matches!(check(&levels(100_000)), Err(ParseError::TooDeep { limit: LEVELS_MAX, .. })));
    }

    #[test]
    fn dictionaries_before_a_long_rest_count_with_it() {
        let open = [b"<</A ".repeat(20), b"/B 1 ".repeat(2 << 20)].concat();
        assert!(matches!(check(&open), Err(ParseError::TooDeep { .. })));
    }

    #[test]
    fn bytes_that_look_alike_are_none() {
        assert_eq!(check(&b"<".repeat(4 << 20)), Ok(()));
        assert_eq!(check(&b"<< \x01>".repeat(1 << 20)), Ok(()));
    }
}
