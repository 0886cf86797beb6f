"""Writes the PDFs of tests/data/formats from the texts below: `python pdf.py FOLDER`.

Needs reportlab, fpdf2, pypdf and Pillow; the files differ between their versions, the words in them do not.
"""
import io
import sys
from pathlib import Path

from fpdf import FPDF
from PIL import Image, ImageDraw
from pypdf import PdfReader, PdfWriter
from reportlab.lib import colors
from reportlab.lib.enums import TA_JUSTIFY
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Frame, ListFlowable, NextPageTemplate, PageTemplate, Paragraph, Spacer, Table

folder = Path(sys.argv[1])
body = ParagraphStyle("body", fontName="Times-Roman", fontSize=10, leading=12, alignment=TA_JUSTIFY, spaceAfter=6)
first = ParagraphStyle("first", body, firstLineIndent=12, spaceAfter=0)
title = ParagraphStyle("title", fontName="Helvetica-Bold", fontSize=18, leading=22, spaceAfter=12)
head = ParagraphStyle("head", fontName="Helvetica-Bold", fontSize=12, leading=15, spaceBefore=8, spaceAfter=4)
subhead = ParagraphStyle("subhead", fontName="Helvetica-Bold", fontSize=10, leading=13, spaceBefore=6, spaceAfter=3)
caption = ParagraphStyle("caption", fontName="Times-Italic", fontSize=9, leading=11, spaceBefore=4, spaceAfter=8)


def report():
    """Two columns over three pages, with all that a paper has."""
    width, height = A4
    column = (width - 2 * 54 - 18) / 2

    def furniture(canvas, doc):
        canvas.setFont("Helvetica", 8)
        canvas.drawString(54, height - 36, "Harbour Authority of Norden")
        canvas.drawRightString(width - 54, height - 36, "Ferry report 2024")
        canvas.line(54, height - 40, width - 54, height - 40)
        canvas.drawCentredString(width / 2, 30, f"Page {doc.page} of 3")

    full = Frame(54, height - 150, width - 108, 95, id="full", leftPadding=0, rightPadding=0)
    below = [Frame(54 + n * (column + 18), 54, column, height - 210, leftPadding=0, rightPadding=0) for n in (0, 1)]
    whole = [Frame(54 + n * (column + 18), 54, column, height - 110, leftPadding=0, rightPadding=0) for n in (0, 1)]
    doc = BaseDocTemplate(str(folder / "report.pdf"), pagesize=A4, title="Ferries in winter", invariant=1)
    doc.addPageTemplates([
        PageTemplate("first", [full, *below], onPage=furniture),
        PageTemplate("next", whole, onPage=furniture),
    ])
    long = (
        "The crossing takes forty minutes in calm weather and an hour against the tide. From November to March the boats "
        "leave every two hours, because the crews need daylight to clear the ramps of ice. Passengers with reser\xadvations "
        "board first; everybody else waits in the hall behind the customs house, where the timetable hangs."
    )
    cell = [["Route", "Adults", "Children"], ["Norden to Juist", "12.50", "6.00"], ["Norden to Baltrum", "9.80", "4.50"],
            ["Island pass", "31.00", "15.50"]]
    fares = Table(cell, hAlign="LEFT", style=[("FONT", (0, 0), (-1, -1), "Times-Roman", 9), ("FONT", (0, 0), (-1, 0), "Times-Bold", 9),
                                            ("LINEBELOW", (0, 0), (-1, 0), 0.5, colors.black), ("LINEABOVE", (0, 0), (-1, 0), 0.8, colors.black),
                                            ("LINEBELOW", (0, -1), (-1, -1), 0.8, colors.black)])
    items = ["Life jackets lie under the seats of the lower deck.", "The muster station is at the stern, beside the winch; "
             "the crew leads the way with lamps.", "Dogs travel on a leash."]
    story = [
        Paragraph("Ferries in winter", title),
        Paragraph("A report of the harbour authority on timetables, fares and safety for the season that ends in March.", body),
        NextPageTemplate("next"),
        Paragraph("1 Timetable", head), Paragraph(long, body), Paragraph(long.replace("forty", "fifty"), body),
        Paragraph("1.1 Ice", subhead),
        Paragraph("When ice closes the channel, the well-known reserve boat takes over. It is slower, and it carries no cars. "
                  "A well-known photograph of 1963 shows it between floes.", body),
        *[Paragraph(f"Week {n}: " + long, first) for n in range(1, 8)],
        Paragraph("2 Fares", head),
        Paragraph("Fares rise by four per cent. Table 1 shows them; children under six travel free.", body),
        Paragraph("Table 1: Fares of the season, in euros.", caption), fares, Spacer(1, 8),
        Paragraph(long.replace("calm", "fair"), body),
        Paragraph("3 Safety", head),
        Paragraph("On every boat the following holds:", body),
        ListFlowable([Paragraph(item, body) for item in items], bulletType="bullet", start="•", leftIndent=14),
        Paragraph("Before the first crossing of a day the master", body.clone("b", spaceAfter=2)),
        ListFlowable([Paragraph(item, body) for item in ["checks the ramps,", "tests both radios, and", "signs the log."]],
                     bulletType="1", bulletFormat="%s.", leftIndent=16),
        *[Paragraph(f"Day {n}. " + long, body) for n in range(1, 13)],
        Paragraph("Figure 1: The reserve boat leaves the harbour.", caption),
        *[Paragraph(f"Night {n}. " + long, body) for n in range(1, 9)],
    ]
    doc.build(story)


def notice():
    """One page, turned by 90 degrees, cropped, with embedded fonts, ligatures and code."""
    pdf = FPDF(unit="pt", format=(600, 400))
    pdf.set_title("Microsoft Word - notice.doc")
    pdf.add_font("dejavu", "", "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
    pdf.add_font("dejavu", "B", "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf")
    pdf.add_font("mono", "", "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf")
    pdf.add_page()
    pdf.set_xy(60, 50)
    pdf.set_font("dejavu", "B", 16)
    pdf.cell(text="Pump 7 – oﬃcial notice")
    pdf.set_font("dejavu", "", 10)
    pdf.set_xy(60, 90)
    pdf.multi_cell(400, 14, "The ﬁlter of pump 7 is full. Ärzte und Gäste: Ελλάδα, Москва. Start the reserve pump with this command "
                            "and wait until the light is green:", align="L")
    pdf.set_font("mono", "", 9)
    for n, line in enumerate(["for pump in 6 7; do", "    pumpctl start $pump", "done"]):
        pdf.set_xy(60 + 9 * 0.602 * (len(line) - len(line.lstrip())), 140 + 12 * n)
        pdf.cell(text=line.strip())
    pdf.set_font("dejavu", "", 10)
    pdf.set_xy(60, 190)
    pdf.multi_cell(400, 14, "Then write the time into the log.", align="L")
    reader = PdfReader(io.BytesIO(bytes(pdf.output())))
    writer = PdfWriter(clone_from=reader)
    page = writer.pages[0]
    page.cropbox.lower_left, page.cropbox.upper_right = (40, 60), (560, 380)
    page.rotate(90)
    writer.write(folder / "notice.pdf")


def encrypted():
    buffer = io.BytesIO()
    canvas = Canvas(buffer, invariant=1)
    canvas.drawString(72, 720, "Nobody reads this without the password.")
    canvas.save()
    writer = PdfWriter(clone_from=PdfReader(buffer))
    writer.encrypt("a password", algorithm="RC4-128")
    writer.write(folder / "encrypted.pdf")


def scanned():
    image = Image.new("1", (600, 800), 1)
    ImageDraw.Draw(image).text((80, 100), "A page that was only photographed.")
    image.save(folder / "scanned.pdf")


for make in (report, notice, encrypted, scanned):
    make()
