//! Mail addresses, plain (RFC 5321, RFC 6531) and disguised for people.

use std::sync::LazyLock;

use regex::Regex;

use super::view::View;
use super::{Finding, Kind};

/// Every repetition is bounded: a search that fails looks no further than the longest address.
static PLAIN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[\p{L}\p{M}\p{N}._%+'&-]{1,64}@(?:[\p{L}\p{N}](?:[\p{L}\p{M}\p{N}-]{0,61}[\p{L}\p{N}])?\.){1,8}\p{L}{2,24}")
        .expect("a valid expression")
});
static DISGUISED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\b[a-z0-9._%+-]{1,64} ?[\[({] ?at ?[\])}] ?(?:[a-z0-9-]{1,63} ?(?:\.|[\[({] ?(?:dot|punkt|punto|point) ?[\])}]) ?){1,4}[a-z]{2,24}\b")
        .expect("a valid expression")
});
/// What follows an image's or a source's name behind `@`, as in `logo@2x.png`.
const FILES: [&str; 12] = ["png", "jpg", "jpeg", "gif", "webp", "svg", "avif", "css", "html", "json", "xml", "pdf"];

pub(super) fn find(view: &View<'_>, found: &mut Vec<Finding>) {
    for matched in PLAIN.find_iter(view.text) {
        let address = matched.as_str();
        // Dots and apostrophes in front belong to the sentence.
        let local = address.trim_start_matches(['.', '\'', '-', '&', '%']);
        let start = matched.end() - local.len();
        let domain = address.rsplit('@').next().unwrap_or_default();
        let ending = domain.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        let is_file = FILES.contains(&ending.as_str());
        // `git@host:path` names a repository. `scheme://user:password@host` is a credential.
        let is_repository = local.starts_with("git@") && view.after(matched.end()) == Some(':');
        let is_login = view.before(start) == Some(':') && view.line_before(start, 96).contains("://");
        if !local.starts_with('@') && !is_file && !is_repository && !is_login {
            found.push(Finding { kind: Kind::Email, span: start..matched.end() });
        }
    }
    for matched in DISGUISED.find_iter(view.text) {
        found.push(Finding { kind: Kind::Email, span: matched.range() });
    }
}
