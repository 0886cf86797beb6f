//! Word documents (WordprocessingML) to text and blocks.
//!
//! What a reader sees on the page is kept, with the numbers that lists and headings are given when they are shown. Left out are
//! deletions and hidden text, page headers and footers, tables of contents, comments and pictures. Text boxes, and the text that
//! stands for a picture, come after the paragraph which holds them; notes come last.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::length::on_one_line;
use crate::outline::{Outline, Reason, Shape, only_title};
use crate::package::{Package, Relationships, Xml};
use crate::parse::{Limits, ParseError};
use crate::written::{Row, Written, is_file_name, list_number, normalised};

/// A style builds on another; a chain longer than this is a ring.
const STYLE_CHAIN_MAX: usize = 32;
/// A document has at most this many styles, lists, and things beside one paragraph.
const STYLES_MAX: usize = 10_000;
const LISTS_MAX: usize = 20_000;
const BESIDE_MAX: usize = 10_000;
const NOTES_MAX: usize = 100_000;
/// Lists have nine levels.
const LEVELS: usize = 9;
/// A cell that reaches over several rows is repeated in each of them if it is at most this long.
const REPEATED_BYTES_MAX: usize = 200;
/// Cells beyond this column are not followed into the rows below.
const COLUMNS_MAX: usize = 1024;

/// Reads a whole document.
pub(crate) fn convert(bytes: &[u8], limits: &Limits<'_>) -> Result<(String, Outline), ParseError> {
    let mut package = Package::open(bytes, "Word document", limits)?;
    let main = package.main_part("word/document.xml")?;
    let parts = package.relationships(&main)?;
    let styles = Styles::read(&mut package, &parts)?;
    let numbering = Numbering::read(&mut package, &parts)?;
    let mut reader =
        Reader { written: Written::new(limits), styles, numbering, open: Open::Nothing, notes: Vec::new() };
    {
        let missing = package.malformed("it has no main document");
        let mut xml = package.part(&main)?.ok_or(missing)?;
        reader.blocks(&mut xml)?;
    }
    reader.close();
    for (kind, is_wanted) in [("footnotes", Note::is_foot as fn(&Note) -> bool), ("endnotes", Note::is_end)] {
        reader.read_notes(&mut package, &parts, kind, is_wanted)?;
    }
    reader.write_notes()?;
    for (kind, reason) in
        [("header", Reason::RunningHeader), ("footer", Reason::RunningFooter), ("comments", Reason::Unread)]
    {
        for part in parts.of_kind(kind) {
            if let Some(mut xml) = package.part(part)? {
                reader.written.leave_out(reason, xml.text_bytes()?);
            }
        }
    }
    let mut written = reader.written;
    package.leave_out_unread(&mut written.outline);
    if written.outline.title.is_none() {
        written.outline.title = package.title()?.or_else(|| only_title(&written.outline.blocks));
    }
    Ok(written.finish())
}

/// What a paragraph is by its style.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Title,
    Heading(u8),
    Caption,
    Quote,
    Code,
    /// A line of a table of contents.
    Contents,
}

impl Kind {
    /// What a style of Word's own, or of a program's that writes its files, is for.
    fn of_style(name: &str) -> Option<Kind> {
        let name: String = name.to_lowercase().chars().filter(|char| !matches!(char, ' ' | '-' | '_')).collect();
        let level = |rest: &str| rest.parse().ok().filter(|level| (1..=9).contains(level));
        if let Some(level) = name.strip_prefix("heading").and_then(level) {
            return Some(Kind::Heading(level));
        }
        Some(match name.as_str() {
            "title" => Kind::Title,
            "subtitle" | "normal" => Kind::Text,
            "tocheading" | "contentsheading" | "tableoffigures" => Kind::Contents,
            "quote" | "intensequote" | "blocktext" | "quotations" => Kind::Quote,
            "htmlpreformatted" | "preformattedtext" | "macrotext" | "sourcecode" | "verbatimchar" => Kind::Code,
            _ if name.strip_prefix("toc").or(name.strip_prefix("contents")).and_then(level).is_some() => Kind::Contents,
            _ if name.ends_with("caption") => Kind::Caption,
            _ if name.starts_with("code") || name.starts_with("htmlcode") => Kind::Code,
            _ => return None,
        })
    }
}

/// What a style says.
#[derive(Debug, Clone, Default)]
struct Style {
    name: String,
    based_on: Option<String>,
    is_default: bool,
    outline: Option<u32>,
    list: ListLevel,
    is_hidden: Option<bool>,
    is_monospaced: Option<bool>,
}

/// Which list a paragraph belongs to and how deep; either may come from its style.
#[derive(Debug, Clone, Copy, Default)]
struct ListLevel {
    list: Option<u32>,
    level: Option<u32>,
}

impl ListLevel {
    /// Reads `numPr`.
    fn read(xml: &mut Xml<'_, '_>) -> Result<ListLevel, ParseError> {
        let mut found = ListLevel::default();
        let inside = xml.depth();
        while xml.child(inside)? {
            match xml.name() {
                b"numId" => found.list = xml.number("val"),
                b"ilvl" => found.level = xml.number("val"),
                _ => {}
            }
        }
        Ok(found)
    }
}

/// The styles by id.
#[derive(Debug, Default)]
struct Styles(HashMap<String, Style>);

impl Styles {
    fn read(package: &mut Package<'_, '_>, parts: &Relationships) -> Result<Styles, ParseError> {
        let mut styles = Styles::default();
        let part = parts.of_kind("styles").next().unwrap_or("word/styles.xml");
        let Some(mut xml) = package.part(part)? else { return Ok(styles) };
        let all = xml.depth();
        while xml.child(all)? {
            let inside = xml.depth();
            while xml.child(inside)? {
                if xml.name() == b"style"
                    && let Some(id) = xml.attribute("styleId")
                {
                    let style = Style::read(&mut xml)?;
                    if styles.0.len() == STYLES_MAX {
                        return Err(ParseError::TooLarge { what: "styles", limit: STYLES_MAX, byte: xml.byte() });
                    }
                    styles.0.insert(id, style);
                }
            }
        }
        Ok(styles)
    }

    /// A style and those it builds on, nearest first.
    fn chain<'s>(&'s self, id: &'s str) -> impl Iterator<Item = &'s Style> {
        let mut next = Some(id);
        let style = move || {
            let style = self.0.get(next?)?;
            next = style.based_on.as_deref();
            Some(style)
        };
        std::iter::from_fn(style).take(STYLE_CHAIN_MAX)
    }

    fn kind(&self, id: &str) -> Kind {
        if !self.0.contains_key(id) {
            return Kind::of_style(id).unwrap_or(Kind::Text);
        }
        let own = self.chain(id).find_map(|style| {
            let by_outline = style.outline.map(|level| heading_of(level).unwrap_or(Kind::Text));
            let by_font = (style.is_monospaced == Some(true) && !style.is_default).then_some(Kind::Code);
            Kind::of_style(&style.name).or(by_outline).or(by_font)
        });
        own.unwrap_or(Kind::Text)
    }

    fn list(&self, id: &str) -> ListLevel {
        let first = |what: fn(&Style) -> Option<u32>| self.chain(id).find_map(what);
        ListLevel { list: first(|style| style.list.list), level: first(|style| style.list.level) }
    }

    /// How deep a list of Word's own style is shown, where lists have no levels: 1 for `List Bullet 2`.
    fn nesting(&self, id: &str) -> Option<u32> {
        let name = self.0.get(id)?.name.to_lowercase();
        let number = name.strip_prefix("list bullet ").or(name.strip_prefix("list number "))?;
        number.parse().ok().and_then(|number: u32| number.checked_sub(1)).filter(|depth| *depth < 9)
    }

    fn is_hidden(&self, id: &str) -> bool {
        self.chain(id).find_map(|style| style.is_hidden).unwrap_or(false)
    }
}

impl Style {
    fn read(xml: &mut Xml<'_, '_>) -> Result<Style, ParseError> {
        let mut style = Style {
            is_default: xml.attribute("default").is_some_and(|on| on == "1" || on == "true"),
            ..Style::default()
        };
        let inside = xml.depth();
        while xml.child(inside)? {
            match xml.name() {
                b"name" => style.name = xml.value().unwrap_or_default(),
                b"basedOn" => style.based_on = xml.value(),
                b"pPr" => {
                    let properties = xml.depth();
                    while xml.child(properties)? {
                        match xml.name() {
                            b"outlineLvl" => style.outline = xml.number("val"),
                            b"numPr" => style.list = ListLevel::read(xml)?,
                            _ => {}
                        }
                    }
                }
                b"rPr" => {
                    let properties = xml.depth();
                    while xml.child(properties)? {
                        match xml.name() {
                            b"vanish" => style.is_hidden = Some(xml.is_on()),
                            b"rFonts" => style.is_monospaced = is_monospaced(xml),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(style)
    }
}

/// The heading of an outline level, which counts from 0; 9 is body text.
fn heading_of(outline: u32) -> Option<Kind> {
    u8::try_from(outline).ok().filter(|level| *level < 9).map(|level| Kind::Heading(level + 1))
}

/// Whether `rFonts` names a font whose characters are all equally wide. `None` if it names none, but a theme's.
fn is_monospaced(xml: &Xml<'_, '_>) -> Option<bool> {
    const FONTS: [&str; 9] = [
        "courier",
        "consolas",
        "menlo",
        "monaco",
        "lucida console",
        "andale mono",
        "cascadia",
        "fira code",
        "source code",
    ];
    let font = xml.attribute("ascii")?.to_lowercase();
    Some(FONTS.iter().any(|start| font.starts_with(start)) || font.ends_with(" mono") || font.contains(" mono "))
}

/// A level of a list.
#[derive(Debug, Clone, Default)]
struct Level {
    start: u32,
    format: String,
    /// Such as `%1.%2)`.
    text: String,
    /// The style that its paragraphs have.
    style: Option<String>,
}

/// The lists and how far each has been counted.
#[derive(Debug, Default)]
struct Numbering {
    /// By list: the abstract list it is one of, and levels at which it starts anew.
    lists: HashMap<u32, (u32, Vec<(u32, u32)>)>,
    levels: HashMap<u32, Vec<Level>>,
    /// By abstract list.
    counts: HashMap<u32, [Option<u32>; LEVELS]>,
    /// The lists that have begun.
    begun: HashSet<u32>,
}

impl Numbering {
    fn read(package: &mut Package<'_, '_>, parts: &Relationships) -> Result<Numbering, ParseError> {
        let mut numbering = Numbering::default();
        let part = parts.of_kind("numbering").next().unwrap_or("word/numbering.xml");
        let Some(mut xml) = package.part(part)? else { return Ok(numbering) };
        let all = xml.depth();
        while xml.child(all)? {
            let inside = xml.depth();
            while xml.child(inside)? {
                if numbering.lists.len().max(numbering.levels.len()) == LISTS_MAX {
                    return Err(ParseError::TooLarge { what: "lists", limit: LISTS_MAX, byte: xml.byte() });
                }
                match (xml.name(), xml.number("abstractNumId"), xml.number("numId")) {
                    (b"abstractNum", Some(id), _) => {
                        let levels = Level::read_all(&mut xml)?;
                        numbering.levels.insert(id, levels);
                    }
                    (b"num", _, Some(id)) => numbering.read_list(&mut xml, id)?,
                    _ => {}
                }
            }
        }
        Ok(numbering)
    }

    fn read_list(&mut self, xml: &mut Xml<'_, '_>, id: u32) -> Result<(), ParseError> {
        let (mut kind, mut starts) = (None, Vec::new());
        let inside = xml.depth();
        while xml.child(inside)? {
            match xml.name() {
                b"abstractNumId" => kind = xml.number("val"),
                b"lvlOverride" => {
                    let level = xml.number("ilvl");
                    let properties = xml.depth();
                    while xml.child(properties)? {
                        if xml.name() == b"startOverride"
                            && let (Some(level), Some(start)) = (level, xml.number("val"))
                            && starts.len() < LEVELS
                        {
                            starts.push((level, start));
                        }
                    }
                }
                _ => {}
            }
        }
        if let Some(kind) = kind {
            self.lists.insert(id, (kind, starts));
        }
        Ok(())
    }

    /// The level of a list that a style is meant for.
    fn level_of_style(&self, list: u32, style: &str) -> Option<u32> {
        let (kind, _) = self.lists.get(&list)?;
        let level = self.levels.get(kind)?.iter().position(|level| level.style.as_deref() == Some(style))?;
        u32::try_from(level).ok()
    }

    /// Counts one paragraph more, and gives what is shown before it; `-` for a bullet.
    fn next(&mut self, list: u32, level: u32) -> Option<String> {
        let (kind, starts) = self.lists.get(&list)?;
        let levels = self.levels.get(kind)?;
        let level = (level as usize).min(LEVELS - 1);
        let counts = self.counts.entry(*kind).or_default();
        if self.begun.insert(list) {
            for &(level, start) in starts {
                if let Some(count) = counts.get_mut(level as usize) {
                    *count = start.checked_sub(1);
                }
            }
        }
        let start_of = |n: usize| levels.get(n).map_or(1, |level| level.start);
        counts[level] = Some(counts[level].map_or(start_of(level), |count| count.saturating_add(1)));
        counts[level + 1..].fill(None);
        let Level { format, text, .. } = levels.get(level)?;
        if format == "bullet" || text.is_empty() {
            return Some("-".to_owned());
        }
        let mut shown = text.clone();
        for (n, count) in counts.iter().enumerate().take(level + 1) {
            let place = format!("%{}", n + 1);
            if shown.contains(&place) {
                let format = levels.get(n).map_or("decimal", |level| level.format.as_str());
                shown = shown.replace(&place, &list_number(count.unwrap_or_else(|| start_of(n)), format));
            }
        }
        Some(on_one_line(&shown)).filter(|shown| !shown.is_empty())
    }
}

impl Level {
    fn read_all(xml: &mut Xml<'_, '_>) -> Result<Vec<Level>, ParseError> {
        let mut levels: Vec<Level> = Vec::new();
        let inside = xml.depth();
        while xml.child(inside)? {
            if xml.name() != b"lvl" || levels.len() == LEVELS {
                continue;
            }
            let mut level = Level { start: 1, ..Level::default() };
            let properties = xml.depth();
            while xml.child(properties)? {
                match xml.name() {
                    b"start" => level.start = xml.number("val").unwrap_or(1),
                    b"numFmt" => level.format = xml.value().unwrap_or_default(),
                    b"lvlText" => level.text = xml.value().filter(|text| text.len() <= 64).unwrap_or_default(),
                    b"pStyle" => level.style = xml.value(),
                    _ => {}
                }
            }
            levels.push(level);
        }
        Ok(levels)
    }
}

/// A note that the text refers to.
#[derive(Debug)]
struct Note {
    is_end: bool,
    id: String,
    words: String,
}

impl Note {
    fn is_foot(&self) -> bool {
        !self.is_end
    }

    fn is_end(&self) -> bool {
        self.is_end
    }
}

/// A paragraph as it is read.
#[derive(Debug, Default)]
struct Paragraph {
    style: Option<String>,
    outline: Option<u32>,
    list: ListLevel,
    words: String,
    /// How many bytes of the words are in a font of code.
    code_bytes: usize,
    /// What comes after it: text boxes, and the text that stands for pictures.
    after: Vec<(Shape, String)>,
    after_bytes: usize,
}

/// How a run looks.
#[derive(Debug, Clone, Copy, Default)]
struct Look {
    is_hidden: bool,
    is_code: bool,
}

/// The block that goes on with the next paragraph of its kind.
enum Open {
    Nothing,
    /// With the levels of the items around the next one, outermost first.
    List(Vec<u32>),
    Code,
}

/// A table as it is read.
#[derive(Debug, Default)]
struct Table {
    row: Row,
    rows: usize,
    /// Rows which are shown again on each page.
    header: Option<Range<usize>>,
    header_ended: bool,
    is_header: bool,
    is_deleted: bool,
    column: usize,
    /// What the cells above hold, for those that reach further down.
    above: Vec<String>,
    widest: usize,
}

struct Reader {
    written: Written,
    styles: Styles,
    numbering: Numbering,
    open: Open,
    notes: Vec<Note>,
}

impl Reader {
    /// Reads what stands one below the other: in the body, or in whatever is around some of it.
    fn blocks(&mut self, xml: &mut Xml<'_, '_>) -> Result<(), ParseError> {
        let inside = xml.depth();
        while xml.child(inside)? {
            match xml.name() {
                b"p" => {
                    let paragraph = self.paragraph(xml)?;
                    self.write(paragraph)?;
                }
                b"tbl" => self.table(xml)?,
                b"sdt" => self.control(xml)?,
                b"del" | b"moveFrom" => self.leave_out(Reason::Hidden, xml)?,
                b"sectPr" | b"Fallback" | b"background" => {}
                _ => self.blocks(xml)?,
            }
        }
        Ok(())
    }

    /// Reads a content control; one that holds the table of contents is left out.
    fn control(&mut self, xml: &mut Xml<'_, '_>) -> Result<(), ParseError> {
        let mut is_contents = false;
        let inside = xml.depth();
        while xml.child(inside)? {
            match xml.name() {
                b"sdtPr" => {
                    let properties = xml.depth();
                    while xml.child(properties)? {
                        if xml.name() == b"docPartObj" {
                            let part = xml.depth();
                            while xml.child(part)? {
                                let is_gallery = xml.name() == b"docPartGallery";
                                is_contents |= is_gallery && xml.value().as_deref() == Some("Table of Contents");
                            }
                        }
                    }
                }
                b"sdtContent" if is_contents => self.leave_out(Reason::Navigation, xml)?,
                b"sdtContent" => self.blocks(xml)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, reason: Reason, xml: &mut Xml<'_, '_>) -> Result<(), ParseError> {
        let bytes = xml.text_bytes()?;
        self.written.leave_out(reason, bytes);
        Ok(())
    }

    fn paragraph(&mut self, xml: &mut Xml<'_, '_>) -> Result<Paragraph, ParseError> {
        let mut paragraph = Paragraph::default();
        self.inline(xml, &mut paragraph, Look::default())?;
        Ok(paragraph)
    }

    /// Reads what stands in a paragraph, runs and what is around them.
    fn inline(&mut self, xml: &mut Xml<'_, '_>, into: &mut Paragraph, mut look: Look) -> Result<(), ParseError> {
        let inside = xml.depth();
        while xml.child(inside)? {
            match xml.name() {
                b"pPr" => {
                    self.paragraph_properties(xml, into)?;
                    look.is_hidden |= into.style.as_deref().is_some_and(|style| self.styles.is_hidden(style));
                }
                b"rPr" => self.run_properties(xml, &mut look)?,
                b"t" if look.is_hidden => self.leave_out(Reason::Hidden, xml)?,
                b"t" => {
                    let start = into.words.len();
                    xml.text(&mut into.words)?;
                    into.code_bytes += if look.is_code { into.words.len() - start } else { 0 };
                }
                b"tab" | b"ptab" => into.words.push('\t'),
                b"br" | b"cr" => into.words.push('\n'),
                b"noBreakHyphen" => into.words.push('-'),
                b"del" | b"moveFrom" => self.leave_out(Reason::Hidden, xml)?,
                b"footnoteReference" | b"endnoteReference" if !look.is_hidden => {
                    let is_end = xml.name() == b"endnoteReference";
                    if self.notes.len() == NOTES_MAX {
                        return Err(ParseError::TooLarge { what: "notes", limit: NOTES_MAX, byte: xml.byte() });
                    }
                    if let Some(id) = xml.attribute("id") {
                        self.notes.push(Note { is_end, id, words: String::new() });
                        into.words.push_str(&format!("[{}]", self.notes.len()));
                    }
                }
                b"docPr" => {
                    let words = xml.attribute("descr").filter(|words| !is_file_name(words));
                    if let Some(words) = words {
                        self.beside(into, Shape::Caption, normalised(&words))?;
                    }
                }
                b"txbxContent" => {
                    let mut words = String::new();
                    self.content(xml, &mut words, "\n")?;
                    self.beside(into, Shape::Paragraph, words)?;
                }
                b"Fallback" | b"instrText" | b"delText" | b"rt" => {}
                _ => self.inline(xml, into, look)?,
            }
        }
        Ok(())
    }

    /// Holds what comes after a paragraph.
    fn beside(&mut self, into: &mut Paragraph, shape: Shape, words: String) -> Result<(), ParseError> {
        if into.after.len() == BESIDE_MAX {
            let (limit, byte) = (BESIDE_MAX, self.written.byte());
            return Err(ParseError::TooLarge { what: "pictures and boxes of one paragraph", limit, byte });
        }
        into.after_bytes += words.len();
        self.written.fits(into.after_bytes)?;
        into.after.push((shape, words));
        Ok(())
    }

    fn paragraph_properties(&mut self, xml: &mut Xml<'_, '_>, into: &mut Paragraph) -> Result<(), ParseError> {
        let inside = xml.depth();
        while xml.child(inside)? {
            match xml.name() {
                b"pStyle" => into.style = xml.value(),
                b"outlineLvl" => into.outline = xml.number("val"),
                b"numPr" => into.list = ListLevel::read(xml)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn run_properties(&mut self, xml: &mut Xml<'_, '_>, look: &mut Look) -> Result<(), ParseError> {
        let inside = xml.depth();
        while xml.child(inside)? {
            match xml.name() {
                b"vanish" => look.is_hidden = xml.is_on(),
                b"rFonts" => look.is_code = is_monospaced(xml).unwrap_or(look.is_code),
                b"rStyle" => {
                    if let Some(style) = xml.value() {
                        look.is_code |= self.styles.kind(&style) == Kind::Code;
                        look.is_hidden |= self.styles.is_hidden(&style);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Appends the text of a cell, a note or a text box: its paragraphs, `between` them.
    fn content(&mut self, xml: &mut Xml<'_, '_>, out: &mut String, between: &str) -> Result<(), ParseError> {
        let inside = xml.depth();
        while xml.child(inside)? {
            self.content_of(xml, out, between)?;
        }
        Ok(())
    }

    /// Appends the text of the element that was opened last, in a cell, a note or a text box.
    fn content_of(&mut self, xml: &mut Xml<'_, '_>, out: &mut String, between: &str) -> Result<(), ParseError> {
        match xml.name() {
            b"p" => {
                let paragraph = self.paragraph(xml)?;
                let marker = self.marker(&paragraph).map(|(marker, _)| marker);
                let words = if between == "\n" { normalised(&paragraph.words) } else { on_one_line(&paragraph.words) };
                let pieces = [words].into_iter().chain(paragraph.after.into_iter().map(|(_, words)| words));
                for (n, words) in pieces.enumerate() {
                    if words.is_empty() {
                        continue;
                    }
                    out.push_str(if out.is_empty() { "" } else { between });
                    if n == 0
                        && let Some(marker) = marker.as_ref().filter(|marker| between == "\n" || *marker != "-")
                    {
                        out.push_str(marker);
                        out.push(' ');
                    }
                    out.push_str(&if between == "\n" { words } else { on_one_line(&words) });
                }
                self.written.fits(out.len())?;
            }
            b"del" | b"moveFrom" => self.leave_out(Reason::Hidden, xml)?,
            b"tblPr" | b"tblGrid" | b"trPr" | b"tcPr" | b"sdtPr" | b"Fallback" => {}
            _ => self.content(xml, out, between)?,
        }
        Ok(())
    }

    fn table(&mut self, xml: &mut Xml<'_, '_>) -> Result<(), ParseError> {
        self.close();
        let mut table = Table::default();
        self.written.begin(Shape::Table)?;
        self.rows(xml, &mut table)?;
        if table.rows == 1 && table.widest == 1 {
            // A frame around some text.
            self.written.reshape(Shape::Paragraph);
        }
        self.written.end();
        if table.rows > 1
            && let Some(header) = table.header
        {
            self.written.set_context(header);
        }
        Ok(())
    }

    fn rows(&mut self, xml: &mut Xml<'_, '_>, table: &mut Table) -> Result<(), ParseError> {
        let inside = xml.depth();
        while xml.child(inside)? {
            match xml.name() {
                b"tr" => {
                    table.row.clear();
                    (table.column, table.is_header, table.is_deleted) = (0, false, false);
                    self.cells(xml, table)?;
                    self.end_row(table)?;
                }
                b"tblPr" | b"tblGrid" | b"sdtPr" | b"Fallback" => {}
                _ => self.rows(xml, table)?,
            }
        }
        Ok(())
    }

    fn end_row(&mut self, table: &mut Table) -> Result<(), ParseError> {
        let line = table.row.line();
        if table.is_deleted || line.is_empty() {
            self.written.leave_out(Reason::Hidden, line.len());
            return Ok(());
        }
        if table.rows > 0 {
            self.written.push("\n")?;
        }
        let start = self.written.byte();
        self.written.node(1, Shape::Row)?;
        self.written.push(line)?;
        let end = self.written.byte();
        table.widest = table.widest.max(table.row.cells());
        table.rows += 1;
        // The rows that are marked as headers from the first one on, else the first one.
        let begins = table.header.is_none();
        if begins || (table.is_header && !table.header_ended) {
            let start = table.header.as_ref().map_or(start, |header| header.start);
            table.header = Some(start..end);
        }
        table.header_ended |= !table.is_header;
        Ok(())
    }

    fn cells(&mut self, xml: &mut Xml<'_, '_>, table: &mut Table) -> Result<(), ParseError> {
        let inside = xml.depth();
        while xml.child(inside)? {
            match xml.name() {
                b"trPr" => {
                    let properties = xml.depth();
                    while xml.child(properties)? {
                        match xml.name() {
                            b"tblHeader" => table.is_header = xml.is_on(),
                            b"del" => table.is_deleted = true,
                            _ => {}
                        }
                    }
                }
                b"tc" => self.cell(xml, table)?,
                b"tblPrEx" | b"sdtPr" | b"Fallback" => {}
                _ => self.cells(xml, table)?,
            }
        }
        Ok(())
    }

    fn cell(&mut self, xml: &mut Xml<'_, '_>, table: &mut Table) -> Result<(), ParseError> {
        let (mut columns, mut goes_on) = (1, false);
        let mut words = String::new();
        let inside = xml.depth();
        while xml.child(inside)? {
            if xml.name() != b"tcPr" {
                self.content_of(xml, &mut words, " ")?;
                continue;
            }
            let properties = xml.depth();
            while xml.child(properties)? {
                match xml.name() {
                    b"gridSpan" => columns = xml.number("val").unwrap_or(1).max(1) as usize,
                    b"vMerge" => goes_on = xml.value().as_deref() != Some("restart"),
                    _ => {}
                }
            }
        }
        if table.column < COLUMNS_MAX {
            table.above.resize(table.above.len().max(table.column + 1), String::new());
            let above = &mut table.above[table.column];
            if !goes_on {
                above.clear();
                above.push_str(if words.len() <= REPEATED_BYTES_MAX { &words } else { "" });
            } else if words.is_empty() {
                words.clone_from(above);
            }
        }
        table.column = table.column.saturating_add(columns);
        table.row.cell(&words);
        self.written.fits(table.row.bytes())
    }

    /// What a paragraph of a list is shown with, and its level.
    fn marker(&mut self, paragraph: &Paragraph) -> Option<(String, u32)> {
        let style = paragraph.style.as_deref();
        let by_style = style.map(|style| self.styles.list(style)).unwrap_or_default();
        // 0 takes a paragraph out of its style's list.
        let list = paragraph.list.list.or(by_style.list).filter(|list| *list != 0)?;
        let level = paragraph.list.level.or(by_style.level);
        let level = level.or_else(|| self.numbering.level_of_style(list, style?)).unwrap_or(0);
        let nesting = style.and_then(|style| self.styles.nesting(style)).unwrap_or(0);
        self.numbering.next(list, level).map(|marker| (marker, level.max(nesting)))
    }

    fn write(&mut self, paragraph: Paragraph) -> Result<(), ParseError> {
        let marker = self.marker(&paragraph);
        let Paragraph { style, outline, list: _, words, code_bytes, after, after_bytes: _ } = paragraph;
        let mut kind = style.map_or(Kind::Text, |style| self.styles.kind(&style));
        if kind == Kind::Text {
            let is_code = code_bytes > 0 && code_bytes >= words.trim().len();
            kind = outline.and_then(heading_of).unwrap_or(if is_code { Kind::Code } else { Kind::Text });
        }
        match kind {
            Kind::Code => self.code(&words)?,
            Kind::Text => match marker {
                Some((marker, level)) => self.item(&marker, level, &normalised(&words))?,
                None => self.leaf(Shape::Paragraph, &normalised(&words))?,
            },
            Kind::Caption => self.leaf(Shape::Caption, &normalised(&words))?,
            Kind::Quote => self.leaf(Shape::Quote, &normalised(&words))?,
            Kind::Contents => self.written.leave_out(Reason::Navigation, words.trim().len()),
            Kind::Title | Kind::Heading(_) => {
                let words = on_one_line(&words);
                let number = marker.map(|(marker, _)| marker).filter(|marker| marker != "-" && !words.is_empty());
                let words = number.map_or(words.clone(), |number| format!("{number} {words}"));
                let is_title = kind == Kind::Title && (1..=crate::outline::HEADING_BYTES_MAX).contains(&words.len());
                if is_title && self.written.outline.title.is_none() {
                    self.written.outline.title = Some(words.clone());
                }
                let level = if let Kind::Heading(level) = kind { level } else { 1 };
                self.close();
                self.written.heading(level, &words)?;
            }
        }
        for (shape, words) in after {
            self.leaf(shape, &words)?;
        }
        Ok(())
    }

    /// Writes a block of its own. An empty one does not end a list.
    fn leaf(&mut self, shape: Shape, words: &str) -> Result<(), ParseError> {
        if words.is_empty() {
            return Ok(());
        }
        self.close();
        self.written.leaf(shape, words)
    }

    fn item(&mut self, marker: &str, level: u32, words: &str) -> Result<(), ParseError> {
        if words.is_empty() {
            return Ok(());
        }
        let levels = match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::List(levels) => levels,
            Open::Nothing | Open::Code => {
                self.written.begin(Shape::List)?;
                Vec::new()
            }
        };
        let levels = self.written.item(levels, level, marker, words)?;
        self.open = Open::List(levels);
        Ok(())
    }

    fn code(&mut self, words: &str) -> Result<(), ParseError> {
        match self.open {
            Open::Code => self.written.push("\n")?,
            Open::Nothing | Open::List(_) if words.trim().is_empty() => return Ok(()),
            Open::Nothing | Open::List(_) => {
                self.written.begin(Shape::Code)?;
                self.open = Open::Code;
            }
        }
        self.written.push(words.trim_end())
    }

    fn close(&mut self) {
        self.written.end();
        self.open = Open::Nothing;
    }

    /// Reads the notes that were referred to. Those that were not are on no page.
    fn read_notes(
        &mut self,
        package: &mut Package<'_, '_>,
        parts: &Relationships,
        kind: &str,
        is_wanted: fn(&Note) -> bool,
    ) -> Result<(), ParseError> {
        let Some(part) = parts.of_kind(kind).next() else { return Ok(()) };
        let wanted = self.notes.iter().enumerate().filter(|(_, note)| is_wanted(note));
        let wanted: HashMap<String, usize> = wanted.map(|(n, note)| (note.id.clone(), n)).collect();
        let Some(mut xml) = package.part(part)? else { return Ok(()) };
        let mut bytes = 0;
        let all = xml.depth();
        while xml.child(all)? {
            let inside = xml.depth();
            while xml.child(inside)? {
                match xml.attribute("id").and_then(|id| wanted.get(&id)) {
                    Some(&note) => {
                        let mut words = String::new();
                        self.content(&mut xml, &mut words, " ")?;
                        bytes += words.len();
                        self.written.fits(bytes)?;
                        self.notes[note].words = words;
                    }
                    None => self.leave_out(Reason::Hidden, &mut xml)?,
                }
            }
        }
        Ok(())
    }

    fn write_notes(&mut self) -> Result<(), ParseError> {
        for (n, note) in std::mem::take(&mut self.notes).into_iter().enumerate() {
            if !note.words.is_empty() {
                self.written.leaf(Shape::Footnote, &format!("[{}] {}", n + 1, note.words))?;
            }
        }
        Ok(())
    }
}
