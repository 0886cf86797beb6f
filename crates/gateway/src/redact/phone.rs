//! Telephone numbers: what looks like one is asked of the numbering plans (libphonenumber's, by the crate `phonenumber`).

use std::cell::Cell;
use std::fmt;
use std::ops::Range;

use phonenumber::country::Id;

use super::view::View;
use super::{Finding, Kind, RedactError};

const REGIONS_MAX: usize = 32;
/// Groups of digits in one number, at most.
const GROUPS_MAX: usize = 8;
/// How many numbers of one text are looked up in the plans, which takes up to a millisecond each; of those behind them the form
/// decides alone.
const LOOKUPS_MAX: u32 = 200;
/// The longest number of ITU-T E.164 has 15 digits; the shortest that is private here has 7.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// Regions where a number that is written for home starts with 0, and regions where none does: the plans of the others are not
/// asked. Regions in neither list are always asked.
const ZERO_FIRST: [&str; 20] = [
    "GB", "DE", "FR", "NL", "CH", "AT", "BE", "SE", "AU", "JP", "IE", "FI", "NZ", "ZA", "TR", "RO", "SK", "SI", "HR",
    "UA",
];
const NEVER_ZERO_FIRST: [&str; 12] = ["US", "CA", "ES", "PL", "PT", "DK", "NO", "CZ", "GR", "SG", "HK", "LU"];
/// Words in front of a telephone number.
const CUES: [&str; 35] = [
    "tel",
    "phone",
    "mobil",
    "cell",
    "fax",
    "call",
    "ring",
    "dial",
    "text",
    "sms",
    "whatsapp",
    "signal",
    "hotline",
    "handy",
    "ruf",
    "anruf",
    "durchwahl",
    "zentrale",
    "appel",
    "portable",
    "móvil",
    "movil",
    "llam",
    "número",
    "numero",
    "contact",
    "kontakt",
    "reach",
    "reception",
    "helpdesk",
    "support line",
    "t:",
    "m:",
    "p:",
    "landline",
];
/// Words in front of a number that is something else.
const OTHERS: [&str; 46] = [
    "isbn",
    "issn",
    "doi",
    "order",
    "invoice",
    "sku",
    "serial",
    "s/n",
    "part",
    "art",
    "lot",
    "batch",
    "ticket",
    "case",
    "doc",
    "document",
    "tracking",
    "parcel",
    "shipment",
    "ref",
    "version",
    "page",
    "line",
    "zip",
    "postal",
    "plz",
    "po box",
    "postfach",
    "blz",
    "bank code",
    "lat",
    "lon",
    "coordinates",
    "id",
    "uuid",
    "item",
    "bestell",
    "rechnung",
    "auftrag",
    "article",
    "commit",
    "range",
    "port",
    "bin",
    "ean",
    "gtin",
];

/// Finds numbers written internationally, and those of some regions written as they are at home.
pub(super) struct Phones {
    regions: Vec<(Id, Zero)>,
}

/// Whether a region's numbers start with 0 where they are written for home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zero {
    Always,
    Never,
    Either,
}

impl fmt::Debug for Phones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Phones({:?})", self.regions)
    }
}

impl Phones {
    pub(super) fn new(regions: &[String]) -> Result<Phones, RedactError> {
        if regions.len() > REGIONS_MAX {
            return Err(RedactError::TooMany { field: "regions", given: regions.len(), count_max: REGIONS_MAX });
        }
        let read = |(index, region): (usize, &String)| {
            let id = region.parse::<Id>();
            let id = id.map_err(|_| RedactError::Region { index, region: region.chars().take(16).collect() })?;
            let zero = match region.as_str() {
                region if ZERO_FIRST.contains(&region) => Zero::Always,
                region if NEVER_ZERO_FIRST.contains(&region) => Zero::Never,
                _ => Zero::Either,
            };
            Ok((id, zero))
        };
        Ok(Phones { regions: regions.iter().enumerate().map(read).collect::<Result<_, _>>()? })
    }

    pub(super) fn find(&self, view: &View<'_>, found: &mut Vec<Finding>) {
        let mut at = 0;
        let lookups = Cell::new(0);
        while let Some(groups) = next_groups(view.text, at) {
            let taken = (1..=groups.len().min(GROUPS_MAX))
                .rev()
                .find_map(|count| self.number(view, &groups[..count], groups.get(count), &lookups));
            match taken {
                Some(span) => {
                    at = span.end;
                    found.push(Finding { kind: Kind::Phone, span });
                }
                None => at = groups[0].end,
            }
        }
    }

    /// The number that `groups` make, with what opens it; `None` if they make none. `next` is the group behind them.
    fn number(
        &self,
        view: &View<'_>,
        groups: &[Range<usize>],
        next: Option<&Range<usize>>,
        lookups: &Cell<u32>,
    ) -> Option<Range<usize>> {
        let last = groups.last()?;
        let start = opening(view.text, groups[0].start);
        let span = start..last.end;
        let written = &view.text[span.clone()];
        let count: usize = groups.iter().map(Range::len).sum();
        // A number goes on only behind a blank: `030 23125 456 and 2 more`.
        let cut = next.is_some_and(|next| !view.text[last.end..next.start].trim_matches([' ', '\u{a0}']).is_empty());
        let dotted = groups.len() == 4
            && groups.iter().all(|group| group.len() <= 3)
            && groups.windows(2).all(|pair| &view.text[pair[0].end..pair[1].start] == ".");
        if !DIGITS.contains(&count) || cut || dotted || !stands_alone(view, &span) || is_date(groups, view.text) {
            return None;
        }
        let international = written.starts_with('+') || (written.starts_with("00") && !written.starts_with("000"));
        let fits = if international {
            is_international(written, lookups)
        } else {
            self.is_national(view, groups, &span, next.is_some(), lookups)
        };
        fits.then_some(span)
    }

    fn is_national(
        &self,
        view: &View<'_>,
        groups: &[Range<usize>],
        span: &Range<usize>,
        goes_on: bool,
        lookups: &Cell<u32>,
    ) -> bool {
        let written = &view.text[span.clone()];
        let sizes: Vec<usize> = groups.iter().map(Range::len).collect();
        let count: usize = sizes.iter().sum();
        let said = view.has_cue_within(span.start, 32, &CUES);
        let other = view.has_cue_within(span.start, 24, &OTHERS);
        // Groups of three behind the first are a sum as often as a number.
        let thousands = sizes.len() > 1 && sizes[1..].iter().all(|size| *size == 3) && sizes[0] <= 3;
        let bracketed = written.starts_with('(') && groups.len() > 1;
        let trunk = written.starts_with('0') && sizes[0] > 1 && groups.len() > 1;
        let american = matches!(sizes[..], [3, 3, 4] | [1, 3, 3, 4]);
        let grouped = groups.len() >= 3 && count >= 9 && sizes.iter().all(|size| (2..=5).contains(size));
        // A row of numbers is no number.
        let formed = !other && !goes_on && (bracketed || trunk || american || (grouped && !thousands));
        if !said && !formed {
            return false;
        }
        // Said to be one, and of a usual length, it need not be in any plan: numbers are also mistyped, or internal.
        if said && !other && (9..=12).contains(&count) {
            return true;
        }
        lookups.set(lookups.get() + 1);
        if lookups.get() > LOOKUPS_MAX {
            return true;
        }
        let digits: String = written.chars().filter(char::is_ascii_digit).collect();
        // Those that write it the other way.
        let other_way = if digits.starts_with('0') { Zero::Never } else { Zero::Always };
        let mut regions = self.regions.iter().filter(|(_, zero)| *zero != other_way);
        regions.any(|(region, _)| phonenumber::parse(Some(*region), &digits).is_ok_and(|number| number.is_valid()))
    }
}

/// A number with a country's code that exists. Its plan is not asked: somebody who writes `+49 ...` means a number, though it
/// may be mistyped, new, or kept for films.
fn is_international(written: &str, lookups: &Cell<u32>) -> bool {
    lookups.set(lookups.get() + 1);
    let digits: String = written.replace("(0)", "").chars().filter(char::is_ascii_digit).collect();
    let digits = if written.starts_with('+') { &*digits } else { &digits[2..] };
    digits.len() > *DIGITS.start()
        && (lookups.get() > LOOKUPS_MAX || phonenumber::parse(None, format!("+{digits}")).is_ok())
}

/// The next groups of digits from `at` on with at most two separators between them.
fn next_groups(text: &str, at: usize) -> Option<Vec<Range<usize>>> {
    let bytes = text.as_bytes();
    let mut start = at + bytes[at..].iter().position(u8::is_ascii_digit)?;
    let mut groups = Vec::new();
    loop {
        let end = bytes[start..].iter().position(|byte| !byte.is_ascii_digit()).map_or(bytes.len(), |len| start + len);
        groups.push(start..end);
        let Some(separators) = separators(&text[end..]) else { return Some(groups) };
        if groups.len() > GROUPS_MAX {
            return Some(groups);
        }
        start = end + separators;
    }
}

/// The length of what may stand between two groups of one number, if a digit follows.
fn separators(rest: &str) -> Option<usize> {
    let mut bytes = 0;
    for (count, c) in rest.chars().enumerate() {
        match c {
            '0'..='9' => return (count > 0).then_some(bytes),
            ' ' | '\u{a0}' | '-' | '.' | '/' | '(' | ')' | '\u{2011}' | '\u{2013}' if count < 3 => {
                bytes += c.len_utf8()
            }
            _ => return None,
        }
    }
    None
}

/// Where a number starts whose digits start at `at`: at its plus and brackets.
fn opening(text: &str, at: usize) -> usize {
    let before = &text[..at];
    for open in ["(+", "+(", "+", "("] {
        if before.ends_with(open) {
            let start = at - open.len();
            // `(+49) 30 ...` and `(030) ...` are closed again; a sentence's bracket around a number is not its own.
            let closed = text[at..].bytes().take(7).any(|byte| matches!(byte, b')' | b'('));
            return match open {
                "(" | "(+" if !closed => start + open.len() - usize::from(open.ends_with('+')),
                _ => start,
            };
        }
    }
    at
}

/// No letter, digit or sign on either side that makes it a part of something else.
fn stands_alone(view: &View<'_>, span: &Range<usize>) -> bool {
    let joins =
        |c: char| c.is_alphanumeric() || matches!(c, '_' | '#' | '$' | '€' | '£' | '%' | '@' | '*' | '[' | '\\' | '^');
    let mut left = view.text[..span.start].chars().rev();
    let mut right = view.text[span.end..].chars();
    let bound = |first: Option<char>, second: Option<char>| match first {
        Some(c) if joins(c) => false,
        Some('.' | ',' | '-' | '/' | ':') => !second.is_some_and(char::is_alphanumeric),
        _ => true,
    };
    let (first, second) = (left.next(), left.next());
    let left_clear = matches!(first, Some(':' | '=')) || bound(first, second);
    left_clear && bound(right.next(), right.next())
}

/// `31.12.2024`, `2024-12-31`, `1/2/24`, with or without a time behind.
fn is_date(groups: &[Range<usize>], text: &str) -> bool {
    let [a, b, c, ..] = groups else { return false };
    let value = |group: &Range<usize>| text[group.clone()].parse::<u32>().unwrap_or(u32::MAX);
    let same = text[a.end..b.start] == text[b.end..c.start] && matches!(&text[a.end..b.start], "." | "-" | "/");
    let day = |group: &Range<usize>| group.len() <= 2 && (1..=31).contains(&value(group));
    let year = |group: &Range<usize>| (group.len() == 4 && (1800..2200).contains(&value(group))) || group.len() == 2;
    let shape = (day(a) && day(b) && year(c) && (value(a) <= 12 || value(b) <= 12))
        || (a.len() == 4 && year(a) && day(b) && day(c));
    // Five pairs with one separator are a French number.
    let pairs = groups.len() == 5 && groups.iter().all(|group| group.len() == 2);
    same && shape && !pairs
}
