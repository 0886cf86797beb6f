//! Presentations (PresentationML) to text and blocks: a heading for each slide, what stands on it, and what is said to it.
//!
//! A slide's shapes come in the file's order, which is the one in which they are read out; its title comes first. Left out are
//! hidden slides, and the date, number and foot line that every slide repeats.

use ibid_core::Place;

use crate::length::on_one_line;
use crate::outline::{HEADING_BYTES_MAX, Outline, Reason, Shape};
use crate::package::{Package, Xml};
use crate::parse::{Limits, ParseError};
use crate::written::{Row, Written, is_file_name, list_number, normalised};

/// Reads a whole presentation.
pub(crate) fn convert(bytes: &[u8], limits: &Limits<'_>) -> Result<(String, Outline), ParseError> {
    let mut package = Package::open(bytes, "PowerPoint presentation", limits)?;
    let main = package.main_part("ppt/presentation.xml")?;
    let parts = package.relationships(&main)?;
    let slides = slides(&mut package, &main)?;
    let ids = parts.ids();
    let mut written = Written::new(limits);
    let mut title = None;
    let count = slides.len();
    for (n, id) in slides.iter().enumerate() {
        let Some(&part) = ids.get(id.as_str()) else { continue };
        let number = u32::try_from(n + 1).unwrap_or(u32::MAX);
        let (pieces, is_hidden) = {
            let Some(mut xml) = package.part(part)? else { continue };
            let mut reader = Reader::new(limits);
            let is_hidden = reader.slide(&mut xml)?;
            (reader, is_hidden)
        };
        let Reader { title: slide_title, is_title_slide, pieces, left_out, bytes, .. } = pieces;
        for (reason, bytes) in left_out {
            written.leave_out(reason, bytes);
        }
        if is_hidden {
            written.leave_out(Reason::Hidden, bytes);
            continue;
        }
        let notes = notes(&mut package, part, limits)?;
        if slide_title.is_empty() && pieces.is_empty() && notes.is_empty() {
            continue;
        }
        let is_deck_title = n == 0 && is_title_slide && count > 1;
        if is_deck_title && (1..=HEADING_BYTES_MAX).contains(&slide_title.len()) {
            title = Some(slide_title.clone());
        }
        // The other slides are below the deck's title.
        let level = if title.is_some() && !is_deck_title { 2 } else { 1 };
        let start = written.byte();
        if slide_title.is_empty() {
            written.heading_without_line(level, &format!("Slide {number}"))?;
        } else {
            written.heading(level, &slide_title)?;
        }
        for piece in pieces {
            piece.write(&mut written)?;
        }
        if !notes.is_empty() {
            written.heading(level + 1, "Notes")?;
            for piece in notes {
                piece.write(&mut written)?;
            }
        }
        written.place(start, Place::Slide { slide: number });
    }
    package.leave_out_unread(&mut written.outline);
    written.outline.title = match title {
        Some(title) => Some(title),
        None => package.title()?,
    };
    Ok(written.finish())
}

/// The relationship ids of the slides, in the order they are shown.
fn slides(package: &mut Package<'_, '_>, main: &str) -> Result<Vec<String>, ParseError> {
    /// More than anyone has sat through.
    const SLIDES_MAX: usize = 20_000;
    let missing = package.malformed("it has no main part");
    let mut slides = Vec::new();
    let mut xml = package.part(main)?.ok_or(missing)?;
    let all = xml.depth();
    while xml.child(all)? {
        let inside = xml.depth();
        while xml.child(inside)? {
            if xml.name() != b"sldIdLst" {
                continue;
            }
            let list = xml.depth();
            while xml.child(list)? {
                if slides.len() == SLIDES_MAX {
                    return Err(ParseError::TooLarge { what: "slides", limit: SLIDES_MAX, byte: xml.byte() });
                }
                // Beside it stands an `id` without a prefix.
                slides.extend(xml.relationship());
            }
        }
    }
    Ok(slides)
}

/// What is said to a slide.
fn notes(package: &mut Package<'_, '_>, slide: &str, limits: &Limits<'_>) -> Result<Vec<Piece>, ParseError> {
    let parts = package.relationships(slide)?;
    let Some(part) = parts.of_kind("notesslide").next() else { return Ok(Vec::new()) };
    let Some(mut xml) = package.part(part)? else { return Ok(Vec::new()) };
    let mut reader = Reader::new(limits);
    reader.is_notes = true;
    reader.slide(&mut xml)?;
    Ok(reader.pieces)
}

/// A block of a slide. A slide is held in memory, because its title may come last.
#[derive(Debug)]
enum Piece {
    Text(Shape, String),
    /// Items: level, marker, words.
    List(Vec<(u32, String, String)>),
    /// Lines of rows, and whether the first one is a header.
    Table(Vec<String>, bool),
}

impl Piece {
    fn write(self, written: &mut Written) -> Result<(), ParseError> {
        match self {
            Piece::Text(shape, words) => written.leaf(shape, &words)?,
            Piece::List(items) => {
                written.begin(Shape::List)?;
                let mut levels = Vec::new();
                for (level, marker, words) in items {
                    levels = written.item(levels, level, &marker, &words)?;
                }
                written.end();
            }
            Piece::Table(rows, has_header) => {
                written.begin(Shape::Table)?;
                let start = written.byte();
                let count = rows.len();
                for (n, row) in rows.iter().enumerate() {
                    written.push(if n == 0 { "" } else { "\n" })?;
                    written.node(1, Shape::Row)?;
                    written.push(row)?;
                }
                written.end();
                if has_header && count > 1 {
                    written.set_context(start..start + rows[0].len());
                }
            }
        }
        Ok(())
    }
}

/// What a shape is on its slide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Title,
    /// A place for content, whose paragraphs have bullets unless they say otherwise.
    Content,
    /// Repeated on each slide.
    Head,
    Foot,
    /// A picture of the slide, in notes.
    Picture,
    Free,
}

/// A paragraph's marker.
#[derive(Debug, Default)]
enum Bullet {
    #[default]
    Inherited,
    None,
    Mark,
    Number {
        kind: String,
        start: u32,
    },
}

struct Reader {
    is_notes: bool,
    title: String,
    is_title_slide: bool,
    pieces: Vec<Piece>,
    left_out: Vec<(Reason, usize)>,
    /// How much text the slide has, and may have.
    bytes: usize,
    bytes_max: usize,
    count: usize,
}

impl Reader {
    fn new(limits: &Limits<'_>) -> Reader {
        Reader {
            is_notes: false,
            title: String::new(),
            is_title_slide: false,
            pieces: Vec::new(),
            left_out: Vec::new(),
            bytes: 0,
            bytes_max: limits.text_bytes_max,
            count: 0,
        }
    }

    /// Reads a slide or its notes. Whether it is hidden.
    fn slide(&mut self, xml: &mut Xml<'_, '_>) -> Result<bool, ParseError> {
        let mut is_hidden = false;
        let all = xml.depth();
        while xml.child(all)? {
            is_hidden = matches!(xml.attribute("show").as_deref(), Some("0" | "false"));
            self.shapes(xml)?;
        }
        Ok(is_hidden)
    }

    fn shapes(&mut self, xml: &mut Xml<'_, '_>) -> Result<(), ParseError> {
        let inside = xml.depth();
        while xml.child(inside)? {
            match xml.name() {
                b"sp" => self.shape(xml)?,
                b"tbl" => self.table(xml)?,
                b"cNvPr" => {
                    if let Some(words) = xml.attribute("descr").filter(|words| !is_file_name(words)) {
                        let words = normalised(&words);
                        self.push(Piece::Text(Shape::Caption, words), xml)?;
                    }
                }
                b"timing" | b"transition" | b"extLst" | b"Fallback" | b"clrMapOvr" | b"bg" => {}
                _ => self.shapes(xml)?,
            }
        }
        Ok(())
    }

    fn shape(&mut self, xml: &mut Xml<'_, '_>) -> Result<(), ParseError> {
        let mut role = Role::Free;
        let mut is_hidden = false;
        let inside = xml.depth();
        while xml.child(inside)? {
            match xml.name() {
                b"nvSpPr" => {
                    let properties = xml.depth();
                    while xml.child(properties)? {
                        match xml.name() {
                            b"cNvPr" => is_hidden = matches!(xml.attribute("hidden").as_deref(), Some("1" | "true")),
                            b"nvPr" => {
                                let place = xml.depth();
                                while xml.child(place)? {
                                    if xml.name() == b"ph" {
                                        role = self.role(xml.attribute("type").as_deref());
                                    }
                                }
                            }
                            _ => {}
                        }
                    }
                }
                b"txBody" => match role {
                    Role::Head => self.leave_out(Reason::RunningHeader, xml)?,
                    Role::Foot => self.leave_out(Reason::RunningFooter, xml)?,
                    Role::Title | Role::Content | Role::Free if is_hidden => self.leave_out(Reason::Hidden, xml)?,
                    Role::Title | Role::Content | Role::Free => self.text(xml, role)?,
                    Role::Picture => {}
                },
                _ => {}
            }
        }
        Ok(())
    }

    fn role(&mut self, placeholder: Option<&str>) -> Role {
        match placeholder {
            Some("title") => Role::Title,
            Some("ctrTitle") => {
                self.is_title_slide = true;
                Role::Title
            }
            Some("hdr") => Role::Head,
            Some("dt" | "ftr" | "sldNum") => Role::Foot,
            Some("sldImg") => Role::Picture,
            Some("body" | "obj") | None if !self.is_notes => Role::Content,
            Some(_) | None => Role::Free,
        }
    }

    fn leave_out(&mut self, reason: Reason, xml: &mut Xml<'_, '_>) -> Result<(), ParseError> {
        let bytes = xml.text_bytes()?;
        self.left_out.push((reason, bytes));
        Ok(())
    }

    /// Reads the paragraphs of a shape.
    fn text(&mut self, xml: &mut Xml<'_, '_>, role: Role) -> Result<(), ParseError> {
        let mut items: Vec<(u32, String, String)> = Vec::new();
        let mut counts: [u32; 9] = [0; 9];
        let inside = xml.depth();
        while xml.child(inside)? {
            if xml.name() != b"p" {
                continue;
            }
            let Paragraph { level, bullet, words } = Paragraph::read(xml)?;
            let words = normalised(&words);
            if words.is_empty() {
                continue;
            }
            if role == Role::Title && (self.title.is_empty() || self.title.len() + words.len() < HEADING_BYTES_MAX) {
                self.title.push_str(if self.title.is_empty() { "" } else { " " });
                self.title.push_str(&on_one_line(&words));
                self.grow(words.len(), xml)?;
                continue;
            }
            let level = level.min(8);
            counts[level as usize + 1..].fill(0);
            let marker = match bullet {
                Bullet::Inherited if role == Role::Content => Some("-".to_owned()),
                Bullet::Mark => Some("-".to_owned()),
                Bullet::Number { ref kind, start } => {
                    let count = &mut counts[level as usize];
                    *count += 1;
                    Some(number(start.saturating_add(*count - 1), kind))
                }
                Bullet::Inherited | Bullet::None => None,
            };
            if !matches!(bullet, Bullet::Number { .. }) {
                counts[level as usize] = 0;
            }
            match marker {
                Some(marker) => {
                    self.grow(words.len(), xml)?;
                    items.push((level, marker, words));
                }
                None => {
                    self.end_list(&mut items, xml)?;
                    self.push(Piece::Text(Shape::Paragraph, words), xml)?;
                }
            }
        }
        self.end_list(&mut items, xml)
    }

    fn end_list(&mut self, items: &mut Vec<(u32, String, String)>, xml: &Xml<'_, '_>) -> Result<(), ParseError> {
        if !items.is_empty() {
            self.push(Piece::List(std::mem::take(items)), xml)?;
        }
        Ok(())
    }

    fn table(&mut self, xml: &mut Xml<'_, '_>) -> Result<(), ParseError> {
        let mut has_header = true;
        let mut lines = Vec::new();
        let mut row = Row::default();
        let inside = xml.depth();
        while xml.child(inside)? {
            match xml.name() {
                // A table that does not say so may have a header all the same; most have.
                b"tblPr" => has_header = !matches!(xml.attribute("firstRow").as_deref(), Some("0" | "false")),
                b"tr" => {
                    row.clear();
                    let cells = xml.depth();
                    while xml.child(cells)? {
                        if xml.name() == b"tc" {
                            let goes_on = matches!(xml.attribute("hMerge").as_deref(), Some("1" | "true"));
                            let words = cell(xml)?;
                            if !goes_on {
                                row.cell(&words);
                            }
                            self.fits(row.bytes(), xml)?;
                        }
                    }
                    if !row.line().is_empty() {
                        self.grow(row.line().len(), xml)?;
                        lines.push(row.line().to_owned());
                    }
                }
                _ => {}
            }
        }
        if !lines.is_empty() {
            self.push(Piece::Table(lines, has_header), xml)?;
        }
        Ok(())
    }

    fn push(&mut self, piece: Piece, xml: &Xml<'_, '_>) -> Result<(), ParseError> {
        if let Piece::Text(_, words) = &piece {
            self.grow(words.len(), xml)?;
        }
        self.pieces.push(piece);
        Ok(())
    }

    /// Notes that a piece of so many bytes is held.
    fn grow(&mut self, bytes: usize, xml: &Xml<'_, '_>) -> Result<(), ParseError> {
        /// Of one slide: items, rows and paragraphs.
        const PIECES_MAX: usize = 200_000;
        self.count += 1;
        if self.count > PIECES_MAX {
            return Err(ParseError::TooLarge { what: "pieces of a slide", limit: PIECES_MAX, byte: xml.byte() });
        }
        self.bytes += bytes;
        self.fits(0, xml)
    }

    fn fits(&self, bytes: usize, xml: &Xml<'_, '_>) -> Result<(), ParseError> {
        let limit = self.bytes_max;
        let fits = self.bytes + bytes <= limit;
        if fits { Ok(()) } else { Err(ParseError::TooLarge { what: "bytes of text", limit, byte: xml.byte() }) }
    }
}

/// The words of a table's cell, on one line.
fn cell(xml: &mut Xml<'_, '_>) -> Result<String, ParseError> {
    let mut words = String::new();
    let inside = xml.depth();
    while xml.child(inside)? {
        if xml.name() == b"txBody" {
            let paragraphs = xml.depth();
            while xml.child(paragraphs)? {
                if xml.name() == b"p" {
                    words.push(' ');
                    words.push_str(&Paragraph::read(xml)?.words);
                }
            }
        }
    }
    Ok(on_one_line(&words))
}

#[derive(Debug, Default)]
struct Paragraph {
    level: u32,
    bullet: Bullet,
    words: String,
}

impl Paragraph {
    fn read(xml: &mut Xml<'_, '_>) -> Result<Paragraph, ParseError> {
        let mut paragraph = Paragraph::default();
        paragraph.inline(xml)?;
        Ok(paragraph)
    }

    fn inline(&mut self, xml: &mut Xml<'_, '_>) -> Result<(), ParseError> {
        let inside = xml.depth();
        while xml.child(inside)? {
            match xml.name() {
                b"pPr" => {
                    self.level = xml.number("lvl").unwrap_or(0);
                    let properties = xml.depth();
                    while xml.child(properties)? {
                        match xml.name() {
                            b"buNone" => self.bullet = Bullet::None,
                            b"buChar" | b"buBlip" => self.bullet = Bullet::Mark,
                            b"buAutoNum" => {
                                let kind = xml.attribute("type").unwrap_or_default();
                                self.bullet = Bullet::Number { kind, start: xml.number("startAt").unwrap_or(1) };
                            }
                            _ => {}
                        }
                    }
                }
                b"t" => xml.text(&mut self.words)?,
                b"br" => self.words.push('\n'),
                b"rPr" | b"endParaRPr" | b"Fallback" => {}
                _ => self.inline(xml)?,
            }
        }
        Ok(())
    }
}

/// A number as DrawingML names its look (ST_TextAutonumberScheme): `arabicPeriod`, `alphaLcParenR`, `romanUcParenBoth`.
fn number(n: u32, kind: &str) -> String {
    let format =
        [("alphaLc", "lowerLetter"), ("alphaUc", "upperLetter"), ("romanLc", "lowerRoman"), ("romanUc", "upperRoman")];
    let format = format.iter().find(|(start, _)| kind.starts_with(start)).map_or("decimal", |(_, format)| format);
    let n = list_number(n, format);
    if kind.ends_with("ParenBoth") {
        format!("({n})")
    } else if kind.ends_with("ParenR") {
        format!("{n})")
    } else if kind.ends_with("Plain") {
        n
    } else {
        format!("{n}.")
    }
}
