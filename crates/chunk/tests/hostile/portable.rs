//! PDFs, written by hand.

use std::fmt::Write as _;
use std::io::Write as _;

use ibid_core::MediaType;

use crate::{Case, case};

const MB: usize = 1 << 20;

/// A file of these objects, from 1 on, the first of which is the catalogue.
fn file(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut out = b"%PDF-1.5\n".to_vec();
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (n, object) in objects.iter().enumerate() {
        writeln!(table, "{:010} 00000 n ", out.len()).unwrap();
        out.extend(format!("{} 0 obj\n", n + 1).bytes());
        out.extend(object);
        out.extend(b"\nendobj\n");
    }
    let (start, size) = (out.len(), objects.len() + 1);
    out.extend(format!("{table}trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF").bytes());
    out
}

fn stream(entries: &str, data: &[u8]) -> Vec<u8> {
    let head = format!("<< /Length {} {entries} >>\nstream\n", data.len());
    [head.as_bytes(), data, b"\nendstream"].concat()
}

fn flate(data: &[u8]) -> Vec<u8> {
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    zlib.write_all(data).unwrap();
    zlib.finish().unwrap()
}

fn packed(entries: &str, data: &[u8]) -> Vec<u8> {
    stream(&format!("/Filter /FlateDecode {entries}"), &flate(data))
}

/// A gigabyte of blanks, in a megabyte, as zlib has it; the checksum is wrong, which nobody minds.
fn bomb(start: &[u8]) -> Vec<u8> {
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    zlib.write_all(start).unwrap();
    zlib.flush().unwrap();
    let before = zlib.get_ref().len();
    zlib.write_all(&[b' '; MB]).unwrap();
    zlib.flush().unwrap();
    let block = zlib.get_ref()[before..].to_vec();
    let mut data = zlib.get_ref().clone();
    (1..1024).for_each(|_| data.extend(&block));
    data.extend(zlib.finish().unwrap().split_off(before + block.len()));
    data
}

/// A file of one page: its contents, more entries of its resources, and objects from 6 on.
fn page(contents: Vec<u8>, resources: &str, more: Vec<Vec<u8>>) -> Vec<u8> {
    let objects = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
        format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R \
             /Resources << /Font << /F 5 0 R >> {resources} >> >>"
        )
        .into_bytes(),
        contents,
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_vec(),
    ];
    file(&[objects, more].concat())
}

fn operators(operators: &str) -> Vec<u8> {
    page(packed("", operators.as_bytes()), "", Vec::new())
}

const WORDS: &str = "BT /F 12 Tf 20 700 Td (Some words) Tj ET\n";

/// A font of two bytes a code with this `ToUnicode`, as objects from 6 on, and what draws with it.
fn mapped(cmap: &str) -> Vec<u8> {
    let font = b"<< /Type /Font /Subtype /Type0 /BaseFont /A /Encoding /Identity-H /DescendantFonts [7 0 R] /ToUnicode 8 0 R >>";
    let below = b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /A /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> /W [0 4000000000 500 0 65535 500] >>";
    let contents = stream("", b"BT /G 12 Tf 20 700 Td <00410042> Tj ET");
    let objects = vec![font.to_vec(), below.to_vec(), packed("", cmap.as_bytes())];
    // The page's one font is the sixth object under another name.
    page(contents, ">> /Font << /G 6 0 R", objects)
}

pub(crate) fn cases() -> Vec<Case> {
    let of = |name: &str, expected, make: fn() -> Vec<u8>| case(format!("pdf/{name}"), MediaType::Pdf, expected, make);
    vec![
        of("contents of 1 GB, packed", "too large", || {
            page(stream("/Filter /FlateDecode", &bomb(b"")), "", Vec::new())
        }),
        of("contents packed twice", "too large", || {
            page(stream("/Filter [/FlateDecode /FlateDecode]", &flate(&bomb(b""))), "", Vec::new())
        }),
        of("100 filters", "too large", || {
            let data = (0..100).fold(WORDS.as_bytes().to_vec(), |data, _| flate(&data));
            page(stream(&format!("/Filter [{}]", "/FlateDecode ".repeat(100)), &data), "", Vec::new())
        }),
        of("columns of 10^9", "read", || {
            let contents = stream(
                "/Filter /FlateDecode /DecodeParms << /Predictor 12 /Columns 1000000000 /Colors 1000000000 /BitsPerComponent 16 >>",
                &flate(WORDS.as_bytes()),
            );
            page(contents, "", Vec::new())
        }),
        of("objects of 1 GB, packed", "too large", || {
            let objects = stream("/Type /ObjStm /N 1 /First 5 /Filter /FlateDecode", &bomb(b"9 0 <<>>"));
            page(packed("", WORDS.as_bytes()), "", vec![objects])
        }),
        of("100 streams of objects of 50 MB", "too large", || {
            let objects = packed("/Type /ObjStm /N 1 /First 5", &[b"9 0 <<>>", &vec![b' '; 50 * MB][..]].concat());
            page(packed("", WORDS.as_bytes()), "", vec![objects; 100])
        }),
        of("100,000 pages", "too large", || {
            let kids: String = (0..100_000).map(|n| format!("{} 0 R ", n + 3)).collect();
            let mut objects = vec![
                b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
                format!("<< /Type /Pages /Kids [{kids}] /Count 100000 >>").into_bytes(),
            ];
            objects.extend(vec![b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>".to_vec(); 100_000]);
            file(&objects)
        }),
        of("one page, 100,000 times", "read", || {
            let kids = "3 0 R ".repeat(100_000);
            file(&[
                b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
                format!("<< /Type /Pages /Kids [{kids}] /Count 100000 >>").into_bytes(),
                b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>".to_vec(),
            ])
        }),
        of("one page of much text, 15,000 times", "read", || {
            let kids = "3 0 R ".repeat(15_000);
            file(&[
                b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
                format!("<< /Type /Pages /Kids [{kids}] /Count 15000 >>").into_bytes(),
                b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>"
                    .to_vec(),
                packed("", WORDS.repeat(20_000).as_bytes()),
                b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_vec(),
            ])
        }),
        of("a page tree of ten, 12 levels", "read", || {
            let mut objects = vec![b"<< /Type /Catalog /Pages 2 0 R >>".to_vec()];
            for n in 2..14 {
                let kids = format!("{} 0 R ", n + 1).repeat(10);
                objects.push(format!("<< /Type /Pages /Kids [{kids}] /Count 10 >>").into_bytes());
            }
            objects.push(b"<< /Type /Page /MediaBox [0 0 9 9] >>".to_vec());
            file(&objects)
        }),
        of("a page tree of 100,000 levels", "read", || {
            let mut objects = vec![b"<< /Type /Catalog /Pages 2 0 R >>".to_vec()];
            objects.extend(
                (2..100_000).map(|n| format!("<< /Type /Pages /Kids [{} 0 R] /Count 1 >>", n + 1).into_bytes()),
            );
            objects.push(b"<< /Type /Page /MediaBox [0 0 9 9] >>".to_vec());
            file(&objects)
        }),
        of("forms of ten forms, 12 levels", "too large", || {
            let form = |n: usize| {
                let resources = format!(
                    "/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X {} 0 R >> >>",
                    n + 1
                );
                stream(&resources, "/X Do ".repeat(10).as_bytes())
            };
            let forms =
                (6..18).map(form).chain([stream("/Type /XObject /Subtype /Form /BBox [0 0 9 9]", WORDS.as_bytes())]);
            page(stream("", format!("{WORDS} /X Do").as_bytes()), "/XObject << /X 6 0 R >>", forms.collect())
        }),
        of("one form, 1 M times", "too large", || {
            let form = stream(
                "/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /Font << /F 5 0 R >> >>",
                WORDS.repeat(1000).as_bytes(),
            );
            page(packed("", "/X Do ".repeat(MB).as_bytes()), "/XObject << /X 6 0 R >>", vec![form])
        }),
        of("4 M words", "too large", || operators(&"BT /F 12 Tf 20 700 Td (a b c d e f g h) Tj ET\n".repeat(MB))),
        of("1 M words on a page", "read", || {
            let words: String =
                (0..1_000_000).map(|n| format!("1 0 0 1 {} {} Tm (w) Tj\n", n % 997, n / 997 % 797)).collect();
            operators(&format!("BT /F 2 Tf {words} ET"))
        }),
        of("200,000 words in one place", "too large", || operators(&WORDS.repeat(100_000))),
        of("words at random", "read", || {
            let words: String = (0..50_000_u32)
                .map(|n| {
                    format!(
                        "1 0 0 1 {} {} Tm (word) Tj\n",
                        n.wrapping_mul(2_654_435_761) % 600,
                        n.wrapping_mul(40_503) % 800
                    )
                })
                .collect();
            operators(&format!("BT /F 3 Tf {words} ET"))
        }),
        of("1 M lines drawn", "read", || {
            let lines: String = (0..1_000_000_u32)
                .map(|n| format!("{} {} m {} {} l S\n", n % 600, n % 800, n % 599, n % 800))
                .collect();
            operators(&(WORDS.to_owned() + &lines))
        }),
        of("a grid of 300 by 300", "too large", || {
            let lines: String = (0..300).map(|n| format!("{0} 0 m {0} 800 l S 0 {0} m 600 {0} l S\n", n * 2)).collect();
            let words: String =
                (0..90_000).map(|n| format!("1 0 0 1 {} {} Tm (w) Tj\n", n % 300 * 2, n / 300 * 2)).collect();
            operators(&format!("{lines} BT /F 1 Tf {words} ET"))
        }),
        of("4 M saved states", "read", || operators(&format!("{} {WORDS}", "q ".repeat(4 * MB)))),
        of("4 M marked contents", "read", || operators(&format!("{} {WORDS}", "/A BMC ".repeat(4 * MB)))),
        of("4 M operands", "read", || operators(&format!("{} {WORDS}", "1 ".repeat(8 * MB)))),
        of("an array without end", "read", || operators(&format!("{WORDS} {}", "[".repeat(16 * MB)))),
        of("dictionaries without end", "read", || operators(&format!("{WORDS} {}", "<</A".repeat(4 * MB)))),
        of("a text without end", "read", || operators(&format!("{WORDS} {}", "(".repeat(16 * MB)))),
        of("a text of 30 MB", "too large", || {
            operators(&format!("BT /F 12 Tf 20 700 Td ({}) Tj ET", "word ".repeat(6 * MB)))
        }),
        of("an inline picture without end", "read", || {
            operators(&format!("{WORDS} BI /W 9 ID {}", "EI".repeat(8 * MB)))
        }),
        of("inline pictures", "read", || operators(&format!("{WORDS} {}", "BI ID EI ".repeat(2 * MB)))),
        of("numbers out of range", "read", || {
            operators(
                &"BT /F 1e38 Tf 99999999999999999999 -1e308 Td (a) Tj 1e38 0 0 1e38 1e38 1e38 Tm (b) Tj ET "
                    .repeat(10_000),
            )
        }),
        of("a map of all codes, again and again", "read", || {
            let ranges = "100 beginbfrange\n".to_owned() + &"<0000> <ffff> <0041>\n".repeat(100) + "endbfrange\n";
            mapped(&format!(
                "begincmap 1 begincodespacerange <0000> <ffff> endcodespacerange {} endcmap",
                ranges.repeat(2000)
            ))
        }),
        of("a map of 2^32 codes", "read", || {
            mapped(
                "begincmap 1 begincodespacerange <00000000> <ffffffff> endcodespacerange 1 beginbfrange <00000000> <ffffffff> <0041> endbfrange endcmap",
            )
        }),
        of("a code of much text", "read", || {
            let words = "0041".repeat(100_000);
            let cmap = format!(
                "begincmap 1 begincodespacerange <0000> <ffff> endcodespacerange 2 beginbfchar <0041> <{words}> <0042> <{words}> endbfchar endcmap"
            );
            mapped(&cmap)
        }),
        of("a code of much text, many times", "read", || {
            let words = "0041".repeat(1000);
            let cmap = format!(
                "begincmap 1 begincodespacerange <0000> <ffff> endcodespacerange 1 beginbfchar <0041> <{words}> endbfchar endcmap"
            );
            let font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 7 0 R >>".to_vec();
            let contents = format!("BT /G 12 Tf 20 700 Td ({}) Tj ET", "A".repeat(MB));
            let cmap =
                packed("", cmap.replace("<0041> <0", "<41> <0").replace("<0000> <ffff>", "<00> <ff>").as_bytes());
            page(packed("", contents.as_bytes()), ">> /Font << /G 6 0 R", vec![font, cmap])
        }),
        of("100,000 fonts", "read", || {
            let fonts: String = (0..100_000).map(|n| format!("/F{n} 5 0 R ")).collect();
            let used: String = (0..100_000).map(|n| format!("/F{n} 9 Tf (a) Tj ")).collect();
            page(packed("", format!("BT 20 700 Td {used} ET").as_bytes()), &format!(">> /Font << {fonts}"), Vec::new())
        }),
        of("1 M arrays in an array", "read", || {
            page(packed("", WORDS.as_bytes()), &format!("/A {}", "[".repeat(MB)), Vec::new())
        }),
        of("1 M dictionaries in a dictionary", "too deep", || {
            page(packed("", WORDS.as_bytes()), &format!("/A {}", "<</A".repeat(MB)), Vec::new())
        }),
        of("dictionaries before a long rest", "too deep", || {
            let rest = "<</A ".repeat(500) + &"/B 1 ".repeat(2 * MB);
            page(packed("", WORDS.as_bytes()), &format!("/A {rest}"), Vec::new())
        }),
        of("no table, 1 M objects", "malformed", || {
            b"%PDF-1.4\n".iter().copied().chain("1 0 obj\n<<>>\nendobj\n".repeat(MB).bytes()).collect()
        }),
        of("no table, 10 M times obj", "malformed", || {
            b"%PDF-1.4\n".iter().copied().chain("1 0 obj ".repeat(4 * MB).bytes()).collect()
        }),
        of("10 M times startxref", "malformed", || {
            b"%PDF-1.4\n".iter().copied().chain("startxref 9 ".repeat(2 * MB).bytes()).collect()
        }),
        of("10 M times stream", "malformed", || {
            b"%PDF-1.4\n"
                .iter()
                .copied()
                .chain("1 0 obj<</W[1]/Filter/FlateDecode>>stream\n".repeat(MB / 2).bytes())
                .collect()
        }),
        of("a table of 10^9 rows", "malformed", || {
            let table = stream("/Type /XRef /Size 1000000000 /W [8 8 8] /Index [0 1000000000] /Root 1 0 R", b"abc");
            let start = b"%PDF-1.5\n".len();
            [b"%PDF-1.5\n1 0 obj\n", &table[..], format!("\nendobj\nstartxref\n{start}\n%%EOF").as_bytes()].concat()
        }),
        of("a table of rows of no bytes", "malformed", || {
            let table = stream("/Type /XRef /Size 1000000000 /W [0 0 0] /Index [0 1000000000] /Root 1 0 R", b"");
            let start = b"%PDF-1.5\n".len();
            [b"%PDF-1.5\n1 0 obj\n", &table[..], format!("\nendobj\nstartxref\n{start}\n%%EOF").as_bytes()].concat()
        }),
        of("100,000 tables in a row", "malformed", || {
            let mut out = b"%PDF-1.4\n".to_vec();
            let mut before = 0;
            for _ in 0..100_000 {
                let start = out.len();
                out.extend(format!("xref\n0 0\ntrailer << /Size 1 /Prev {before} >>\n").bytes());
                before = start;
            }
            out.extend(format!("startxref\n{before}\n%%EOF").bytes());
            out
        }),
    ]
}
