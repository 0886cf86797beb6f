//! The rules, by example and by property.

use proptest::prelude::*;

use ibid_core::MediaType;

use super::*;

#[path = "../tests/hostile/words.rs"]
mod words;

use words::Words;

const SMALL: Config = sized(16, 32);

const fn sized(tokens_target: u32, tokens_max: u32) -> Config {
    Config {
        tokens_target,
        structured_target: tokens_target,
        tokens_max,
        overlap_tokens: 0,
        context: Context::NamesOrSentence,
    }
}

fn chunk(text: &str, media: MediaType, config: Config) -> Chunked {
    let outline = outline(text, media, &Limits::NONE).unwrap();
    assert_eq!(outline.fits(text), Ok(()));
    Chunker::new(config).unwrap().chunk(text, outline, &Words)
}

fn quotes<'t>(text: &'t str, chunked: &Chunked) -> Vec<&'t str> {
    chunked.chunks.iter().map(|chunk| chunk.span.quote(text).unwrap()).collect()
}

#[track_caller]
fn check(markdown: &str, expected: &[&str]) {
    assert_eq!(quotes(markdown, &chunk(markdown, MediaType::Markdown, SMALL)), expected);
}

#[track_caller]
fn check_paths(text: &str, media: MediaType, expected: &[(&[&str], &str)]) {
    let chunked = chunk(text, media, SMALL);
    let paths: Vec<Vec<&str>> =
        chunked.chunks.iter().map(|chunk| chunk.heading_path.iter().map(String::as_str).collect()).collect();
    let found: Vec<(&[&str], &str)> = paths.iter().map(Vec::as_slice).zip(quotes(text, &chunked)).collect();
    assert_eq!(found, expected);
}

/// `count` words in lower case.
fn words(count: usize) -> String {
    vec!["word"; count].join(" ")
}

#[test]
fn limits_are_checked() {
    let new = |tokens_target, tokens_max| Chunker::new(sized(tokens_target, tokens_max)).map(|_| ());
    assert_eq!(new(16, 8192), Ok(()));
    assert_eq!(new(15, 100), Err(ConfigError::Target { key: "tokens_target", given: 15, tokens_max: 100 }));
    assert_eq!(new(101, 100), Err(ConfigError::Target { key: "tokens_target", given: 101, tokens_max: 100 }));
    assert_eq!(new(16, 8193), Err(ConfigError::Max { given: 8193 }));
    let overlapping = Config { overlap_tokens: 9, ..SMALL };
    assert_eq!(Chunker::new(overlapping).map(|_| ()), Err(ConfigError::Overlap { given: 9, overlap_max: 8 }));
}

#[test]
fn small_neighbours_are_merged_and_large_ones_are_not() {
    check("", &[]);
    check("one\n\ntwo\n", &["one\n\ntwo"]);
    let (a, b) = (words(14), words(13));
    check(&format!("{a}\n\n{b}"), &[&a, &b]);
    // A remainder goes with its neighbour rather than alone.
    check(&format!("{a}\n\nrest"), &[&format!("{a}\n\nrest")]);
}

#[test]
fn a_lead_in_stays_with_what_it_leads_to() {
    let (before, list) = (words(10), "- a\n- b\n- c\n- d\n- e\n- f\n- g");
    check(&format!("{before}\n\n{}.\n\n{list}", words(5)), &[&format!("{before}\n\n{}.", words(5)), list]);
    check(&format!("{before}\n\n{}:\n\n{list}", words(5)), &[&before, &format!("{}:\n\n{list}", words(5))]);
}

#[test]
fn a_long_paragraph_is_cut_at_sentences_evenly() {
    let sentence = format!("A {}.", words(8));
    let pair = format!("{sentence} {sentence}");
    check(&format!("{pair} {pair}"), &[&pair, &pair]);
}

#[test]
fn overlap_is_whole_sentences_of_one_paragraph() {
    let (a, b, c) = ("Aa bb cc dd ee ff.", "Gg hh.", "Ii jj kk ll mm nn oo pp qq rr.");
    let text = format!("{a} {b} {c}\n\nSs tt uu vv ww xx yy zz aa bb cc.");
    let overlapping = |overlap_tokens| chunk(&text, MediaType::Plain, Config { overlap_tokens, ..sized(16, 20) });
    let contexts = |chunked: &Chunked| -> Vec<Option<String>> {
        chunked.chunks.iter().map(|chunk| Some(chunk.context?.quote(&text)?.to_owned())).collect()
    };
    let last = "Ss tt uu vv ww xx yy zz aa bb cc.";
    let (without, with) = (overlapping(0), overlapping(4));
    assert_eq!(quotes(&text, &without), [&format!("{a} {b}"), c, last]);
    assert_eq!(contexts(&without), [None, Some(b.to_owned()), None]);
    assert_eq!(quotes(&text, &with), [&format!("{a} {b}"), &format!("{b} {c}"), last]);
    assert_eq!(contexts(&with), [None, Some(a.to_owned()), None]);
}

#[test]
fn structured_blocks_have_a_target_of_their_own() {
    let list = "- aa bb cc\n- dd ee ff\n- gg hh ii\n- jj kk ll\n- mm nn oo";
    let text = format!("{}\n\n{list}", words(14));
    let chunked = chunk(&text, MediaType::Markdown, Config { structured_target: 28, ..SMALL });
    assert_eq!(quotes(&text, &chunked), [&words(14), list]);
}

#[test]
fn a_list_is_cut_between_items_and_an_item_is_not() {
    let long = format!("- A {}. B {}.", words(12), words(12));
    check(&format!("{long}\n- b\n  - c\n"), &[&long, "- b\n  - c"]);
    // An item that fits no chunk is cut at what is nested in it.
    let (lead, inner) = (words(20), words(20));
    check(&format!("- {lead}\n  - {inner}\n"), &[&format!("- {lead}"), &format!("- {inner}")]);
}

#[test]
fn a_table_is_whole_while_it_fits_and_cut_at_rows_else() {
    let table = "|a|b|\n|-|-|\n|1|2|\n|3|4|";
    check(&format!("{}\n\n{table}\n", words(15)), &[&words(15), table]);
    let rows = ["|a|b|\n|-|-|\n|1|2|\n|3|4|", "|5|6|\n|7|8|\n|9|0|"];
    check(&rows.join("\n"), &rows);
}

#[test]
fn code_is_cut_at_blank_lines_before_lines() {
    let code = format!("```\n{}\n{}\n\n{}\n{}\n```", words(8), words(8), words(8), words(8));
    let (first, second) = code.split_once("\n\n").unwrap();
    check(&code, &[first, second]);
}

#[test]
fn what_fits_nowhere_is_cut_between_words_then_characters() {
    let third = words(18);
    check(&words(54), &[&third, &third, &third]);
    // One unknown word of any length may be one token; the bytes of a chunk are bounded all the same.
    let blob = "a".repeat(1000);
    let chunked = chunk(&blob, MediaType::Plain, SMALL);
    assert!(chunked.chunks.len() > 1 && chunked.chunks.iter().all(|chunk| chunk.span.len() <= 32 * 16));
    assert_eq!(quotes(&blob, &chunked).concat(), blob);
}

#[test]
fn a_heading_goes_with_the_first_text_below_it() {
    let (a, b) = (words(10), words(10));
    check_paths(
        &format!("# Doc\n\n## A `x`\n\n{a}\n\n## B {{#b}}\n\n{b}\n"),
        MediaType::Markdown,
        &[(&["Doc", "A x"], &format!("# Doc\n\n## A `x`\n\n{a}")), (&["Doc", "B"], &format!("## B {{#b}}\n\n{b}"))],
    );
}

#[test]
fn small_sections_share_a_chunk_under_their_common_path_but_never_with_a_higher_one() {
    let long = words(15);
    check_paths(
        &format!("# Doc\n\n{long}\n\n## A\n\na\n\n## B\n\nb\n\n# Next\n\nn\n"),
        MediaType::Markdown,
        &[(&["Doc"], &format!("# Doc\n\n{long}")), (&["Doc"], "## A\n\na\n\n## B\n\nb"), (&["Next"], "# Next\n\nn")],
    );
}

#[test]
fn a_heading_without_text_is_text_of_the_section_around_it() {
    let long = words(15);
    check_paths(
        &format!("# Doc\n\n## Empty\n\n## Full\n\n{long}\n\n## Last\n"),
        MediaType::Markdown,
        &[(&["Doc"], "# Doc\n\n## Empty"), (&["Doc", "Full"], &format!("## Full\n\n{long}")), (&["Doc"], "## Last")],
    );
}

#[test]
fn what_the_page_does_not_show_is_dropped() {
    let text = "\u{feff}---\r\ntitle: \"Käse\"\r\n---\r\n\r\ntext\r\n\r\n<!-- note -->\r\n\r\n[x]: y\r\n\r\n***\r\n";
    let chunked = chunk(text, MediaType::Markdown, SMALL);
    assert_eq!(chunked.title.as_deref(), Some("Käse"));
    assert_eq!(quotes(text, &chunked), ["text"]);
    let dropped: Vec<&str> = chunked.dropped.iter().map(|span| span.quote(text).unwrap()).collect();
    let (front, rest) = text.split_once("\r\n\r\ntext\r\n\r\n").unwrap();
    assert_eq!(dropped, [front, rest.trim()]);
    // Thematic breaks with text between them are no front matter.
    check("---\n# Slide: one\n---\ntwo\n", &["# Slide: one\n---\ntwo"]);
    check("a\n\n---\nb: c\n\n---\nd\n", &["a\n\n---\nb: c\n\n---\nd"]);
}

#[test]
fn the_title_is_the_only_heading_of_level_one() {
    assert_eq!(chunk("## A\n\n# *B* c\n", MediaType::Markdown, SMALL).title.as_deref(), Some("B c"));
    assert_eq!(chunk("# A\n\n# B\n", MediaType::Markdown, SMALL).title, None);
    assert_eq!(chunk("## A\n\ntext\n", MediaType::Markdown, SMALL).title, None);
    assert_eq!(
        chunk("Good evening. If I may\n\ntext\n", MediaType::Plain, SMALL).title.as_deref(),
        Some("Good evening. If I may")
    );
    assert_eq!(chunk("Good evening.\n\ntext\n", MediaType::Plain, SMALL).title, None);
}

#[test]
fn plain_text_has_headings_where_they_are_plain_to_see() {
    let (a, b, c) = (words(12), words(12), words(12));
    let text = format!(
        "A Report\r\n\r\n1. Scope\r\n\r\n{a}\r\n\r\n1.1 Not\r\n\r\n{b}\r\n\r\nFINDINGS\r\n--------\r\nhard\r\nwrapped {c}\r\n"
    );
    check_paths(
        &text,
        MediaType::Plain,
        &[
            (&["A Report", "1. Scope"], &format!("A Report\r\n\r\n1. Scope\r\n\r\n{a}")),
            (&["A Report", "1. Scope", "1.1 Not"], &format!("1.1 Not\r\n\r\n{b}")),
            (&["A Report", "FINDINGS"], &format!("FINDINGS\r\n--------\r\nhard\r\nwrapped {c}")),
        ],
    );
    // A list of steps is not lost as headings without text.
    let steps = "1. Open it\n\n2. Close it\n";
    assert_eq!(quotes(steps, &chunk(steps, MediaType::Plain, SMALL)), [steps.trim()]);
}

#[test]
fn a_list_item_never_begins_before_its_list() {
    for text in ["  - ", "~~|a|b|\n|-|-|\n  - [ ] "] {
        chunk(text, MediaType::Markdown, SMALL);
    }
}

#[test]
fn a_readme_as_a_whole() {
    let text = "\
---
title: Ferry
tags: [a, b]
---
# Ferry timetable

The ferry runs all year. In winter, i.e. from Nov. 1 on, it runs twice a day.

## Summer

| from | to | at |
|------|----|----|
| A    | B  | 9  |
| B    | A  | 17 |

> Bicycles are free.

## Fares

- [x] adults: 3.50
- [ ] children: free

## Notes

Ask the crew[^1].

[^1]: Or the harbour.
";
    let config = sized(40, 60);
    let chunked = chunk(text, MediaType::Markdown, config);
    let rendered: Vec<String> = chunked
        .chunks
        .iter()
        .map(|chunk| {
            let quote = chunk.span.quote(text).unwrap();
            format!("{:?} {:?} {}\n{quote}", chunk.heading_path, chunk.kind, chunk.tokens)
        })
        .collect();
    insta::assert_snapshot!(rendered.join("\n~~~~\n"), @r#"
    ["Ferry timetable"] Paragraph 28
    # Ferry timetable

    The ferry runs all year. In winter, i.e. from Nov. 1 on, it runs twice a day.
    ~~~~
    ["Ferry timetable", "Summer"] Mixed 47
    ## Summer

    | from | to | at |
    |------|----|----|
    | A    | B  | 9  |
    | B    | A  | 17 |

    > Bicycles are free.
    ~~~~
    ["Ferry timetable"] Mixed 38
    ## Fares

    - [x] adults: 3.50
    - [ ] children: free

    ## Notes

    Ask the crew[^1].

    [^1]: Or the harbour.
    "#);
}

/// What every cut of every text must fulfil.
fn check_invariants(text: &str, media: MediaType, config: Config) -> Result<(), TestCaseError> {
    let chunked = chunk(text, media, config);
    prop_assert_eq!(&chunked, &chunk(text, media, config), "not deterministic");
    let mut covered = vec![0u32; text.len()];
    let (mut start, mut end) = (0, 0);
    for chunk in &chunked.chunks {
        let quote = chunk.span.quote(text).expect("a span is cut from its text");
        prop_assert_eq!(quote, quote.trim());
        let range = chunk.span.range();
        prop_assert!(range.end > end && range.start >= start, "disorder");
        let repeated = end.saturating_sub(range.start);
        let mut tokens = Vec::new();
        Words.token_starts(&text[range.start..range.start + repeated], &mut tokens);
        prop_assert!(tokens.len() <= config.overlap_tokens as usize, "repeats {} tokens", tokens.len());
        (start, end) = (range.start + repeated, range.end);
        let mut tokens = Vec::new();
        Words.token_starts(quote, &mut tokens);
        // A word cut in two is one token more than the tokenizer saw.
        prop_assert!(chunk.tokens as usize >= tokens.len());
        prop_assert!(chunk.tokens <= config.tokens_max, "{} tokens: {quote:?}", chunk.tokens);
        prop_assert!(chunk.span.len() <= (config.tokens_max + 1) * 16);
    }
    for span in chunked.chunks.iter().map(|chunk| &chunk.span).chain(&chunked.dropped) {
        covered[span.range()].iter_mut().for_each(|count| *count += 1);
    }
    for (byte, char) in text.char_indices() {
        let count = covered[byte];
        let once = config.overlap_tokens > 0 || count <= 1;
        prop_assert!(once && (count >= 1 || char.is_whitespace()), "byte {byte} is in {count} spans");
    }
    Ok(())
}

fn media() -> impl Strategy<Value = MediaType> {
    prop_oneof![Just(MediaType::Markdown), Just(MediaType::Plain)]
}

fn config() -> impl Strategy<Value = Config> {
    (16u32..64, 16u32..64, 0u32..64, 0u32..=8).prop_map(|(tokens_target, structured_target, more, overlap_tokens)| {
        let tokens_max = tokens_target.max(structured_target) + more;
        Config { tokens_target, structured_target, tokens_max, overlap_tokens, context: Context::NamesOrSentence }
    })
}

/// Pieces of Markdown which meet in ways nobody writes.
fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop_oneof![
        4 => prop::sample::select(vec![
            "# ", "## ", "###### ", "#", "|a|b|\n|-|-|\n", "|1|2|\n", "```", "```rust\n", "~~~\n", "- ", "* ", "1. ", "  ", "    ",
            "\t", "> ", ">", "\r\n", "\n", "\n\n", "\r", "[x]: y\n", "[x]", "[^1]", "[^1]: note\n", "<div>", "</div>\n", "<!-- c -->",
            "<!--", "<a href=\"b\">", "---\n", "===\n", "+++\n", "- [ ] ", "**", "_", "`", "~~", "![i](u)", "\\", "&amp;", "\u{feff}", "\0",
            "title: t\n", "{#id}", "1.2 Title\n\n", "CAPITALS\n\n", "e.g. ", "。", "e\u{301}\u{301}", "👩‍👩‍👧‍👦", "\u{2028}", "\u{a0}", ":\n\n",
        ])
        .prop_map(str::to_owned),
        2 => "[a-zA-Z]{1,8}[ .!?]",
        1 => "\\PC{1,3}",
        1 => "[a-z ]{40,200}",
    ];
    prop::collection::vec(fragment, 0..60).prop_map(|fragments| fragments.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_cut_without_loss(text in any::<String>(), media in media(), config in config()) {
        check_invariants(&text, media, config)?;
    }

    #[test]
    fn any_markdown_is_cut_without_loss(text in fragments(), media in media(), config in config()) {
        check_invariants(&text, media, config)?;
    }
}

/// Quadratic work or recursion on any of these takes minutes, or the stack.
#[test]
fn hostile_texts_are_cut_in_time() {
    let repeated = |unit: &str| unit.repeat(200_000 / unit.len());
    let config = sized(200, 400);
    for unit in [
        "[",
        ">",
        "> ",
        "* - ",
        "* a\n",
        "|",
        "`",
        "<",
        "<!--",
        "![",
        "_a_",
        "#\n",
        "# a\n",
        ". ",
        "a\n\n",
        "\u{301}",
        "a",
        "\u{200b}\n",
        "---\na\n",
    ] {
        let text = repeated(unit);
        for media in [MediaType::Markdown, MediaType::Plain] {
            let chunked = chunk(&text, media, config);
            assert!(chunked.chunks.iter().all(|chunk| chunk.tokens <= config.tokens_max), "{unit:?}");
        }
    }
    let blanks = format!("a.{}b", " ".repeat(200_000));
    assert_eq!(chunk(&blanks, MediaType::Plain, config).chunks.len(), 2);
}
