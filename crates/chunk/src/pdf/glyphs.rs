//! A page's operators to its words: the text state machine of ISO 32000-1, 9.3 and 9.4, and what is drawn beside the text.

use hayro_font::kurbo::{Affine, Point};
use hayro_syntax::content::TypedIter;
use hayro_syntax::content::ops::{Transform, TypedInstruction};
use hayro_syntax::object::{Dict, Name, Number, Object, Stream};
use hayro_syntax::page::{Page, Resources};
use rustc_hash::FxHashMap;

use crate::parse::{Limits, ParseError};
use crate::pdf::fonts::Fonts;
use crate::pdf::unpack::Unpacker;
use crate::pdf::words::{Frame, Glyph, Run, Words};

/// A document has at most this many glyphs and operators: two thousand dense pages and more.
const GLYPHS_MAX: usize = 8_000_000;
const OPERATORS_MAX: usize = 16_000_000;
/// And draws at most this many forms, each as often as it is drawn.
const FORMS_MAX: usize = 100_000;
/// A form may draw another; this deep.
const FORMS_DEPTH_MAX: usize = 16;
/// Saved states and marked pieces beyond this are not told apart.
const STATES_MAX: usize = 4096;
/// A page has at most this many rules that matter.
const RULES_MAX: usize = 4096;
/// How often the caller is asked whether to go on.
const OPERATORS_PER_STOP: usize = 4096;
/// A picture that covers this part of a page is the page: its invisible text is what a reader sees.
const SCAN_COVER: f64 = 0.5;
/// A rule is at most this thick and at least this long.
const RULE_THICKNESS: f32 = 3.0;
const RULE_LENGTH: f32 = 12.0;

/// What of a page matters for its text.
#[derive(Debug, Default)]
pub(super) struct Inked {
    pub(super) words: Words,
    /// Horizontal lines, as tables have them.
    pub(super) rules: Vec<Frame>,
    pub(super) width: f32,
    pub(super) height: f32,
    pub(super) has_pictures: bool,
    /// Glyphs whose character is not known.
    pub(super) unknown: usize,
    /// Bytes of text that is not shown, and of text that the file itself marks as a header or footer.
    pub(super) hidden: usize,
    pub(super) header: usize,
    pub(super) footer: usize,
    /// Bytes of text that runs askew.
    pub(super) askew: usize,
    pub(super) glyphs: usize,
}

/// Reads the pages of one document.
pub(super) struct Pen<'a, 'l> {
    fonts: Fonts<'a>,
    unpacker: Unpacker,
    limits: &'l Limits<'l>,
    operators: usize,
    glyphs: usize,
    forms: usize,
}

#[derive(Debug, Clone)]
struct State {
    ctm: Affine,
    font: Option<usize>,
    font_size: f64,
    char_space: f64,
    word_space: f64,
    horizontal: f64,
    leading: f64,
    rise: f64,
    invisible: bool,
}

/// What is being drawn on.
struct Sheet {
    inked: Inked,
    /// Invisible text, kept until it is known whether the page is a picture.
    invisible: Words,
    invisible_bytes: usize,
    covered: f64,
    /// For each marked piece around the next operator, whether it is a header or footer.
    marked: Vec<bool>,
    paginations: usize,
}

impl<'a, 'l> Pen<'a, 'l> {
    pub(super) fn new(limits: &'l Limits<'l>) -> Pen<'a, 'l> {
        Pen { fonts: Fonts::new(), unpacker: Unpacker::new(), limits, operators: 0, glyphs: 0, forms: 0 }
    }

    /// Reads a page.
    pub(super) fn page(&mut self, page: &Page<'a>) -> Result<Inked, ParseError> {
        let (width, height) = page.render_dimensions();
        let inked = Inked { width, height, ..Inked::default() };
        let mut sheet = Sheet {
            inked,
            invisible: Words::default(),
            invisible_bytes: 0,
            covered: 0.0,
            marked: Vec::new(),
            paginations: 0,
        };
        let content = self.content(page.raw())?;
        let state = State {
            ctm: Affine::new(page.initial_transform(true).as_coeffs()),
            font: None,
            font_size: 1.0,
            char_space: 0.0,
            word_space: 0.0,
            horizontal: 1.0,
            leading: 0.0,
            rise: 0.0,
            invisible: false,
        };
        self.draw(&content, page.resources(), state, &mut sheet, 0)?;
        Ok(sheet.finish())
    }

    /// A page's operators: one stream, or several in a row.
    fn content(&mut self, page: &Dict<'a>) -> Result<Vec<u8>, ParseError> {
        let mut content = Vec::new();
        let parts: Vec<Stream<'a>> = match page.get::<Object<'a>>("Contents") {
            Some(Object::Stream(stream)) => vec![stream],
            Some(Object::Array(array)) => array.iter::<Stream<'a>>().collect(),
            Some(_) | None => Vec::new(),
        };
        for part in parts {
            if let Some(data) = self.unpacker.unpack(&part)? {
                content.extend_from_slice(&data);
                content.push(b' ');
            }
            self.stop()?;
        }
        Ok(content)
    }

    fn stop(&self) -> Result<(), ParseError> {
        if (self.limits.stop)() { Err(ParseError::Stopped) } else { Ok(()) }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "colours, clips and curves do not move text")]
    fn draw(
        &mut self,
        content: &[u8],
        resources: &Resources<'a>,
        mut state: State,
        sheet: &mut Sheet,
        depth: usize,
    ) -> Result<(), ParseError> {
        let mut states: Vec<State> = Vec::new();
        let mut fonts: FxHashMap<Vec<u8>, usize> = FxHashMap::default();
        let (mut line, mut text) = (Affine::IDENTITY, Affine::IDENTITY);
        let mut from = Point::ZERO;
        let marked_around = sheet.marked.len();
        let mut operators = TypedIter::new(content);
        while let Some(operator) = operators.next() {
            self.operators += 1;
            if self.operators.is_multiple_of(OPERATORS_PER_STOP) {
                self.stop()?;
            }
            if self.operators > OPERATORS_MAX {
                return Err(ParseError::TooLarge { what: "drawing operators", limit: OPERATORS_MAX, byte: 0 });
            }
            match operator {
                TypedInstruction::SaveState(_) if states.len() < STATES_MAX => states.push(state.clone()),
                TypedInstruction::RestoreState(_) => state = states.pop().unwrap_or(state),
                TypedInstruction::Transform(Transform(a, b, c, d, e, f)) => state.ctm *= matrix([a, b, c, d, e, f]),
                TypedInstruction::BeginText(_) => (line, text) = (Affine::IDENTITY, Affine::IDENTITY),
                TypedInstruction::SetTextMatrix(m) => {
                    line = matrix([m.0, m.1, m.2, m.3, m.4, m.5]);
                    text = line;
                }
                TypedInstruction::TextFont(font) => {
                    let name = font.0.as_ref();
                    let known = fonts.get(name).copied();
                    let index = match known {
                        Some(index) => index,
                        None => {
                            let index = self.fonts.find(&resources.fonts, font.0)?;
                            fonts.insert(name.to_vec(), index);
                            index
                        }
                    };
                    state.font = Some(index);
                    state.font_size = font.1.as_f64();
                }
                TypedInstruction::CharacterSpacing(space) => state.char_space = space.0.as_f64(),
                TypedInstruction::WordSpacing(space) => state.word_space = space.0.as_f64(),
                TypedInstruction::HorizontalScaling(scale) => state.horizontal = scale.0.as_f64() / 100.0,
                TypedInstruction::TextLeading(leading) => state.leading = leading.0.as_f64(),
                TypedInstruction::TextRise(rise) => state.rise = rise.0.as_f64(),
                TypedInstruction::TextRenderingMode(mode) => state.invisible = matches!(mode.0.as_i64(), 3 | 7),
                TypedInstruction::NextLine(by) => next_line(&mut line, &mut text, by.0.as_f64(), by.1.as_f64()),
                TypedInstruction::NextLineAndSetLeading(by) => {
                    state.leading = -by.1.as_f64();
                    next_line(&mut line, &mut text, by.0.as_f64(), by.1.as_f64());
                }
                TypedInstruction::NextLineUsingLeading(_) => next_line(&mut line, &mut text, 0.0, -state.leading),
                TypedInstruction::ShowText(string) => self.show(string.0, &state, &mut text, sheet)?,
                TypedInstruction::NextLineAndShowText(string) => {
                    next_line(&mut line, &mut text, 0.0, -state.leading);
                    self.show(string.0, &state, &mut text, sheet)?;
                }
                TypedInstruction::ShowTextWithParameters(string) => {
                    (state.word_space, state.char_space) = (string.0.as_f64(), string.1.as_f64());
                    next_line(&mut line, &mut text, 0.0, -state.leading);
                    self.show(string.2, &state, &mut text, sheet)?;
                }
                TypedInstruction::ShowTexts(strings) => {
                    for part in strings.0.iter::<Object<'_>>() {
                        match part {
                            Object::String(string) => self.show(&string, &state, &mut text, sheet)?,
                            Object::Number(number) => {
                                let by = -number.as_f64() / 1000.0 * state.font_size;
                                let horizontal = state.font.is_none_or(|font| self.fonts.get(font).is_horizontal());
                                let by = if horizontal { (by * state.horizontal, 0.0) } else { (0.0, by) };
                                text *= Affine::translate(by);
                            }
                            _ => {}
                        }
                    }
                }
                TypedInstruction::XObject(name) => {
                    if let Some(stream) = resources.get_x_object(name.0) {
                        self.draw_object(&stream, resources, &state, sheet, depth)?;
                    }
                }
                TypedInstruction::InlineImage(_) => sheet.picture(state.ctm),
                TypedInstruction::MoveTo(to) => from = state.ctm * Point::new(to.0.as_f64(), to.1.as_f64()),
                TypedInstruction::LineTo(to) => {
                    let to = state.ctm * Point::new(to.0.as_f64(), to.1.as_f64());
                    sheet.rule(from, to);
                    from = to;
                }
                TypedInstruction::RectPath(rect) => {
                    let (x, y) = (rect.0.as_f64(), rect.1.as_f64());
                    let (width, height) = (rect.2.as_f64(), rect.3.as_f64());
                    let corner = |x, y| state.ctm * Point::new(x, y);
                    sheet.rule(corner(x, y), corner(x + width, y));
                    sheet.rule(corner(x, y + height), corner(x + width, y + height));
                }
                TypedInstruction::BeginMarkedContent(_) => sheet.mark(false),
                TypedInstruction::BeginMarkedContentWithProperties(mark) => {
                    let is_artifact = mark.0.as_ref() == b"Artifact";
                    sheet.mark(is_artifact && is_pagination(mark.1, resources));
                }
                TypedInstruction::EndMarkedContent(_) if sheet.marked.len() > marked_around => sheet.unmark(),
                _ => {}
            }
        }
        while sheet.marked.len() > marked_around {
            sheet.unmark();
        }
        Ok(())
    }

    /// Draws a picture or a form.
    fn draw_object(
        &mut self,
        stream: &Stream<'a>,
        resources: &Resources<'a>,
        state: &State,
        sheet: &mut Sheet,
        depth: usize,
    ) -> Result<(), ParseError> {
        let dict = stream.dict();
        match dict.get::<Name<'_>>("Subtype").as_ref().map(|name| name.as_ref()) {
            Some(b"Image") => sheet.picture(state.ctm),
            Some(b"Form") if depth < FORMS_DEPTH_MAX => {
                self.forms += 1;
                if self.forms > FORMS_MAX {
                    return Err(ParseError::TooLarge { what: "forms", limit: FORMS_MAX, byte: 0 });
                }
                let Some(data) = self.unpacker.unpack(stream)? else { return Ok(()) };
                let own = dict.get::<Dict<'a>>("Resources").map(Resources::new);
                let mut state = state.clone();
                if let Some(matrix) = dict.get::<[f64; 6]>("Matrix") {
                    state.ctm *= Affine::new(matrix);
                }
                self.draw(&data, own.as_ref().unwrap_or(resources), state, sheet, depth + 1)?;
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    /// Shows a string.
    fn show(&mut self, string: &[u8], state: &State, text: &mut Affine, sheet: &mut Sheet) -> Result<(), ParseError> {
        self.glyphs += string.len();
        if self.glyphs > GLYPHS_MAX {
            return Err(ParseError::TooLarge { what: "glyphs", limit: GLYPHS_MAX, byte: 0 });
        }
        let Some(font) = state.font else { return Ok(()) };
        let font = self.fonts.get(font);
        let (style, ascent, descent, em) = (font.style, font.ascent, font.descent, f64::from(font.em));
        let horizontal = font.is_horizontal();
        let size = Affine::new([state.font_size * state.horizontal, 0.0, 0.0, state.font_size, 0.0, state.rise]);
        let mut byte = 0;
        while byte < string.len() {
            let code = font.read(string, byte);
            byte += code.len;
            let matrix = state.ctm * *text * size;
            let [a, b, c, d, _, _] = matrix.as_coeffs();
            let em = c.hypot(d) * em;
            let (start, along) = if horizontal {
                (Point::ZERO, (code.advance.0.max(0.0), 0.0))
            } else {
                (Point::new(0.0, code.origin.1), (0.0, code.advance.1.min(0.0)))
            };
            let from = matrix * start;
            let to = matrix * Point::new(start.x + along.0, start.y + along.1);
            let run = if horizontal { Run::of(a, b) } else { Run::of(-c, -d) };
            let (ascent, descent) = if horizontal { (ascent, descent) } else { (0.5, -0.5) };
            sheet.glyph(code.text, run, (from, to), em, (ascent, descent), style, state.invisible);
            let space = state.char_space + if code.is_space { state.word_space } else { 0.0 };
            *text *= Affine::translate(if horizontal {
                ((code.advance.0 * state.font_size + space) * state.horizontal, 0.0)
            } else {
                (0.0, code.advance.1 * state.font_size + space)
            });
        }
        Ok(())
    }
}

impl Sheet {
    #[allow(clippy::too_many_arguments, reason = "all that a glyph is")]
    fn glyph(
        &mut self,
        text: Option<&str>,
        run: Option<Run>,
        (from, to): (Point, Point),
        size: f64,
        (ascent, descent): (f32, f32),
        style: crate::pdf::words::Style,
        invisible: bool,
    ) {
        self.inked.glyphs += 1;
        self.inked.unknown += usize::from(text.is_none());
        let text = text.unwrap_or("\u{fffd}");
        let (width, height) = (f64::from(self.inked.width), f64::from(self.inked.height));
        let on_page =
            |point: Point| (-1.0..=width + 1.0).contains(&point.x) && (-1.0..=height + 1.0).contains(&point.y);
        if !(on_page(from) || on_page(to)) || !size.is_finite() || size < 0.5 {
            self.inked.hidden += text.trim().len();
            return;
        }
        if self.paginations > 0 {
            let bytes = if from.y < height / 2.0 { &mut self.inked.header } else { &mut self.inked.footer };
            *bytes += text.len();
            return;
        }
        let Some(run) = run else {
            self.inked.askew += text.trim().len();
            return;
        };
        let (left, baseline) = run.turn(from.x, from.y);
        let (right, _) = run.turn(to.x, to.y);
        let (left, right, baseline, size) = (left as f32, right.max(left) as f32, baseline as f32, size as f32);
        let frame = Frame { left, right, top: baseline - ascent * size, bottom: baseline - descent * size };
        let glyph = Glyph { text, run, frame, baseline, size, style };
        if invisible {
            self.invisible_bytes += text.trim().len();
            self.invisible.push(glyph);
        } else {
            self.inked.words.push(glyph);
        }
    }

    /// Notes a picture: the unit square.
    fn picture(&mut self, ctm: Affine) {
        self.inked.has_pictures = true;
        let area = f64::from(self.inked.width) * f64::from(self.inked.height);
        self.covered = self.covered.max(ctm.determinant().abs() / area.max(1.0));
    }

    /// Notes a line if it is a rule.
    fn rule(&mut self, from: Point, to: Point) {
        let frame = Frame {
            left: from.x.min(to.x) as f32,
            top: from.y.min(to.y) as f32,
            right: from.x.max(to.x) as f32,
            bottom: from.y.max(to.y) as f32,
        };
        let is_rule = frame.bottom - frame.top <= RULE_THICKNESS && frame.width() >= RULE_LENGTH;
        if is_rule && self.inked.rules.len() < RULES_MAX {
            self.inked.rules.push(frame);
        }
    }

    fn mark(&mut self, is_pagination: bool) {
        if self.marked.len() < STATES_MAX {
            self.marked.push(is_pagination);
            self.paginations += usize::from(is_pagination);
        }
    }

    fn unmark(&mut self) {
        self.paginations -= usize::from(self.marked.pop() == Some(true));
    }

    fn finish(mut self) -> Inked {
        if self.inked.words.words.is_empty() || self.covered >= SCAN_COVER {
            // A scanned page with the words that text recognition found below its picture.
            for word in &self.invisible.words {
                let text = self.invisible.str(word).to_owned();
                self.inked.words.add(word, &text);
            }
        } else {
            self.inked.hidden += self.invisible_bytes;
        }
        self.inked.words.finish();
        self.inked
    }
}

fn matrix(numbers: [Number; 6]) -> Affine {
    Affine::new(numbers.map(|number| number.as_f64()))
}

fn next_line(line: &mut Affine, text: &mut Affine, x: f64, y: f64) {
    *line *= Affine::translate((x, y));
    *text = *line;
}

/// Whether the properties of an artifact say that it is a header or footer.
fn is_pagination(properties: &Object<'_>, resources: &Resources<'_>) -> bool {
    let named = properties.clone().into_name().and_then(|name| resources.properties.get::<Dict<'_>>(name.as_ref()));
    let dict = named.or_else(|| properties.clone().into_dict());
    dict.and_then(|dict| dict.get::<Name<'_>>("Type").map(|kind| kind.as_ref() == b"Pagination")).unwrap_or(false)
}
