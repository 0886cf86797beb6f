//! Private data in texts: found by form and check digits, masked for good or replaced by placeholders that can be undone.
//!
//! | file                    | responsibility                                                                |
//! | ----------------------- | ----------------------------------------------------------------------------- |
//! | `redact/view.rs`        | a text with what stands around a place in it                                   |
//! | `redact/email.rs`       | mail addresses, plain and disguised                                            |
//! | `redact/phone.rs`       | telephone numbers, international and of the configured regions                 |
//! | `redact/payment.rs`     | cards (ISO/IEC 7812, Luhn) and IBANs (ISO 13616, check digits)                 |
//! | `redact/national.rs`    | national ids: which forms there are                                            |
//! | `redact/check_digits.rs` | national ids: whether one can be                                              |
//! | `redact/address.rs`     | IP addresses                                                                   |
//! | `redact/credential.rs`  | keys, tokens, passwords: known prefixes, names in front, entropy               |
//! | `redact/own.rs`         | a tenant's own patterns and names                                              |
//! | `redact/placeholder.rs` | values out, placeholders in; and back, in a stream                             |
//!
//! Invariants: time is linear in the text's length, whatever the text. Findings do not overlap and ascend. What was found is
//! in no error and in no `Debug` text.

mod address;
mod check_digits;
mod credential;
mod email;
mod national;
pub(crate) mod own;
mod payment;
mod phone;
mod placeholder;
mod view;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

pub use placeholder::{Replaced, Restorer};

use own::{Names, Patterns};
use view::View;

/// What a finding is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A key, a token, a password.
    Secret,
    /// What one of the tenant's patterns matches; its label.
    Pattern(Arc<str>),
    /// A mail address.
    Email,
    /// An international bank account number.
    Iban,
    /// The number of a payment card.
    Card,
    /// What a state numbers its people by.
    NationalId,
    /// An IP address, version 4 or 6.
    Ip,
    /// A telephone number.
    Phone,
    /// One of the tenant's names.
    Name,
}

impl Kind {
    /// The kinds that need no configuration.
    pub const BUILT_IN: [Kind; 7] =
        [Kind::Secret, Kind::Email, Kind::Iban, Kind::Card, Kind::NationalId, Kind::Ip, Kind::Phone];

    /// The word that stands for it in masks and placeholders: capitals, digits, underscores.
    pub fn label(&self) -> &str {
        match self {
            Kind::Secret => "SECRET",
            Kind::Pattern(label) => label,
            Kind::Email => "EMAIL",
            Kind::Iban => "IBAN",
            Kind::Card => "CARD",
            Kind::NationalId => "ID",
            Kind::Ip => "IP",
            Kind::Phone => "PHONE",
            Kind::Name => "NAME",
        }
    }

    /// Who gives way where two findings overlap: the higher number does. A tenant's own pattern goes first, for it is the
    /// surest; a telephone number last of the numbers, for nearly every number can be one.
    fn rank(&self) -> u8 {
        match self {
            Kind::Pattern(_) => 0,
            Kind::Secret => 1,
            Kind::Email => 2,
            Kind::Iban => 3,
            Kind::Ip => 4,
            Kind::Card => 5,
            Kind::NationalId => 6,
            Kind::Phone => 7,
            Kind::Name => 8,
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// One private value in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Where it stands in the text that was searched: bytes, half open.
    pub span: Range<usize>,
}

/// A text without its private values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted {
    /// The text, each value masked as `[KIND]`.
    pub text: String,
    /// What was masked, ascending, in the places of the text that was given.
    pub found: Vec<Finding>,
}

/// A tenant's own pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternConfig {
    /// What stands for its matches: capitals, digits and underscores, 1 to 32, not the label of a built-in kind.
    pub label: String,
    /// A regular expression in the syntax of Rust's `regex` crate, 1 to 1,024 bytes. It is tried on one line at a time.
    pub expression: String,
}

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Built-in kinds to look for: any of [`Kind::BUILT_IN`].
    pub kinds: Vec<Kind>,
    /// Regions (ISO 3166-1, two capitals) whose telephone numbers are found without their country code; 32 at most.
    pub regions: Vec<String>,
    /// The tenant's own patterns, 64 at most.
    pub patterns: Vec<PatternConfig>,
    /// The tenant's own names, of people or projects: 10,000 at most, each of 1 to 8 words and 3 to 128 bytes. A single word is
    /// found where it is written with a capital (or has none), several words however they are written.
    pub names: Vec<String>,
}

/// Why a [`Config`] was refused. Each is repaired in the configuration.
#[derive(Debug, thiserror::Error)]
pub enum RedactError {
    /// A kind that is found by configuration alone.
    #[error("kinds: {kind} is no built-in kind, expected some of SECRET, EMAIL, IBAN, CARD, ID, IP, PHONE")]
    NotBuiltIn {
        /// The kind.
        kind: Kind,
    },
    /// Too many of something.
    #[error("{field}: {given} given, expected {count_max} at most")]
    TooMany {
        /// Which list.
        field: &'static str,
        /// Its length.
        given: usize,
        /// What is allowed.
        count_max: usize,
    },
    /// A region that is none.
    #[error("regions[{index}]: {region:?} is no region with telephone numbers, expected ISO 3166-1 such as DE")]
    Region {
        /// Its place.
        index: usize,
        /// The text.
        region: String,
    },
    /// A label that cannot stand in a placeholder.
    #[error("patterns[{index}].label: {problem}")]
    Label {
        /// Its place.
        index: usize,
        /// What is wrong and what is expected.
        problem: &'static str,
    },
    /// An expression that cannot be used.
    #[error("patterns[{index}].expression: {problem}")]
    Expression {
        /// Its place.
        index: usize,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// A name that cannot be looked for. The name itself is not shown: it is private.
    #[error("names[{index}]: {problem}")]
    Name {
        /// Its place.
        index: usize,
        /// What is wrong and what is expected.
        problem: &'static str,
    },
}

/// Finds private values. Made once a tenant, used from many threads.
#[derive(Debug)]
pub struct Redactor {
    kinds: Vec<Kind>,
    phones: phone::Phones,
    patterns: Patterns,
    names: Names,
}

impl Redactor {
    /// Checks `config` and compiles it.
    ///
    /// # Errors
    /// [`RedactError`], with the field and what is expected there.
    pub fn new(config: Config) -> Result<Redactor, RedactError> {
        if let Some(kind) = config.kinds.iter().find(|kind| !Kind::BUILT_IN.contains(kind)) {
            return Err(RedactError::NotBuiltIn { kind: kind.clone() });
        }
        Ok(Redactor {
            kinds: config.kinds,
            phones: phone::Phones::new(&config.regions)?,
            patterns: Patterns::new(&config.patterns)?,
            names: Names::new(&config.names)?,
        })
    }

    /// The private values of `text`, ascending, none overlapping another. Linear in the text's length.
    pub fn find(&self, text: &str) -> Vec<Finding> {
        let view = View::new(text);
        let mut found = Vec::new();
        for kind in &self.kinds {
            match kind {
                Kind::Secret => credential::find(&view, &mut found),
                Kind::Email => email::find(&view, &mut found),
                Kind::Iban => payment::find_ibans(&view, &mut found),
                Kind::Card => payment::find_cards(&view, &mut found),
                Kind::NationalId => national::find(&view, &mut found),
                Kind::Ip => address::find(&view, &mut found),
                Kind::Phone => self.phones.find(&view, &mut found),
                Kind::Pattern(_) | Kind::Name => {}
            }
        }
        self.patterns.find(&view, &mut found);
        self.names.find(&view, &mut found);
        apart(text, found)
    }

    /// `text` with each private value masked as `[KIND]`: for logs, records, traces, samples and errors. Nothing can undo it.
    pub fn redact(&self, text: &str) -> Redacted {
        let found = self.find(text);
        let mut masked = String::with_capacity(text.len());
        let mut copied = 0;
        for finding in &found {
            masked.push_str(&text[copied..finding.span.start]);
            masked.push('[');
            masked.push_str(finding.kind.label());
            masked.push(']');
            copied = finding.span.end;
        }
        masked.push_str(&text[copied..]);
        Redacted { text: masked, found }
    }
}

/// The findings without overlaps. Where two overlap, the one of lower rank stays whole (of equal rank the longer); the other
/// keeps what sticks out of it, so that no part of a value is left in sight.
fn apart(text: &str, mut found: Vec<Finding>) -> Vec<Finding> {
    found.sort_by(|a, b| (a.kind.rank(), b.span.len(), a.span.start).cmp(&(b.kind.rank(), a.span.len(), b.span.start)));
    // Taken places by their start: each is looked at through its neighbours alone.
    let mut taken: std::collections::BTreeMap<usize, Finding> = std::collections::BTreeMap::new();
    for finding in found {
        let mut free = vec![];
        let mut start = finding.span.start;
        let before = taken.range(..=start).next_back().map(|(_, other)| other.span.end);
        start = before.map_or(start, |end| end.max(start));
        let inside: Vec<Range<usize>> =
            taken.range(finding.span.start..finding.span.end).map(|(_, other)| other.span.clone()).collect();
        for other in inside {
            if other.start > start {
                free.push(start..other.start);
            }
            start = start.max(other.end);
        }
        if start < finding.span.end {
            free.push(start..finding.span.end);
        }
        let whole = free.len() == 1 && free[0] == finding.span;
        for piece in free {
            let said = text[piece.clone()].trim_matches(|c: char| !c.is_alphanumeric());
            if whole {
                taken.insert(piece.start, Finding { kind: finding.kind.clone(), span: piece });
            } else if said.chars().count() > 2 {
                let start = piece.start + (said.as_ptr() as usize - text[piece].as_ptr() as usize);
                taken.insert(start, Finding { kind: finding.kind.clone(), span: start..start + said.len() });
            }
        }
    }
    taken.into_values().collect()
}

#[cfg(test)]
mod tests;
