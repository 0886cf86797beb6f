//! Payment cards and bank accounts. Both have check digits, and both a shape that depends on who issued them.
//!
//! Luhn's sum is six lines and the brands' prefixes are one table, so no crate is asked for them.

use std::sync::LazyLock;

use regex::Regex;

use super::check_digits::{digits, luhn, mod_97};
use super::view::View;
use super::{Finding, Kind};

/// 13 to 19 digits, in groups or not.
static CARD: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?-u:\b)[2-6](?:[ \u{a0}-]?[0-9]){11,18}(?-u:\b)").expect("a valid expression"));
/// A country and two check digits; the rest is read by the country's length.
static IBAN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?i-u:\b[a-z]{2}[0-9]{2})").expect("a valid expression"));

/// Cards whose number has a known issuer's prefix, a length that this issuer uses, usual groups and a right Luhn digit.
pub(super) fn find_cards(view: &View<'_>, found: &mut Vec<Finding>) {
    for matched in CARD.find_iter(view.text) {
        let numbers = digits(matched.as_str());
        let known = numbers.len() > 11 && is_issued(&numbers) && luhn(&numbers);
        if known && is_grouped(matched.as_str()) && view.stands_alone(&matched.range()) {
            found.push(Finding { kind: Kind::Card, span: matched.range() });
        }
    }
}

/// Prefixes and lengths of the card schemes.
fn is_issued(numbers: &[u32]) -> bool {
    let prefix = |count: usize| numbers[..count].iter().fold(0, |all, digit| all * 10 + digit);
    let (two, three, four, length) = (prefix(2), prefix(3), prefix(4), numbers.len());
    let visa = numbers[0] == 4 && matches!(length, 13 | 16 | 19);
    let mastercard = length == 16 && ((51..=55).contains(&two) || (2221..=2720).contains(&four));
    let amex = length == 15 && matches!(two, 34 | 37);
    let discover = (16..=19).contains(&length) && (four == 6011 || two == 65 || (644..=649).contains(&three));
    let jcb = (16..=19).contains(&length) && (3528..=3589).contains(&four);
    let diners =
        (14..=19).contains(&length) && (matches!(two, 36 | 38 | 39) || (300..=305).contains(&three) || three == 309);
    let unionpay = (16..=19).contains(&length) && two == 62;
    let mir = (16..=19).contains(&length) && (2200..=2204).contains(&four);
    let maestro =
        matches!(four, 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761 | 6762 | 6763) && (12..=19).contains(&length);
    visa || mastercard || amex || discover || jcb || diners || unionpay || mir || maestro
}

/// No groups, or groups as they are embossed, with one kind of separator.
fn is_grouped(written: &str) -> bool {
    let separators: Vec<char> = written.chars().filter(|c| !c.is_ascii_digit()).collect();
    let Some(first) = separators.first() else { return true };
    let groups: Vec<usize> = written.split(*first).map(str::len).collect();
    let fours = groups.len() >= 3
        && groups[..groups.len() - 1].iter().all(|size| *size == 4)
        && groups.last().is_some_and(|size| (1..=4).contains(size));
    separators.iter().all(|c| c == first) && (fours || matches!(groups[..], [4, 6, 4 | 5]))
}

/// Lengths by country: the IBAN registry (SWIFT, release 99).
const IBAN_LENGTHS: [(&str, usize); 84] = [
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BI", 27),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DJ", 27),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FK", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MN", 20),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NI", 28),
    ("NL", 18),
    ("NO", 15),
    ("OM", 23),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("RU", 33),
    ("SA", 24),
    ("SC", 31),
    ("SD", 18),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("SO", 23),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
];

/// Accounts of a country that has IBANs, of its length, with right check digits (ISO 7064, mod 97-10).
pub(super) fn find_ibans(view: &View<'_>, found: &mut Vec<Finding>) {
    for matched in IBAN.find_iter(view.text) {
        let country = matched.as_str()[..2].to_ascii_uppercase();
        let Ok(entry) = IBAN_LENGTHS.binary_search_by(|(name, _)| (*name).cmp(&country)) else { continue };
        let Some((number, end)) = read(view.text, matched.start(), IBAN_LENGTHS[entry].1) else { continue };
        let rotated = number[4..].iter().chain(&number[..4]);
        let span = matched.start()..end;
        if mod_97(rotated.map(|byte| char::from(*byte).to_digit(36).unwrap_or(0))) == 1 && view.stands_alone(&span) {
            found.push(Finding { kind: Kind::Iban, span });
        }
    }
}

/// `length` letters and digits from `start` on, single separators left out, and where they end.
fn read(text: &str, start: usize, length: usize) -> Option<(Vec<u8>, usize)> {
    let mut number = Vec::with_capacity(length);
    let mut separated = true;
    for (at, c) in text[start..].char_indices() {
        if c.is_ascii_alphanumeric() {
            number.push(c as u8);
            separated = false;
            if number.len() == length {
                return Some((number, start + at + 1));
            }
        } else if !matches!(c, ' ' | '\u{a0}' | '-' | '.') || separated {
            return None;
        } else {
            separated = true;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_lengths_is_sorted() {
        assert!(IBAN_LENGTHS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn groups_are_those_that_cards_have() {
        for (written, usual) in [
            ("4242424242424242", true),
            ("4242 4242 4242 4242", true),
            ("3782 822463 10005", true),
            ("3056 930902 5904", true),
            ("42 42424242 424242", false),
            ("4242 4242-4242 4242", false),
        ] {
            assert_eq!(is_grouped(written), usual, "{written}");
        }
    }
}
