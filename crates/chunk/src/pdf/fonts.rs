//! Fonts: what a string of codes says, and how far each of its glyphs reaches.

use std::ops::Range;
use std::sync::Arc;

use hayro_cmap::BfString;
use hayro_font::{CMapResolverFn, Font, FontCache, FontGlyph, FontQuery, FontResolverFn, StandardFont, UNITS_PER_EM};
use hayro_syntax::object::{Array, Dict, Name, Object, ObjectIdentifier, Rect, Stream};
use rustc_hash::FxHashMap;

use crate::parse::ParseError;
use crate::pdf::unpack::check;
use crate::pdf::words::Style;

/// A document has at most this many fonts.
const FONTS_MAX: usize = 4096;

/// How high a glyph reaches over its baseline and below it, in ems, where the font does not say.
const ASCENT: f32 = 0.75;
const DESCENT: f32 = -0.25;

/// The fonts of a document, each read once.
pub(super) struct Fonts<'a> {
    cache: FontCache<'a>,
    fonts: FontResolverFn,
    cmaps: CMapResolverFn,
    loaded: Vec<Loaded<'a>>,
    by_object: FxHashMap<ObjectIdentifier, usize>,
    fallback: Option<usize>,
}

/// A font as text needs it.
pub(super) struct Loaded<'a> {
    /// `None` for one that cannot be read.
    font: Option<Font<'a>>,
    pub(super) style: Style,
    pub(super) ascent: f32,
    pub(super) descent: f32,
    /// The height of its em in text space: 1, but for fonts drawn by page operators.
    pub(super) em: f32,
    /// Its codes are UTF-16.
    utf16: bool,
    codes: FxHashMap<u32, Shown>,
    texts: String,
}

/// What a code shows.
#[derive(Debug, Clone)]
struct Shown {
    text: Range<u32>,
    advance: (f64, f64),
    origin: (f64, f64),
}

/// A code of a string, read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Code<'f> {
    /// `None` if its character is not known.
    pub(super) text: Option<&'f str>,
    /// How far it moves, in ems.
    pub(super) advance: (f64, f64),
    /// Where its glyph is drawn from, in ems.
    pub(super) origin: (f64, f64),
    /// How many bytes it has.
    pub(super) len: usize,
    /// It is the one-byte code 32, which word spacing widens.
    pub(super) is_space: bool,
}

impl<'a> Fonts<'a> {
    pub(super) fn new() -> Fonts<'a> {
        Fonts {
            cache: FontCache::new(),
            fonts: Arc::new(|query| match query {
                FontQuery::Standard(font) => Some(font.get_font_data()),
                FontQuery::Fallback(query) => Some(query.pick_standard_font().get_font_data()),
            }),
            cmaps: Arc::new(hayro_cmap::load_embedded),
            loaded: Vec::new(),
            by_object: FxHashMap::default(),
            fallback: None,
        }
    }

    /// The font that `fonts` has for a name; Helvetica if it has none.
    pub(super) fn find(&mut self, fonts: &Dict<'a>, name: &Name<'_>) -> Result<usize, ParseError> {
        let object = fonts.get_ref(name.as_ref()).map(ObjectIdentifier::from);
        if let Some(known) = object.and_then(|object| self.by_object.get(&object)) {
            return Ok(*known);
        }
        let Some(dict) = fonts.get::<Dict<'a>>(name.as_ref()) else { return Ok(self.fallback()) };
        if self.loaded.len() == FONTS_MAX {
            return Err(ParseError::TooLarge { what: "fonts", limit: FONTS_MAX, byte: 0 });
        }
        check_streams(&dict)?;
        let font = self.cache.font(&dict, &self.fonts, &self.cmaps);
        self.loaded.push(Loaded::new(&dict, font));
        let index = self.loaded.len() - 1;
        if let Some(object) = object {
            self.by_object.insert(object, index);
        }
        Ok(index)
    }

    fn fallback(&mut self) -> usize {
        if let Some(index) = self.fallback {
            return index;
        }
        let font = self.cache.standard_font(StandardFont::Helvetica, &self.fonts);
        self.loaded.push(Loaded::new(&Dict::empty(), font));
        *self.fallback.insert(self.loaded.len() - 1)
    }

    pub(super) fn get(&mut self, index: usize) -> &mut Loaded<'a> {
        &mut self.loaded[index]
    }
}

impl<'a> Loaded<'a> {
    fn new(dict: &Dict<'a>, font: Option<Font<'a>>) -> Loaded<'a> {
        let descendant = dict.get::<Array<'_>>("DescendantFonts").and_then(|fonts| fonts.iter::<Dict<'_>>().next());
        let described = descendant.as_ref().unwrap_or(dict);
        let descriptor = described.get::<Dict<'_>>("FontDescriptor").unwrap_or_default();
        let number = |key: &str| descriptor.get::<f32>(key);
        let (ascent, descent) = match (number("Ascent"), number("Descent")) {
            (Some(ascent), Some(descent))
                if (400.0..=1200.0).contains(&ascent) && (-600.0..=-50.0).contains(&descent) =>
            {
                (ascent / 1000.0, descent / 1000.0)
            }
            _ => (ASCENT, DESCENT),
        };
        let name = dict.get::<Name<'_>>("BaseFont").map(|name| name.as_str().to_ascii_lowercase()).unwrap_or_default();
        let named = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        let flags = descriptor.get::<u32>("Flags").unwrap_or(0);
        let style = Style {
            bold: number("FontWeight").is_some_and(|weight| weight >= 600.0)
                || flags & (1 << 18) != 0
                || named(&["bold", "black", "heavy", "-demi", "cmbx", "cmssbx", "-medi"]),
            fixed: flags & 1 != 0 || named(&["mono", "courier", "consolas", "cmtt", "typewriter"]),
        };
        let is_type3 = dict.get::<Name<'_>>("Subtype").is_some_and(|kind| kind.as_ref() == b"Type3");
        let encoding = dict.get::<Name<'_>>("Encoding");
        let utf16 = encoding.is_some_and(|name| {
            name.as_str().starts_with("Uni") && (name.as_str().contains("UCS2") || name.as_str().contains("UTF16"))
        });
        Loaded {
            font,
            style,
            ascent,
            descent,
            em: if is_type3 { type3_em(dict) } else { 1.0 },
            utf16,
            codes: FxHashMap::default(),
            texts: String::new(),
        }
    }

    /// Reads the code that begins at a byte of a string, which has one more at least.
    pub(super) fn read(&mut self, string: &[u8], byte: usize) -> Code<'_> {
        let Some(font) = &self.font else {
            return Code { text: None, advance: (0.5, 0.0), origin: (0.0, 0.0), len: 1, is_space: string[byte] == 32 };
        };
        let (code, len) = font.read_code(string, byte);
        let len = len.max(1);
        let (utf16, texts) = (self.utf16, &mut self.texts);
        let shown = self.codes.entry(code).or_insert_with(|| {
            let glyph = font.map_code(code);
            let unicode = match font.glyph(glyph, code) {
                FontGlyph::Outline(glyph) => glyph.as_unicode(),
                FontGlyph::Type3(glyph) => glyph.as_unicode(),
            };
            let unicode =
                unicode.or_else(|| char::from_u32(code).filter(|_| utf16 && code <= 0xffff).map(BfString::Char));
            let start = texts.len() as u32;
            match unicode {
                Some(BfString::Char(char)) => push_plain(texts, char),
                Some(BfString::String(string)) => string.chars().for_each(|char| push_plain(texts, char)),
                None => {}
            }
            let em = f64::from(UNITS_PER_EM);
            let (advance, origin) = (font.code_advance(code), font.origin_displacement(code));
            Shown {
                text: start..texts.len() as u32,
                advance: (advance.x / em, advance.y / em),
                origin: (origin.x / em, origin.y / em),
            }
        });
        let text = Some(&texts[shown.text.start as usize..shown.text.end as usize]).filter(|text| !text.is_empty());
        Code { text, advance: shown.advance, origin: shown.origin, len, is_space: code == 32 && len == 1 }
    }

    pub(super) fn is_horizontal(&self) -> bool {
        self.font.as_ref().is_none_or(Font::is_horizontal)
    }
}

/// Adds a character as text has it: ligatures as their letters, every space as a space. What has no meaning outside its
/// font is left away.
fn push_plain(out: &mut String, char: char) {
    match char {
        'ﬀ' => out.push_str("ff"),
        'ﬁ' => out.push_str("fi"),
        'ﬂ' => out.push_str("fl"),
        'ﬃ' => out.push_str("ffi"),
        'ﬄ' => out.push_str("ffl"),
        'ﬅ' | 'ﬆ' => out.push_str("st"),
        // Bullets of the fonts Symbol and Wingdings.
        '\u{f0b7}' | '\u{f0a7}' | '\u{f076}' | '\u{f0d8}' => out.push('•'),
        '\u{ad}' => out.push('-'),
        '\u{fffd}' | '\u{e000}'..='\u{f8ff}' | '\u{200b}' | '\u{feff}' => {}
        char if char.is_whitespace() => out.push(' '),
        char if char.is_control() => {}
        char => out.push(char),
    }
}

/// The height of a Type 3 font's box in text space.
fn type3_em(dict: &Dict<'_>) -> f32 {
    let matrix = dict.get::<[f64; 6]>("FontMatrix").unwrap_or([0.001, 0.0, 0.0, 0.001, 0.0, 0.0]);
    let bbox = dict.get::<Rect>("FontBBox").unwrap_or(Rect::ZERO);
    let em = (bbox.height() * matrix[3].abs()) as f32;
    if em > 0.0 && em.is_finite() { em } else { 1.0 }
}

/// Refuses a font with a part that unpacks to too much.
fn check_streams(dict: &Dict<'_>) -> Result<(), ParseError> {
    let descendants = dict.get::<Array<'_>>("DescendantFonts");
    let descendants = descendants.iter().flat_map(|fonts| fonts.iter::<Dict<'_>>().take(1));
    for font in std::iter::once(dict.clone()).chain(descendants) {
        let descriptor = font.get::<Dict<'_>>("FontDescriptor").unwrap_or_default();
        let own = ["ToUnicode", "Encoding", "CIDToGIDMap"].iter().filter_map(|key| stream(&font, key));
        let programs = ["FontFile", "FontFile2", "FontFile3"].iter().filter_map(|key| stream(&descriptor, key));
        own.chain(programs).try_for_each(|stream| check(&stream))?;
    }
    Ok(())
}

fn stream<'a>(dict: &Dict<'a>, key: &str) -> Option<Stream<'a>> {
    dict.get::<Object<'a>>(key)?.into_stream()
}
