//! Cases whose bytes are text.

use ibid_core::{CodeLanguage, MediaType};

use crate::{Case, case};

const MB: usize = 1 << 20;

fn repeated(unit: &str, bytes: usize) -> Vec<u8> {
    unit.repeat(bytes / unit.len()).into_bytes()
}

/// `unit` with its level of indentation before it, `depth` times.
fn indented(unit: &str, by: &str, depth: usize) -> Vec<u8> {
    (0..depth).map(|level| by.repeat(level) + unit).collect::<String>().into_bytes()
}

fn join(pieces: &[&[u8]]) -> Vec<u8> {
    pieces.concat()
}

fn utf16(units: impl IntoIterator<Item = u16>) -> Vec<u8> {
    [0xfeff].into_iter().chain(units).flat_map(u16::to_le_bytes).collect()
}

pub(crate) fn cases() -> Vec<Case> {
    [plain(), markdown(), html(), email(), data(), tables(), code()].into_iter().flatten().collect()
}

fn plain() -> Vec<Case> {
    let of =
        |name: &str, expected, make: fn() -> Vec<u8>| case(format!("plain/{name}"), MediaType::Plain, expected, make);
    vec![
        of("one line of 200 MB", "too large", || repeated("a", 200 * MB)),
        of("one line of 60 MB", "read", || repeated("a b ", 60 * MB)),
        of("32 MB of empty lines", "read", || repeated("\n", 32 * MB)),
        of("8 M paragraphs", "too large", || repeated("a\n\n", 24 * MB)),
        of("2 M headings", "too large", || repeated("1. A\n\n", 12 * MB)),
        of("32 MB of NUL", "read", || repeated("\0", 32 * MB)),
        of("combining marks", "read", || repeated("\u{301}", 16 * MB)),
        of("zero width", "read", || repeated("\u{200b}\u{feff}", 12 * MB)),
        of("mixed encodings", "encoding", || join(&[&repeated("ä", MB), b"\xe4\xf6\xfc", &utf16("ä".encode_utf16())])),
        of("UTF-16, 30 MB", "read", || utf16(std::iter::repeat_n(0x4e2d, 15 * MB))),
        of("UTF-16, lone surrogate", "encoding", || utf16([0x61, 0xd800, 0x62])),
        of("UTF-16, surrogates swapped", "encoding", || utf16([0xdc00, 0xd800].repeat(MB))),
        of("UTF-16, odd byte", "encoding", || join(&[&utf16([0x61]), b"\x00"])),
        of("UTF-16 pairs", "read", || utf16([0xd83d, 0xde00].repeat(4 * MB))),
    ]
}

fn markdown() -> Vec<Case> {
    let of = |name: &str, expected, make: fn() -> Vec<u8>| {
        case(format!("markdown/{name}"), MediaType::Markdown, expected, make)
    };
    vec![
        of("10,000 nested lists", "read", || indented("- a\n", "  ", 5000)),
        of("10,000 lists on a line", "read", || repeated("- ", 20_000)),
        of("10,000 nested quotes", "read", || repeated(">", 10_000)),
        of("10,000 quotes, 100 lines", "read", || repeated(&(">".repeat(10_000) + " a\n"), MB)),
        of("quotes and lists", "read", || repeated("> - ", 40_000)),
        of("1 M brackets", "read", || repeated("[", MB)),
        of("1 M images", "too large", || repeated("![", 2 * MB)),
        of("emphasis", "too large", || repeated("*a **a _a ", 8 * MB)),
        of("stars", "too large", || repeated("*", 8 * MB)),
        of("code spans", "too large", || (1..3000).map(|n| "`".repeat(n) + " ").collect::<String>().into_bytes()),
        of("wide table, short rows", "too large", || {
            let columns = 10_000;
            let head = format!("{}|\n{}|\n", "|a".repeat(columns), "|-".repeat(columns));
            join(&[head.as_bytes(), &repeated("|a|\n", 4 * MB)])
        }),
        of("32 MB of cells", "too large", || join(&[b"|a|b|\n|-|-|\n", &repeated("|a|b|\n", 32 * MB)])),
        of("pipes", "too large", || repeated("|", 8 * MB)),
        of("2 M headings", "too large", || repeated("# a\n", 8 * MB)),
        of("definitions", "read", || (0..200_000).map(|n| format!("[{n}]: a\n")).collect::<String>().into_bytes()),
        of("one long definition, used", "too large", || {
            join(&[b"[a]: <", &repeated("b", MB), b">\n\n", &repeated("[a] ", 4 * MB)])
        }),
        of("footnotes in footnotes", "read", || {
            (0..100_000).map(|n| format!("[^{n}]: [^{}]\n\n", n + 1)).collect::<String>().into_bytes()
        }),
        of("unclosed HTML", "too large", || repeated("<a b='", 4 * MB)),
        of("unclosed comments", "too large", || repeated("<!--", 4 * MB)),
        of("unclosed instructions", "too large", || repeated("a <?", 4 * MB)),
        of("unclosed CDATA", "read", || repeated("a <![CDATA[", 4 * MB)),
        of("unclosed links", "too large", || repeated("[a](<b", 4 * MB)),
        of("links in links", "too large", || repeated("[a](b", 4 * MB)),
        of("front matter without end", "too large", || join(&[b"---\n", &repeated("a: b\n", 16 * MB)])),
        of("references", "too large", || repeated("&#x41;", 16 * MB)),
        of("thematic breaks", "too large", || repeated("---\na\n", 8 * MB)),
        of("fences", "too large", || repeated("```\n", 16 * MB)),
        of("one line of 60 MB", "read", || repeated("word ", 60 * MB)),
    ]
}

fn html() -> Vec<Case> {
    let of =
        |name: &str, expected, make: fn() -> Vec<u8>| case(format!("html/{name}"), MediaType::Html, expected, make);
    vec![
        of("10,000 nested divs", "read", || join(&[&repeated("<div>", 50_000), b"a"])),
        of("10,000 nested lists", "read", || join(&[&repeated("<ul><li>", 80_000), b"a"])),
        of("10,000 nested quotes", "read", || join(&[&repeated("<blockquote>", 120_000), b"a"])),
        of("10,000 nested tables", "read", || join(&[&repeated("<table><tr><td>", 150_000), b"a"])),
        of("1 M divs", "too deep", || join(&[&repeated("<div>a", 6 * MB), b"a"])),
        of("1 M spans", "too deep", || join(&[&repeated("<span>a", 7 * MB), b"a"])),
        of("1 M bold", "too deep", || repeated("<b>a", 4 * MB)),
        of("bold and paragraphs", "read", || repeated("<b><p>a", 4 * MB)),
        of("misnested links", "too deep", || repeated("<a><div>a", 4 * MB)),
        of("different formatting", "read", || {
            (0..100_000).map(|n| format!("<font size={n}><p>")).collect::<String>().into_bytes()
        }),
        of("ends of what never began", "read", || repeated("</p></b></table>", 16 * MB)),
        of("text in tables", "read", || join(&[b"<table>", &repeated("a<tr>b", 8 * MB)])),
        of("tables in tables, text", "read", || repeated("<table>a", 4 * MB)),
        of("columns over columns", "read", || {
            join(&[b"<table>", &repeated("<tr><td colspan=1000 rowspan=65534>a", 8 * MB)])
        }),
        of("an attribute of 30 MB", "read", || join(&[b"<p title='", &repeated("a", 30 * MB), b"'>b"])),
        of("1 M attributes", "read", || join(&[b"<p ", &repeated("a=b ", 4 * MB), b">c"])),
        of("1 M other attributes", "read", || {
            let attributes: String = (0..1_000_000).map(|n| format!("a{n} ")).collect();
            join(&[b"<p ", attributes.as_bytes(), b">c"])
        }),
        of("a tag's name of 20 MB", "read", || join(&[b"<", &repeated("a", 20 * MB), b">b"])),
        of("other tags", "too deep", || (0..500_000).map(|n| format!("<x{n}>a")).collect::<String>().into_bytes()),
        of("unclosed comment", "read", || join(&[b"a<!--", &repeated("-", 20 * MB)])),
        of("comments", "read", || repeated("<!-->", 20 * MB)),
        of("a script of 30 MB", "read", || join(&[b"<script>", &repeated("</scrip", 30 * MB)])),
        of("references", "read", || repeated("&notit;&#1;&#xffffff;&amp", 16 * MB)),
        of("templates", "too deep", || repeated("<template>", 4 * MB)),
        of("foreign elements", "too deep", || repeated("<svg><math><mi>", 4 * MB)),
        of("select", "read", || repeated("<select><option>a<p>", 4 * MB)),
        of("headings", "read", || repeated("<h1>a", 8 * MB)),
        of("paragraphs of a letter", "too large", || repeated("<p>a", 16 * MB)),
        of("line breaks", "too large", || repeated("a<br>", 16 * MB)),
        of("forms and buttons", "read", || repeated("<form><button>a", 4 * MB)),
        of("plaintext", "read", || join(&[b"<plaintext>", &repeated("<p>", 20 * MB)])),
        of("preformatted", "read", || join(&[b"<pre>", &repeated("\n", 20 * MB)])),
        of("NULs", "too deep", || repeated("<p\0>\0a", 8 * MB)),
        of("other encoding inside", "read", || {
            join(&[b"<meta charset=shift_jis><p>", &repeated("\u{3042}", MB), &[0xff, 0x81].repeat(MB)])
        }),
    ]
}

fn email() -> Vec<Case> {
    let of =
        |name: &str, expected, make: fn() -> Vec<u8>| case(format!("email/{name}"), MediaType::Email, expected, make);
    vec![
        of("10,000 MIME levels", "too large", || {
            let open = |n: usize| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n");
            let levels: String = (0..10_000).map(open).collect();
            join(&[b"From: a@b\n", levels.as_bytes(), b"\na\n"])
        }),
        of("10,000 MIME levels of one boundary", "too large", || {
            repeated("Content-Type: multipart/mixed; boundary=b\n\n--b\n", 480_000)
        }),
        of("10,000 messages in messages", "too large", || {
            join(&[&repeated("Subject: a\nContent-Type: message/rfc822\n\n", 420_000), b"\na\n"])
        }),
        of("100,000 headers", "read", || {
            let headers: String = (0..100_000).map(|n| format!("X-{n}: a\n")).collect();
            join(&[headers.as_bytes(), b"Subject: a\n\nb\n"])
        }),
        of("1 M addresses", "too large", || join(&[b"To: ", &repeated("a <a@b>, ", 9 * MB), b"\n\nb\n"])),
        of("1 M receivers", "too large", || join(&[&repeated("To: a <a@b>\n", 12 * MB), b"\n\nb\n"])),
        of("comments in an address", "read", || join(&[b"From: ", &repeated("(", MB), b"\n\nb\n"])),
        of("1 M groups", "too large", || join(&[b"To: ", &repeated("a:b@c;", 6 * MB), b"\n\nb\n"])),
        of("a header of 20 MB", "too large", || join(&[b"Subject: ", &repeated("a ", 20 * MB), b"\n\nb\n"])),
        of("a folded header of 20 MB", "too large", || join(&[b"Subject: ", &repeated("a\n ", 20 * MB), b"\n\nb\n"])),
        of("1 M encoded words", "too large", || {
            join(&[b"Subject: ", &repeated("=?utf-8?B?YQ==?= ", 16 * MB), b"\n\nb\n"])
        }),
        of("encoded words without end", "too large", || {
            join(&[b"Subject: ", &repeated("=?utf-8?Q?", 4 * MB), b"\n\nb\n"])
        }),
        of("1 M parameters", "too large", || {
            let parameters: String = (0..500_000).map(|n| format!("; a*{n}*=b")).collect();
            join(&[b"Subject: a\nContent-Type: text/plain", parameters.as_bytes(), b"\n\nb\n"])
        }),
        of("references", "too large", || join(&[b"References: ", &repeated("<a@b> ", 12 * MB), b"\n\nb\n"])),
        of("1 M parts", "too large", || {
            let head = b"Subject: a\nContent-Type: multipart/mixed; boundary=b\n\n";
            join(&[head, &repeated("--b\n\na\n", 8 * MB)])
        }),
        of("like boundaries", "too large", || {
            let head = b"Subject: a\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n";
            join(&[head, &repeated("--a\n--", 16 * MB)])
        }),
        of("a body of 30 MB in base64", "read", || {
            let head = b"Subject: a\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\n";
            join(&[head, &repeated("YWJj", 30 * MB)])
        }),
        of("a body of 30 MB, quoted", "read", || {
            let head = b"Subject: a\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n";
            join(&[head, &repeated("=41=\n", 30 * MB)])
        }),
        of("quotes of quotes", "read", || {
            join(&[b"Subject: a\n\n", &repeated(&(">".repeat(10_000) + " a\n"), 4 * MB)])
        }),
        of("quotes without end", "read", || join(&[b"Subject: a\n\n", &repeated("> a\n", 16 * MB)])),
        of("lines like a quote's start", "read", || {
            join(&[b"Subject: a\n\n", &repeated("On Mon, 1 Jan 2024 a wrote:\n", 16 * MB)])
        }),
        of("deep HTML", "too deep", || {
            join(&[b"Subject: a\nContent-Type: text/html\n\n", &repeated("<div><b>", 4 * MB), b"a"])
        }),
        of("an unknown encoding", "read", || {
            join(&[b"Subject: a\nContent-Type: text/plain; charset=x-none\n\n", &[0xff, 0x00, 0xe4].repeat(MB)])
        }),
        of("UTF-7", "read", || {
            join(&[b"Subject: a\nContent-Type: text/plain; charset=utf-7\n\n", &repeated("+AGEAYg-+", 8 * MB)])
        }),
        of("NULs", "read", || join(&[b"Subject: a\n\n", &repeated("\0", 16 * MB)])),
    ]
}

fn data() -> Vec<Case> {
    let json =
        |name: &str, expected, make: fn() -> Vec<u8>| case(format!("json/{name}"), MediaType::Json, expected, make);
    let lines = |name: &str, expected, make: fn() -> Vec<u8>| {
        case(format!("jsonl/{name}"), MediaType::JsonLines, expected, make)
    };
    let yaml =
        |name: &str, expected, make: fn() -> Vec<u8>| case(format!("yaml/{name}"), MediaType::Yaml, expected, make);
    vec![
        json("one line of 200 MB", "too large", || join(&[b"[", &repeated("1,", 200 * MB), b"1]"])),
        json("one line of 32 MB", "read", || join(&[b"[", &repeated("1,", 32 * MB), b"1]"])),
        json("one text of 60 MB", "read", || join(&[b"\"", &repeated("a", 60 * MB), b"\""])),
        json("escapes", "read", || join(&[b"\"", &repeated("\\u0041", 60 * MB), b"\""])),
        json("a key of 30 MB", "read", || join(&[b"{\"", &repeated("a", 30 * MB), b"\":1}"])),
        json("keys of 1 KB at every level", "read", || {
            let open = format!("{{\"{}\":", "k".repeat(1000)).repeat(500);
            join(&[open.as_bytes(), b"[", &repeated("{\"a\":1},", 8 * MB), b"1]", &repeated("}", 500)])
        }),
        json("arrays, deep", "too deep", || repeated("[", 8 * MB)),
        json("objects, deep", "too deep", || repeated("{\"a\":", 8 * MB)),
        json("500 levels, wide", "read", || {
            join(&[&repeated("[", 500), &repeated("1,", 16 * MB), b"1", &repeated("]", 500)])
        }),
        json("small objects", "read", || join(&[b"[", &repeated("{\"a\":[{}]},", 32 * MB), b"1]"])),
        json("one key, again and again", "read", || join(&[b"{", &repeated("\"a\":1,", 32 * MB), b"\"a\":1}"])),
        json("digits", "read", || repeated("1", 32 * MB)),
        json("a lone surrogate", "malformed", || b"[\"\\ud800\"]".to_vec()),
        json("NULs", "malformed", || repeated("\0", MB)),
        json("in UTF-16", "read", || utf16("{\"a\": [1, 2]}".encode_utf16())),
        json("blanks", "malformed", || repeated(" ", 32 * MB)),
        lines("16 M lines", "read", || repeated("1\n", 32 * MB)),
        lines("empty lines", "read", || join(&[b"1", &repeated("\n", 32 * MB), b"2"])),
        lines("deep on each line", "read", || repeated(&format!("{}{}\n", "[".repeat(500), "]".repeat(500)), 16 * MB)),
        yaml("aliases of aliases", "read", || {
            let line = |n: usize| format!("a{n}: &a{n} [{}]\n", format!("*a{}, ", n - 1).repeat(9));
            let lines: String = (1..100).map(line).collect();
            join(&[b"a0: &a0 lol\n", lines.as_bytes()])
        }),
        yaml("an alias of itself", "read", || b"a: &a [*a, {b: *a}]\n".to_vec()),
        yaml("100,000 anchors", "read", || {
            (0..100_000).map(|n| format!("- &a{n} a\n- *a{n}\n")).collect::<String>().into_bytes()
        }),
        yaml("flow, deep", "too large", || repeated("[", MB)),
        yaml("maps in flow, deep", "too large", || repeated("{a: ", MB)),
        yaml("sequences on a line", "too deep", || repeated("- ", MB)),
        yaml("keys on a line", "too deep", || repeated("? ", MB)),
        yaml("2,000 indented levels", "too deep", || indented("a:\n", " ", 2000)),
        yaml("400 levels, wide", "read", || {
            join(&[&indented("a:\n", " ", 400), &repeated(&(" ".repeat(400) + "- a\n"), 4 * MB)])
        }),
        yaml("one line of 8 MB", "read", || join(&[b"a: ", &repeated("b ", 8 * MB - 8)])),
        yaml("a quoted text without end", "malformed", || join(&[b"a: \"", &repeated("b\n ", 7 * MB)])),
        yaml("a block of 8 MB", "read", || join(&[b"a: |\n", &repeated("  b\n", 8 * MB - 16)])),
        yaml("documents", "read", || repeated("---\n", 7 * MB)),
        yaml("entries", "read", || repeated("- a\n", 7 * MB)),
        yaml("400,000 entries", "read", || repeated("a: b\n", 2_000_000)),
        yaml("one flow of 8 MB", "too large", || join(&[b"[", &repeated("a,", 7 * MB), b"a]"])),
        yaml("tags", "malformed", || repeated("- !a!b c\n", 100).into_iter().chain(*b"- !<a> b\n").collect()),
        yaml("comments", "read", || repeated("# a\n", 8 * MB - 8)),
        yaml("tabs", "malformed", || repeated("a:\n\t- b\n", MB)),
        yaml("NULs", "malformed", || join(&[b"a: ", &repeated("\0", MB)])),
    ]
}

fn tables() -> Vec<Case> {
    let of = |name: &str, expected, make: fn() -> Vec<u8>| case(format!("csv/{name}"), MediaType::Csv, expected, make);
    vec![
        of("one line of 200 MB", "too large", || repeated("a,", 200 * MB)),
        of("one line of 60 MB", "read", || repeated("a,", 60 * MB)),
        of("a quote without end", "read", || join(&[b"a,b\n\"", &repeated("c,d\n", 32 * MB)])),
        of("quotes", "read", || repeated("\"", 32 * MB)),
        of("quotes in cells", "read", || repeated("a\"b,\"c\"\"d\"\n", 32 * MB)),
        of("a cell of 30 MB", "read", || join(&[b"a,b\nc,\"", &repeated("d e\n", 30 * MB), b"\"\n"])),
        of("16 M rows", "read", || repeated("a\n", 32 * MB)),
        of("rows of no cell", "read", || join(&[b"a,b\n", &repeated("\n", 32 * MB)])),
        of("100,000 columns, short rows", "read", || {
            join(&[&repeated("a,", 200_000), b"\n", &repeated("b\n", 16 * MB)])
        }),
        of("rows of different lengths", "read", || {
            (0..5000).map(|n| ",".repeat(n) + "\n").collect::<String>().into_bytes()
        }),
        of("NULs", "read", || join(&[b"a,b\n", &repeated("\0,\0\n", 16 * MB)])),
        of("carriage returns", "read", || join(&[b"a,b\r", &repeated("c,d\r", 16 * MB)])),
        case("tsv/one line of 60 MB", MediaType::Tsv, "read", || repeated("a\t", 60 * MB)),
    ]
}

/// Code up to this length is parsed, which is what takes long.
const PARSED: usize = (200 << 10) - 64;

fn code() -> Vec<Case> {
    let languages = MediaType::ALL
        .into_iter()
        .filter_map(|media| if let MediaType::Code(language) = media { Some((media, language)) } else { None });
    let mut cases = Vec::new();
    for (media, language) in languages {
        let of = |name: &str, make: Box<dyn Fn() -> Vec<u8>>| case(format!("{language:?}/{name}"), media, "read", make);
        let (text, comment) = match language {
            CodeLanguage::Python => ("a = \"\"\"", "# "),
            CodeLanguage::Shell => ("a=\"$(b \"", "cat <<A\n"),
            CodeLanguage::Sql => ("SELECT 'a", "/* "),
            CodeLanguage::Rust => ("let a = r#\"", "/* /* "),
            CodeLanguage::Cpp => ("auto a = R\"x(", "/* "),
            CodeLanguage::TypeScript | CodeLanguage::Tsx | CodeLanguage::JavaScript => ("a = `${`${", "/* "),
            CodeLanguage::Go => ("a := `", "/* "),
            CodeLanguage::Java | CodeLanguage::C => ("a = \"", "/* "),
        };
        let deep: &[&str] = match language {
            CodeLanguage::Python => &["not ", "lambda: ", "a if b else ", "a.b", "f\"{"],
            CodeLanguage::Shell => &["if a; then ", "a | ", "a && ", "$(", "case a in b) "],
            CodeLanguage::Sql => &["SELECT * FROM (", "NOT ", "CASE WHEN a THEN ", "a AND ", "BEGIN "],
            CodeLanguage::Rust => &["&", "!", "a::<", "if a {} else ", "|a| ", "#[a] "],
            CodeLanguage::Go => &["!", "[]", "*", "func() ", "chan "],
            CodeLanguage::Java => &["!", "a<", "a ? b : ", "@A ", "if (a) b; else ", "() -> "],
            CodeLanguage::C => &["*", "!", "a ? b : ", "if (a) b; else ", "#if A\n", "(a)"],
            CodeLanguage::Cpp => &["a<", "!", "template <class A> ", "a::", "if (a) b; else ", "#if A\n"],
            CodeLanguage::JavaScript => &["!", "a => ", "a ? b : ", "if (a) b; else ", "new ", "/a"],
            CodeLanguage::TypeScript => &["a<", "a => ", "a ? b : ", "if (a) b; else ", "type A = B extends C ? D : "],
            CodeLanguage::Tsx => &["<a>", "<a b={", "a<", "a ? b : ", "if (a) b; else "],
        };
        cases.extend([
            of("deep parentheses", Box::new(|| repeated("(", PARSED))),
            of("200,000 braces", Box::new(|| repeated("{", PARSED))),
            of("900 levels, again and again", Box::new(|| repeated(&("{".repeat(900) + &"}".repeat(900)), PARSED))),
            of("closed before opened", Box::new(|| repeated("})]", PARSED))),
            of("a text without end", Box::new(move || join(&[text.as_bytes(), &repeated("b c\n", PARSED)]))),
            of("texts without end", Box::new(move || repeated(&format!("{text}\n"), PARSED))),
            of("a comment without end", Box::new(move || repeated(comment, PARSED))),
            of("one line of 20 MB", Box::new(|| repeated("a = b; ", 20 * MB))),
            of("one line of 200 KB", Box::new(|| repeated("a = b; ", PARSED))),
            of("noise", Box::new(|| repeated("\u{1}?\\@#$~`'\"", PARSED))),
        ]);
        for unit in deep {
            cases.push(of(&format!("deep {:?}", unit.trim()), Box::new(move || repeated(unit, PARSED))));
        }
    }
    let python = || indented("if a:\n", " ", 600);
    cases.push(case("Python/600 indented levels", MediaType::Code(CodeLanguage::Python), "read", python));
    let insert = || join(&[b"INSERT INTO a VALUES ", &repeated("(1, 'b'), ", 20 * MB), b"(1, 'b');"]);
    cases.push(case("Sql/one INSERT of 20 MB", MediaType::Code(CodeLanguage::Sql), "read", insert));
    let functions = || repeated("fn a() { b(); }\n", PARSED);
    cases.push(case("Rust/13,000 functions", MediaType::Code(CodeLanguage::Rust), "read", functions));
    let modules = || {
        let levels = 240;
        join(&[&repeated("mod a { ", 8 * levels), &repeated("fn b() {}\n", PARSED / 2), &repeated("}", levels)])
    };
    cases.push(case("Rust/240 modules, 10,000 functions", MediaType::Code(CodeLanguage::Rust), "read", modules));
    cases
}
