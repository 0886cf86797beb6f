//! Workbooks (SpreadsheetML) to text and blocks: a heading for each sheet, a table for each run of rows without an empty one
//! between.
//!
//! Values are written as they are shown, formulas as what they came to last. Columns without a value in a table are left out of
//! it; so are hidden sheets, rows and columns, which are counted.

mod shown;

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use ibid_core::Place;

use crate::length::on_one_line;
use crate::outline::{Outline, Reason, Shape};
use crate::package::{Package, Relationships, Xml};
use crate::parse::{Limits, ParseError};
use crate::written::{Row, Written};
use crate::xlsx::shown::Format;

/// Limits of the format, or beyond what any file has.
const COLUMNS_MAX: usize = 1 << 14;
const SHEETS_MAX: usize = 10_000;
const STRINGS_MAX: usize = 4 << 20;
const STYLES_MAX: usize = 1 << 17;
/// Rows with values, on all sheets.
const ROWS_MAX: usize = 1 << 20;
/// So many cells of a table are looked at before its columns and header are decided.
const HELD_CELLS_MAX: usize = 1 << 18;
/// A table's header is among its first rows.
const HEADER_ROWS_MAX: usize = 10;

/// Reads a whole workbook.
pub(crate) fn convert(bytes: &[u8], limits: &Limits<'_>) -> Result<(String, Outline), ParseError> {
    let mut package = Package::open(bytes, "Excel workbook", limits)?;
    let main = package.main_part("xl/workbook.xml")?;
    let parts = package.relationships(&main)?;
    let book = Book::read(&mut package, &main)?;
    let formats = Formats::read(&mut package, &parts)?;
    let strings = Strings::read(&mut package, &parts, limits)?;
    let mut written = Written::new(limits);
    let mut rows = 0;
    for Sheet { name, relationship, is_hidden } in &book.sheets {
        let Some(part) = parts.by_id(relationship) else { continue };
        let Some(mut xml) = package.part(part)? else { continue };
        let mut reader = Reader {
            name,
            is_hidden: *is_hidden,
            book: &book,
            formats: &formats,
            strings: &strings,
            written: &mut written,
            rows: &mut rows,
            has_heading: false,
            table: Table::default(),
            hidden_columns: Vec::new(),
            hidden_bytes: 0,
            cell: String::new(),
        };
        reader.sheet(&mut xml)?;
    }
    package.leave_out_unread(&mut written.outline);
    written.outline.title = package.title()?;
    Ok(written.finish())
}

struct Book {
    is_from_1904: bool,
    sheets: Vec<Sheet>,
}

struct Sheet {
    name: String,
    relationship: String,
    is_hidden: bool,
}

impl Book {
    fn read(package: &mut Package<'_, '_>, main: &str) -> Result<Book, ParseError> {
        let missing = package.malformed("it has no workbook");
        let mut book = Book { is_from_1904: false, sheets: Vec::new() };
        let mut xml = package.part(main)?.ok_or(missing)?;
        let all = xml.depth();
        while xml.child(all)? {
            let inside = xml.depth();
            while xml.child(inside)? {
                match xml.name() {
                    b"workbookPr" => book.is_from_1904 = is_true(&xml, "date1904"),
                    b"sheets" => {
                        let sheets = xml.depth();
                        while xml.child(sheets)? {
                            if book.sheets.len() == SHEETS_MAX {
                                let limit = SHEETS_MAX;
                                return Err(ParseError::TooLarge { what: "sheets", limit, byte: xml.byte() });
                            }
                            if let (Some(name), Some(relationship)) = (xml.attribute("name"), xml.relationship()) {
                                let is_hidden =
                                    matches!(xml.attribute("state").as_deref(), Some("hidden" | "veryHidden"));
                                let name = on_one_line(&name);
                                book.sheets.push(Sheet { name, relationship, is_hidden });
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(book)
    }
}

fn is_true(xml: &Xml<'_, '_>, name: &str) -> bool {
    matches!(xml.attribute(name).as_deref(), Some("1" | "true"))
}

/// The number formats of cell styles.
#[derive(Default)]
struct Formats {
    /// By style: which of the formats.
    styles: Vec<usize>,
    formats: Vec<Format>,
}

impl Formats {
    fn read(package: &mut Package<'_, '_>, parts: &Relationships) -> Result<Formats, ParseError> {
        let mut out = Formats::default();
        let part = parts.of_kind("styles").next().unwrap_or("xl/styles.xml");
        let Some(mut xml) = package.part(part)? else { return Ok(out) };
        let too_large = |byte| ParseError::TooLarge { what: "cell styles", limit: STYLES_MAX, byte };
        let mut known = HashMap::new();
        let all = xml.depth();
        while xml.child(all)? {
            let inside = xml.depth();
            while xml.child(inside)? {
                let is_codes = xml.name() == b"numFmts";
                let is_styles = xml.name() == b"cellXfs";
                if !is_codes && !is_styles {
                    continue;
                }
                let list = xml.depth();
                while xml.child(list)? {
                    if out.styles.len() == STYLES_MAX || out.formats.len() == STYLES_MAX {
                        return Err(too_large(xml.byte()));
                    }
                    let Some(id) = xml.number("numFmtId").or(is_styles.then_some(0)) else { continue };
                    let code = if is_codes { xml.attribute("formatCode") } else { None };
                    if let Some(code) = code {
                        known.insert(id, out.formats.len());
                        out.formats.push(Format::of_code(&code));
                    } else if is_styles {
                        let format = *known.entry(id).or_insert(out.formats.len());
                        if format == out.formats.len() {
                            out.formats.push(Format::built_in(id));
                        }
                        out.styles.push(format);
                    }
                }
            }
        }
        Ok(out)
    }

    fn of_style(&self, style: u32) -> &Format {
        const GENERAL: &Format = &Format::General;
        self.styles.get(style as usize).and_then(|format| self.formats.get(*format)).unwrap_or(GENERAL)
    }
}

/// The texts that cells refer to.
#[derive(Default)]
struct Strings {
    words: String,
    ends: Vec<u32>,
}

impl Strings {
    fn read(package: &mut Package<'_, '_>, parts: &Relationships, limits: &Limits<'_>) -> Result<Strings, ParseError> {
        let mut out = Strings::default();
        let part = parts.of_kind("sharedstrings").next().unwrap_or("xl/sharedstrings.xml");
        let Some(mut xml) = package.part(part)? else { return Ok(out) };
        let all = xml.depth();
        while xml.child(all)? {
            let inside = xml.depth();
            while xml.child(inside)? {
                if xml.name() == b"si" {
                    if out.ends.len() == STRINGS_MAX {
                        return Err(ParseError::TooLarge {
                            what: "texts of cells",
                            limit: STRINGS_MAX,
                            byte: xml.byte(),
                        });
                    }
                    text_of(&mut xml, &mut out.words)?;
                    let limit = limits.text_bytes_max;
                    let end = u32::try_from(out.words.len()).ok().filter(|end| *end as usize <= limit);
                    out.ends.push(end.ok_or(ParseError::TooLarge {
                        what: "bytes of text",
                        limit,
                        byte: xml.byte(),
                    })?);
                }
            }
        }
        Ok(out)
    }

    fn get(&self, n: usize) -> Option<&str> {
        let end = *self.ends.get(n)? as usize;
        let start = n.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Some(&self.words[start..end])
    }
}

/// Appends the text of `si` or `is`, without what says how it is spoken.
fn text_of(xml: &mut Xml<'_, '_>, out: &mut String) -> Result<(), ParseError> {
    let inside = xml.depth();
    while xml.child(inside)? {
        match xml.name() {
            b"t" => xml.text(out)?,
            b"r" => text_of(xml, out)?,
            _ => {}
        }
    }
    Ok(())
}

/// What a cell's value stands for, by its type.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// One of the workbook's texts, by its number.
    Shared,
    Text,
    Truth,
    /// An error or a date as it is written.
    AsItIs,
    Number,
}

impl Kind {
    fn of(written: Option<&[u8]>) -> Kind {
        match written {
            Some(b"s") => Kind::Shared,
            Some(b"str" | b"inlineStr") => Kind::Text,
            Some(b"b") => Kind::Truth,
            Some(b"e" | b"d") => Kind::AsItIs,
            Some(_) | None => Kind::Number,
        }
    }
}

/// A cell with a value.
#[derive(Debug, Clone, Copy)]
struct Cell {
    column: u16,
    is_text: bool,
    /// Where its words end.
    end: u32,
}

/// The rows that stand together, as far as they are not written yet.
#[derive(Default)]
struct Table {
    /// Numbers of rows, and where their cells end.
    rows: Vec<(u32, usize)>,
    cells: Vec<Cell>,
    words: String,
    /// The columns that have a value.
    used: BTreeSet<u16>,
    written_rows: usize,
    header: Option<Range<usize>>,
}

struct Reader<'r> {
    name: &'r str,
    is_hidden: bool,
    book: &'r Book,
    formats: &'r Formats,
    strings: &'r Strings,
    written: &'r mut Written,
    /// Rows with values, of all sheets so far.
    rows: &'r mut usize,
    has_heading: bool,
    table: Table,
    hidden_columns: Vec<bool>,
    hidden_bytes: usize,
    /// What is read of a cell.
    cell: String,
}

impl Reader<'_> {
    fn sheet(&mut self, xml: &mut Xml<'_, '_>) -> Result<(), ParseError> {
        let all = xml.depth();
        while xml.child(all)? {
            let inside = xml.depth();
            while xml.child(inside)? {
                match xml.name() {
                    b"cols" => self.columns(xml)?,
                    b"sheetData" => self.data(xml)?,
                    _ => {}
                }
            }
        }
        self.end_table()?;
        self.written.leave_out(Reason::Hidden, self.hidden_bytes);
        Ok(())
    }

    fn columns(&mut self, xml: &mut Xml<'_, '_>) -> Result<(), ParseError> {
        let inside = xml.depth();
        while xml.child(inside)? {
            if is_true(xml, "hidden")
                && let (Some(first), Some(last)) = (xml.number("min"), xml.number("max"))
            {
                let first = (first as usize).clamp(1, COLUMNS_MAX) - 1;
                let end = (last as usize).clamp(first, COLUMNS_MAX);
                self.hidden_columns.resize(self.hidden_columns.len().max(end), false);
                self.hidden_columns[first..end].fill(true);
            }
        }
        Ok(())
    }

    fn data(&mut self, xml: &mut Xml<'_, '_>) -> Result<(), ParseError> {
        let mut number = 0_u32;
        let inside = xml.depth();
        while xml.child(inside)? {
            if xml.name() != b"row" {
                continue;
            }
            // Rows need not say which they are; then each is the next.
            let before = number;
            number = xml.number("r").unwrap_or(number.saturating_add(1));
            let is_hidden = self.is_hidden || is_true(xml, "hidden");
            let first = self.table.cells.len();
            let start = self.table.words.len();
            self.row(xml, is_hidden)?;
            if self.table.cells.len() == first {
                // A row that is hidden does not part those around it.
                if !is_hidden {
                    self.end_table()?;
                }
                continue;
            }
            *self.rows += 1;
            if *self.rows > ROWS_MAX {
                return Err(ParseError::TooLarge { what: "rows", limit: ROWS_MAX, byte: xml.byte() });
            }
            if before.checked_add(1) != Some(number) && before > 0 {
                self.end_table_before(first, start)?;
            }
            self.table.rows.push((number, self.table.cells.len()));
            if self.table.cells.len() >= HELD_CELLS_MAX {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Reads the cells of a row, and holds those that have a value.
    fn row(&mut self, xml: &mut Xml<'_, '_>, is_hidden: bool) -> Result<(), ParseError> {
        let mut next = 0;
        let inside = xml.depth();
        while xml.child(inside)? {
            if xml.name() != b"c" {
                continue;
            }
            let column =
                xml.attribute_as_written("r").and_then(|name| column_of(&name)).unwrap_or(next).min(COLUMNS_MAX - 1);
            next = column + 1;
            let is_text = self.value(xml)?;
            let words = on_one_line(&self.cell);
            if words.is_empty() {
                continue;
            }
            if is_hidden || self.hidden_columns.get(column).is_some_and(|is_hidden| *is_hidden) {
                self.hidden_bytes += words.len();
                continue;
            }
            self.written.fits(self.table.words.len() + words.len())?;
            self.table.words.push_str(&words);
            let end = u32::try_from(self.table.words.len()).expect("a text is below 4 GiB");
            let column = u16::try_from(column).expect("there are at most 16,384 columns");
            self.table.cells.push(Cell { column, is_text, end });
        }
        Ok(())
    }

    /// Reads a cell's value as it is shown. Whether it is text.
    fn value(&mut self, xml: &mut Xml<'_, '_>) -> Result<bool, ParseError> {
        let kind = Kind::of(xml.attribute_as_written("t").as_deref());
        let style = xml.number("s").unwrap_or(0);
        self.cell.clear();
        let inside = xml.depth();
        while xml.child(inside)? {
            match xml.name() {
                b"v" => xml.text(&mut self.cell)?,
                b"is" => text_of(xml, &mut self.cell)?,
                _ => {}
            }
        }
        match kind {
            Kind::Shared => {
                let words = self.cell.trim().parse().ok().and_then(|n| self.strings.get(n));
                self.cell.clear();
                self.cell.push_str(words.unwrap_or_default());
                Ok(true)
            }
            Kind::Text => Ok(true),
            Kind::Truth => {
                self.cell = if self.cell.trim() == "1" { "TRUE" } else { "FALSE" }.to_owned();
                Ok(false)
            }
            Kind::AsItIs => Ok(false),
            Kind::Number => {
                if !self.cell.trim().is_empty() {
                    self.cell = self.formats.of_style(style).shown(&self.cell, self.book.is_from_1904);
                }
                Ok(false)
            }
        }
    }

    /// Ends the table, but keeps the cells that a row after it has already.
    fn end_table_before(&mut self, first: usize, start: usize) -> Result<(), ParseError> {
        let cells = self.table.cells.split_off(first);
        let words = self.table.words.split_off(start);
        self.end_table()?;
        let start = u32::try_from(start).expect("a text is below 4 GiB");
        self.table.cells.extend(cells.into_iter().map(|cell| Cell { end: cell.end - start, ..cell }));
        self.table.words = words;
        Ok(())
    }

    fn end_table(&mut self) -> Result<(), ParseError> {
        self.flush()?;
        let Table { used, written_rows, header, .. } = std::mem::take(&mut self.table);
        if written_rows == 1 && used.len() == 1 {
            self.written.reshape(Shape::Paragraph);
        }
        self.written.end();
        if written_rows > 1
            && let Some(header) = header
        {
            self.written.set_context(header);
        }
        Ok(())
    }

    /// Writes the rows that are held.
    fn flush(&mut self) -> Result<(), ParseError> {
        if self.table.rows.is_empty() {
            return Ok(());
        }
        if !self.has_heading {
            self.written.heading(1, self.name)?;
            self.has_heading = true;
        }
        let is_first = self.table.written_rows == 0;
        let header_row = if is_first { self.header_row() } else { None };
        if is_first {
            self.written.begin(Shape::Table)?;
        }
        let Table { rows, cells, words, used, written_rows, header } = &mut self.table;
        used.extend(cells.iter().map(|cell| cell.column));
        let (mut line, mut from, mut start) = (Row::default(), 0, 0);
        for (n, &(number, end)) in rows.iter().enumerate() {
            line.clear();
            let mut cells = cells[from..end].iter().peekable();
            for &column in used.iter() {
                // Two cells of one name are shown one after the other.
                let mut shown = String::new();
                while let Some(cell) = cells.next_if(|cell| cell.column <= column) {
                    let end = cell.end as usize;
                    shown.push_str(if shown.is_empty() { "" } else { " " });
                    shown.push_str(&words[start..end]);
                    start = end;
                }
                line.cell(&shown);
                if cells.peek().is_none() {
                    break;
                }
            }
            from = end;
            self.written.push(if is_first && n == 0 { "" } else { "\n" })?;
            let byte = self.written.byte();
            self.written.node(1, Shape::Row)?;
            self.written.push(line.line())?;
            if header_row == Some(n) {
                *header = Some(byte..self.written.byte());
            }
            self.written.place(byte, Place::Rows { sheet: self.name.to_owned(), first: number, last: number });
        }
        *written_rows += rows.len();
        rows.clear();
        cells.clear();
        words.clear();
        Ok(())
    }

    /// The first row of text alone that is above one with something else; without one, the first row with several cells.
    fn header_row(&self) -> Option<usize> {
        let Table { rows, cells, .. } = &self.table;
        let starts = std::iter::once(0).chain(rows.iter().map(|(_, end)| *end));
        let rows: Vec<&[Cell]> =
            starts.zip(rows).take(HEADER_ROWS_MAX).map(|(start, &(_, end))| &cells[start..end]).collect();
        let is_text = |row: &[Cell]| row.iter().all(|cell| cell.is_text);
        let is_header = |pair: &[&[Cell]]| pair[0].len() > 1 && is_text(pair[0]) && !is_text(pair[1]);
        rows.windows(2).position(is_header).or_else(|| rows.iter().position(|row| row.len() > 1))
    }
}

/// The column of a cell's name, from 0: 27 of `AB12`.
fn column_of(name: &[u8]) -> Option<usize> {
    let letters = name.iter().take_while(|byte| byte.is_ascii_alphabetic()).take(4);
    let column = letters.fold(0, |column, letter| column * 26 + usize::from(letter.to_ascii_uppercase() - b'A') + 1);
    column.checked_sub(1).filter(|column| *column < COLUMNS_MAX)
}
