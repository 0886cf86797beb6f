//! Whether two questions ask the same. Vectors do not see a `not`, nor 123 beside 124: what they miss is compared word by word
//! here, and the answer is no where in doubt, for a false hit gives somebody the answer to another question, and a miss costs
//! one call.

use std::collections::BTreeSet;
use std::fmt;

use unicode_segmentation::UnicodeSegmentation;

use super::words::{Strictness, WORDS, stem};

/// How two questions differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Difference {
    /// In a quoted text.
    Quoted,
    /// In a number, a date written in numbers, or a part of an id.
    Number,
    /// In a word of letters and digits.
    Id,
    /// One denies what the other does not.
    Negation,
    /// In a word of which a question can name one only: opposites, modality, units, months, places.
    Exclusive,
    /// In a name: a word with a capital, or capitals throughout.
    Name,
    /// The same words in another order: from here to there, and from there to here.
    Order,
    /// In other words that carry meaning.
    Words,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Difference::Quoted => "quoted",
            Difference::Number => "number",
            Difference::Id => "id",
            Difference::Negation => "negation",
            Difference::Exclusive => "exclusive",
            Difference::Name => "name",
            Difference::Order => "order",
            Difference::Words => "words",
        })
    }
}

const NEGATIONS: [&str; 44] = [
    "not", "no", "never", "cannot", "neither", "nor", "none", "nobody", "nothing", "nowhere", "hardly", "nicht",
    "kein", "keine", "keinen", "keinem", "keiner", "keines", "nie", "niemals", "niemand", "nichts", "weder", "pas",
    "jamais", "aucun", "aucune", "rien", "personne", "plus", "non", "nunca", "ningún", "ninguno", "ninguna", "nada",
    "nadie", "jamás", "tampoco", "without", "ohne", "sans", "sin", "except",
];

const NUMBER_WORDS: [(&str, &str); 36] = [
    ("zero", "0"),
    ("one", "1"),
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
    ("eleven", "11"),
    ("twelve", "12"),
    ("fifteen", "15"),
    ("twenty", "20"),
    ("thirty", "30"),
    ("fifty", "50"),
    ("hundred", "100"),
    ("thousand", "1000"),
    ("zwei", "2"),
    ("drei", "3"),
    ("vier", "4"),
    ("fünf", "5"),
    ("sechs", "6"),
    ("sieben", "7"),
    ("acht", "8"),
    ("neun", "9"),
    ("zehn", "10"),
    ("deux", "2"),
    ("trois", "3"),
    ("quatre", "4"),
    ("cinq", "5"),
    ("dos", "2"),
    ("tres", "3"),
    ("cuatro", "4"),
    ("cinco", "5"),
];

/// What of a question is compared.
#[derive(Debug, Default)]
struct Question {
    quoted: Vec<String>,
    /// In their order.
    numbers: Vec<String>,
    ids: Vec<String>,
    negations: usize,
    /// Set and member.
    exclusive: BTreeSet<(usize, usize)>,
    /// In their order, in small letters.
    names: Vec<String>,
    /// All words' stems, and those of them that carry meaning.
    stems: Vec<String>,
    content: Vec<String>,
}

/// Whether `a` and `b` ask the same, as far as words tell; the vectors' cosine is the caller's to ask. Symmetric, and true of
/// a question and itself. English, and negation, modality and opposites of German, French and Spanish. Linear in the length of
/// each but for the words that differ, of which the longest question may have a few hundred.
///
/// # Errors
/// The first [`Difference`] found.
pub fn same_question(a: &str, b: &str) -> Result<(), Difference> {
    let (a, b) = (Question::read(a), Question::read(b));
    let sorted = |list: &[String]| {
        let mut list = list.to_vec();
        list.sort();
        list
    };
    let differ = |a: &[String], b: &[String]| sorted(a) != sorted(b);
    if differ(&a.quoted, &b.quoted) {
        return Err(Difference::Quoted);
    }
    if differ(&a.numbers, &b.numbers) {
        return Err(Difference::Number);
    }
    if differ(&a.ids, &b.ids) {
        return Err(Difference::Id);
    }
    if a.negations != b.negations {
        return Err(Difference::Negation);
    }
    if exclude(&a.exclusive, &b.exclusive) {
        return Err(Difference::Exclusive);
    }
    if a.names.iter().any(|name| !b.has_alike(name)) || b.names.iter().any(|name| !a.has_alike(name)) {
        return Err(Difference::Name);
    }
    if a.content.iter().any(|word| !b.has_alike(word)) || b.content.iter().any(|word| !a.has_alike(word)) {
        return Err(Difference::Words);
    }
    if a.turns_round(&b) { Err(Difference::Order) } else { Ok(()) }
}

/// Whether two sides name different members of one set.
fn exclude(a: &BTreeSet<(usize, usize)>, b: &BTreeSet<(usize, usize)>) -> bool {
    let sets: BTreeSet<usize> = a.symmetric_difference(b).map(|(set, _)| *set).collect();
    sets.into_iter().any(|set| {
        let names = |side: &BTreeSet<(usize, usize)>| side.iter().any(|(named, _)| *named == set);
        match WORDS.strictness[set] {
            Strictness::Both => names(a) && names(b),
            Strictness::Either | Strictness::Unit => true,
        }
    })
}

impl Question {
    fn read(text: &str) -> Question {
        let mut question = Question::default();
        let rest = question.take_quoted(text);
        let tokens = tokens(&rest);
        let lower: Vec<String> = tokens.iter().map(|token| token.word.to_lowercase()).collect();
        let mut before = "";
        for (at, token) in tokens.iter().enumerate() {
            let word = lower[at].as_str();
            let is_unit_place =
                before.bytes().next().is_some_and(|byte| byte.is_ascii_digit()) || matches!(before, "in" | "per");
            question.take(token, word, is_unit_place, before == "the");
            before = word;
        }
        question.take_pairs();
        question
    }

    fn take(&mut self, token: &Token<'_>, word: &str, is_unit_place: bool, after_the: bool) {
        if NEGATIONS.contains(&word) {
            self.negations += 1;
        }
        if let Some(number) = number(word) {
            self.numbers.push(number);
            return;
        }
        if word.bytes().any(|byte| byte.is_ascii_digit()) {
            self.ids.push(word.to_owned());
            return;
        }
        // Two words that mean two things each.
        let word = match word {
            "may" if token.capital && !token.first => "may_month",
            "us" if !(token.word == "US" || after_the) => "us_",
            word => word,
        };
        let stem = stem(word);
        for member in WORDS.exclusive.get(&stem).into_iter().flatten() {
            if WORDS.strictness[member.set] != Strictness::Unit || is_unit_place {
                self.exclusive.insert((member.set, member.member));
            }
        }
        let is_function = WORDS.function.contains(word);
        let shouted = token.word.chars().count() > 1 && token.word.chars().all(char::is_uppercase);
        if (token.capital && !token.first && !is_function) || (shouted && word != "us_") {
            self.names.push(stem.clone());
        }
        if !is_function {
            self.content.push(stem.clone());
        }
        self.stems.push(stem);
    }

    /// Two words that mean something together stand for one.
    fn take_pairs(&mut self) {
        let pairs: Vec<String> = self.stems.windows(2).map(|pair| pair.join(" ")).collect();
        for pair in pairs {
            for member in WORDS.exclusive.get(&pair).into_iter().flatten() {
                self.exclusive.insert((member.set, member.member));
            }
            if WORDS.alike.contains_key(&pair) {
                // In the place of the first of the two, for order counts.
                let words: Vec<&str> = pair.split(' ').collect();
                let place = self.content.iter().position(|content| words.contains(&content.as_str()));
                self.content.retain(|content| !words.contains(&content.as_str()));
                self.content.insert(place.unwrap_or(self.content.len()), pair.clone());
                self.stems.push(pair);
            }
        }
    }

    /// Takes the quoted texts out.
    fn take_quoted(&mut self, text: &str) -> String {
        let mut rest = String::with_capacity(text.len());
        let mut open: Option<(char, String)> = None;
        for c in text.chars() {
            open = match (open, c) {
                (Some((end, quoted)), c) if c == end => {
                    self.quoted.push(quoted.trim().to_lowercase());
                    rest.push(' ');
                    None
                }
                (Some((end, mut quoted)), c) => {
                    quoted.push(c);
                    Some((end, quoted))
                }
                (None, '"') => Some(('"', String::new())),
                (None, '“' | '„') => Some((if c == '“' { '”' } else { '“' }, String::new())),
                (None, '«') => Some(('»', String::new())),
                (None, '`') => Some(('`', String::new())),
                (None, c) => {
                    rest.push(c);
                    None
                }
            };
        }
        // What is not closed is no quotation.
        if let Some((_, quoted)) = open {
            rest.push_str(&quoted);
        }
        rest
    }

    /// Whether who does what to whom may be another: `does Ann pay Bob`, `does Bob pay Ann`. The same words in another order are
    /// taken for that unless other prepositions explain it (`the wifi's name`, `the name of the wifi`); a passive turns the order
    /// round, and one that does not is another question (`does Ann pay Bob`, `is Ann paid by Bob`).
    fn turns_round(&self, other: &Question) -> bool {
        const PREPOSITIONS: [&str; 12] = ["to", "from", "of", "for", "in", "on", "at", "with", "von", "für", "de", "à"];
        let reordered = out_of_order(&self.content, &other.content)
            || out_of_order(&other.content, &self.content)
            || self.numbers != other.numbers;
        let count = |of: &Question, word: &str| of.stems.iter().filter(|stem| *stem == word).count();
        let passive = count(self, "by") != count(other, "by");
        let explained = PREPOSITIONS.iter().any(|word| count(self, word) != count(other, word));
        if passive { !reordered } else { reordered && !explained }
    }

    /// Whether a word like `stem` is in it.
    fn has_alike(&self, stem: &str) -> bool {
        self.stems.iter().any(|other| alike(stem, other))
    }
}

/// Whether the words of `a` that `b` has too stand there in another order, each word of `b` taken once.
fn out_of_order(a: &[String], b: &[String]) -> bool {
    let mut taken = vec![false; b.len()];
    let mut last = 0;
    for word in a {
        let Some(at) = (0..b.len()).find(|at| !taken[*at] && alike(word, &b[*at])) else { continue };
        if at < last {
            return true;
        }
        (taken[at], last) = (true, at);
    }
    false
}

/// The same stem, endings apart, or two words of one set.
fn alike(a: &str, b: &str) -> bool {
    const ENDINGS: [&str; 12] = ["", "e", "n", "en", "t", "st", "r", "ly", "d", "es", "al", "ment"];
    if a == b {
        return true;
    }
    let shared =
        a.char_indices().zip(b.chars()).find(|((_, x), y)| x != y).map_or(a.len().min(b.len()), |((at, _), _)| at);
    if shared >= 4 && ENDINGS.contains(&&a[shared..]) && ENDINGS.contains(&&b[shared..]) {
        return true;
    }
    let sets = |word: &str| WORDS.alike.get(word).map(Vec::as_slice).unwrap_or_default();
    sets(a).iter().any(|set| sets(b).contains(set))
}

#[derive(Debug)]
struct Token<'a> {
    word: &'a str,
    capital: bool,
    /// Whether it begins a sentence.
    first: bool,
}

/// The words of a question; `can't` is two.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut end = 0;
    let mut first = true;
    for (start, word) in text.unicode_word_indices() {
        first |= text[end..start].contains(['.', '?', '!', ':', '\n', '¿', '¡']);
        end = start + word.len();
        let lower = word.to_lowercase().replace('’', "'");
        let denied = lower.ends_with("n't") || lower == "cannot";
        let mut parts = word.split(['\'', '’']);
        let (before, after) = (parts.next().unwrap_or(word), parts.next().unwrap_or_default());
        // French and Italian words lean on the next: `l'accès`, `n'est`.
        let elided = before.chars().count() <= 2 && after.len() > 2;
        let word = match lower.as_str() {
            "can't" | "cannot" => "can",
            "won't" => "will",
            "shan't" => "shall",
            _ if denied => before.get(..before.len() - 1).unwrap_or(before),
            _ if elided => after,
            _ => before,
        };
        let capital = word.chars().next().is_some_and(char::is_uppercase);
        if !word.is_empty() {
            tokens.push(Token { word, capital: capital && word != "I", first });
        }
        if denied {
            tokens.push(Token { word: "not", capital: false, first: false });
        }
        first = false;
    }
    tokens
}

/// A number in digits, written as one is; thousands' separators left out.
fn number(word: &str) -> Option<String> {
    if let Some((_, digits)) = NUMBER_WORDS.iter().find(|(name, _)| *name == word) {
        return Some((*digits).to_owned());
    }
    let digits = word.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','));
    if !digits || !word.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let groups: Vec<&str> = word.split([',', '.']).collect();
    let thousands = groups.len() > 1 && groups[1..].iter().all(|group| group.len() == 3) && groups[0].len() <= 3;
    Some(if thousands { groups.concat() } else { word.replace(',', ".") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(a: &str, b: &str, expected: Result<(), Difference>) {
        assert_eq!(same_question(a, b), expected, "{a} / {b}");
        assert_eq!(same_question(b, a), expected, "{b} / {a}");
        assert_eq!(same_question(a, a), Ok(()), "{a}");
    }

    #[test]
    fn what_vectors_do_not_see_is_seen() {
        check("a refund in the EU", "a refund in the US", Err(Difference::Exclusive));
        check("refund in the eu", "refund in the us", Err(Difference::Exclusive));
        check("where is order 123", "where is order 124", Err(Difference::Number));
        check("can I keep it", "can't I keep it", Err(Difference::Negation));
        check("can I keep it", "can’t I keep it", Err(Difference::Negation));
        check("can I keep it", "cannot I keep it", Err(Difference::Negation));
        check("is it open", "isn't it open", Err(Difference::Negation));
        check("with a deposit", "without a deposit", Err(Difference::Negation));
        check("before the audit", "after the audit", Err(Difference::Exclusive));
        check("enable logging", "disabling logging", Err(Difference::Exclusive));
        check("may I enter", "must I enter", Err(Difference::Exclusive));
        check("state of ab12x", "state of ab13x", Err(Difference::Id));
        check("what is \"open\"", "what is \"closed\"", Err(Difference::Quoted));
        check("what did Anna say", "what did Petra say", Err(Difference::Name));
        check("a train from Oslo to Bergen", "a train from Bergen to Oslo", Err(Difference::Order));
        check("10 mg of it", "10 ml of it", Err(Difference::Exclusive));
        check("report for March", "report for May", Err(Difference::Exclusive));
        check("what does marketing cost", "what does gardening cost", Err(Difference::Words));
        check("the fee for two", "the fee for 3", Err(Difference::Number));
        check("are refunds free", "are partial refunds free", Err(Difference::Words));
        check("does Ann pay Bob", "does Bob pay Ann", Err(Difference::Order));
        check("does Ann pay Bob", "is Ann paid by Bob", Err(Difference::Order));
        check("what do buyers owe sellers", "what do sellers owe buyers", Err(Difference::Order));
        check("Kann ich das?", "Kann ich das nicht?", Err(Difference::Negation));
        check("Puis-je entrer ?", "Ne puis-je pas entrer ?", Err(Difference::Negation));
        check("¿Puedo entrar?", "¿No puedo entrar?", Err(Difference::Negation));
        check("Was kostet es mit Bad?", "Was kostet es ohne Bad?", Err(Difference::Negation));
    }

    #[test]
    fn other_words_for_the_same_are_the_same() {
        check("How do I reset my password?", "how can I reset the password", Ok(()));
        check("What's the delivery time?", "What is the shipping time?", Ok(()));
        check("Where is order 1,234?", "where's order 1234", Ok(()));
        check("How do I turn on alerts?", "How can I enable alerts?", Ok(()));
        check("a plan for two", "a plan for 2", Ok(()));
        check("Contact us", "How can I contact you?", Ok(()));
        check("What is the name of the wifi?", "What is the wifi name?", Ok(()));
        check("What does the insurance cover?", "What is covered by the insurance?", Ok(()));
        check("", "", Ok(()));
    }

    #[derive(serde::Deserialize)]
    struct Pair {
        half: String,
        same: bool,
        a: String,
        b: String,
    }

    /// Words alone, whatever the vectors say: near misses let through and paraphrases kept apart, of one half.
    fn measured(half: &str) -> (Vec<String>, Vec<String>, [usize; 2]) {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/paraphrases/pairs.jsonl");
        let text = std::fs::read_to_string(file).unwrap();
        let (mut through, mut apart, mut counts) = (vec![], vec![], [0, 0]);
        for line in text.lines() {
            let pair: Pair = serde_json::from_str(line).unwrap();
            if pair.half != half {
                continue;
            }
            counts[usize::from(pair.same)] += 1;
            match (same_question(&pair.a, &pair.b), pair.same) {
                (Ok(()), false) => through.push(format!("{} | {}", pair.a, pair.b)),
                (Err(difference), true) => apart.push(format!("{difference}: {} | {}", pair.a, pair.b)),
                (Ok(()), true) | (Err(_), false) => {}
            }
        }
        (through, apart, counts)
    }

    #[test]
    fn near_misses_of_the_labelled_pairs_are_told_apart_by_words_alone() {
        for half in ["dev", "test"] {
            let (through, apart, [near, same]) = measured(half);
            println!(
                "{half}: {} of {near} near misses through, {} of {same} paraphrases apart",
                through.len(),
                apart.len()
            );
            if half == "dev" {
                through.iter().chain(&apart).for_each(|pair| println!("  {pair}"));
            }
            // One in a hundred may be: of 80, none and a rounding.
            assert!(through.len() <= 1, "{half}: {through:?}");
            assert!(apart.len() * 10 <= same * 6, "{half}: {} of {same}", apart.len());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_two_texts_compare_the_same_both_ways(a in "\\PC{0,60}", b in "\\PC{0,60}") {
            assert_eq!(same_question(&a, &b), same_question(&b, &a));
            assert_eq!(same_question(&a, &a), Ok(()));
        }
    }
}
