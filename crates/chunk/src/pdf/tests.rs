use proptest::prelude::*;

use super::*;

const REPORT: &[u8] = include_bytes!("../../../../tests/data/formats/report.pdf");
const NOTICE: &[u8] = include_bytes!("../../../../tests/data/formats/notice.pdf");

/// A file of one page with these operators, and Helvetica as `F`.
fn page(operators: &str) -> Vec<u8> {
    file(&[
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents 4 0 R \
         /Resources << /Font << /F 5 0 R >> /XObject << /X 6 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{operators}\nendstream", operators.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned(),
        "<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Length 5 /Resources << /XObject << /X 6 0 R >> >> >>\n\
         stream\n/X Do\nendstream"
            .to_owned(),
    ])
}

/// A file of these objects, the first of which is the catalogue.
fn file(objects: &[String]) -> Vec<u8> {
    let mut out = b"%PDF-1.4\n".to_vec();
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (n, object) in objects.iter().enumerate() {
        table += &format!("{:010} 00000 n \n", out.len());
        out.extend(format!("{} 0 obj\n{object}\nendobj\n", n + 1).bytes());
    }
    let (start, size) = (out.len(), objects.len() + 1);
    out.extend(format!("{table}trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF").bytes());
    out
}

fn text(bytes: &[u8]) -> Result<String, ParseError> {
    let (text, outline) = convert(bytes, &Limits::NONE)?;
    assert_eq!(outline.fits(&text), Ok(()));
    Ok(text)
}

#[test]
fn operators_place_words() {
    for (operators, expected) in [
        ("BT /F 12 Tf 20 100 Td (One) Tj 0 -14 Td (two) Tj ET", "One two\n"),
        ("BT /F 12 Tf 20 100 Td [(Gl) 20 (ued) -400 (apart)] TJ ET", "Glued apart\n"),
        // Drawn from below, read from above.
        ("BT /F 12 Tf 20 86 Td (two) Tj 0 14 Td (One) Tj ET", "One two\n"),
        // Torn at the end of a line; a compound that is whole elsewhere stays one.
        ("BT /F 12 Tf 14 TL 20 100 Td (A time-) Tj (table hangs) ' ET", "A timetable hangs\n"),
        ("BT /F 12 Tf 14 TL 20 100 Td (Well-known, well-) Tj (known) ' ET", "Well-known, well-known\n"),
        // Bold in the way of old printers.
        ("BT /F 12 Tf 1 0 0 1 20 100 Tm (A) Tj 1 0 0 1 20.3 100 Tm (A) Tj ET", "A\n"),
        // Invisible, and outside of the page.
        ("BT /F 12 Tf 20 100 Td (Seen) Tj 3 Tr (not) Tj 0 Tr 900 0 Td (far) Tj ET", "Seen\n"),
        // Bullets and what they head.
        ("BT /F 12 Tf 16 TL 20 100 Td (\\225 one) Tj (\\225 two) ' ET", "- one\n- two\n"),
        // A form that draws itself.
        ("/X Do BT /F 12 Tf 20 100 Td (After) Tj ET", "After\n"),
        ("", ""),
    ] {
        assert_eq!(text(&page(operators)).as_deref(), Ok(expected), "{operators}");
    }
}

#[test]
fn a_box_lies_where_its_line_is_shown() {
    let (_, outline) = convert(&page("BT /F 10 Tf 20 150 Td (Words) Tj ET"), &Limits::NONE).unwrap();
    let ibid_core::Place::Page { page: 1, bounds } = outline.places[0].place else { panic!("{:?}", outline.places) };
    // The page is 200 points high: its baseline lies 50 points below the upper edge.
    assert_eq!((bounds.left, bounds.top, bounds.bottom), (2000, 4250, 5250));
    assert!((4600..5000).contains(&bounds.right), "{bounds:?}");
}

#[test]
fn a_title_is_one_that_somebody_gave() {
    for (title, expected) in [
        ("Ferries in winter", true),
        ("Microsoft Word - report.doc", false),
        ("untitled", false),
        ("thesis.dvi", false),
        ("  ", false),
        ("42", false),
    ] {
        assert_eq!(is_title(title), expected, "{title}");
    }
    assert_eq!(text_string(b"\xfe\xff\0K\0\xe4"), "Kä");
    assert_eq!(text_string(b"K\xe4"), "Kä");
}

#[test]
fn hostile_files_are_refused_or_read_in_bounds() {
    let catalog = "<< /Type /Catalog /Pages 2 0 R >>".to_owned();
    // A page tree that holds itself.
    let cyclic = file(&[catalog.clone(), "<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 9 >>".to_owned()]);
    assert!(text(&cyclic).is_ok_and(|text| text.is_empty()));
    // More pages than are read.
    let kids = "<< /Type /Page >> ".repeat(PAGES_MAX + 1);
    let pages = file(&[catalog.clone(), format!("<< /Type /Pages /Kids [{kids}] >>")]);
    assert!(matches!(text(&pages), Err(ParseError::TooLarge { what: "pages", .. })));
    // Arrays in arrays.
    let nested = file(&[catalog.clone(), format!("<< /Type /Pages /Kids {} >>", "[".repeat(100_000))]);
    assert!(text(&nested).is_err() || text(&nested).is_ok_and(|text| text.is_empty()));
    assert!(text(&page(&"[".repeat(100_000))).is_ok_and(|text| text.is_empty()));
    // Streams that unpack to more than a gigabyte, of operators and of objects.
    let mut bomb = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![b' '; 1 << 20];
    (0..1100).for_each(|_| std::io::Write::write_all(&mut bomb, &zeros).unwrap());
    let bomb = bomb.finish().unwrap();
    for dictionary in ["/Filter /FlateDecode", "/Type /ObjStm /N 1 /First 4 /Filter /FlateDecode"] {
        let mut out = page("");
        let start = out.len();
        out.extend(format!("4 0 obj << /Length {} {dictionary} >>\nstream\n", bomb.len()).bytes());
        out.extend(&bomb);
        out.extend(b"\nendstream endobj\n");
        let table = out.len();
        out.extend(format!("xref\n4 1\n{start:010} 00000 n \ntrailer << /Size 7 /Root 1 0 R /Prev ").bytes());
        let before = memchr::memmem::find(&out, b"xref\n0").unwrap();
        out.extend(format!("{before} >>\nstartxref\n{table}\n%%EOF").bytes());
        assert!(matches!(text(&out), Err(ParseError::TooLarge { .. })), "{dictionary}: {:?}", text(&out));
    }
}

#[test]
fn work_ends_when_its_caller_says_so() {
    let limits = Limits { stop: &|| true, ..Limits::NONE };
    assert_eq!(convert(REPORT, &limits), Err(ParseError::Stopped));
    let limits = Limits { text_bytes_max: 100, ..Limits::NONE };
    assert!(matches!(convert(REPORT, &limits), Err(ParseError::TooLarge { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn broken_files_never_panic(
        notice in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = if notice { NOTICE } else { REPORT }.to_vec();
        for (byte, value) in changes {
            let byte = byte.index(bytes.len());
            bytes[byte] = value;
        }
        if cut {
            bytes.truncate(end.index(bytes.len()));
        }
        let _ = text(&bytes);
    }

    #[test]
    fn any_operators_are_read(operators in "([0-9.-]{1,4} |\\((a|-|•)*\\) |/[FX] |Tf |Td |Tj |TJ |Tm |q |Q |cm |Do |re |l |\\[ |\\] ){0,60}") {
        let _ = text(&page(&operators));
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = text(&[b"%PDF-1.4\n", &bytes[..]].concat());
    }
}
