//! Office files, zipped by hand.

use std::io::Write;

use ibid_core::MediaType;

use crate::{Case, case};

const MB: usize = 1 << 20;

/// A part as it stands in a zip.
struct Part {
    name: String,
    packed: Vec<u8>,
    crc: u32,
    size: usize,
}

fn part(name: &str, content: &str) -> Part {
    let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    deflate.write_all(content.as_bytes()).unwrap();
    let mut crc = flate2::Crc::new();
    crc.update(content.as_bytes());
    Part { name: name.to_owned(), packed: deflate.finish().unwrap(), crc: crc.sum(), size: content.len() }
}

fn zip(parts: &[Part]) -> Vec<u8> {
    let short = |n: usize| u16::try_from(n).unwrap().to_le_bytes();
    let long = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for Part { name, packed, crc, size } in parts {
        let start = out.len();
        let sizes = [crc.to_le_bytes(), long(packed.len()), long(*size)].concat();
        let head = [&short(20)[..], &short(0), &short(8), &[0; 4], &sizes, &short(name.len()), &[0; 2]].concat();
        out.extend([b"PK\x03\x04", &head[..], name.as_bytes(), packed].concat());
        directory.extend([b"PK\x01\x02", &short(20)[..], &head, &[0; 10], &long(start), name.as_bytes()].concat());
    }
    let count = short(parts.len().min(0xffff));
    let end = [b"PK\x05\x06", &[0; 4][..], &count, &count, &long(directory.len()), &long(out.len()), &[0; 2]].concat();
    [out, directory, end].concat()
}

fn word(body: &str) -> Vec<u8> {
    zip(&[part("word/document.xml", &format!("<w:document><w:body>{body}</w:body></w:document>"))])
}

fn relationships(list: &[(&str, &str, &str)]) -> String {
    let list =
        list.iter().map(|(id, kind, target)| format!("<Relationship Id='{id}' Type='{kind}' Target='{target}'/>"));
    format!("<Relationships>{}</Relationships>", list.collect::<String>())
}

fn excel(sheet: &str, strings: &str) -> Vec<u8> {
    zip(&[
        part("xl/workbook.xml", "<workbook><sheets><sheet name='S' r:id='a'/></sheets></workbook>"),
        part("xl/_rels/workbook.xml.rels", &relationships(&[("a", "worksheet", "sheet.xml")])),
        part("xl/sheet.xml", &format!("<worksheet>{sheet}</worksheet>")),
        part("xl/sharedStrings.xml", &format!("<sst>{strings}</sst>")),
    ])
}

fn slide(words: &str) -> String {
    format!("<p:sld><p:cSld><p:spTree><p:sp><p:txBody>{words}</p:txBody></p:sp></p:spTree></p:cSld></p:sld>")
}

fn slides(list: &str, content: &str) -> Vec<u8> {
    zip(&[
        part("ppt/presentation.xml", &format!("<p:presentation><p:sldIdLst>{list}</p:sldIdLst></p:presentation>")),
        part("ppt/_rels/presentation.xml.rels", &relationships(&[("a", "slide", "slide.xml")])),
        part("ppt/slide.xml", &slide(content)),
    ])
}

const PARAGRAPH: &str = "<w:p><w:r><w:t>word</w:t></w:r></w:p>";

pub(crate) fn cases() -> Vec<Case> {
    let docx =
        |name: &str, expected, make: fn() -> Vec<u8>| case(format!("docx/{name}"), MediaType::Docx, expected, make);
    let xlsx =
        |name: &str, expected, make: fn() -> Vec<u8>| case(format!("xlsx/{name}"), MediaType::Xlsx, expected, make);
    let pptx =
        |name: &str, expected, make: fn() -> Vec<u8>| case(format!("pptx/{name}"), MediaType::Pptx, expected, make);
    vec![
        docx("1 GB of blanks", "too large", || {
            // What comes after a flush can be repeated: it refers to blanks only, of which there are enough.
            let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
            deflate.write_all(b"<w:document>").unwrap();
            deflate.flush().unwrap();
            let before = deflate.get_ref().len();
            deflate.write_all(&[b' '; MB]).unwrap();
            deflate.flush().unwrap();
            let block = deflate.get_ref()[before..].to_vec();
            let mut packed = deflate.get_ref().clone();
            (1..1100).for_each(|_| packed.extend(&block));
            packed.extend(deflate.finish().unwrap().split_off(before + block.len()));
            zip(&[Part { name: "word/document.xml".to_owned(), packed, crc: 0, size: 1100 * MB + 12 }])
        }),
        docx("60,000 parts", "too large", || zip(&(0..60_000).map(|n| part(&n.to_string(), "")).collect::<Vec<_>>())),
        docx("parts of one name", "read", || {
            let parts = (0..10_000).map(|_| part("word/document.xml", "<w:document/>"));
            zip(&parts.collect::<Vec<_>>())
        }),
        docx("10,000 nested tables", "too deep", || word(&"<w:tbl><w:tr><w:tc>".repeat(10_000))),
        docx("10,000 nested elements", "too deep", || word(&"<a>".repeat(10_000))),
        docx("400,000 paragraphs", "read", || word(&PARAGRAPH.repeat(400_000))),
        docx("2 M paragraphs", "too large", || word(&PARAGRAPH.repeat(2_000_000))),
        docx("a paragraph of 40 MB", "too large", || {
            word(&format!("<w:p><w:r><w:t>{}</w:t></w:r></w:p>", "word ".repeat(8 * MB)))
        }),
        docx("8 M runs", "too large", || word(&format!("<w:p>{}</w:p>", "<w:r><w:t>a</w:t></w:r>".repeat(4_500_000)))),
        docx("an attribute of 15 MB", "read", || word(&format!("<w:p a='{}'/>{PARAGRAPH}", "a".repeat(15 * MB)))),
        docx("1 M attributes", "read", || {
            let attributes: String = (0..1_000_000).map(|n| format!(" a{n}='b'")).collect();
            word(&format!("<w:p{attributes}/>{PARAGRAPH}"))
        }),
        docx("one note, many times", "read", || {
            let mark = "<w:p><w:r><w:footnoteReference w:id='1'/></w:r></w:p>".repeat(100_000);
            let note = format!("<w:p><w:r><w:t>{}</w:t></w:r></w:p>", "word ".repeat(20_000));
            zip(&[
                part("word/document.xml", &format!("<w:document><w:body>{mark}</w:body></w:document>")),
                part("word/_rels/document.xml.rels", &relationships(&[("a", "footnotes", "footnotes.xml")])),
                part(
                    "word/footnotes.xml",
                    &format!("<w:footnotes><w:footnote w:id='1'>{note}</w:footnote></w:footnotes>"),
                ),
            ])
        }),
        docx("styles of styles", "too large", || {
            let styles: String = (0..50_000)
                .map(|n| format!("<w:style w:styleId='s{n}'><w:basedOn w:val='s{}'/></w:style>", (n + 1) % 50_000))
                .collect();
            let used: String =
                (0..50_000).map(|n| format!("<w:p><w:pPr><w:pStyle w:val='s{n}'/></w:pPr></w:p>")).collect();
            zip(&[
                part("word/document.xml", &format!("<w:document><w:body>{used}{PARAGRAPH}</w:body></w:document>")),
                part("word/_rels/document.xml.rels", &relationships(&[("a", "styles", "styles.xml")])),
                part("word/styles.xml", &format!("<w:styles>{styles}</w:styles>")),
            ])
        }),
        docx("cells over 10^9 columns", "read", || {
            let cell = format!("<w:tc><w:tcPr><w:gridSpan w:val='1000000000'/></w:tcPr>{PARAGRAPH}</w:tc>");
            word(&format!("<w:tbl>{}</w:tbl>", format!("<w:tr>{}</w:tr>", cell.repeat(100)).repeat(1000)))
        }),
        docx("a row of 500,000 cells", "read", || {
            word(&format!("<w:tbl><w:tr>{}</w:tr></w:tbl>", format!("<w:tc>{PARAGRAPH}</w:tc>").repeat(500_000)))
        }),
        docx("rows over rows", "read", || {
            let cell = format!("<w:tc><w:tcPr><w:vMerge/></w:tcPr>{PARAGRAPH}</w:tc>");
            word(&format!("<w:tbl>{}</w:tbl>", format!("<w:tr>{}</w:tr>", cell.repeat(1000)).repeat(300)))
        }),
        docx("20,001 relationships", "too large", || {
            let list: Vec<(&str, &str, &str)> = vec![("a", "image", "b"); 20_001];
            zip(&[
                part("word/document.xml", &format!("<w:document><w:body>{PARAGRAPH}</w:body></w:document>")),
                part("word/_rels/document.xml.rels", &relationships(&list)),
            ])
        }),
        docx("a comment of 100 MB", "too large", || word(&format!("<!--{}-->{PARAGRAPH}", "-".repeat(100 * MB)))),
        docx("references", "read", || {
            word(&format!("<w:p><w:r><w:t>{}</w:t></w:r></w:p>", "&amp;&#65;".repeat(2 * MB)))
        }),
        xlsx("2 M cells", "read", || {
            excel(
                &format!("<sheetData>{}</sheetData>", "<row><c><v>1</v></c><c><v>2</v></c></row>".repeat(1_000_000)),
                "",
            )
        }),
        xlsx("one text of 1 MB, many times", "too large", || {
            let cells = "<row><c t='s'><v>0</v></c></row>".repeat(100_000);
            excel(&format!("<sheetData>{cells}</sheetData>"), &format!("<si><t>{}</t></si>", "a".repeat(MB)))
        }),
        xlsx("one sheet, many times", "too large", || {
            let sheets = "<sheet name='S' r:id='a'/>".repeat(20_000);
            zip(&[
                part("xl/workbook.xml", &format!("<workbook><sheets>{sheets}</sheets></workbook>")),
                part("xl/_rels/workbook.xml.rels", &relationships(&[("a", "worksheet", "sheet.xml")])),
                part(
                    "xl/sheet.xml",
                    &format!(
                        "<worksheet><sheetData>{}</sheetData></worksheet>",
                        "<row><c><v>1</v></c></row>".repeat(10_000)
                    ),
                ),
            ])
        }),
        xlsx("cells far apart", "read", || {
            let rows: String =
                (0..10_000).map(|n| format!("<row r='{0}'><c r='XFD{0}'><v>1</v></c></row>", 1 + n * 100)).collect();
            excel(&format!("<dimension ref='A1:XFD1048576'/><sheetData>{rows}</sheetData>"), "")
        }),
        xlsx("wide rows", "read", || {
            let row = "<row><c r='A1'><v>1</v></c><c r='XFD1'><v>1</v></c></row>".repeat(20_000);
            excel(&format!("<sheetData>{row}</sheetData>"), "")
        }),
        xlsx("500,000 merged ranges", "read", || {
            let merged = "<mergeCell ref='A1:XFD1048576'/>".repeat(500_000);
            let row = "<row><c><v>1</v></c></row>";
            excel(&format!("<sheetData>{row}</sheetData><mergeCells>{merged}</mergeCells>"), "")
        }),
        xlsx("a cell of 30 MB", "too large", || {
            let cell = format!("<c t='inlineStr'><is><t>{}</t></is></c>", "word ".repeat(6 * MB));
            excel(&format!("<sheetData><row>{cell}</row></sheetData>"), "")
        }),
        xlsx("1 M shared texts", "read", || {
            let strings: String = (0..1_000_000).map(|n| format!("<si><t>{n}</t></si>")).collect();
            excel("<sheetData><row><c t='s'><v>999999</v></c></row></sheetData>", &strings)
        }),
        xlsx("a format of 4 MB", "read", || {
            zip(&[
                part("xl/workbook.xml", "<workbook><sheets><sheet name='S' r:id='a'/></sheets></workbook>"),
                part(
                    "xl/_rels/workbook.xml.rels",
                    &relationships(&[("a", "worksheet", "sheet.xml"), ("b", "styles", "styles.xml")]),
                ),
                part(
                    "xl/sheet.xml",
                    &format!(
                        "<worksheet><sheetData>{}</sheetData></worksheet>",
                        "<row><c s='0'><v>1</v></c></row>".repeat(100_000)
                    ),
                ),
                part(
                    "xl/styles.xml",
                    &format!(
                        "<styleSheet><numFmts><numFmt numFmtId='200' formatCode='{}'/></numFmts>\
                         <cellXfs><xf numFmtId='200'/></cellXfs></styleSheet>",
                        "[".repeat(4 * MB)
                    ),
                ),
            ])
        }),
        pptx("one slide, many times", "too large", || {
            slides(&"<p:sldId r:id='a'/>".repeat(100_000), &"<a:p><a:r><a:t>word</a:t></a:r></a:p>".repeat(10_000))
        }),
        pptx("400,000 paragraphs", "too large", || {
            slides("<p:sldId r:id='a'/>", &"<a:p><a:r><a:t>word</a:t></a:r></a:p>".repeat(400_000))
        }),
        pptx("groups in groups", "too deep", || {
            let groups = "<p:grpSp>".repeat(10_000);
            zip(&[
                part(
                    "ppt/presentation.xml",
                    "<p:presentation><p:sldIdLst><p:sldId r:id='a'/></p:sldIdLst></p:presentation>",
                ),
                part("ppt/_rels/presentation.xml.rels", &relationships(&[("a", "slide", "slide.xml")])),
                part("ppt/slide.xml", &format!("<p:sld><p:cSld><p:spTree>{groups}")),
            ])
        }),
    ]
}
