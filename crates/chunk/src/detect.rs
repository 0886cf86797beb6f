//! A media type from a file's name and content.

use std::path::Path;

use ibid_core::MediaType;

/// How a file is to be read, by the extension of its `name`. `None` for an extension that is not supported, and for
/// content that is not text: invalid UTF-8, or with NUL bytes.
pub fn detect(name: &str, bytes: &[u8]) -> Option<MediaType> {
    let extension = Path::new(name).extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    let media = match extension.as_deref() {
        Some("md" | "markdown") => MediaType::Markdown,
        Some("txt" | "text" | "rst") | None => MediaType::Plain,
        Some(_) => return None,
    };
    let is_text = !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok();
    is_text.then_some(media)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_decides_and_the_content_may_refuse() {
        for (name, expected) in [
            ("a/b.md", Some(MediaType::Markdown)),
            ("B.MARKDOWN", Some(MediaType::Markdown)),
            ("notes.txt", Some(MediaType::Plain)),
            ("README", Some(MediaType::Plain)),
            ("doc.rst", Some(MediaType::Plain)),
            ("a.pdf", None),
        ] {
            assert_eq!(detect(name, "Käse".as_bytes()), expected, "{name}");
        }
        assert_eq!(detect("a.md", b"a\0b"), None);
        assert_eq!(detect("a.md", b"a\xffb"), None);
    }
}
