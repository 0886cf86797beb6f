//! IP addresses, read by the standard library; told from versions, clauses, times and paths by what stands around them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

use super::view::View;
use super::{Finding, Kind};

static V4: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?-u:\b)[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?-u:\b)").expect("a valid expression")
});
static V6: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i-u)[0-9a-f:]{0,34}:[0-9a-f]{0,4}(?:(?:\.[0-9]{1,3}){3})?").expect("a valid expression")
});
/// Words that make four small numbers a version, a clause or a figure.
const NOT_ADDRESS: [&str; 28] = [
    "version",
    "ver",
    "v",
    "release",
    "revision",
    "rev",
    "build",
    "firmware",
    "patch",
    "section",
    "sec",
    "chapter",
    "clause",
    "article",
    "figure",
    "fig",
    "table",
    "step",
    "kapitel",
    "abschnitt",
    "punkt",
    "artikel",
    "appendix",
    "annex",
    "upgrade",
    "update",
    "sprint",
    "oid",
];
/// Of them, those that several numbers may follow.
const VERSION: [&str; 6] = ["version", "release", "revision", "upgrade", "update", "firmware"];
/// Words that make four small numbers an address.
const ADDRESS: [&str; 22] = [
    "ip",
    "ipv4",
    "address",
    "addr",
    "host",
    "server",
    "dns",
    "client",
    "ping",
    "from",
    "peer",
    "source",
    "src",
    "dst",
    "remote",
    "resolver",
    "gateway",
    "router",
    "adresse",
    "login",
    "ssh",
    "nameserver",
];

pub(super) fn find(view: &View<'_>, found: &mut Vec<Finding>) {
    for matched in V4.find_iter(view.text) {
        let (text, span) = (matched.as_str(), matched.range());
        let Ok(address) = text.parse::<Ipv4Addr>() else { continue };
        if !is_telling_v4(address) || !stands_as_address(view, &span) {
            continue;
        }
        // 10.0.0.0/8 is what most private networks use.
        let small = address.octets().iter().all(|octet| *octet < 32) && address.octets()[0] != 10;
        let version = view.has_cue_within(span.start, 40, &VERSION);
        let said = (view.has_cue_within(span.start, 24, &ADDRESS) && !version)
            || view.text[..span.start].ends_with("//")
            || view.text[..span.start].ends_with('@');
        if !small || said {
            found.push(Finding { kind: Kind::Ip, span });
        }
    }
    for matched in V6.find_iter(view.text) {
        let mut text = matched.as_str();
        // A colon before the address belongs to the sentence, unless there are two.
        let mut start = matched.start();
        if text.starts_with(':') && !text.starts_with("::") {
            (text, start) = (&text[1..], start + 1);
        }
        if text.ends_with(':') && !text.ends_with("::") {
            text = &text[..text.len() - 1];
        }
        let span = start..start + text.len();
        if text.parse::<Ipv6Addr>().is_ok_and(|address| is_telling_v6(address, text)) && stands_as_address(view, &span)
        {
            found.push(Finding { kind: Kind::Ip, span });
        }
    }
}

/// Not this machine, nobody, or a mask.
fn is_telling_v4(address: Ipv4Addr) -> bool {
    let octets = address.octets();
    !(address.is_loopback() || octets[0] == 0 || octets[0] == 255)
}

/// Not this machine or nobody, and written like an address rather than a path in source code (`ab::cd`).
fn is_telling_v6(address: Ipv6Addr, text: &str) -> bool {
    let groups = text.split(':').filter(|group| !group.is_empty());
    let long_first = groups.clone().next().is_some_and(|group| group.len() >= 3);
    let digits = text.bytes().any(|byte| byte.is_ascii_digit());
    !(address.is_loopback() || address.is_unspecified()) && digits && (groups.count() >= 3 || long_first)
}

fn stands_as_address(view: &View<'_>, span: &std::ops::Range<usize>) -> bool {
    let before = view.before(span.start);
    let mut after = view.text[span.end..].chars();
    let joined = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    let longer = match after.next() {
        Some('.') => after.next().is_some_and(|c| c.is_alphanumeric()),
        next => joined(next),
    };
    // `Chrome/120.0.0.0`, `1.2.3.4.5`, `#1.2.3.4`, `$1.2.3.4`
    let product = before == Some('/')
        && view.text[..span.start - 1].chars().next_back().is_some_and(char::is_alphanumeric)
        && !view.line_before(span.start, 96).contains("://");
    let counted = matches!(before, Some('.' | '#' | '$' | '€' | '§'));
    let word = view.line_before(span.start, 24).trim_end_matches([' ', '.', ':', '=', '"', '(']);
    let word = word.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    !joined(before) && !longer && !product && !counted && !NOT_ADDRESS.contains(&word)
}
