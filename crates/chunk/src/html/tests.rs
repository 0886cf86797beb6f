//! Pages and what is made of them.

use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::outline::{Block, Reason};

fn convert(page: &str) -> (String, Outline) {
    let (text, outline) = read(page, &Limits::NONE).unwrap();
    assert_eq!(outline.fits(&text), Ok(()), "{page}");
    (text, outline)
}

#[track_caller]
fn check(page: &str, expected: &str) {
    assert_eq!(convert(page).0, expected, "{page}");
}

#[test]
fn white_space_is_collapsed_as_css_does_and_kept_in_pre() {
    check("<p> a\n<b> b</b>c&nbsp; d&shy;e <i></i> ", "a bc de");
    check("<p>a<br>b<br> <br>c", "a\nb\n\nc");
    check("a<div>b</div>c", "a\n\nb\n\nc");
    check("<pre>\n  x\n    y\n\n</pre>z", "x\n    y\n\nz");
    check("<p>a<script>x</script>b<!-- c -->d</p>", "abd");
    check("<ruby>漢<rp>(</rp><rt>kan</rt><rp>)</rp></ruby> <q>a</q>", "漢(kan) \"a\"");
}

#[test]
fn lists_and_tables_are_lines() {
    check("<ul><li>a<li><p>b<p>c<ul><li>d</ul></ul>e", "- a\n- b\n  c\n  - d\n\ne");
    check("<ol><li>a<li value=7>b<li>c</ol>", "1. a\n7. b\n8. c");
    check("<ul><li><ul><li>a</ul></ul>", "- a");
    check("<dl><dt>a<dd>b<dd>c<dt>d<dd>e</dl>", "- a\n  b\n  c\n- d\n  e");
    check("<table><tr><th>a<th>b<tr><td><p>c</p><p>d<td><tr><td><td>e</table>", "a | b\nc d\n| e");
    check("<table><tr><th colspan=2>a<th>b<tr><td>1<td>2<td>3</table>", "a | | b\n1 | 2 | 3");
    // A table that only places things.
    check("<table><tr><td><h1>a</h1><p>b</table>", "a\n\nb");
}

#[test]
fn a_table_repeats_its_header() {
    let (text, outline) = convert("<table><thead><tr><td>a<td>b<tbody><tr><td>1<td>2</table>");
    let Block::Body(body) = &outline.blocks[0] else { panic!("{outline:?}") };
    assert_eq!(&text[body.context.clone().unwrap()], "a | b");
}

#[test]
fn what_is_around_the_content_is_left_out() {
    let menu = "<ul><li><a href=a>Start</a><li><a href=b>News</a><li><a href=c>Contact</a></ul>";
    let long = "The ferry runs all year, and in winter twice a day. ".repeat(3);
    let long = long.trim();
    check(&format!("<nav>{menu}</nav><main>a</main><footer>f</footer>"), "a");
    check(&format!("<div>{menu}</div><div><p>{long}</div><div>{menu}</div>"), long);
    // A list of links right below running text belongs to it.
    let links = "- Start\n- News\n- Contact";
    check(&format!("<div><p>{long}</p>{menu}</div>"), &format!("{long}\n\n{links}"));
    // A page of nothing but links is a page of links.
    check(menu, links);
    check(&format!("<nav>{menu}</nav>"), links);
    // Not enough text in what claims to be the content.
    check(&format!("<main>a</main><div><p>{long}</div>"), &format!("a\n\n{long}"));
    // The heading above what it heads.
    check(&format!("<div><h1>T</h1><a href=a>b</a></div><main>{long}</main>"), &format!("T\n\n{long}"));
    check(&format!("<p>{long}<div id=cookieConsent>We use cookies.</div>"), long);
    check("<body style='display:none'><p>a<p style='display: none'>b<p aria-hidden=true>c", "a");
    check("<h2><button>Open?</button></h2>Yes. <button>Copy</button>", "Open?\n\nYes.");
    let (_, outline) = convert("<main>abcd<script>12345</script><svg><text>123</text></svg></main><div>1234</div>");
    let left_out: Vec<_> = outline.left_out.iter().map(|left_out| (left_out.reason, left_out.bytes)).collect();
    assert_eq!(left_out, [(Reason::Hidden, 5), (Reason::Unread, 3), (Reason::Navigation, 4)]);
}

#[test]
fn a_title_goes_without_the_name_of_its_site() {
    for (page, expected) in [
        ("<title>Fares - Ferry | Harbour</title><h1>fares - ferry</h1>a", Some("Fares - Ferry")),
        ("<title>Fares - Ferry</title><p>a", Some("Fares - Ferry")),
        ("<h1>Fares</h1><h1>Boats</h1>", Some("Fares")),
        ("<p>a", None),
    ] {
        assert_eq!(convert(page).1.title.as_deref(), expected, "{page}");
    }
}

#[test]
fn the_encoding_is_found() {
    for (bytes, expected) in [
        (&b"caf\xe9"[..], "café"),
        (b"caf\xc3\xa9", "café"),
        (b"<meta charset=latin1>caf\xc3\xa9", "<meta charset=latin1>café"),
        (b"<meta charset='koi8-r'>\xc4\xc1", "<meta charset='koi8-r'>да"),
        (b"\xff\xfea\0", "a"),
        (b"\xef\xbb\xbfa\xff", "a\u{fffd}"),
    ] {
        assert_eq!(decode(bytes), expected);
    }
}

fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop_oneof![
        6 => prop::sample::select(vec![
            "<p>", "</p>", "<div>", "</div>", "<b>", "</b>", "<a href=x>", "</a>", "<ul>", "</ul>", "<ol start=9>", "</ol>", "<li>",
            "</li>", "<table>", "</table>", "<thead>", "<tr>", "<td>", "<th colspan=3>", "<td rowspan=2>", "</td>", "<caption>",
            "<pre>", "</pre>", "<blockquote>", "</blockquote>", "<h1>", "</h1>", "<h2>", "</h3>", "<br>", "<hr>", "<dl>", "<dt>",
            "<dd>", "</dl>", "<figure>", "<figcaption>", "</figcaption>", "<img alt='x y'>", "<main>", "</main>", "<article>", "<nav>",
            "</nav>", "<aside>", "<footer>", "<template>", "</template>", "<svg>", "</svg>", "<math>", "<select>", "<option>",
            "<form>", "</form>", "<button>", "<script>", "</script>", "<title>", "</title>", "<textarea>", "<frameset>", "<body>",
            "</body>", "</html>", "<q>", "</q>", "&amp;", "&#0;", "&nbsp;", "\0", "<!--", "-->", "<![CDATA[", "]]>", "<", "=\"",
            "<p class=menu>", "<div hidden>", "<plaintext>", "<noscript>", "<details>", "<summary>", "\u{ad}", "\u{3000}",
        ])
        .prop_map(str::to_owned),
        3 => "[a-z]{1,8}[ .]",
        1 => "\\PC{1,3}",
    ];
    prop::collection::vec(fragment, 0..60).prop_map(|fragments| fragments.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn any_page_is_read(page in fragments()) {
        let (text, outline) = read(&page, &Limits::NONE).unwrap();
        prop_assert_eq!(outline.fits(&text), Ok(()));
        // The same text, cut off anywhere, in bytes of any kind.
        let (_, outline) = super::convert(&page.as_bytes()[page.len() / 2..], &Limits::NONE).unwrap();
        prop_assert!(outline.blocks.len() <= page.len());
        let _ = text;
    }
}

/// Each of these is quadratic in some parser of HTML, or takes its stack or its memory.
#[test]
#[allow(clippy::disallowed_methods, reason = "it measures time")]
fn hostile_pages_are_answered_in_time() {
    const BYTES: usize = 2 << 20;
    let attributes = |n: usize| (0..n).map(|n| format!(" a{n}=b")).collect::<String>();
    let pages = [
        "<".repeat(BYTES),
        "<div>".repeat(BYTES / 5),
        format!("{}a{}", "<div>".repeat(BYTES / 11), "</div>".repeat(BYTES / 11)),
        "<ul><li>a".repeat(BYTES / 9),
        "<table><tr><td>a".repeat(BYTES / 16),
        "<blockquote>a".repeat(BYTES / 13),
        "<b><i><p>a".repeat(BYTES / 10),
        "<a href=x><font>".repeat(BYTES / 16),
        format!("{}{}", "<b><i><u><s><em>".repeat(3), "<p>a".repeat(BYTES / 4)),
        (0..BYTES / 20).map(|n| format!("<font size={n}>a")).collect(),
        format!("<p{}>", attributes(BYTES / 12)),
        format!("<p title='{}'>a", "x".repeat(BYTES)),
        (0..BYTES / 16).map(|n| format!("<element-{n}>")).collect(),
        "&#".repeat(BYTES / 2),
        "&notit;&nosuchentity".repeat(BYTES / 20),
        "\0".repeat(BYTES),
        "<p>\0".repeat(BYTES / 4),
        "<!--".repeat(BYTES / 4),
        "<![CDATA[".repeat(BYTES / 9),
        "<svg><p>".repeat(BYTES / 8),
        "<table>a<b>".repeat(BYTES / 11),
        "<form><div></form>".repeat(BYTES / 18),
        "<template>".repeat(BYTES / 10),
        "<select><option>a".repeat(BYTES / 17),
        "<h1>a</h1>".repeat(BYTES / 10),
        "a<br>".repeat(BYTES / 5),
    ];
    for page in &pages {
        let start = Instant::now();
        let answer = read(page, &Limits::NONE);
        let ms = start.elapsed().as_millis();
        println!("{ms} ms {:?}: {:?}", &page[..page.len().min(24)], answer.as_ref().map(|(text, _)| text.len()));
        if let Ok((text, outline)) = &answer {
            assert_eq!(outline.fits(text), Ok(()), "{:?}", &page[..24]);
        }
        // Quadratic work would take minutes.
        assert!(ms < 20_000, "{ms} ms for {:?}", &page[..24]);
    }
}
