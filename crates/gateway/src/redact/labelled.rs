//! `datasets/redaction`, and how well it is done. Part of the crate's tests and of the example `redaction`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Config, Kind, PatternConfig, Redactor};

/// A case of the labelled file.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) half: String,
    pub(crate) text: String,
    pub(crate) spans: Vec<Labelled>,
}

/// A private value in a case.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Labelled {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// How well one type is found.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Score {
    /// Values in the file.
    pub(crate) values: usize,
    /// Of them, found whole and as what they are.
    pub(crate) found: usize,
    /// Findings that are no value of this type.
    pub(crate) wrong: usize,
    /// The cases that went wrong, by id.
    pub(crate) failures: Vec<String>,
}

impl Score {
    pub(crate) fn recall(&self) -> f64 {
        self.found as f64 / self.values.max(1) as f64
    }

    pub(crate) fn precision(&self) -> f64 {
        self.found as f64 / (self.found + self.wrong).max(1) as f64
    }
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/redaction"))
}

/// All kinds, the regions of the file, and its tenant's names and patterns.
pub(crate) fn config() -> Config {
    #[derive(serde::Deserialize)]
    struct Tenant {
        names: Vec<String>,
        patterns: BTreeMap<String, String>,
    }
    let text = std::fs::read_to_string(folder().join("tenant.json")).expect("the file is part of the repository");
    let tenant: Tenant = serde_json::from_str(&text).expect("it is JSON");
    let regions = "US GB DE FR ES IT NL CH AT BE PL SE AU IN JP BR CA";
    Config {
        kinds: Kind::BUILT_IN.to_vec(),
        regions: regions.split(' ').map(str::to_owned).collect(),
        patterns: tenant.patterns.into_iter().map(|(label, expression)| PatternConfig { label, expression }).collect(),
        names: tenant.names,
    }
}

/// The cases, of one half or of both.
pub(crate) fn cases(half: Option<&str>) -> Vec<Case> {
    let text = std::fs::read_to_string(folder().join("cases.jsonl")).expect("the file is part of the repository");
    let cases = text.lines().map(|line| serde_json::from_str::<Case>(line).expect("a case a line"));
    cases.filter(|case| half.is_none_or(|half| case.half == half)).collect()
}

/// What the labelled file calls a kind.
fn name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Secret => "secret",
        Kind::Pattern(_) => "pattern",
        Kind::Email => "email",
        Kind::Iban => "iban",
        Kind::Card => "card",
        Kind::NationalId => "id",
        Kind::Ip => "ip",
        Kind::Phone => "phone",
        Kind::Name => "name",
    }
}

/// By type: a value counts as found where one finding of its type has its very bytes; a finding that has not the very bytes of
/// a value of its type counts as wrong.
pub(crate) fn measure(redactor: &Redactor, half: Option<&str>) -> BTreeMap<String, Score> {
    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    for case in cases(half) {
        let mut found: Vec<(String, usize, usize)> = redactor
            .find(&case.text)
            .into_iter()
            .map(|finding| (name(&finding.kind).to_owned(), finding.span.start, finding.span.end))
            .collect();
        for value in &case.spans {
            let score = scores.entry(value.kind.clone()).or_default();
            score.values += 1;
            let same = |(kind, start, end): &(String, usize, usize)| {
                *kind == value.kind && *start == value.start && *end == value.end
            };
            match found.iter().position(same) {
                Some(at) => {
                    found.swap_remove(at);
                    score.found += 1;
                }
                None => score.failures.push(format!("{} missed: {:?}", case.id, case.text)),
            }
        }
        for (kind, start, end) in found {
            let score = scores.entry(kind).or_default();
            score.wrong += 1;
            score.failures.push(format!("{} wrong: {:?} in {:?}", case.id, &case.text[start..end], case.text));
        }
    }
    scores
}
