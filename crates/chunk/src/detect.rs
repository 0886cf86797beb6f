//! A media type from a file's name and content.

use std::path::Path;

use ibid_core::{CodeLanguage, MediaType};

/// How far into a file its kind is looked for.
const HEAD_BYTES: usize = 4096;

/// How a file is to be read. Its content decides where it has a mark of its own, whatever its `name` says: PDF, Office, HTML,
/// mail, a script's first line. Else the name's extension does; without one, JSON is told from plain text.
///
/// `None` for an extension that is not supported, and for content that is neither text nor of a kind that is known.
pub fn detect(name: &str, bytes: &[u8]) -> Option<MediaType> {
    if let Some(media) = marked(bytes) {
        return Some(media);
    }
    let has_mark = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    if !has_mark && (bytes.contains(&0) || std::str::from_utf8(bytes).is_err()) {
        // A message or a page may be in an encoding that it names itself.
        return by_extension(name).flatten().filter(|media| matches!(media, MediaType::Email | MediaType::Html));
    }
    match by_extension(name) {
        Some(media) => {
            let is_text =
                media.is_none_or(|media| !media.is_converted() || matches!(media, MediaType::Email | MediaType::Html));
            media.filter(|_| is_text)
        }
        None => Some(unnamed(bytes)),
    }
}

/// Whether a file of that name may be of a kind that is read: its extension is one of theirs, or it has none.
pub fn may_be_read(name: &str) -> bool {
    by_extension(name).is_none_or(|media| media.is_some())
}

/// The kind that a file's own mark names.
fn marked(bytes: &[u8]) -> Option<MediaType> {
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    if bytes.starts_with(b"PK\x03\x04") {
        let holds = |name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
        let kinds: [(&[u8], MediaType); 3] = [
            // The main part may have another name than the usual one: `word/document2.xml`.
            (b"word/document", MediaType::Docx),
            (b"ppt/presentation", MediaType::Pptx),
            (b"xl/workbook.xml", MediaType::Xlsx),
        ];
        return kinds.into_iter().find(|(name, _)| holds(name)).map(|(_, media)| media);
    }
    // The mark may stand behind a few bytes of something else.
    if head[..head.len().min(1024)].windows(5).any(|window| window == b"%PDF-") && !head.starts_with(b"<") {
        return Some(MediaType::Pdf);
    }
    let text = String::from_utf8_lossy(head);
    let start = text.trim_start_matches('\u{feff}').trim_start();
    let lower = start.get(..start.floor_char_boundary(64)).unwrap_or_default().to_ascii_lowercase();
    if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        return Some(MediaType::Html);
    }
    if let Some(interpreter) = start.strip_prefix("#!").and_then(|rest| rest.lines().next()) {
        let program = interpreter.split(['/', ' ']).rev().find(|word| !word.starts_with('-') && !word.is_empty())?;
        return match program.trim_end_matches(|char: char| char.is_ascii_digit() || char == '.') {
            "sh" | "bash" | "zsh" | "dash" | "ksh" => Some(MediaType::Code(CodeLanguage::Shell)),
            "python" => Some(MediaType::Code(CodeLanguage::Python)),
            "node" => Some(MediaType::Code(CodeLanguage::JavaScript)),
            _ => None,
        };
    }
    is_message(start).then_some(MediaType::Email)
}

/// Whether a text starts as a message does: header lines, one of them of the kind that only messages have.
fn is_message(start: &str) -> bool {
    const TELLING: [&str; 6] =
        ["received", "return-path", "message-id", "mime-version", "delivered-to", "dkim-signature"];
    let mut fields = 0;
    for line in start.lines().take_while(|line| !line.trim().is_empty()) {
        if line.starts_with([' ', '\t']) && fields > 0 {
            continue;
        }
        let Some((name, _)) = line.split_once(':') else { return false };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return false;
        }
        fields += 1;
        if TELLING.contains(&name.to_ascii_lowercase().as_str()) {
            return true;
        }
    }
    false
}

/// The kind that an extension names: `Some(None)` for one that is not supported, `None` for a name without one.
fn by_extension(name: &str) -> Option<Option<MediaType>> {
    let extension = Path::new(name).extension()?.to_string_lossy().to_ascii_lowercase();
    Some(Some(match extension.as_str() {
        "md" | "markdown" => MediaType::Markdown,
        "txt" | "text" | "rst" => MediaType::Plain,
        "html" | "htm" | "xhtml" => MediaType::Html,
        "pdf" => MediaType::Pdf,
        "docx" => MediaType::Docx,
        "pptx" => MediaType::Pptx,
        "xlsx" => MediaType::Xlsx,
        "csv" => MediaType::Csv,
        "tsv" | "tab" => MediaType::Tsv,
        "json" | "geojson" => MediaType::Json,
        "jsonl" | "ndjson" => MediaType::JsonLines,
        "yaml" | "yml" => MediaType::Yaml,
        "eml" => MediaType::Email,
        "rs" => MediaType::Code(CodeLanguage::Rust),
        "py" | "pyi" => MediaType::Code(CodeLanguage::Python),
        "ts" | "mts" | "cts" => MediaType::Code(CodeLanguage::TypeScript),
        "tsx" => MediaType::Code(CodeLanguage::Tsx),
        "js" | "mjs" | "cjs" | "jsx" => MediaType::Code(CodeLanguage::JavaScript),
        "go" => MediaType::Code(CodeLanguage::Go),
        "java" => MediaType::Code(CodeLanguage::Java),
        "c" | "h" => MediaType::Code(CodeLanguage::C),
        "cc" | "cpp" | "cxx" | "hpp" | "hh" | "hxx" => MediaType::Code(CodeLanguage::Cpp),
        "sql" => MediaType::Code(CodeLanguage::Sql),
        "sh" | "bash" | "zsh" => MediaType::Code(CodeLanguage::Shell),
        _ => return Some(None),
    }))
}

/// The kind of a text without a name that tells.
fn unnamed(bytes: &[u8]) -> MediaType {
    let trimmed = bytes.trim_ascii();
    let is_json =
        trimmed.starts_with(b"{\"") && trimmed.ends_with(b"}") || trimmed.starts_with(b"[{") && trimmed.ends_with(b"]");
    if is_json { MediaType::Json } else { MediaType::Plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_decides_where_the_content_has_no_mark() {
        for (name, expected) in [
            ("a/b.md", Some(MediaType::Markdown)),
            ("B.MARKDOWN", Some(MediaType::Markdown)),
            ("notes.txt", Some(MediaType::Plain)),
            ("README", Some(MediaType::Plain)),
            ("doc.rst", Some(MediaType::Plain)),
            ("a.rs", Some(MediaType::Code(CodeLanguage::Rust))),
            // Text is no PDF, whatever its name is.
            ("a.pdf", None),
            ("a.exe", None),
        ] {
            assert_eq!(detect(name, "Käse".as_bytes()), expected, "{name}");
        }
        assert_eq!(detect("a.md", b"a\0b"), None);
        assert_eq!(detect("a.md", b"a\xffb"), None);
        assert_eq!(detect("a.md", b"\xff\xfea\0"), Some(MediaType::Markdown));
        assert_eq!(detect("a.html", b"<p>caf\xe9"), Some(MediaType::Html));
    }

    #[test]
    fn content_with_a_mark_decides_whatever_the_name_is() {
        for (bytes, expected) in [
            (&b"%PDF-1.7\n\xff\0"[..], MediaType::Pdf),
            (b"PK\x03\x04....word/document.xml", MediaType::Docx),
            (b"PK\x03\x04....xl/workbook.xml", MediaType::Xlsx),
            (b"\xef\xbb\xbf <!DOCTYPE HTML><p>a", MediaType::Html),
            (b"#!/usr/bin/env python3\n", MediaType::Code(CodeLanguage::Python)),
            (b"#!/bin/bash -e\n", MediaType::Code(CodeLanguage::Shell)),
            (b"From: a@b\nMessage-ID: <1@b>\n\nHello", MediaType::Email),
        ] {
            assert_eq!(detect("notes.txt", bytes), Some(expected), "{expected:?}");
        }
        assert_eq!(detect("a", br#"{"a": 1}"#), Some(MediaType::Json));
        assert_eq!(detect("a.txt", b"Note: this\nis: no mail"), Some(MediaType::Plain));
        assert_eq!(detect("a.zip", b"PK\x03\x04...."), None);
    }
}
