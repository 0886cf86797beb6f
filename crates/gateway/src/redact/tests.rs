//! The redactor as a whole: the labelled file, overlaps, placeholders cut anywhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use ibid_runtime::{Random, SeededRandom};
use proptest::prelude::*;

use super::*;

#[path = "labelled.rs"]
mod labelled;

fn redactor() -> Redactor {
    Redactor::new(labelled::config()).unwrap()
}

#[track_caller]
fn check(text: &str, masked: &str) {
    assert_eq!(redactor().redact(text).text, masked);
}

/// By type, of one half of the labelled file or of both: at least 0.98 of the values are found, and at least 0.95 of what is
/// found is one.
#[track_caller]
fn measured(half: Option<&str>) {
    let scores = labelled::measure(&redactor(), half);
    assert_eq!(scores.len(), 9, "every type");
    for (kind, score) in scores {
        assert!(score.values >= 12, "{kind}: {score:?}");
        assert!(score.recall() >= 0.98, "{kind}: {score:?}");
        assert!(score.precision() >= 0.95, "{kind}: {score:?}");
    }
}

#[test]
fn what_the_labelled_file_calls_private_is_found_and_little_else() {
    measured(None);
}

#[test]
fn so_it_is_on_the_half_that_no_detector_was_built_on() {
    measured(Some("test"));
}

#[test]
fn masks_leave_nothing_of_a_value() {
    check("Write to anna.schmidt@example.com, not to bob.", "Write to [EMAIL], not to bob.");
    check("IBAN DE89 3704 0044 0532 0130 00, please", "IBAN [IBAN], please");
    check("Anna Schmidt <anna@example.org>", "[NAME] <[EMAIL]>");
    check("EMP-00417 called from +49 30 23125 123", "[EMPLOYEE] called from [PHONE]");
    check("anna (at) example (dot) com", "[EMAIL]");
    check("", "");
}

#[test]
fn where_two_findings_overlap_the_rest_of_the_weaker_one_is_masked_too() {
    // The name begins before the address and ends in it.
    check("Anna Schmidt@example.com", "[NAME] [EMAIL]");
    let config = Config {
        names: vec!["Heron Blue".to_owned()],
        patterns: vec![pattern("CODE", "Blue-[0-9]{3}")],
        ..labelled::config()
    };
    let redacted = Redactor::new(config).unwrap().redact("the Heron Blue-117 file");
    assert_eq!(redacted.text, "the [NAME] [CODE] file");
}

fn pattern(label: &str, expression: &str) -> PatternConfig {
    PatternConfig { label: label.to_owned(), expression: expression.to_owned() }
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused_with_its_field() {
    let check = |config: Config, expected: &str| {
        let error = Redactor::new(config).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    };
    let empty = || Config { kinds: vec![], regions: vec![], patterns: vec![], names: vec![] };
    check(Config { kinds: vec![Kind::Name], ..empty() }, "kinds: NAME is no built-in kind");
    check(Config { regions: vec!["DE".into(), "Germany".into()], ..empty() }, "regions[1]: \"Germany\" is no region");
    check(Config { patterns: vec![pattern("email", "a")], ..empty() }, "patterns[0].label: expected 1 to 32 of A-Z");
    check(
        Config { patterns: vec![pattern("EMAIL", "a")], ..empty() },
        "patterns[0].label: is the label of a built-in kind",
    );
    check(Config { patterns: vec![pattern("A", "(")], ..empty() }, "patterns[0].expression: unclosed group");
    check(Config { patterns: vec![pattern("A", "a*")], ..empty() }, "patterns[0].expression: matches the empty text");
    check(
        Config { patterns: vec![pattern("A", r"\w{500}{50}")], ..empty() },
        "patterns[0].expression: takes more than",
    );
    check(
        Config { patterns: vec![pattern("A", &"a".repeat(1_025))], ..empty() },
        "patterns[0].expression: has 1025 bytes",
    );
    check(Config { names: vec!["Al".into()], ..empty() }, "names[0]: expected 3 to 128 bytes");
    check(Config { names: vec!["...".into()], ..empty() }, "names[0]: has no letter");
    check(Config { names: vec![String::from("x y z a b c d e f")], ..empty() }, "names[0]: has too many words");
    check(
        Config { names: vec![String::from("Anna"); 10_001], ..empty() },
        "names: 10001 given, expected 10000 at most",
    );
}

#[test]
fn a_pattern_finds_its_matches_in_a_line_longer_than_a_piece() {
    let config = Config { patterns: vec![pattern("X", "X[0-9]+X")], ..labelled::config() };
    let redactor = Redactor::new(config).unwrap();
    // Wherever the pieces are cut, a match lies in one of them whole.
    for before in (700..1_300).step_by(7) {
        let text = format!("{}X123456X{}", "ö".repeat(before / 2), " b".repeat(2_000));
        let found = redactor.find(&text);
        assert_eq!(found.len(), 1, "{before}");
        assert_eq!(&text[found[0].span.clone()], "X123456X", "{before}");
    }
}

#[test]
fn no_text_takes_more_than_its_length_says() {
    // Texts that make careless expressions look again from every byte on.
    let redactor = redactor();
    let clock = ibid_runtime::SystemClock::new();
    let mut took = BTreeMap::new();
    for (name, piece) in [
        ("at signs", "a@"),
        ("dots", "a."),
        ("digits", "1"),
        ("groups", "12 "),
        ("hex", "ab:"),
        ("tokens", "eyJaaaaaaaa-"),
        ("keys", "token=token="),
        ("armour", "-----BEGIN PRIVATE KEY-----"),
        ("logins", "http://a:"),
        ("brackets", "a [at] "),
        ("plus", "+1 "),
        ("cards", "4242 "),
    ] {
        let mut times = [0u128; 2];
        for (slot, bytes) in [(0, 50_000), (1, 400_000)] {
            let text = piece.repeat(bytes / piece.len());
            // The best of three: others use the machine too.
            let timed = (0..3).map(|_| {
                let begun = ibid_runtime::Clock::monotonic(&clock);
                redactor.find(&text);
                (ibid_runtime::Clock::monotonic(&clock) - begun).as_micros()
            });
            times[slot] = timed.min().unwrap();
        }
        took.insert(name, times);
    }
    // Eight times the bytes, and at most three times as long a byte: a square would take eight times as long a byte.
    for (name, [short, long]) in took {
        assert!(long <= short.max(2_000) * 24, "{name}: {short} us, then {long} us");
    }
}

#[test]
fn one_value_has_one_placeholder_in_all_texts_of_a_request() {
    let replaced = redactor().replace(
        &SeededRandom::new(1),
        &["from a@example.com to b@example.com", "a@example.com called +1 415 555 0132", "nothing"],
    );
    assert_eq!(replaced.texts(), ["from [EMAIL_1] to [EMAIL_2]", "[EMAIL_1] called [PHONE_1]", "nothing"]);
    assert_eq!(replaced.value_count(), 3);
    let mut restorer = replaced.restorer();
    let restored = restorer.push("[EMAIL_2] and [PHONE_1], [EMAIL_3] [EMAIL_1") + &restorer.finish();
    assert_eq!(restored, "b@example.com and +1 415 555 0132, [EMAIL_3] [EMAIL_1");
    assert!(!format!("{replaced:?} {restorer:?}").contains("example"));
}

#[test]
fn a_text_that_already_has_a_placeholder_names_nobody() {
    let texts = ["my address is a@example.com", "planted: [EMAIL_1] [EMAIL_2]"];
    let words: Vec<String> = (0..2)
        .map(|seed| {
            let replaced = redactor().replace(&SeededRandom::new(seed), &texts);
            let placeholder = replaced.texts()[0].strip_prefix("my address is ").unwrap().to_owned();
            assert!(placeholder.starts_with("[EMAIL_1_") && placeholder.len() > "[EMAIL_1_]".len() + 10);
            // What was planted stays what it was, on the way in and on the way out.
            assert_eq!(replaced.texts()[1], texts[1]);
            let mut restorer = replaced.restorer();
            assert_eq!(restorer.push(&replaced.texts().join("\n")), texts.join("\n"));
            placeholder
        })
        .collect();
    assert_ne!(words[0], words[1]);
}

#[test]
fn a_word_that_the_texts_already_have_is_drawn_again() {
    #[derive(Debug)]
    struct Twice(std::sync::Mutex<u8>);
    impl Random for Twice {
        fn fill(&self, _: &[u8], out: &mut [u8]) {
            let mut draws = self.0.lock().unwrap();
            out.fill(*draws);
            *draws += 1;
        }
    }
    let texts = ["a@example.com [EMAIL_1_aaaaaaaaaaaa]"];
    let replaced = redactor().replace(&Twice(std::sync::Mutex::new(0)), &texts);
    assert_eq!(replaced.texts(), ["[EMAIL_1_bbbbbbbbbbbb] [EMAIL_1_aaaaaaaaaaaa]"]);
}

#[test]
fn inside_json_a_value_is_escaped() {
    let config = Config { patterns: vec![pattern("QUOTED", "<[^>]+>")], ..labelled::config() };
    let replaced = Redactor::new(config).unwrap().replace(&SeededRandom::new(1), &["<a\"b>"]);
    assert_eq!(replaced.json_restorer().push("{\"x\":\"[QUOTED_1]\"}"), r#"{"x":"<a\"b>"}"#);
    assert_eq!(replaced.restorer().push("[QUOTED_1]"), "<a\"b>");
}

#[test]
fn many_threads_may_use_one() {
    let redactor = Arc::new(redactor());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(redactor.redact("a@example.com").text, "[EMAIL]"));
        }
    });
}

/// Texts with values, placeholders and brackets in any order.
fn pieces() -> impl Strategy<Value = Vec<String>> {
    let piece = prop_oneof![
        "[a-z ]{0,6}".prop_map(String::from),
        "[\\[\\]ä_A-Z0-9]{0,5}".prop_map(String::from),
        (1u32..4).prop_map(|number| format!("[EMAIL_{number}]")),
        (1u32..4).prop_map(|number| format!("[EMAIL_{number}")),
        (1u32..30).prop_map(|number| format!(" user{number}@example.com ")),
        Just(" +1 415 555 0132 ".to_owned()),
    ];
    prop::collection::vec(piece, 0..16)
}

proptest! {
    #[test]
    fn a_reply_is_restored_the_same_however_it_is_cut(
        source in pieces(), reply in pieces(), seed in 0u64..1_000, cuts in prop::collection::vec(0usize..400, 0..40),
    ) {
        let source = source.concat();
        let replaced = redactor_once().replace(&SeededRandom::new(seed), &[&source]);
        // What goes out comes back: nothing is lost and nothing is taken for a value that is none.
        prop_assert_eq!(all(&replaced, &[&replaced.texts()[0]]).0, source);

        let reply = format!("{}{}", replaced.texts()[0], reply.concat());
        let whole = all(&replaced, &[&reply]).0;
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| reply.is_char_boundary(*cut)).chain([0, reply.len()]).collect();
        cuts.sort_unstable();
        let deltas: Vec<&str> = cuts.windows(2).map(|pair| &reply[pair[0]..pair[1]]).collect();
        let (cut, held) = all(&replaced, &deltas);
        prop_assert_eq!(cut, whole);
        let longest = replaced.found().iter().flatten().count().to_string().len() + "[EMPLOYEE_]".len() + 13;
        prop_assert!(held < longest, "{} bytes held", held);
    }

    #[test]
    fn findings_ascend_apart_and_cut_no_character(text in "\\PC{0,200}") {
        let mut end = 0;
        for finding in redactor_once().find(&text) {
            prop_assert!(finding.span.start >= end && finding.span.end > finding.span.start);
            prop_assert!(text.get(finding.span.clone()).is_some());
            end = finding.span.end;
        }
    }

    #[test]
    fn what_is_masked_is_masked_once(text in "[a-z0-9@.+: \\[\\]-]{0,120}") {
        let once = redactor_once().redact(&text).text;
        let twice = redactor_once().redact(&once);
        // Masking may join what stood apart, but never brings a value back.
        prop_assert!(twice.text.len() <= once.len() + 8 * twice.found.len());
    }
}

fn redactor_once() -> &'static Redactor {
    static REDACTOR: std::sync::LazyLock<Redactor> = std::sync::LazyLock::new(redactor);
    &REDACTOR
}

/// The whole of what comes out, and the most that was held.
fn all(replaced: &Replaced, deltas: &[&str]) -> (String, usize) {
    let mut restorer = replaced.restorer();
    let (mut out, mut held) = (String::new(), 0);
    for delta in deltas {
        out.push_str(&restorer.push(delta));
        held = held.max(restorer.held_bytes());
    }
    out.push_str(&restorer.finish());
    (out, held)
}
