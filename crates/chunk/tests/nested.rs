//! Code, JSON and YAML: places and errors by example, and that no text is too much.

use ibid_chunk::{Block, Limits, Outline, ParseError, parse};
use ibid_core::{MediaType, Place};
use proptest::prelude::*;

fn read(text: &str, media: MediaType) -> Result<Outline, ParseError> {
    let outline = parse(text.as_bytes(), media, &Limits::NONE)?.outline;
    assert_eq!(outline.fits(text), Ok(()), "{media:?}");
    // Whatever is not blank is in a block.
    let mut end = 0;
    for block in &outline.blocks {
        assert_eq!(text[end..block.bytes().start].trim_matches('\u{feff}').trim(), "", "{media:?} leaves out a piece");
        end = block.bytes().end;
    }
    assert_eq!(text[end..].trim_matches('\u{feff}').trim(), "", "{media:?} leaves out the end");
    Ok(outline)
}

fn all() -> impl Iterator<Item = MediaType> {
    let others = [MediaType::Json, MediaType::JsonLines, MediaType::Yaml];
    MediaType::ALL.into_iter().filter(move |media| matches!(media, MediaType::Code(_)) || others.contains(media))
}

fn pointers(outline: &Outline) -> Vec<&str> {
    let pointers = outline.places.iter().map(|placed| match &placed.place {
        Place::Pointer(pointer) => pointer.as_str(),
        other @ (Place::Page { .. } | Place::Slide { .. } | Place::Rows { .. } | Place::Part { .. }) => {
            panic!("{other:?}")
        }
    });
    pointers.collect()
}

fn headings(outline: &Outline) -> Vec<(u8, &str)> {
    let headings = outline.blocks.iter().filter_map(|block| match block {
        Block::Heading(heading) => Some((heading.level, heading.text.as_str())),
        Block::Body(_) => None,
    });
    headings.collect()
}

#[test]
fn what_is_small_is_one_place_and_what_is_large_goes_down() {
    let long = "word ".repeat(200);
    let json = format!(r#"{{"a": {{"b": [1, 2, {{"c": "{long}"}}], "~d/": 1}}, "": true}}"#);
    let outline = read(&json, MediaType::Json).unwrap();
    assert_eq!(pointers(&outline), ["/a/b", "/a/b/2/c", "/a/~0d~1", "/"]);
    let expected = [(1, "a"), (2, "b"), (3, "[2]"), (4, "c"), (2, ""), (1, "")];
    assert_eq!(headings(&outline), expected);
    let yaml = format!("a:\n  b:\n  - 1\n  - 2\n  - c: {long}\n  ~d/: 1\n'': true\n");
    let outline = read(&yaml, MediaType::Yaml).unwrap();
    assert_eq!(pointers(&outline), ["/a/b", "/a/b/2/c", "/a/~0d~1", "/"]);
    assert_eq!(headings(&outline), expected);
    assert_eq!(pointers(&read(r#"{"a": {"b": 1}}"#, MediaType::Json).unwrap()), [""]);
}

#[test]
fn what_is_broken_is_refused_where_it_breaks() {
    let byte = |text: &str, media| match read(text, media) {
        Err(ParseError::Malformed { byte, .. }) => byte,
        other => panic!("{text:?}: {other:?}"),
    };
    for (text, at) in [("\u{feff}{\"a\" 1}", 8), ("[1, 2", 5), ("[1] 2", 4), ("", 0), ("{a: 1}", 1)] {
        assert_eq!(byte(text, MediaType::Json), at, "{text:?}");
    }
    assert_eq!(byte("{}\r\n[1,]\r\n", MediaType::JsonLines), 7);
    assert_eq!(byte("ä: [1\nb: 2", MediaType::Yaml), 8);
    for media in [MediaType::Json, MediaType::Yaml] {
        assert!(matches!(read(&"[".repeat(10_000), media), Err(ParseError::TooDeep { .. })));
    }
    assert!(matches!(read(&"- ".repeat(10_000), MediaType::Yaml), Err(ParseError::TooDeep { limit: 512, .. })));
}

/// Each of these takes minutes, gigabytes or the stack where work is not bounded.
#[test]
fn hostile_texts_are_read_in_time() {
    let repeated = |unit: &str, bytes: usize| unit.repeat(bytes / unit.len());
    let texts = ["(", "\"", "/*", "\0"].map(|unit| repeated(unit, 50_000));
    for text in &texts {
        for media in all() {
            let _ = read(text, media);
        }
    }
    for media in all() {
        let _ = read(&repeated("a = 1; ", 30 << 20), media);
        let _ = read(&repeated("{\"a\": 1}, ", 4 << 20), media);
    }
    // Aliases are not expanded.
    let lines = (1..60).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1));
    let bomb: String = ["a0: &a0 lol\n".to_owned()].into_iter().chain(lines).collect();
    assert_eq!(read(&bomb, MediaType::Yaml).unwrap().blocks.len(), 1);
    let stop = || true;
    let stopped = Limits { stop: &stop, ..Limits::NONE };
    for media in all() {
        let text =
            if media == MediaType::Yaml { "- 1\n".repeat(10_000) } else { format!("[{}1]", "1, ".repeat(10_000)) };
        assert_eq!(parse(text.as_bytes(), media, &stopped).err(), Some(ParseError::Stopped), "{media:?}");
    }
}

/// Pieces of code and data which meet in ways nobody writes.
fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop_oneof![
        6 => prop::sample::select(vec![
            "fn f() {", "}", "class A {", "class A:\n", "  def f(self):\n", "impl A for B {", "/// doc\n", "// note\n", "# note\n", "/* a */",
            "/**", "use a::b;\n", "import a\n", "#include <a>\n", "#ifdef A\n", "#endif\n", "package a\n", "func (a *A) b() {", "export ", "@a\n",
            "#[a]\n", "CREATE TABLE a (b INT);\n", "BEGIN;", "INSERT INTO a VALUES (1), (2);\n", "f() {\n", "if a; then\n", "fi\n", "<<EOF\n",
            "EOF\n", "const a = {\n", "namespace a::b {", "template <class T>\n", "\"\"\"doc\"\"\"\n", "public:\n", "enum A { B;", "mod a {\n",
            "{", "[", "]", "(", ")", ";", ",", ":", "\"", "'", "\"a\": ", "- ", "? ", "? [a", ": b\n", "a: b\n", "  ", "\n", "\r\n", "\n\n", "---\n", "...\n",
            "&a ", "*a ", "| \n", ">-\n", "!t ", "%YAML 1.2\n", "1", "true", "\u{feff}", "\0", "ä", "\\", "\u{2028}", "\u{c}", "\t",
        ])
        .prop_map(str::to_owned),
        1 => "\\PC{1,3}",
        1 => "[a-z ]{100,900}",
    ];
    prop::collection::vec(fragment, 0..40).prop_map(|fragments| fragments.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in fragments()) {
        for media in all() {
            let _ = read(&text, media);
        }
    }
}
