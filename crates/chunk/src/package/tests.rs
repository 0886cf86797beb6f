//! Packages that are made to harm, and packages that are broken: an error within limits, never a panic.

use std::io::Write;

use ibid_core::MediaType;
use proptest::prelude::*;

use crate::parse::{Limits, ParseError, Parsed, parse};

/// A part as it stands in a zip.
struct Part<'p> {
    name: &'p str,
    is_deflated: bool,
    is_encrypted: bool,
    crc: u32,
    packed: Vec<u8>,
    size: usize,
}

impl<'p> Part<'p> {
    fn stored(name: &'p str, content: &[u8]) -> Part<'p> {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let (packed, size) = (content.to_vec(), content.len());
        Part { name, is_deflated: false, is_encrypted: false, crc: crc.sum(), packed, size }
    }

    /// `start`, then more than a gibibyte of blanks, in a megabyte.
    fn bomb(name: &'p str, start: &str) -> Part<'p> {
        let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        deflate.write_all(start.as_bytes()).unwrap();
        deflate.flush().unwrap();
        let before = deflate.get_ref().len();
        // What comes after a flush can be repeated: it refers to blanks only, of which there are enough.
        deflate.write_all(&[b' '; 1 << 20]).unwrap();
        deflate.flush().unwrap();
        let mut packed = deflate.get_ref().clone();
        let block = packed[before..].to_vec();
        let blocks = 1100;
        (1..blocks).for_each(|_| packed.extend(&block));
        packed.extend(deflate.finish().unwrap().split_off(before + block.len()));
        Part { name, is_deflated: true, is_encrypted: false, crc: 0, packed, size: start.len() + (blocks << 20) }
    }
}

fn zip(parts: &[Part<'_>]) -> Vec<u8> {
    let short = |n: usize| u16::try_from(n).unwrap().to_le_bytes();
    let long = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for Part { name, is_deflated, is_encrypted, crc, packed, size } in parts {
        let start = out.len();
        let method = if *is_deflated { 8 } else { 0 };
        let head =
            [&short(20)[..], &short(usize::from(*is_encrypted)), &short(method), &[0; 4], &crc.to_le_bytes()].concat();
        let sizes = [long(packed.len()), long(*size)].concat();
        out.extend([b"PK\x03\x04", &head[..], &sizes, &short(name.len()), &[0; 2], name.as_bytes()].concat());
        out.extend(packed);
        let entry = [b"PK\x01\x02", &short(20)[..], &head, &sizes, &short(name.len()), &[0; 12], &long(start)].concat();
        directory.extend([&entry[..], name.as_bytes()].concat());
    }
    let count = short(parts.len().min(0xffff));
    let end = [b"PK\x05\x06", &[0; 4][..], &count, &count, &long(directory.len()), &long(out.len()), &[0; 2]].concat();
    [out, directory, end].concat()
}

fn document(body: &str) -> String {
    format!("<w:document><w:body>{body}</w:body></w:document>")
}

fn docx(body: &str) -> Result<Parsed<'static>, ParseError> {
    let bytes = zip(&[Part::stored("word/document.xml", document(body).as_bytes())]);
    parse(&bytes, MediaType::Docx, &Limits::NONE).map(owned)
}

fn owned(parsed: Parsed<'_>) -> Parsed<'static> {
    Parsed { text: parsed.text.into_owned().into(), outline: parsed.outline }
}

/// A workbook of one sheet.
fn xlsx<'p>(sheet: &str, strings: Part<'p>) -> Result<Parsed<'static>, ParseError> {
    let parts = [
        Part::stored("xl/workbook.xml", b"<workbook><sheets><sheet name='S' r:id='a'/></sheets></workbook>"),
        Part::stored(
            "xl/_rels/workbook.xml.rels",
            b"<Relationships><Relationship Id='a' Type='worksheet' Target='sheet.xml'/></Relationships>",
        ),
        Part::stored("xl/sheet.xml", format!("<worksheet>{sheet}</worksheet>").as_bytes()),
        strings,
    ];
    parse(&zip(&parts), MediaType::Xlsx, &Limits::NONE).map(owned)
}

#[track_caller]
fn check_too_large(parsed: Result<Parsed<'_>, ParseError>, expected: &str) {
    match parsed {
        Err(ParseError::TooLarge { what, .. }) => assert_eq!(what, expected),
        other => panic!("{expected}: {:?}", other.map(|parsed| parsed.text.len())),
    }
}

#[test]
fn what_unpacks_to_too_much_is_not_unpacked() {
    let bomb = zip(&[Part::bomb("word/document.xml", "<w:document>")]);
    assert!(bomb.len() < 2 << 20);
    // One text without an end meets the limit of a text first; many meet that of the part.
    check_too_large(parse(&bomb, MediaType::Docx, &Limits::NONE), "bytes of one tag or text");
    check_too_large(xlsx("", Part::bomb("xl/sharedStrings.xml", "<sst><si><t>")), "bytes of one tag or text");
    let paragraph = "<w:p><w:r><w:t>a</w:t></w:r></w:p>";
    let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    let content = document(&format!("<w:sectPr>{}</w:sectPr>", " ".repeat(1000)).repeat(20_000));
    deflate.write_all(content.as_bytes()).unwrap();
    let packed = deflate.finish().unwrap();
    let part = Part { packed, is_deflated: true, size: content.len(), ..Part::stored("word/document.xml", b"") };
    check_too_large(parse(&zip(&[part]), MediaType::Docx, &Limits::NONE), "bytes of a part, unpacked,");
    check_too_large(docx(&paragraph.repeat(500_001)), "blocks");
    let limits = Limits { text_bytes_max: 100, ..Limits::NONE };
    let bytes = zip(&[Part::stored("word/document.xml", document(&paragraph.repeat(40)).as_bytes())]);
    check_too_large(parse(&bytes, MediaType::Docx, &limits), "bytes of text");
}

#[test]
fn parts_beyond_number_are_refused_and_so_are_parts_in_one_place() {
    let entry = b"PK\x01\x02".iter().chain(&[0; 42]).copied().collect::<Vec<u8>>();
    let mut bytes = b"PK\x03\x04".to_vec();
    (0..700_000).for_each(|_| bytes.extend(&entry));
    check_too_large(parse(&bytes, MediaType::Docx, &Limits::NONE), "parts of the package");
    let mut bytes = zip(&[Part::stored("a", b"abc"), Part::stored("b", b"abc")]);
    // The second entry's offset: 26 bytes before the end are its name and the end's record.
    let offset = bytes.len() - 22 - 1 - 4;
    bytes[offset..offset + 4].fill(0);
    let error = parse(&bytes, MediaType::Docx, &Limits::NONE).unwrap_err();
    assert!(error.to_string().contains("overlap"), "{error}");
}

#[test]
fn xml_nests_so_deep_and_expands_nothing() {
    let deep = "<w:tbl><w:tr><w:tc>".repeat(100_000);
    assert!(matches!(docx(&deep), Err(ParseError::TooDeep { limit: 256, .. })));
    let deep = "<w:r>".repeat(100_000);
    assert!(matches!(docx(&format!("<w:p>{deep}")), Err(ParseError::TooDeep { .. })));
    let laughs = "<!DOCTYPE w [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>]><w><w:p><w:r><w:t>&b;</w:t></w:r></w:p></w>";
    let bytes = zip(&[Part::stored("word/document.xml", laughs.as_bytes())]);
    let error = parse(&bytes, MediaType::Docx, &Limits::NONE).unwrap_err();
    assert!(error.to_string().contains("document type"), "{error}");
    assert!(matches!(docx("<w:p><w:r><w:t>&b;</w:t></w:r></w:p>"), Err(ParseError::Malformed { .. })));
    assert_eq!(docx("<w:p><w:r><w:t>a &lt;&#x4e;&amp; <![CDATA[<b>]]></w:t></w:r></w:p>").unwrap().text, "a <N& <b>\n");
}

#[test]
fn what_is_damaged_or_encrypted_says_so() {
    let part = || Part::stored("word/document.xml", b"<w:document/>");
    let wrong_crc = zip(&[Part { crc: 1, ..part() }]);
    assert!(matches!(parse(&wrong_crc, MediaType::Docx, &Limits::NONE), Err(ParseError::Malformed { .. })));
    let encrypted = zip(&[Part { is_encrypted: true, ..part() }]);
    assert!(matches!(parse(&encrypted, MediaType::Docx, &Limits::NONE), Err(ParseError::Encrypted { .. })));
    let mut compound = super::COMPOUND_FILE.to_vec();
    assert!(matches!(parse(&compound, MediaType::Xlsx, &Limits::NONE), Err(ParseError::Malformed { .. })));
    compound.extend("EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes));
    assert!(matches!(parse(&compound, MediaType::Xlsx, &Limits::NONE), Err(ParseError::Encrypted { .. })));
    for (bytes, media, _) in SAMPLES {
        for end in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
            assert!(parse(&bytes[..end], media, &Limits::NONE).is_err(), "{media:?} until {end}");
        }
    }
    let stopped = Limits { stop: &|| true, ..Limits::NONE };
    let bytes = zip(&[Part::stored("word/document.xml", document(&"<w:p/>".repeat(5000)).as_bytes())]);
    assert_eq!(parse(&bytes, MediaType::Docx, &stopped), Err(ParseError::Stopped));
}

#[test]
fn a_sheet_is_as_large_as_its_cells() {
    let sheet = "<dimension ref='A1:XFD1000000000'/><sheetData><row r='4000000000'><c r='XFD4000000000'><v>7</v></c>\
                 <c r='ZZZZZ1'><v>8</v></c></row><row><c r='A1'><v>9</v></c></row></sheetData>";
    let parsed = xlsx(sheet, Part::stored("x", b"")).unwrap();
    assert_eq!(parsed.text, "S\n\n| 7 8\n9\n");
    // Two columns far apart in many rows.
    let rows = "<row><c r='A1'><v>1</v></c><c r='XFD1'><v>2</v></c></row>".repeat(30_000);
    let parsed = xlsx(&format!("<sheetData>{rows}</sheetData>"), Part::stored("x", b"")).unwrap();
    assert_eq!(parsed.outline.places.len(), 30_000);
}

const SAMPLES: [(&[u8], MediaType, &str); 4] = [
    (include_bytes!("../../../../tests/data/formats/handbook.docx"), MediaType::Docx, "word/"),
    (include_bytes!("../../../../tests/data/formats/lease.docx"), MediaType::Docx, "word/"),
    (include_bytes!("../../../../tests/data/formats/harbour.pptx"), MediaType::Pptx, "ppt/slides/"),
    (include_bytes!("../../../../tests/data/formats/sales.xlsx"), MediaType::Xlsx, "xl/"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Pieces of the XML are dropped, doubled, or written over.
    #[test]
    fn no_change_to_a_part_breaks_the_reader(
        sample in 0..SAMPLES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..40_usize, 0..3_u8), 1..6),
    ) {
        let (bytes, media, folder) = SAMPLES[sample];
        let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
        let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
        for n in 0..archive.len() {
            let mut file = archive.by_index(n).unwrap();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut content).unwrap();
            parts.push((file.name().unwrap().into_owned(), content));
        }
        let changed: Vec<usize> = (0..parts.len()).filter(|&n| parts[n].0.starts_with(folder)).collect();
        for (part, at, len, kind) in changes {
            let content = &mut parts[changed[part.index(changed.len())]].1;
            let start = at.index(content.len().max(1)).min(content.len());
            let end = (start + len).min(content.len());
            match kind {
                0 => drop(content.drain(start..end)),
                1 => {
                    let piece = content[start..end].to_vec();
                    content.splice(start..start, piece);
                }
                _ => content[start..end].iter_mut().for_each(|byte| *byte = byte.wrapping_add(13) & 0x7f),
            }
        }
        let parts: Vec<Part<'_>> = parts.iter().map(|(name, content)| Part::stored(name, content)).collect();
        if let Ok(parsed) = parse(&zip(&parts), media, &Limits::NONE) {
            prop_assert_eq!(parsed.outline.fits(&parsed.text), Ok(()));
        }
    }

    #[test]
    fn no_change_to_the_package_breaks_the_reader(
        sample in 0..SAMPLES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let (bytes, media, _) = SAMPLES[sample];
        let mut bytes = bytes.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(parsed) = parse(&bytes, media, &Limits::NONE) {
            prop_assert_eq!(parsed.outline.fits(&parsed.text), Ok(()));
        }
    }
}
