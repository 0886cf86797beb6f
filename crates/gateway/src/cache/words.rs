//! Lists of words, read once from the files beside this one.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use unicode_segmentation::UnicodeSegmentation;

/// How strictly a set is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// Where both questions name members.
    Both,
    /// Where one does.
    Either,
    /// Where one does behind a number, `in` or `per`.
    Unit,
}

/// A word's place in `exclusive.txt`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) set: usize,
    pub(super) member: usize,
}

pub(super) struct Words {
    /// By stem, or two stems with a blank between.
    pub(super) exclusive: HashMap<String, Vec<Member>>,
    pub(super) strictness: Vec<Strictness>,
    /// By stem, or two of them: the sets it belongs to.
    pub(super) alike: HashMap<String, Vec<usize>>,
    pub(super) function: HashSet<String>,
}

pub(super) static WORDS: LazyLock<Words> = LazyLock::new(|| {
    let mut words =
        Words { exclusive: HashMap::new(), strictness: vec![], alike: HashMap::new(), function: HashSet::new() };
    for line in lines(include_str!("exclusive.txt")) {
        let (strictness, line) = match line.as_bytes()[0] {
            b'=' => (Strictness::Either, &line[1..]),
            b'~' => (Strictness::Unit, &line[1..]),
            _ => (Strictness::Both, line),
        };
        let set = words.strictness.len();
        words.strictness.push(strictness);
        for (member, names) in line.split('|').enumerate() {
            for name in names.split_whitespace() {
                words.exclusive.entry(key(name)).or_default().push(Member { set, member });
            }
        }
    }
    for (set, line) in lines(include_str!("alike.txt")).enumerate() {
        for name in line.split_whitespace() {
            words.alike.entry(key(name)).or_default().push(set);
        }
    }
    for line in lines(include_str!("function_words.txt")) {
        words.function.extend(line.split_whitespace().map(str::to_owned));
    }
    words
});

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// `part-time` and `turn_on` as two stems.
fn key(name: &str) -> String {
    let name = name.replace('_', " ");
    let stems: Vec<String> = name.unicode_words().map(stem).collect();
    stems.join(" ")
}

/// A word in small letters without its commonest English endings; good enough to compare, not to show.
pub(super) fn stem(word: &str) -> String {
    let mut stem = word.to_lowercase();
    let long = |stem: &str, ending: &str| stem.len() > ending.len() + 2;
    for (ending, instead) in [
        ("ies", "y"),
        ("ied", "y"),
        ("sses", "ss"),
        ("xes", "x"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("ing", ""),
        ("ed", ""),
        ("s", ""),
    ] {
        let kept = matches!(ending, "s") && (stem.ends_with("ss") || stem.ends_with("us") || stem.ends_with("is"));
        if !stem.ends_with(ending) || !long(&stem, ending) || kept {
            continue;
        }
        stem.truncate(stem.len() - ending.len());
        stem.push_str(instead);
        let bytes = stem.as_bytes();
        let doubled = matches!(ending, "ing" | "ed")
            && bytes.len() > 3
            && bytes[bytes.len() - 1] == bytes[bytes.len() - 2]
            && !matches!(bytes[bytes.len() - 1], b'l' | b's' | b'z')
            && bytes[bytes.len() - 1].is_ascii_alphabetic();
        if doubled {
            stem.pop();
        }
        break;
    }
    if stem.len() > 3 && stem.ends_with('e') {
        stem.pop();
    }
    stem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_one_word_have_one_stem() {
        for forms in [
            ["enable", "enabled", "enabling"],
            ["policy", "policies", "policies"],
            ["planned", "planning", "planned"],
            ["box", "boxes", "boxes"],
            ["cost", "costs", "costing"],
            ["bus", "bus", "bus"],
            ["install", "installed", "installs"],
        ] {
            assert!(forms.iter().all(|form| stem(form) == stem(forms[0])), "{forms:?}");
        }
        assert_ne!(stem("import"), stem("export"));
    }

    #[test]
    fn no_word_stands_twice_in_one_set() {
        for (word, members) in &WORDS.exclusive {
            for (at, member) in members.iter().enumerate() {
                let twice = members[..at].iter().any(|other| other.set == member.set && other.member != member.member);
                assert!(!twice, "{word} has two meanings in one set of exclusive.txt");
            }
        }
    }
}
