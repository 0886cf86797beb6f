"""Makes the files beside it: `python make.py`. Needs Python's own library only.

Each is broken, or made to harm, in one way; `outcomes.txt` says what reading it is to give. Those which are truncated are
made of the files in ../formats.
"""

import gzip
import os
import struct
import zipfile
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
FORMATS = os.path.join(HERE, "..", "formats")


def save(name, data):
    with open(os.path.join(HERE, name), "wb") as out:
        out.write(data.encode() if isinstance(data, str) else data)


def known(name):
    with open(os.path.join(FORMATS, name), "rb") as file:
        return file.read()


class Zip:
    """A zip whose fields may lie."""

    def __init__(self):
        self.out, self.directory, self.count = b"", b"", 0

    def add(self, name, content, deflate=True, crc=None, size=None, flags=0, method=None, at=None, directory_name=None):
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = packer.compress(content) + packer.flush() if deflate else content
        crc = zlib.crc32(content) if crc is None else crc
        size = len(content) if size is None else size
        method = (8 if deflate else 0) if method is None else method
        head = struct.pack("<HHHHHIII", 20, flags, method, 0, 33, crc, len(packed), size)
        start = len(self.out)
        if at is None:
            self.out += b"PK\3\4" + head + struct.pack("<HH", len(name), 0) + name.encode() + packed
        else:
            start = at
        name = directory_name or name
        self.directory += (
            b"PK\1\2" + struct.pack("<H", 20) + head + struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, start) + name.encode()
        )
        self.count += 1
        return self

    def bytes(self, directory_at=None):
        at = len(self.out) if directory_at is None else directory_at
        end = struct.pack("<HHHHIIH", 0, 0, self.count, self.count, len(self.directory), at, 0)
        return self.out + self.directory + b"PK\5\6" + end


WORD = b"<w:document xmlns:w='w'><w:body>%s</w:body></w:document>"
PARAGRAPH = b"<w:p><w:r><w:t>A sentence.</w:t></w:r></w:p>"
MAIN = "word/document.xml"


def office():
    word = WORD % PARAGRAPH
    # Ratios.
    save("ratio.docx", Zip().add(MAIN, WORD % (b" " * (40 << 20))).bytes())
    save("ratio_of_a_picture.docx", Zip().add(MAIN, word).add("word/media/a.png", b"\0" * (20 << 20)).bytes())
    inner = Zip().add("a", b"\0" * (10 << 20)).bytes()
    for _ in range(4):
        nested = Zip()
        for n in range(16):
            nested.add(f"{n}.zip", inner)
        inner = nested.bytes()
    save("nested.docx", Zip().add(MAIN, word).add("word/embeddings/a.zip", inner).bytes())
    # A hundred parts that are one.
    overlap = Zip().add(MAIN, WORD % (PARAGRAPH * 1000))
    for n in range(100):
        overlap.add(MAIN, WORD % (PARAGRAPH * 1000), at=0, directory_name=f"word/header{n}.xml")
    save("overlapping.docx", overlap.bytes())
    quoted = Zip().add(MAIN, WORD % PARAGRAPH, deflate=False)
    quoted.add(MAIN, WORD % PARAGRAPH, deflate=False, at=10)
    save("inside_another.docx", quoted.bytes())
    # Entities.
    entities = b"".join(b"<!ENTITY a%d '%s'>" % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 12))
    laughs = b"<!DOCTYPE a [<!ENTITY a0 'lol'>%s]>" % entities
    save("entities.docx", Zip().add(MAIN, laughs + WORD % b"<w:p><w:r><w:t>&a11;</w:t></w:r></w:p>").bytes())
    outside = b"<!DOCTYPE a [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>"
    save("entity_outside.docx", Zip().add(MAIN, outside + WORD % b"<w:p><w:r><w:t>&a;</w:t></w:r></w:p>").bytes())
    save("entity_unknown.docx", Zip().add(MAIN, WORD % b"<w:p><w:r><w:t>&a;</w:t></w:r></w:p>").bytes())
    # What lies.
    save("wrong_crc.docx", Zip().add(MAIN, word, crc=1).bytes())
    save("wrong_size.docx", Zip().add(MAIN, word, size=1 << 31).bytes())
    save("size_too_small.docx", Zip().add(MAIN, WORD % (PARAGRAPH * 1000), size=10).bytes())
    save("wrong_name.docx", Zip().add("word/other.xml", word).add(MAIN, word, at=0).bytes())
    save("method_unknown.docx", Zip().add(MAIN, word, method=99).bytes())
    save("password.docx", Zip().add(MAIN, word, flags=1).bytes())
    save("directory_far.docx", Zip().add(MAIN, word).bytes(directory_at=0xFFFFFF00))
    save("no_document.docx", Zip().add("word/document.xml.bak", word).bytes())
    save("name_of_a_path.docx", Zip().add("../../" + MAIN, word).add(MAIN, word).bytes())
    save("not_utf8.docx", Zip().add(MAIN, WORD % b"<w:p><w:r><w:t>\xff\xfe</w:t></w:r></w:p>").bytes())
    save("utf16.docx", Zip().add(MAIN, ("<?xml version='1.0' encoding='UTF-16'?>" + word.decode()).encode("utf-16")).bytes())
    save("open_elements.docx", Zip().add(MAIN, b"<w:document><w:body>" + PARAGRAPH).bytes())
    save("crossed_elements.docx", Zip().add(MAIN, b"<w:document><w:body><w:p></w:body></w:p></w:document>").bytes())
    save("empty.docx", Zip().bytes())
    save("old.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504))
    save("encrypted.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + "EncryptedPackage".encode("utf-16-le") + bytes(64))
    rels = b"<Relationships>%s</Relationships>"
    related = b"<Relationship Id='a' Type='%s' Target='%s'/>"
    # A main part that is its own note, and a part that is not there.
    save(
        "own_note.docx",
        Zip()
        .add(MAIN, WORD % (b"<w:p><w:r><w:footnoteReference w:id='1'/></w:r></w:p>" + PARAGRAPH))
        .add("word/_rels/document.xml.rels", rels % (related % (b"footnotes", b"document.xml")))
        .bytes(),
    )
    workbook = b"<workbook><sheets><sheet name='S' r:id='a'/></sheets></workbook>"

    def excel(sheet, strings=b"", book=workbook):
        return (
            Zip()
            .add("xl/workbook.xml", book)
            .add("xl/_rels/workbook.xml.rels", rels % (related % (b"worksheet", b"sheet.xml")))
            .add("xl/sheet.xml", b"<worksheet>%s</worksheet>" % sheet)
            .add("xl/sharedStrings.xml", b"<sst>%s</sst>" % strings)
            .bytes()
        )

    row = b"<row r='%s'><c r='A%s'><v>1</v></c></row>"
    save("dimension.xlsx", excel(b"<dimension ref='A1:XFD1000000000'/><sheetData>%s</sheetData>" % (row % (b"1", b"1"))))
    save("row_far.xlsx", excel(b"<sheetData>%s</sheetData>" % (row % (b"1000000000", b"1000000000"))))
    save("row_out_of_range.xlsx", excel(b"<sheetData>%s</sheetData>" % (row % ((b"9" * 40,) * 2))))
    save("row_negative.xlsx", excel(b"<sheetData>%s</sheetData>" % (row % (b"-1", b"-1"))))
    save("column_far.xlsx", excel(b"<sheetData><row r='1'><c r='ZZZZZZZZZZZZ1'><v>1</v></c></row></sheetData>"))
    save("string_far.xlsx", excel(b"<sheetData><row><c t='s'><v>99999999999</v></c></row></sheetData>", b"<si><t>a</t></si>"))
    save("date_far.xlsx", excel(b"<sheetData><row><c t='d'><v>1e308</v></c><c s='1'><v>-1e308</v></c></row></sheetData>"))
    save("merged_far.xlsx", excel(b"<sheetData>%s</sheetData><mergeCells><mergeCell ref='XFD1048576:A1'/></mergeCells>" % (row % (b"1", b"1"))))
    save("entities.xlsx", excel(b"<sheetData><row><c t='s'><v>0</v></c></row></sheetData>", b"<!DOCTYPE a [<!ENTITY a 'b'>]><si><t>&a;</t></si>"))
    save("no_sheet.xlsx", Zip().add("xl/workbook.xml", workbook).bytes())
    save(
        "own_slide.pptx",
        Zip()
        .add("ppt/presentation.xml", b"<p:presentation><p:sldIdLst><p:sldId r:id='a'/></p:sldIdLst></p:presentation>")
        .add("ppt/_rels/presentation.xml.rels", rels % (related % (b"slide", b"presentation.xml")))
        .bytes(),
    )
    for name in ["handbook.docx", "sales.xlsx", "harbour.pptx"]:
        data = known(name)
        base, extension = name.split(".")
        save(f"truncated.{extension}", data[: len(data) * 6 // 10])
    save("truncated_end.docx", known("lease.docx")[:-10])
    save("truncated_end.xlsx", known("sales.xlsx")[:-10])


def objects(objects, trailer="/Root 1 0 R", prev=""):
    out = b"%PDF-1.5\n"
    table = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n"
    for n, body in enumerate(objects):
        table += f"{len(out):010} 00000 n \n"
        body = body.encode() if isinstance(body, str) else body
        out += b"%d 0 obj\n%s\nendobj\n" % (n + 1, body)
    start = len(out)
    end = f"{table}trailer << /Size {len(objects) + 1} {trailer} {prev.format(start=start)} >>\nstartxref\n{start}\n%%EOF"
    return out + end.encode()


def stream(entries, data):
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(data), entries.encode(), data)


def pdf():
    catalogue = "<< /Type /Catalog /Pages 2 0 R >>"
    pages = "<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
    page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>"
    words = b"BT /F 12 Tf 20 700 Td (Some words.) Tj ET"
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    whole = [catalogue, pages, page, stream("", words), font]

    def changed(n, body):
        return objects(whole[: n - 1] + [body] + whole[n:])

    save("tree_cycle.pdf", changed(2, "<< /Type /Pages /Kids [2 0 R 3 0 R 2 0 R] /Count 3 >>"))
    save("tree_of_catalogue.pdf", changed(1, "<< /Type /Catalog /Pages 1 0 R /Kids [1 0 R] >>"))
    save("parent_cycle.pdf", changed(3, page.replace("/Parent 2 0 R", "/Parent 3 0 R").replace("/MediaBox [0 0 600 800]", "")))
    save("object_of_itself.pdf", changed(2, "2 0 R"))
    save("objects_of_each_other.pdf", objects(whole[:1] + ["3 0 R", "2 0 R"] + whole[3:]))
    save("length_of_itself.pdf", changed(4, b"<< /Length 4 0 R >>\nstream\n" + words + b"\nendstream"))
    save("length_far.pdf", changed(4, b"<< /Length 99999999999999999999 >>\nstream\n" + words + b"\nendstream"))
    save("length_negative.pdf", changed(4, b"<< /Length -5 >>\nstream\n" + words + b"\nendstream"))
    save("contents_cycle.pdf", changed(4, "[4 0 R 4 0 R 4 0 R]"))
    save("filter_cycle.pdf", changed(4, b"<< /Length 9 /Filter 4 0 R >>\nstream\nabcdefghi\nendstream"))
    save("resources_cycle.pdf", changed(3, page.replace("/Font << /F 5 0 R >>", "/Font 3 0 R /F 3 0 R /XObject 3 0 R")))
    save("font_of_itself.pdf", changed(5, "<< /Type /Font /Subtype /Type0 /BaseFont /A /Encoding 5 0 R /DescendantFonts [5 0 R] /ToUnicode 5 0 R >>"))
    save("page_box_wrong.pdf", changed(3, page.replace("[0 0 600 800]", "[1e38 -1e38 nan 0]")))
    save("page_box_none.pdf", changed(3, page.replace("[0 0 600 800]", "[0 0 0 0]")))
    save("rotated.pdf", changed(3, page.replace("/Contents", "/Rotate 2147483647 /UserUnit 1e30 /Contents")))
    save("table_loop.pdf", objects(whole, prev="/Prev {start}"))
    save("table_loop_hybrid.pdf", objects(whole, prev="/XRefStm {start} /Prev {start}"))
    save("root_none.pdf", objects(whole, trailer="/Root 99 0 R"))
    save("root_stream.pdf", objects(whole, trailer="/Root 4 0 R"))
    save("encrypt_none.pdf", objects(whole, trailer="/Root 1 0 R /Encrypt 99 0 R"))
    save("encrypt_wrong.pdf", objects(whole, trailer="/Root 1 0 R /Encrypt << /Filter /Standard /V 9 /R 9 /O () /U () /P 0 >> /ID [() ()]"))
    save("encrypt_short.pdf", objects(whole, trailer="/Root 1 0 R /Encrypt << /Filter /Standard /V 5 /R 6 /Length 256 /O (a) /U (b) /OE (c) /UE (d) /P 0 >> /ID [(a) (a)]"))
    members = b"6 0 7 10 << /A 7 0 R >> << /A 6 0 R >>"
    looped = stream("/Type /ObjStm /N 2 /First 9 /Extends 6 0 R", members)
    save("objects_extend_themselves.pdf", objects(whole + [looped]))
    # A cross-reference stream in which objects 3 and 6 are in streams that are each other.
    body = objects(whole)[: -len("%%EOF")]
    rows = [(0, 0, 65535)] + [(2, 6, 0)] * 5 + [(2, 6, 1), (1, len(body), 0)]
    data = b"".join(struct.pack(">BIH", *row) for row in rows)
    table = stream("/Type /XRef /Size 8 /W [1 4 2] /Root 1 0 R", data)
    save("objects_in_themselves.pdf", body + b"7 0 obj\n" + table + b"\nendobj\nstartxref\n%d\n%%%%EOF" % len(body))
    # A megabyte of blanks for each kilobyte, 20 times.
    packed = zlib.compress(b" " * (20 << 20), 9)
    save("flate.pdf", changed(4, stream("/Filter /FlateDecode", packed)))
    save("flate_broken.pdf", changed(4, stream("/Filter /FlateDecode", zlib.compress(words)[:-8] + b"\xff" * 8)))
    save("lzw_broken.pdf", changed(4, stream("/Filter /LZWDecode", b"\xff" * 50)))
    save("ascii85_broken.pdf", changed(4, stream("/Filter /ASCII85Decode", b"zzzz{{}}~~>")))
    save("run_length.pdf", changed(4, stream("/Filter [/RunLengthDecode /RunLengthDecode]", b"\x81\x81" * 500)))
    save("filter_unknown.pdf", changed(4, stream("/Filter /None", words)))
    form = "/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 6 0 R /Y 7 0 R >> /Font << /F 5 0 R >> >>"
    drawn = [catalogue, pages, page.replace("/Font <<", "/XObject << /X 6 0 R >> /Font <<"), stream("", words + b" /X Do"), font]
    save("forms_of_each_other.pdf", objects(drawn + [stream(form, b"/Y Do " + words), stream(form, b"/X Do /X Do")]))
    type3 = "<< /Type /Font /Subtype /Type3 /FontBBox [0 0 1 1] /FontMatrix [0 0 0 0 0 0] /FirstChar 0 /LastChar 4000000000 /Widths [1e38] /CharProcs << /a 6 0 R >> /Encoding << /Differences [97 /a -5 /b 1e9 /c] >> /Resources << /Font << /F 5 0 R >> >> >>"
    save("glyphs_of_glyphs.pdf", objects(whole[:4] + [type3, stream("", b"1 0 d0 BT /F 1 Tf (aaaa) Tj ET")]))
    for name, program in [("type1", b"%!PS-AdobeFont-1.0\n/FontMatrix [[[[["), ("truetype", b"\0\1\0\0\xff\xff\0\0" + b"\xff" * 200), ("cff", b"\1\0\4\4\xff\xff" + b"\xff" * 200)]:
        key = {"type1": "FontFile", "truetype": "FontFile2", "cff": "FontFile3"}[name]
        descriptor = f"<< /Type /FontDescriptor /FontName /A /Flags 4 /{key} 7 0 R >>"
        broken = f"<< /Type /Font /Subtype /{'TrueType' if name == 'truetype' else 'Type1'} /BaseFont /A /FontDescriptor 6 0 R >>"
        save(f"font_{name}.pdf", objects(whole[:4] + [broken, descriptor, stream("/Length1 9 /Length2 99999 /Subtype /Type1C", program)]))
    save("no_pages.pdf", changed(2, "<< /Type /Pages /Kids [] /Count 5 >>"))
    save("head_alone.pdf", b"%PDF-1.7\n")
    save("nulls.pdf", b"%PDF-1.7\n" + bytes(1000) + b"startxref\n0\n%%EOF")
    save("no_end.pdf", objects(whole).split(b"xref\n0")[0])
    data = known("notice.pdf")
    save("truncated.pdf", data[: len(data) * 6 // 10])
    save("truncated_end.pdf", data[:-40])


def texts():
    save("mixed.txt", "naïve ".encode() + "naïve ".encode("latin-1") + "naïve".encode("utf-16"))
    save("cut_character.txt", "naïve".encode()[:3])
    save("overlong.txt", b"a\xc0\xafb")
    save("surrogate_in_utf8.txt", b"a\xed\xa0\x80b")
    save("utf16_cut.txt", "naïve 😀".encode("utf-16")[:-1])
    save("utf16_half_pair.txt", "a😀".encode("utf-16")[:-2])
    save("utf32.txt", "naïve".encode("utf-32"))
    save("gzip.txt", gzip.compress(b"a text", mtime=0))
    save("controls.txt", bytes(range(1, 128)) * 8)
    save("directions.md", "# \u202eeltit A\u202c\n\n\u2066\u2067a\u2069 \u200d\u200c\ufeff b\u2028c\u2029d\u0085e\n")
    save("nulls.md", "# A\0B\n\n- \0\n\0\n> \0\n")
    save("lone_surrogates.json", '{"a": "\\ud800", "\\udc00": 1}')
    save("own_keys.json", '{"": {"": {"": 1}}, "__proto__": {"/": "~1"}, "a": 1e999999999, "a": -0}')
    save("truncated.json", known("orders.json")[:-20])
    save("two_values.json", "{}{}")
    save("alias_bomb.yaml", "a0: &a0 lol\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20)))
    save("merge_bomb.yaml", "a0: &a0 {b: 1}\n" + "".join(f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20)))
    save("alias_cycle.yaml", "a: &a\n  b: *a\n  <<: *a\n")
    save("alias_unknown.yaml", "a: *b\n")
    save("directives.yaml", "%YAML 9.9\n%TAG ! tag:a,b:\n--- !a!b c\n%A\n")
    save("tags.yaml", "!!python/object/apply:os.system [ls]\n")
    save("quotes.csv", 'a,b\n"c,d\n"e""f",g"h"\n"\n')
    save("nulls.csv", "a,b\0\n\0,\0\0\n")
    save("ends.csv", "a,b\r\rc,d\n\r\ne\r")
    save("entities.html", "<!DOCTYPE html [<!ENTITY a 'b'>" + "".join(f"<!ENTITY a{n} '&a{n - 1};&a{n - 1};'>" for n in range(1, 40)) + "]><p>&a39; &lt &#0; &#x110000; &#xd800; &CounterClockwiseContourIntegral;")
    save("two_encodings.html", b"<meta charset=utf-16><meta charset=shift_jis><p>na\xefve \x82\xa0</p>")
    save("nothing_shown.html", "<html hidden><body style='display:none'><nav><p>Words</nav><script>a</script>")
    save("crossed.html", "<table><p>a<b><tr><td>b</b><select><table><option>c</table></select><svg><p>d</svg><template><td>e</template><frameset><math><mi><table>f")
    save("truncated.html", known("article.html")[:-200] + b"<p title='")
    save("no_headers.eml", "\n\nA body.\n")
    save("headers_alone.eml", "Message-ID: <a@b>\nSubject: a")
    save("boundary_empty.eml", 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=""\n\n--\na\n----\n')
    save("boundary_none.eml", "MIME-Version: 1.0\nContent-Type: multipart/mixed\n\n--a\nb\n")
    save("boundary_nested.eml", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=a\n\n--a\nb\n--a--\n--a--\n")
    save("body_in_pieces.eml", "MIME-Version: 1.0\nContent-Type: message/partial; id=a; number=1; total=999999999\n\nb\n")
    save("base64_broken.eml", "MIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\n====YW=Jj!!\n")
    save("words_broken.eml", "MIME-Version: 1.0\nSubject: =?utf-8?B?////?= =?x?Q?=FF=G?= =?=?=\nFrom: <<a>>,(,\"\nDate: 99 Foo 99999 99:99:99 +9999\n\nb\n")
    save("date_far.eml", "MIME-Version: 1.0\nDate: Sat, 31 Dec 999999999999 23:59:59 -2359\n\nb\n")
    save("truncated.eml", known("reply.eml")[:-300])
    save("strings.rs", 'fn a() { r##"\n"# } /* /* */ \'\nb\'\\u{110000}\' b"\n')
    save("indents.py", "if a:\n\tb\n        c\n  d\n\\\n\f\te\n'''\n")
    save("heredocs.sh", "cat <<A <<'B' <<-\"C\"\nA\n$(cat <<A\nB\n`\n")
    save("quotes.sql", "SELECT 'a''; -- $$ /* \nBEGIN; $a$ $b$ $a$; DELIMITER //\nEND//\n")
    save("conditions.c", "#if A\nint a() {\n#else\nint b() {\n#elif\n}\n#define C(x \\\n")
    save("raw.cpp", 'auto a = R"x(\n)y" ; template<<<>>> class operator"" _a () {\n')


office()
pdf()
texts()
