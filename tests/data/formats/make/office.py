"""Makes the Office files beside this folder: `pip install python-docx python-pptx openpyxl; python office.py`.

What the libraries do not write (notes, changes, text boxes) is put into their XML.
"""

import datetime
import io
import os
import re
import struct
import zipfile
import zlib

import docx
import openpyxl
import pptx
from docx.enum.style import WD_STYLE_TYPE
from openpyxl.styles import numbers

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")


def picture():
    """A PNG of one pixel."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + body)


def save(name, parts):
    """Writes parts as a package with a fixed date."""
    with zipfile.ZipFile(os.path.join(OUT, name), "w", zipfile.ZIP_DEFLATED) as out:
        for part, data in parts.items():
            info = zipfile.ZipInfo(part, (2024, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(info, data)


def parts_of(document):
    file = io.BytesIO()
    document.save(file)
    with zipfile.ZipFile(file) as package:
        return {name: package.read(name) for name in package.namelist() if "thumbnail" not in name}


def word():
    document = docx.Document()
    document.core_properties.title = "Not shown"
    document.add_paragraph("Ferry handbook", style="Title")
    document.add_paragraph("How the ferry runs.", style="Subtitle")
    document.add_heading("Fares", 1)
    paragraph = document.add_paragraph("Adults pay 3.50 euros.")
    paragraph.add_run(" FOOTNOTE")
    paragraph.add_run(" INSERTED DELETED HIDDEN")
    for text, style in [
        ("Children", "List Bullet"),
        ("under six", "List Bullet 2"),
        ("Dogs", "List Bullet"),
        ("Buy a ticket.", "List Number"),
        ("Board.", "List Number"),
    ]:
        document.add_paragraph(text, style=style)
    document.add_heading("Times", 2)
    table = document.add_table(3, 3)
    for row, cells in zip(table.rows, [("Pier", "First", "Last"), ("North", "06:00", "22:00"), ("", "06:20", "")]):
        for cell, text in zip(row.cells, cells):
            cell.text = text
    table.cell(1, 0).merge(table.cell(2, 0))
    table.cell(1, 2).add_table(1, 2).cell(0, 1).text = "nested"
    document.add_paragraph("Table 1: Times of the ferry", style="Caption")
    document.add_paragraph("The sea gives, and the sea takes.", style="Quote")
    code = document.styles.add_style("Source Code", WD_STYLE_TYPE.PARAGRAPH)
    code.base_style = document.styles["Normal"]
    document.add_paragraph("for pier in piers:", style=code)
    document.add_paragraph("    depart(pier)", style=code)
    document.add_picture(picture())
    document.add_paragraph("BOX")
    document.sections[0].header.paragraphs[0].text = "Handbook 2024"
    document.sections[0].footer.paragraphs[0].text = "Page 1"
    parts = parts_of(document)

    xml = parts["word/document.xml"].decode()
    run = '<w:r><w:t xml:space="preserve">{}</w:t></w:r>'
    xml = xml.replace("<w:t xml:space=\"preserve\"> FOOTNOTE</w:t>", '<w:footnoteReference w:id="2"/>')
    xml = re.sub(
        r'<w:r><w:t xml:space="preserve"> INSERTED DELETED HIDDEN</w:t></w:r>',
        '<w:ins w:id="1" w:author="a">' + run.format(" Seniors pay half.") + "</w:ins>"
        '<w:del w:id="2" w:author="a"><w:r><w:delText>Nobody pays.</w:delText></w:r></w:del>'
        "<w:r><w:rPr><w:vanish/></w:rPr><w:t>secret</w:t></w:r>"
        '<w:hyperlink w:anchor="x">' + run.format(" See the map.") + "</w:hyperlink>",
        xml,
    )
    box = "<w:txbxContent><w:p><w:r><w:t>In a box</w:t></w:r></w:p></w:txbxContent>"
    xml = xml.replace(
        "<w:t>BOX</w:t>",
        '<mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
        f"<mc:Choice><w:drawing>{box}</w:drawing></mc:Choice><mc:Fallback><w:pict>{box}</w:pict></mc:Fallback>"
        "</mc:AlternateContent><w:t>Beside a box.</w:t>",
    )
    xml = xml.replace('<wp:docPr id="1" name="Picture 1"/>', '<wp:docPr id="1" name="Picture 1" descr="The ferry at the pier"/>')
    assert all(word in xml for word in ["footnoteReference", "delText", "In a box", "descr="]), xml
    parts["word/document.xml"] = xml.encode()
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    parts["word/footnotes.xml"] = (
        f'<w:footnotes {space}><w:footnote w:type="separator" w:id="0"><w:p/></w:footnote>'
        '<w:footnote w:id="2"><w:p><w:r><w:footnoteRef/><w:t>Cash only.</w:t></w:r></w:p></w:footnote></w:footnotes>'
    ).encode()
    relationship = (
        '<Relationship Id="rIdNotes" Target="footnotes.xml" Type='
        '"http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes"/></Relationships>'
    )
    rels = parts["word/_rels/document.xml.rels"].decode()
    parts["word/_rels/document.xml.rels"] = rels.replace("</Relationships>", relationship).encode()
    save("handbook.docx", parts)


def odd_word():
    """As other programs write it: the strict namespace, another prefix, a main part of another name, numbered headings, a
    localised style, a table of contents."""
    space = 'xmlns:x="http://purl.oclc.org/ooxml/wordprocessingml/main"'
    types = "http://purl.oclc.org/ooxml/officeDocument/relationships"
    p = '<x:p><x:pPr><x:pStyle x:val="{}"/></x:pPr><x:r><x:t>{}</x:t></x:r></x:p>'
    levels = "".join(
        f'<x:lvl x:ilvl="{n}"><x:start x:val="1"/><x:numFmt x:val="{format}"/><x:pStyle x:val="{style}"/>'
        f'<x:lvlText x:val="{text}"/></x:lvl>'
        for n, (format, style, text) in enumerate(
            [("decimal", "berschrift1", "%1"), ("decimal", "berschrift2", "%1.%2"), ("lowerLetter", "none", "(%3)")]
        )
    )
    item = (
        '<x:p><x:pPr><x:numPr><x:ilvl x:val="2"/><x:numId x:val="7"/></x:numPr></x:pPr>'
        "<x:r><x:t>{}</x:t></x:r></x:p>"
    )
    mono = '<x:p><x:r><x:rPr><x:rFonts x:ascii="Courier New"/></x:rPr><x:t>{}</x:t></x:r></x:p>'
    parts = {
        "_rels/.rels": f'<Relationships><Relationship Id="a" Type="{types}/officeDocument" Target="/word/document2.xml"/></Relationships>',
        "word/_rels/document2.xml.rels": f'<Relationships><Relationship Id="s" Type="{types}/styles" Target="./formats/../styles.xml"/>'
        f'<Relationship Id="n" Type="{types}/numbering" Target="numbering.xml"/></Relationships>',
        "word/styles.xml": f'<x:styles {space}><x:style x:type="paragraph" x:styleId="berschrift1"><x:name x:val="heading 1"/>'
        '<x:pPr><x:numPr><x:numId x:val="7"/></x:numPr></x:pPr></x:style>'
        '<x:style x:type="paragraph" x:styleId="berschrift2"><x:name x:val="heading 2"/>'
        '<x:pPr><x:numPr><x:ilvl x:val="1"/><x:numId x:val="7"/></x:numPr></x:pPr></x:style>'
        '<x:style x:type="paragraph" x:styleId="Eigen"><x:name x:val="Eigener Stil"/><x:basedOn x:val="berschrift2"/></x:style>'
        '<x:style x:type="paragraph" x:styleId="Verzeichnis1"><x:name x:val="toc 1"/></x:style></x:styles>',
        "word/numbering.xml": f'<x:numbering {space}><x:abstractNum x:abstractNumId="3">{levels}</x:abstractNum>'
        '<x:num x:numId="7"><x:abstractNumId x:val="3"/></x:num></x:numbering>',
        "word/document2.xml": f'<?xml version="1.0"?><x:document {space}><x:body>'
        + p.format("Verzeichnis1", "Pflichten 1")
        + p.format("berschrift1", "Pflichten")
        + p.format("berschrift2", "Mieter")
        + "<x:p><x:r><x:t>Der Mieter &amp; seine G&#228;ste:</x:t></x:r></x:p>"
        + item.format("zahlen")
        + item.format("heizen")
        + p.format("Eigen", "Vermieter")
        + "<x:p><x:r><x:t>Er repariert.</x:t></x:r></x:p>"
        + mono.format("let a = 1;")
        + mono.format("let b = 2;")
        + "<x:tbl><x:tr><x:tc><x:p><x:r><x:t>Framed.</x:t></x:r></x:p></x:tc></x:tr></x:tbl>"
        "<x:sectPr/></x:body></x:document>",
    }
    save("lease.docx", parts)


def slides():
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[0])
    slide.shapes.title.text = "Harbour plan"
    slide.placeholders[1].text = "Board meeting"
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Goals"
    frame = slide.placeholders[1].text_frame
    frame.text = "Deeper channel"
    for text, level in [("to nine metres", 1), ("New crane", 0)]:
        paragraph = frame.add_paragraph()
        paragraph.text, paragraph.level = text, level
    slide.notes_slide.notes_text_frame.text = "Stress the crane.\nTake questions."
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Not for the board"
    slide.placeholders[1].text = "secret"
    slide._element.set("show", "0")
    slide = deck.slides.add_slide(deck.slide_layouts[6])
    table = slide.shapes.add_table(3, 2, 0, 0, 5000000, 1000000).table
    for n, cells in enumerate([("Year", "Ships"), ("2023", "410"), ("2024", "455")]):
        for column, text in enumerate(cells):
            table.cell(n, column).text = text
    box = slide.shapes.add_textbox(0, 0, 1000000, 1000000)
    box.text_frame.text = "Source: harbour office"
    picture_shape = slide.shapes.add_picture(picture(), 0, 0)
    picture_shape._element.nvPicPr.cNvPr.set("descr", "Ships by year")
    save("harbour.pptx", parts_of(deck))


def workbook():
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Sales"
    sheet["A1"] = "Sales by region"
    sheet.append([])
    sheet.append(["Region", "Since", "Units", "Share", None, "Open", "Price"])
    rows = [
        ("North", datetime.date(2024, 3, 1), 1234567, 0.125, None, True, 12.5),
        ("South", datetime.datetime(2024, 3, 2, 14, 30), 98, 0.5, None, False, 0.1 + 0.2),
        ("Secret", datetime.date(2024, 1, 1), 1, 0.1, None, True, 1),
        ("West", None, "#N/A", 1, None, None, -3),
    ]
    for row in rows:
        sheet.append(row)
    for n in range(4, 8):
        sheet.cell(n, 3).number_format = "#,##0"
        sheet.cell(n, 4).number_format = numbers.FORMAT_PERCENTAGE_00
        sheet.cell(n, 7).number_format = '#,##0.00\\ [$€-407]'
    sheet.row_dimensions[6].hidden = True
    sheet.append([])
    sheet["B10"], sheet["C10"], sheet["B11"], sheet["C11"] = "Key", "Value", "total", "=SUM(C4:C5)"
    sheet.merge_cells("B12:C12")
    sheet["B12"] = "merged over two"
    hidden = book.create_sheet("Hidden")
    hidden.sheet_state = "hidden"
    hidden["A1"] = "nobody sees this"
    notes = book.create_sheet("Notes")
    notes["A1"], notes["A2"] = "First note.", "Second note,\nof two lines."
    parts = parts_of(book)
    # What the formula came to, which the library does not know.
    xml = parts["xl/worksheets/sheet1.xml"].decode()
    xml, count = re.subn(r"<f>SUM\(C4:C5\)</f><v ?/?>(</v>)?", "<f>SUM(C4:C5)</f><v>1234665</v>", xml)
    assert count == 1, xml
    parts["xl/worksheets/sheet1.xml"] = xml.encode()
    save("sales.xlsx", parts)


def lines():
    with open(os.path.join(OUT, "ports.csv"), "w", newline="") as out:
        out.write('Port;Depth;Remark\r\nOslo;11,5;"deep; ""very"""\r\nKiel;9,0;"two\r\nlines"\r\nRostock;14\r\n')
    with open(os.path.join(OUT, "tides.tsv"), "w") as out:
        out.write("pier\thigh\tlow\nNorth\t06:10\t12:20\n\t18:40\t\n")


word()
odd_word()
slides()
workbook()
lines()
