//! PDF to text and blocks, by the file's own marks on the page: its structure tree is not read, for few files have one that
//! can be trusted.
//!
//! | file         | responsibility                                                     |
//! | ------------ | ------------------------------------------------------------------ |
//! | `nesting.rs` | how deep dictionaries are nested, found before they are read       |
//! | `unpack.rs`  | how far streams unpack, found before they are                      |
//! | `fonts.rs`   | what a string of codes says, and how far its glyphs reach          |
//! | `glyphs.rs`  | a page's operators -> its words, rules and pictures                |
//! | `words.rs`   | glyphs -> words                                                    |
//! | `running.rs` | headers, footers and page numbers taken away                       |
//! | `order.rs`   | words -> lines in reading order; columns and tables                |
//! | `blocks.rs`  | lines -> headings, paragraphs, lists, captions, footnotes, code    |
//! | `write.rs`   | blocks -> the text and its outline, with the place of every line   |

mod blocks;
mod fonts;
mod glyphs;
mod nesting;
mod order;
mod running;
#[cfg(test)]
mod tests;
mod unpack;
mod words;
mod write;

use std::panic::{AssertUnwindSafe, catch_unwind};

use hayro_syntax::object::{Dict, Stream};
use hayro_syntax::{DecryptionError, LoadPdfError, Pdf};

use crate::length::on_one_line;
use crate::outline::{Outline, Reason};
use crate::parse::{Limits, ParseError};
use crate::pdf::glyphs::{Inked, Pen};

const FORMAT: &str = "PDF";
/// A document has at most this many pages.
const PAGES_MAX: usize = 20_000;
/// And this many words.
const WORDS_MAX: usize = 2_000_000;
/// And this many on one page, whose layout is found without a pause.
const WORDS_ON_PAGE_MAX: usize = 50_000;
/// A document with more than this part of its characters unknown cannot be quoted.
const UNKNOWN_PART_MAX: f32 = 0.5;

/// Reads a whole document.
pub(crate) fn convert(bytes: &[u8], limits: &Limits<'_>) -> Result<(String, Outline), ParseError> {
    nesting::check(bytes)?;
    unpack::check_objects(bytes, limits.stop)?;
    // The library means never to panic, but it reads what strangers wrote: an overflow there must not end more than this.
    catch_unwind(AssertUnwindSafe(|| read(bytes, limits)))
        .unwrap_or_else(|_| Err(malformed(bytes, "its structure contradicts itself")))
}

fn malformed(bytes: &[u8], problem: &str) -> ParseError {
    let end = memchr::memmem::rfind(bytes, b"startxref").unwrap_or(bytes.len());
    ParseError::Malformed { format: FORMAT, byte: end, problem: problem.to_owned() }
}

fn read(bytes: &[u8], limits: &Limits<'_>) -> Result<(String, Outline), ParseError> {
    let pdf = Pdf::new(bytes.to_vec()).map_err(|error| match error {
        LoadPdfError::Decryption(DecryptionError::PasswordProtected) => ParseError::Encrypted { format: FORMAT },
        LoadPdfError::Decryption(_) => malformed(bytes, "it is encrypted in a way that is not known"),
        LoadPdfError::Invalid => malformed(bytes, "it has no table of objects, or no pages"),
    })?;
    let count = pdf.pages().len();
    if count > PAGES_MAX {
        return Err(ParseError::TooLarge { what: "pages", limit: PAGES_MAX, byte: 0 });
    }
    let mut pen = Pen::new(limits);
    let mut pages: Vec<Inked> = Vec::with_capacity(count);
    let mut words = 0;
    for page in pdf.pages().iter() {
        if (limits.stop)() {
            return Err(ParseError::Stopped);
        }
        let page = pen.page(page)?;
        let on_page = page.words.words.len();
        if on_page > WORDS_ON_PAGE_MAX {
            return Err(ParseError::TooLarge { what: "words on one page", limit: WORDS_ON_PAGE_MAX, byte: 0 });
        }
        words += on_page;
        if words > WORDS_MAX {
            return Err(ParseError::TooLarge { what: "words", limit: WORDS_MAX, byte: 0 });
        }
        pages.push(page);
    }
    let sum = |of: fn(&Inked) -> usize| pages.iter().map(of).sum::<usize>();
    let (glyphs, unknown) = (sum(|page| page.glyphs), sum(|page| page.unknown));
    if words == 0 && pages.iter().any(|page| page.has_pictures) {
        return Err(ParseError::Scanned { pages: count });
    }
    if unknown as f32 > UNKNOWN_PART_MAX * glyphs as f32 {
        let problem = format!("its fonts do not say which characters {unknown} of its {glyphs} glyphs are");
        return Err(ParseError::Malformed { format: FORMAT, byte: 0, problem });
    }
    let mut outline = Outline::default();
    for page in &pages {
        outline.leave_out(Reason::RunningHeader, page.header);
        outline.leave_out(Reason::RunningFooter, page.footer);
        outline.leave_out(Reason::Hidden, page.hidden);
        outline.leave_out(Reason::Unread, page.askew);
    }
    let removed = running::remove(&mut pages);
    removed.headers.into_iter().for_each(|bytes| outline.leave_out(Reason::RunningHeader, bytes));
    removed.footers.into_iter().for_each(|bytes| outline.leave_out(Reason::RunningFooter, bytes));
    let sheets: Vec<(f32, f32)> = pages.iter().map(|page| (page.width, page.height)).collect();
    let mut pieces = Vec::with_capacity(pages.len());
    for page in pages {
        if (limits.stop)() {
            return Err(ParseError::Stopped);
        }
        pieces.push((page.height, order::pieces(&page)));
    }
    let blocks = blocks::blocks(pieces);
    let text = write::write(&blocks, &sheets, limits, &mut outline)?;
    outline.title = own_title(&pdf).or_else(|| write::first_title(&outline));
    Ok((text, outline))
}

/// The title that the file names, if it is one.
fn own_title(pdf: &Pdf) -> Option<String> {
    let info = pdf.metadata().title.as_deref().map(text_string).filter(|title| is_title(title));
    info.or_else(|| xmp_title(pdf)).map(|title| on_one_line(&title))
}

/// A text string: UTF-16 or UTF-8 with a mark, else PDFDocEncoding, of which Latin-1 is the part that titles use.
fn text_string(bytes: &[u8]) -> String {
    match bytes {
        [0xfe, 0xff, rest @ ..] => {
            let units = rest.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair));
            char::decode_utf16(units).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// Whether a title was given by a person: not a file's name, nor what a program writes if nobody gives one.
fn is_title(title: &str) -> bool {
    const BEGINNINGS: [&str; 7] = [
        "microsoft word",
        "microsoft powerpoint",
        "powerpoint presentation",
        "untitled",
        "(anonymous)",
        "unknown",
        "slide 1",
    ];
    const ENDS: [&str; 14] = [
        ".doc", ".docx", ".tex", ".dvi", ".pdf", ".indd", ".qxd", ".rtf", ".odt", ".ppt", ".pptx", ".xls", ".xlsx",
        ".ps",
    ];
    let lower = title.trim().to_lowercase();
    (1..=200).contains(&lower.len())
        && lower.chars().filter(|char| char.is_alphabetic()).count() >= 3
        && !lower.contains(|char: char| char.is_control() || char == char::REPLACEMENT_CHARACTER)
        && !BEGINNINGS.iter().any(|beginning| lower.starts_with(beginning))
        && !ENDS.iter().any(|end| lower.ends_with(end))
}

/// The title in the document's XMP packet.
fn xmp_title(pdf: &Pdf) -> Option<String> {
    let catalog = pdf.xref().get::<Dict<'_>>(pdf.xref().root_id())?;
    let packet = catalog.get::<Stream<'_>>("Metadata")?;
    unpack::check(&packet).ok()?;
    let data = packet.decoded_data().ok()?;
    let xml = String::from_utf8_lossy(&data);
    let title = xml.split_once("<dc:title>")?.1.split_once("</dc:title>")?.0;
    let title = title.split_once("<rdf:li")?.1.split_once('>')?.1.split_once("</rdf:li>")?.0;
    let title = title.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    Some(title.replace("&amp;", "&")).filter(|title| is_title(title))
}
