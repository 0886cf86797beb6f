//! Mail addresses, plain (RFC 5321, RFC 6531) and disguised for people.

use std::sync::LazyLock;

use regex::Regex;

use super::view::View;
use super::{Finding, Kind};

/// The longest local part, domain and label, in characters (RFC 5321, section 4.5.3.1; RFC 1035).
const LOCAL_CHARS_MAX: usize = 64;
const DOMAIN_CHARS_MAX: usize = 253;
const LABEL_CHARS_MAX: usize = 63;
/// Every repetition is bounded: a search that fails looks no further than the longest address.
static DISGUISED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\b[a-z0-9._%+-]{1,64} ?[\[({] ?at ?[\])}] ?(?:[a-z0-9-]{1,63} ?(?:\.|[\[({] ?(?:dot|punkt|punto|point) ?[\])}]) ?){1,4}[a-z]{2,24}\b")
        .expect("a valid expression")
});
/// What follows an image's or a source's name behind `@`, as in `logo@2x.png`.
const FILES: [&str; 12] = ["png", "jpg", "jpeg", "gif", "webp", "svg", "avif", "css", "html", "json", "xml", "pdf"];

pub(super) fn find(view: &View<'_>, found: &mut Vec<Finding>) {
    let text = view.text;
    for (at, _) in text.match_indices('@') {
        let Some(end) = domain_end(&text[at + 1..]).map(|end| at + 1 + end) else { continue };
        let local = local_part(&text[..at]);
        let start = at - local.len();
        let ending = text[at + 1..end].rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        let is_file = FILES.contains(&ending.as_str());
        // `git@host:path` names a repository. `scheme://user:password@host` is a credential.
        let is_repository = local == "git" && view.after(end) == Some(':');
        let is_login = view.before(start) == Some(':') && view.line_before(start, 96).contains("://");
        if !local.is_empty() && !is_file && !is_repository && !is_login {
            found.push(Finding { kind: Kind::Email, span: start..end });
        }
    }
    for matched in DISGUISED.find_iter(text) {
        found.push(Finding { kind: Kind::Email, span: matched.range() });
    }
}

/// What of the end of `before` is a local part. Signs that may stand in one but stand before it more often are left out.
fn local_part(before: &str) -> &str {
    let allowed = |c: char| c.is_alphanumeric() || is_mark(c) || matches!(c, '.' | '_' | '%' | '+' | '\'' | '-');
    let count = before.chars().rev().take_while(|c| allowed(*c)).take(LOCAL_CHARS_MAX + 1).count();
    let start = before.char_indices().rev().take(count.min(LOCAL_CHARS_MAX)).last().map_or(before.len(), |(at, _)| at);
    before[start..].trim_start_matches(['.', '\'', '-', '%', '+'])
}

/// Where the domain at the start of `after` ends: labels with dots between, the last of letters. `None` if there is none.
fn domain_end(after: &str) -> Option<usize> {
    let label_of = |c: char| c.is_alphanumeric() || is_mark(c) || c == '-';
    let run = after.char_indices().take(DOMAIN_CHARS_MAX).find(|(_, c)| !label_of(*c) && *c != '.');
    let run =
        run.map_or_else(|| after.char_indices().nth(DOMAIN_CHARS_MAX).map_or(after.len(), |(at, _)| at), |(at, _)| at);
    let mut labels: Vec<(usize, &str)> = vec![];
    let mut start = 0;
    for label in after[..run].trim_end_matches(['.', '-']).split('.') {
        let good =
            (1..=LABEL_CHARS_MAX).contains(&label.chars().count()) && !label.starts_with('-') && !label.ends_with('-');
        if !good {
            break;
        }
        labels.push((start + label.len(), label));
        start += label.len() + 1;
    }
    // `x@example.com.` and `x@example.com.2` end with the last label that can be a top-level domain.
    let top = |label: &str| {
        (2..=24).contains(&label.chars().count()) && label.chars().all(|c| c.is_alphabetic() || is_mark(c))
    };
    let last = labels.iter().rposition(|(_, label)| top(label)).filter(|at| *at > 0)?;
    Some(labels[last].0)
}

/// Combining marks of the blocks that Latin, Greek and Cyrillic letters are written with, and the signs of Indic scripts.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{900}'..='\u{903}' | '\u{93a}'..='\u{94f}')
}
