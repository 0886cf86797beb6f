//! An Office file as a package: its parts, found by their relationships and unpacked as far as limits allow, and the XML in
//! them, an element at a time.
//!
//! A part is never held in memory: it is unpacked as it is read. Elements go by their local names, because the same ones
//! have two namespaces (transitional and strict) and any prefix. Document types are refused, as the format's standard does
//! (ISO 29500-2), so that no entity is ever expanded but XML's own.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, BufReader, Cursor, Read};

use quick_xml::Reader;
use quick_xml::events::attributes::Attributes;
use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

use crate::length::on_one_line;
use crate::outline::{Outline, Reason};
use crate::parse::{Limits, ParseError};

/// A package has at most this many parts; a book of a thousand pictures has two thousand.
const PARTS_MAX: usize = 20_000;
/// What is unpacked of one package, in sum.
const UNPACKED_BYTES_MAX: usize = 256 << 20;
/// What one part may unpack to, as a multiple of its packed bytes, and what it may unpack to whatever its packed bytes are:
/// deflate packs 1000 to 1 at best, sheets of like rows 60 to 1.
const RATIO_MAX: usize = 200;
const RATIO_FREE_BYTES: usize = 4 << 20;
/// How many elements all parts that are read have in sum: a sheet of 400,000 rows of ten cells has 8 million.
const ELEMENTS_MAX: usize = 8 << 20;
/// The longest tag or piece of text between two tags.
const TOKEN_BYTES_MAX: usize = 16 << 20;
/// How deep elements nest: a table in a text box in a table comes to 40.
const DEPTH_MAX: usize = 256;
/// The caller is asked whether to stop after this many tags and texts.
const TOKENS_PER_CHECK: usize = 4096;
/// A package has at most this many relationships from one part.
const RELATIONSHIPS_MAX: usize = 20_000;
/// A longer attribute is none: names and ids are short, and a text that stands for a picture is a few sentences.
const ATTRIBUTE_BYTES_MAX: usize = 4096;

/// What an encrypted or old binary Office file starts with, as any compound file does (MS-CFB).
const COMPOUND_FILE: [u8; 8] = [0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1];
/// What a zip's directory has before each of its entries.
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";

/// An opened package.
pub(crate) struct Package<'b, 'l> {
    format: &'static str,
    archive: ZipArchive<Cursor<&'b [u8]>>,
    /// By their names in lower case, which is how names are compared.
    parts: HashMap<String, usize>,
    /// How much may still be unpacked.
    left: usize,
    elements_left: usize,
    limits: &'l Limits<'l>,
}

/// The relationships of a part.
#[derive(Debug, Default)]
pub(crate) struct Relationships {
    /// In the file's order: id, last word of the type, name of the part.
    list: Vec<(String, String, String)>,
}

impl Relationships {
    /// The part with this id.
    pub(crate) fn by_id(&self, id: &str) -> Option<&str> {
        self.list.iter().find(|(known, _, _)| known == id).map(|(_, _, part)| part.as_str())
    }

    /// The parts of a kind, such as `styles`.
    pub(crate) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &str> {
        self.list.iter().filter(move |(_, known, _)| known == kind).map(|(_, _, part)| part.as_str())
    }

    /// All of them by id.
    pub(crate) fn ids(&self) -> HashMap<&str, &str> {
        self.list.iter().map(|(id, _, part)| (id.as_str(), part.as_str())).collect()
    }
}

impl<'b, 'l> Package<'b, 'l> {
    pub(crate) fn open(bytes: &'b [u8], format: &'static str, limits: &'l Limits<'l>) -> Result<Self, ParseError> {
        if bytes.starts_with(&COMPOUND_FILE) {
            let name: Vec<u8> = "EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes).collect();
            let is_encrypted = bytes.windows(name.len()).any(|window| window == name);
            let problem = "an Office file of before 2007; save it in today's format";
            return Err(if is_encrypted {
                ParseError::Encrypted { format }
            } else {
                ParseError::Malformed { format, byte: 0, problem: problem.to_owned() }
            });
        }
        // Before anything is made of the directory, which would take some ten times its size.
        let entries = bytes.windows(DIRECTORY_ENTRY.len()).filter(|window| *window == DIRECTORY_ENTRY).count();
        if entries > PARTS_MAX {
            return Err(ParseError::TooLarge { what: "parts of the package", limit: PARTS_MAX, byte: 0 });
        }
        let malformed = |problem: &str| ParseError::Malformed { format, byte: 0, problem: problem.to_owned() };
        let mut archive =
            ZipArchive::new(Cursor::new(bytes)).map_err(|_| malformed("its zip directory cannot be read"))?;
        match archive.has_overlapping_files() {
            Ok(false) => {}
            Ok(true) => return Err(malformed("parts of its zip overlap")),
            Err(_) => return Err(malformed("its zip directory names parts that are not there")),
        }
        let names = (0..archive.len()).map(|n| Some((canonical(archive.name_for_index(n)?.ok()?.as_ref()), n)));
        let parts = names.flatten().collect();
        Ok(Package { format, archive, parts, left: UNPACKED_BYTES_MAX, elements_left: ELEMENTS_MAX, limits })
    }

    /// An error of the whole package.
    pub(crate) fn malformed(&self, problem: &str) -> ParseError {
        ParseError::Malformed { format: self.format, byte: 0, problem: problem.to_owned() }
    }

    /// The name of the main part, as the package's own relationships give it, else `usual`.
    pub(crate) fn main_part(&mut self, usual: &str) -> Result<String, ParseError> {
        let relationships = self.relationships("")?;
        let named = relationships.of_kind("officedocument").find(|part| self.parts.contains_key(*part));
        Ok(named.unwrap_or(usual).to_owned())
    }

    /// The `title` that the package's properties give, unless it is one that programs write by themselves.
    pub(crate) fn title(&mut self) -> Result<Option<String>, ParseError> {
        const BY_ITSELF: [&str; 4] =
            ["PowerPoint Presentation", "PowerPoint-Präsentation", "Présentation PowerPoint", "Word Document"];
        let named = self.relationships("")?;
        let part = named.of_kind("core-properties").next().unwrap_or("docprops/core.xml").to_owned();
        let Some(mut xml) = self.part(&part)? else { return Ok(None) };
        let mut title = String::new();
        let all = xml.depth();
        while xml.child(all)? {
            let properties = xml.depth();
            while xml.child(properties)? {
                if xml.name() == b"title" && title.is_empty() {
                    xml.text(&mut title)?;
                }
            }
        }
        let title = on_one_line(&title);
        let is_title = (1..=crate::outline::HEADING_BYTES_MAX).contains(&title.len())
            && !BY_ITSELF.contains(&title.as_str())
            && !title.starts_with("Microsoft Word - ");
        Ok(is_title.then_some(title))
    }

    /// The relationships of a part; of the package itself for an empty name. External ones are left out.
    pub(crate) fn relationships(&mut self, part: &str) -> Result<Relationships, ParseError> {
        let (folder, file) = part.rsplit_once('/').unwrap_or(("", part));
        let name = format!("{folder}/_rels/{file}.rels");
        let mut relationships = Relationships::default();
        let Some(mut xml) = self.part(&name)? else { return Ok(relationships) };
        let all = xml.depth();
        while xml.child(all)? {
            let inside = xml.depth();
            while xml.child(inside)? {
                if xml.attribute("TargetMode").as_deref() == Some("External") {
                    continue;
                }
                let (Some(id), Some(kind), Some(target)) =
                    (xml.attribute("Id"), xml.attribute("Type"), xml.attribute("Target"))
                else {
                    continue;
                };
                if relationships.list.len() == RELATIONSHIPS_MAX {
                    let limit = RELATIONSHIPS_MAX;
                    return Err(ParseError::TooLarge { what: "relationships of a part", limit, byte: xml.byte() });
                }
                let kind = kind.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
                relationships.list.push((id, kind, resolved(folder, &target)));
            }
        }
        Ok(relationships)
    }

    /// A part to be read as XML. `None` if the package has none of that name.
    pub(crate) fn part(&mut self, name: &str) -> Result<Option<Xml<'_, 'b>>, ParseError> {
        let Some(&index) = self.parts.get(&canonical(name)) else { return Ok(None) };
        let format = self.format;
        let file = self.archive.by_index(index).map_err(|error| {
            if matches!(error, ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED)) {
                ParseError::Encrypted { format }
            } else {
                ParseError::Malformed { format, byte: 0, problem: "it has a part that cannot be unpacked".to_owned() }
            }
        })?;
        let packed = usize::try_from(file.compressed_size()).unwrap_or(usize::MAX);
        let part_max = packed.saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES);
        let unpacked = Unpacked { file, package_left: &mut self.left, part_left: part_max, part_max, token_bytes: 0 };
        let mut reader = Reader::from_reader(BufReader::with_capacity(1 << 16, unpacked));
        reader.config_mut().expand_empty_elements = true;
        let limits = self.limits;
        Ok(Some(Xml {
            format,
            reader,
            token: Vec::new(),
            tag: String::new(),
            name_bytes: 0,
            depth: 0,
            elements_left: &mut self.elements_left,
            tokens: 0,
            stop: limits.stop,
            text_bytes_max: limits.text_bytes_max,
        }))
    }

    /// Notes the parts whose content is no text: pictures, embedded files, macros.
    pub(crate) fn leave_out_unread(&mut self, outline: &mut Outline) {
        for (name, &index) in &self.parts {
            let is_unread =
                name.contains("/media/") || name.contains("/embeddings/") || name.ends_with("/vbaproject.bin");
            if is_unread && let Ok(part) = self.archive.by_index_data(index) {
                outline.leave_out(Reason::Unread, usize::try_from(part.size()).unwrap_or(usize::MAX));
            }
        }
    }
}

/// A part's name as it is compared: in lower case, with slashes, without one at the start.
fn canonical(name: &str) -> String {
    name.replace('\\', "/").trim_start_matches('/').to_lowercase()
}

/// The name of the part that `target` means in a folder.
fn resolved(folder: &str, target: &str) -> String {
    let target = target.replace('\\', "/");
    let mut path: Vec<&str> = if target.starts_with('/') { Vec::new() } else { folder.split('/').collect() };
    for step in target.split('/') {
        match step {
            "" | "." => {}
            ".." => {
                path.pop();
            }
            _ => path.push(step),
        }
    }
    canonical(&path.join("/"))
}

/// A part as it is unpacked, with what may still come.
struct Unpacked<'p, 'b> {
    file: ZipFile<'p, Cursor<&'b [u8]>>,
    package_left: &'p mut usize,
    part_left: usize,
    part_max: usize,
    /// How much came since the last tag or text.
    token_bytes: usize,
}

impl Read for Unpacked<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(out)?;
        let too_large = |what, limit| io::Error::other(Exceeded { what, limit });
        self.token_bytes += count;
        if self.token_bytes > TOKEN_BYTES_MAX {
            return Err(too_large("bytes of one tag or text", TOKEN_BYTES_MAX));
        }
        self.part_left =
            self.part_left.checked_sub(count).ok_or_else(|| too_large("bytes of a part, unpacked,", self.part_max))?;
        *self.package_left = self
            .package_left
            .checked_sub(count)
            .ok_or_else(|| too_large("bytes of all parts, unpacked,", UNPACKED_BYTES_MAX))?;
        Ok(count)
    }
}

/// A limit that was met inside a reader.
#[derive(Debug, thiserror::Error)]
#[error("{what} come to more than {limit}")]
struct Exceeded {
    what: &'static str,
    limit: usize,
}

/// The XML of a part.
///
/// `child` goes to the next element inside the one that was entered at a depth, over what nobody has read in between:
///
/// ```text
/// let paragraph = xml.depth();
/// while xml.child(paragraph)? {
///     match xml.name() { b"r" => run(xml)?, _ => {} }
/// }
/// ```
pub(crate) struct Xml<'p, 'b> {
    format: &'static str,
    reader: Reader<BufReader<Unpacked<'p, 'b>>>,
    token: Vec<u8>,
    /// The tag that was opened last: its name, then its attributes.
    tag: String,
    name_bytes: usize,
    depth: usize,
    elements_left: &'p mut usize,
    tokens: usize,
    stop: &'p dyn Fn() -> bool,
    text_bytes_max: usize,
}

/// What comes next.
enum Token {
    /// `tag` holds it.
    Open,
    Close,
    /// `token` holds it, without references.
    Text,
    End,
}

impl Xml<'_, '_> {
    /// How many elements are open.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// The byte of the part that is read next.
    pub(crate) fn byte(&self) -> usize {
        usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX)
    }

    /// The local name of the element that was opened last.
    pub(crate) fn name(&self) -> &[u8] {
        let name = &self.tag.as_bytes()[..self.name_bytes];
        name.iter().position(|&byte| byte == b':').map_or(name, |colon| &name[colon + 1..])
    }

    /// An attribute of the element that was opened last, by its local name.
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        let value = self.attribute_as_written(name)?;
        let value = std::str::from_utf8(&value).ok()?;
        quick_xml::escape::unescape(value).ok().map(Cow::into_owned)
    }

    /// The same with its references as they stand in the file: for names and numbers, which have none.
    pub(crate) fn attribute_as_written(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let mut attributes = Attributes::new(self.tag.as_str(), self.name_bytes);
        let found =
            attributes.with_checks(false).flatten().find(|found| found.key.local_name().as_ref() == name.as_bytes())?;
        Some(found.value).filter(|value| value.len() <= ATTRIBUTE_BYTES_MAX)
    }

    /// The id of the relationship that the element that was opened last has: an attribute whose name has a prefix, which
    /// tells it from an `id` without one.
    pub(crate) fn relationship(&self) -> Option<String> {
        let tag = BytesStart::from_content(self.tag.as_str(), self.name_bytes);
        let mut attributes = tag.attributes();
        let mut found = attributes.with_checks(false).flatten();
        let found = found.find(|found| found.key.prefix().is_some() && found.key.local_name().as_ref() == b"id")?;
        std::str::from_utf8(&found.value).ok().filter(|value| value.len() <= ATTRIBUTE_BYTES_MAX).map(str::to_owned)
    }

    /// The attribute `val`, which most properties have as their only one.
    pub(crate) fn value(&self) -> Option<String> {
        self.attribute("val")
    }

    /// An attribute that is a number.
    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        std::str::from_utf8(&self.attribute_as_written(name)?).ok()?.trim().parse().ok()
    }

    /// Whether a property is on: it is there, and not with a value that says no.
    pub(crate) fn is_on(&self) -> bool {
        !matches!(self.value().as_deref(), Some("0" | "false" | "off" | "none"))
    }

    /// Goes to the next child of the element whose inside has this depth, past what is left of the one before. `false` at
    /// that element's end, and at the part's.
    pub(crate) fn child(&mut self, depth: usize) -> Result<bool, ParseError> {
        while self.depth >= depth {
            match self.next()? {
                Token::Open if self.depth == depth + 1 => return Ok(true),
                Token::Open | Token::Close | Token::Text => {}
                Token::End => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Appends the text of the element that was opened last, all elements in it included, and goes to its end.
    pub(crate) fn text(&mut self, out: &mut String) -> Result<(), ParseError> {
        let depth = self.depth;
        while self.depth >= depth {
            match self.next()? {
                Token::Text => {
                    let text =
                        std::str::from_utf8(&self.token).map_err(|_| self.malformed("text that is not UTF-8"))?;
                    if out.len() + text.len() > self.text_bytes_max {
                        let limit = self.text_bytes_max;
                        return Err(ParseError::TooLarge { what: "bytes of text", limit, byte: self.byte() });
                    }
                    out.push_str(text);
                }
                Token::Open | Token::Close => {}
                Token::End => break,
            }
        }
        Ok(())
    }

    /// How many bytes of text the element that was opened last has; goes to its end.
    pub(crate) fn text_bytes(&mut self) -> Result<usize, ParseError> {
        let depth = self.depth;
        let mut bytes = 0;
        while self.depth >= depth {
            match self.next()? {
                Token::Text => bytes += self.token.trim_ascii().len(),
                Token::Open | Token::Close => {}
                Token::End => break,
            }
        }
        Ok(bytes)
    }

    fn malformed(&self, problem: &str) -> ParseError {
        ParseError::Malformed { format: self.format, byte: self.byte(), problem: problem.to_owned() }
    }

    fn next(&mut self) -> Result<Token, ParseError> {
        self.tokens += 1;
        if self.tokens.is_multiple_of(TOKENS_PER_CHECK) && (self.stop)() {
            return Err(ParseError::Stopped);
        }
        loop {
            self.token.clear();
            self.reader.get_mut().get_mut().token_bytes = 0;
            let event = match self.reader.read_event_into(&mut self.token) {
                Ok(event) => event,
                Err(error) => return Err(self.error(&error)),
            };
            match event {
                Event::Start(tag) => {
                    self.tag.clear();
                    let name_bytes = tag.name().as_ref().len();
                    let content = std::str::from_utf8(&tag).map(|tag| self.tag.push_str(tag));
                    content.map_err(|_| self.malformed("a tag that is not UTF-8"))?;
                    self.name_bytes = name_bytes;
                    let Some(left) = self.elements_left.checked_sub(1) else {
                        let (limit, byte) = (ELEMENTS_MAX, self.byte());
                        return Err(ParseError::TooLarge { what: "elements of XML", limit, byte });
                    };
                    *self.elements_left = left;
                    self.depth += 1;
                    if self.depth > DEPTH_MAX {
                        return Err(ParseError::TooDeep { limit: DEPTH_MAX, byte: self.byte() });
                    }
                    return Ok(Token::Open);
                }
                Event::End(_) => {
                    self.depth -= 1;
                    return Ok(Token::Close);
                }
                Event::Text(text) => {
                    let text = text.into_inner().into_owned();
                    self.token = text;
                    return Ok(Token::Text);
                }
                Event::CData(text) => {
                    let text = text.into_inner().into_owned();
                    self.token = text;
                    return Ok(Token::Text);
                }
                Event::GeneralRef(name) => {
                    let char = match name.resolve_char_ref() {
                        Ok(Some(char)) => Some(char),
                        Ok(None) => predefined(&name),
                        Err(_) => None,
                    };
                    let char = char.ok_or_else(|| self.malformed("a reference to nothing that XML defines"))?;
                    self.token = char.to_string().into_bytes();
                    return Ok(Token::Text);
                }
                Event::DocType(_) => return Err(self.malformed("a document type, which Office files may not have")),
                Event::Eof if self.depth > 0 => return Err(self.malformed("XML that ends inside an element")),
                Event::Eof => return Ok(Token::End),
                Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            }
        }
    }

    fn error(&self, error: &quick_xml::Error) -> ParseError {
        if let quick_xml::Error::Io(error) = error {
            let exceeded = error.get_ref().and_then(|source| source.downcast_ref::<Exceeded>());
            return match exceeded {
                Some(&Exceeded { what, limit }) => ParseError::TooLarge { what, limit, byte: self.byte() },
                None => self.malformed("a part that is damaged"),
            };
        }
        self.malformed("XML that is not well-formed")
    }
}

/// The character that one of XML's own five names stands for.
fn predefined(name: &[u8]) -> Option<char> {
    Some(match name {
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
