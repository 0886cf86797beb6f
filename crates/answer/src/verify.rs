//! What a rule can say about a claim.
//!
//! The one rule for a contradiction is kept narrow, because a wrong alarm costs more trust than a missed one: the claim
//! states a quantity whose number stands nowhere in the source, while the sentence it rests on states another number
//! with the same unit, which the claim does not mention. Numbers written as words, conversions, sums and ids are not
//! judged. What no rule decides is left [`Verdict::Unchecked`].

use std::collections::BTreeSet;

use ibid_core::{Hit, Verdict};
use unicode_segmentation::UnicodeSegmentation;

use crate::support::{Found, Support};
use crate::words::words;

/// Words before a four-digit number that make it a year.
const YEAR_AFTER: [&str; 19] = [
    "in", "since", "until", "from", "by", "before", "after", "year", "of", "im", "seit", "ab", "bis", "jahr", "vor",
    "nach", "en", "depuis", "desde",
];
/// What ordinals end in: it is no unit.
const ORDINALS: [&str; 4] = ["st", "nd", "rd", "th"];

/// What is known of `claim` once its `support` in `hit` has been found.
pub(crate) fn verdict(claim: &str, support: &Support, hit: &Hit) -> Verdict {
    match support.found {
        Found::Verbatim => Verdict::Quoted,
        Found::Chunk => Verdict::Unchecked,
        Found::Unit if contradicts(claim, &hit.text[support.bytes.clone()], hit) => Verdict::Contradicted,
        Found::Unit => Verdict::Unchecked,
    }
}

fn contradicts(claim: &str, quote: &str, hit: &Hit) -> bool {
    let claimed = quantities(claim);
    if claimed.is_empty() {
        return false;
    }
    let stated = quantities(quote);
    let around = std::iter::once(&hit.title).chain(&hit.heading_path).chain(&hit.context).chain([&hit.text]);
    let in_source: BTreeSet<String> = around.flat_map(|text| readings_of_all(text)).collect();
    let in_claim = readings_of_all(claim);
    claimed
        .iter()
        .filter(|one| one.readings.is_disjoint(&in_source))
        .any(|wrong| stated.iter().any(|right| right.unit == wrong.unit && right.readings.is_disjoint(&in_claim)))
}

/// A number and what it counts.
#[derive(Debug, PartialEq, Eq)]
struct Quantity {
    /// Each way to read its separators: "1.500" is fifteen hundred or one and a half.
    readings: BTreeSet<String>,
    /// The word behind it, a currency or percent sign, "year" or "date".
    unit: String,
}

fn quantities(text: &str) -> Vec<Quantity> {
    runs(text).into_iter().filter_map(|(start, run)| quantity(text, start, run)).collect()
}

fn quantity(text: &str, start: usize, run: &str) -> Option<Quantity> {
    let (before, after) = (&text[..start], &text[start + run.len()..]);
    let touching = before.chars().next_back();
    let currency = touching.filter(|found| matches!(found, '$' | '€' | '£' | '¥'));
    let free =
        touching.is_none_or(|found| found.is_whitespace() || matches!(found, '(' | '"' | '„' | '“' | '~' | '|' | '*'));
    if currency.is_none() && !free {
        return None;
    }
    if run.contains(['-', '/', ':']) {
        let parts: Vec<usize> = run.split('-').map(str::len).collect();
        let date = parts == [4, 2, 2] && !run.contains(['/', ':']);
        return date.then(|| Quantity { readings: BTreeSet::from([run.to_owned()]), unit: "date".to_owned() });
    }
    let word_before = before.unicode_words().next_back().unwrap_or_default().to_lowercase();
    let unit = if let Some(sign) = currency {
        sign.to_string()
    } else if run.len() == 4
        && run.bytes().all(|byte| byte.is_ascii_digit())
        && YEAR_AFTER.contains(&word_before.as_str())
    {
        "year".to_owned()
    } else {
        unit(after)?
    };
    Some(Quantity { readings: readings(run), unit })
}

fn unit(after: &str) -> Option<String> {
    let after = after.strip_prefix([' ', '\u{a0}', '-']).unwrap_or(after);
    match after.chars().next()? {
        sign @ ('%' | '$' | '€' | '£' | '¥') => Some(sign.to_string()),
        found if found.is_alphabetic() => {
            let word = after.unicode_words().next()?.to_lowercase();
            let stem = words(&word).next();
            let unit = stem.unwrap_or(word);
            (!ORDINALS.contains(&unit.as_str())).then_some(unit)
        }
        _ => None,
    }
}

fn readings_of_all(text: &str) -> BTreeSet<String> {
    runs(text)
        .into_iter()
        .flat_map(|(_, run)| {
            let parts = run.split(['-', '/', ':']).flat_map(readings);
            parts.chain([run.to_owned()]).collect::<Vec<_>>()
        })
        .collect()
}

fn readings(run: &str) -> BTreeSet<String> {
    let digits = |text: &str| text.replace(['.', ','], "");
    let mut readings = BTreeSet::from([digits(run)]);
    if let Some((whole, part)) = run.rsplit_once(['.', ',']) {
        let decimal = format!("{}.{part}", digits(whole));
        readings.insert(decimal.trim_end_matches('0').trim_end_matches('.').to_owned());
    }
    readings
}

/// Runs of digits with single separators inside, and where they start.
fn runs(text: &str) -> Vec<(usize, &str)> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let separator = |at: usize| matches!(bytes.get(at), Some(b'.' | b',' | b'-' | b'/' | b':'));
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        while digit(at) || at > start && separator(at) && digit(at + 1) {
            at += 1;
        }
        if at > start {
            found.push((start, &text[start..at]));
        } else {
            at += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::support;
    use crate::testing::hit;

    #[track_caller]
    fn check(claim: &str, source: &str, expected: Verdict) {
        let hit = hit(1, source);
        assert_eq!(verdict(claim, &support(claim, source), &hit), expected, "{claim}");
    }

    #[test]
    fn a_number_that_the_source_replaces_is_contradicted() {
        let source =
            "Refunds are paid within 14 days. The fee of 1.500,50 EUR fell to $20 in 2021, see INV-7 of 2021-03-04.";
        check("Refunds are paid within 14 days.", source, Verdict::Quoted);
        check("Refunds get paid within 30 days.", source, Verdict::Contradicted);
        check("Refunds get paid within one day", source, Verdict::Unchecked);
        check("Refunds get paid within 2 weeks", source, Verdict::Unchecked);
        check("Refunds get paid within 14 days, not 30 days", source, Verdict::Unchecked);
        check("The fee of 1,500.50 EUR fell", source, Verdict::Unchecked);
        check("The fee of 1600 EUR fell", source, Verdict::Contradicted);
        check("The old fee fell to $25", source, Verdict::Contradicted);
        check("The old fee fell in 2022", source, Verdict::Contradicted);
        check("The old fee fell, see INV-8", source, Verdict::Unchecked);
        check("The old fee fell, see INV-7 of 2021-03-05", source, Verdict::Contradicted);
        check("The 3rd fee of 5-10 EUR fell", source, Verdict::Unchecked);
        check("Elephants live 70 years", source, Verdict::Unchecked);
    }
}
