//! Words and patterns by category, as the operator wrote them.

use std::sync::Arc;

use ibid_core::{BoxFuture, ModelError};
use ibid_runtime::Ctx;
use regex::Regex;

use super::{Action, Moderate, Verdict, Way};
use crate::phrases::Phrases;
use crate::redact::own;

const RULES_MAX: usize = 256;
const PHRASES_MAX: usize = 20_000;
const PATTERNS_MAX: usize = 64;
const CATEGORY_BYTES_MAX: usize = 64;

/// One category and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleConfig {
    /// Its name: 1 to 64 bytes.
    pub category: String,
    /// What is done about it.
    pub action: Action,
    /// On which ways it counts; empty: on both.
    pub ways: Vec<Way>,
    /// Words and phrases of up to 8 words, found whole and however they are written; 20,000 in all rules.
    pub phrases: Vec<String>,
    /// Regular expressions of up to 1,024 bytes, tried on one line at a time; 64 in all rules. Small and capital letters differ
    /// unless an expression starts with `(?i)`.
    pub patterns: Vec<String>,
}

/// Why rules were refused. Each is repaired in the configuration.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// Too many of something.
    #[error("{field}: {given} given, expected {count_max} at most")]
    TooMany {
        /// What.
        field: &'static str,
        /// How many.
        given: usize,
        /// What is allowed.
        count_max: usize,
    },
    /// A category without a usable name.
    #[error("rules[{rule}].category: has {given} bytes, expected 1 to 64")]
    Category {
        /// Its place.
        rule: usize,
        /// Bytes given.
        given: usize,
    },
    /// A phrase that cannot be looked for.
    #[error("rules[{rule}].phrases[{index}]: {problem}")]
    Phrase {
        /// The rule.
        rule: usize,
        /// Its place in it.
        index: usize,
        /// What is wrong and what is expected.
        problem: &'static str,
    },
    /// A pattern that cannot be used.
    #[error("rules[{rule}].patterns[{index}]: {problem}")]
    Pattern {
        /// The rule.
        rule: usize,
        /// Its place in it.
        index: usize,
        /// What is wrong and what is expected.
        problem: String,
    },
}

#[derive(Debug)]
struct Rule {
    category: Arc<str>,
    action: Action,
    on_in: bool,
    on_out: bool,
}

impl Rule {
    fn counts(&self, way: Way) -> bool {
        match way {
            Way::In => self.on_in,
            Way::Out => self.on_out,
        }
    }
}

/// The operator's rules, compiled. Linear in the text's length.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    /// One tree a way, so that a phrase of one way does not hide that of another.
    phrases_in: Phrases<usize>,
    phrases_out: Phrases<usize>,
    patterns: Vec<(usize, Regex)>,
}

impl Rules {
    /// Checks `config` and compiles it. Rules that block go before those that flag where both have a phrase.
    ///
    /// # Errors
    /// [`RuleError`], with the field and what is expected there.
    pub fn new(config: &[RuleConfig]) -> Result<Rules, RuleError> {
        let too_many = |field, given, count_max| RuleError::TooMany { field, given, count_max };
        let phrases = config.iter().map(|rule| rule.phrases.len()).sum();
        let patterns = config.iter().map(|rule| rule.patterns.len()).sum();
        for (field, given, count_max) in [
            ("rules", config.len(), RULES_MAX),
            ("phrases", phrases, PHRASES_MAX),
            ("patterns", patterns, PATTERNS_MAX),
        ] {
            if given > count_max {
                return Err(too_many(field, given, count_max));
            }
        }
        let mut rules =
            Rules { rules: vec![], phrases_in: Phrases::new(), phrases_out: Phrases::new(), patterns: vec![] };
        for (rule, given) in config.iter().enumerate() {
            if !(1..=CATEGORY_BYTES_MAX).contains(&given.category.len()) {
                return Err(RuleError::Category { rule, given: given.category.len() });
            }
            let on = |way| given.ways.is_empty() || given.ways.contains(&way);
            let compiled = Rule {
                category: given.category.as_str().into(),
                action: given.action,
                on_in: on(Way::In),
                on_out: on(Way::Out),
            };
            rules.rules.push(compiled);
            for (index, expression) in given.patterns.iter().enumerate() {
                let regex = own::compile(expression).map_err(|problem| RuleError::Pattern { rule, index, problem })?;
                rules.patterns.push((rule, regex));
            }
        }
        let mut order: Vec<usize> = (0..config.len()).collect();
        order.sort_by_key(|rule| std::cmp::Reverse(config[*rule].action));
        for rule in order {
            for (index, phrase) in config[rule].phrases.iter().enumerate() {
                let problem = |problem| RuleError::Phrase { rule, index, problem };
                if rules.rules[rule].on_in {
                    rules.phrases_in.add(phrase, rule).map_err(problem)?;
                }
                if rules.rules[rule].on_out {
                    rules.phrases_out.add(phrase, rule).map_err(problem)?;
                }
            }
        }
        Ok(rules)
    }

    /// The worst that any rule says of `text`.
    pub fn judge(&self, way: Way, text: &str) -> Verdict {
        let mut worst = Verdict::Allow;
        let mut object = |rule: usize| {
            let Rule { action, category, .. } = &self.rules[rule];
            let verdict = Verdict::Object { action: *action, category: Arc::clone(category) };
            worst = std::mem::replace(&mut worst, Verdict::Allow).or_worse(verdict);
        };
        let phrases = match way {
            Way::In => &self.phrases_in,
            Way::Out => &self.phrases_out,
        };
        phrases.find(text, |_, _| true, |_, rule| object(rule));
        for (rule, regex) in self.patterns.iter().filter(|(rule, _)| self.rules[*rule].counts(way)) {
            for line in text.lines() {
                own::find_in_line(line, regex, |_, _| object(*rule));
            }
        }
        worst
    }
}

impl Moderate for Rules {
    fn moderate<'a>(
        &'a self,
        ctx: &'a Ctx,
        way: Way,
        texts: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Verdict, ModelError>> {
        Box::pin(async move {
            let mut worst = Verdict::Allow;
            for text in texts {
                ctx.check()?;
                worst = worst.or_worse(self.judge(way, text));
            }
            Ok(worst)
        })
    }
}
