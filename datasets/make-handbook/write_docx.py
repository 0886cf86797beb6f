"""The Word documents."""

import docx
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls, qn

from common import properties, write_packed

FOOTNOTES_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.footnotes+xml"


class Document:
    def __init__(self, title, author, running):
        self.document = docx.Document()
        self.notes = []
        properties(self.document.core_properties, title, author)
        self.document.sections[0].header.paragraphs[0].text = running
        self.document.sections[0].footer.paragraphs[0].text = "Printed copies are not kept up to date."
        self.document.add_heading(title, 0)

    def heading(self, text, level=1):
        self.document.add_heading(text, level)

    def paragraph(self, text, style=None, note=None):
        """`**` around words makes them bold; `note` is the footnote at the end."""
        paragraph = self.document.add_paragraph(style=style)
        for index, part in enumerate(text.split("**")):
            paragraph.add_run(part).bold = index % 2 == 1 or None
        if note:
            self.notes.append(note)
            run = paragraph.add_run()
            run.font.superscript = True
            run._r.append(parse_xml(f'<w:footnoteReference {nsdecls("w")} w:id="{len(self.notes)}"/>'))

    def bullets(self, *texts):
        for text in texts:
            self.paragraph(text, "List Bullet")

    def steps(self, *texts):
        for text in texts:
            self.paragraph(text, "List Number")

    def table(self, *rows):
        table = self.document.add_table(rows=0, cols=len(rows[0]), style="Table Grid")
        for number, row in enumerate(rows):
            cells = table.add_row().cells
            for cell, text in zip(cells, row):
                cell.text = ""
                cell.paragraphs[0].add_run(text).bold = number == 0 or None
        table.rows[0]._tr.get_or_add_trPr().append(parse_xml(f'<w:tblHeader {nsdecls("w")}/>'))
        self.document.add_paragraph()

    def save(self, path):
        if self.notes:
            marks = "".join(
                f'<w:footnote w:type="{kind}" w:id="{id}"><w:p><w:r><w:{mark}/></w:r></w:p></w:footnote>'
                for kind, id, mark in [("separator", -1, "separator"), ("continuationSeparator", 0, "continuationSeparator")]
            )
            notes = "".join(
                f'<w:footnote w:id="{id}"><w:p><w:r><w:rPr><w:vertAlign w:val="superscript"/></w:rPr><w:footnoteRef/></w:r>'
                f'<w:r><w:t xml:space="preserve"> {text}</w:t></w:r></w:p></w:footnote>'
                for id, text in enumerate(self.notes, 1)
            )
            xml = f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?><w:footnotes {nsdecls("w")}>{marks}{notes}</w:footnotes>'
            part = self.document.part
            made = Part(PackURI("/word/footnotes.xml"), FOOTNOTES_TYPE, xml.encode(), part.package)
            part.relate_to(made, RELATIONSHIP_TYPE.FOOTNOTES)
        write_packed(path, self.document.save)


def group_orders():
    d = Document("Group orders for clubs, schools and expeditions", "Business desk", "Harborwick Supply · Business desk · version 3")
    d.paragraph(
        "A group order is one order of at least 15 equal items that goes to one address. Scouts, alpine clubs, schools and "
        "rescue teams use it most. It may be paid by private customers and by business accounts alike."
    )
    d.heading("Discounts")
    d.paragraph("The discount is taken off the price of the goods, not off delivery.", note="Goods on sale, gift cards and items from the seconds shop do not count and get no discount.")
    d.table(
        ("Equal items", "Discount", "Decided by"),
        ("15 to 29", "5 %", "desk"),
        ("30 to 59", "9 %", "business desk"),
        ("60 to 119", "13 %", "business desk"),
        ("120 and more", "by agreement", "head of sales"),
    )
    d.paragraph("Sizes and colours of one model count as equal. Two models of boots do not, even if they cost the same.")
    d.heading("How it runs")
    d.steps(
        "The customer sends the list on form **B-26**, with sizes and the date by which the goods are needed.",
        "The business desk sends an offer within 3 working days. It is valid for 21 days and holds the price, but no stock.",
        "With the order a down payment of 20 % falls due. The rest is paid as agreed in the offer.",
        "Depot South packs the order in one wave. It is never split without asking.",
    )
    d.heading("Packing by name")
    d.paragraph(
        "For €1.30 per person the depot packs a bag for each member, with a sticker that carries the first name and the "
        "number in the list. The list must arrive as a spreadsheet, and it is deleted 14 days after dispatch."
    )
    d.heading("Trying on")
    d.paragraph("For clothing and boots we send a set of sizes against a deposit of €180.", note="The set comes back within 10 days. What is missing is taken off the deposit at the list price.")
    d.bullets(
        "One set holds one piece of each size, in whatever colour is there.",
        "There are six sets for jackets and three for boots, so ask early in spring.",
        "A set is meant for indoors. Muddy boots are charged.",
    )
    d.heading("Time needed")
    d.table(
        ("Goods", "From stock", "Ordered from the maker"),
        ("Tents", "6 working days", "5 weeks"),
        ("Clothing", "8 working days", "9 weeks"),
        ("Boots", "8 working days", "11 weeks"),
        ("Cookware", "4 working days", "3 weeks"),
    )
    d.heading("Changes", 1)
    d.heading("More pieces", 2)
    d.paragraph("Up to 10 % more of the same item can be added at the same price within 30 days of delivery.")
    d.heading("Fewer pieces", 2)
    d.paragraph("Single pieces go back under the ordinary rules. If fewer than the lowest number of the discount step remain, the difference is charged afterwards.")
    d.save("harbor/orders/group-orders.docx")


def hall_visits():
    d = Document("Visiting a data hall", "Site operations", "Nimbusfell Cloud · Site operations · public")
    d.paragraph(
        "Customers on the Critical plan or with an annual contract may see the hall in which their machines run. "
        "Auditors of customers are treated as customers. There are no open days."
    )
    d.heading("Announcing a visit")
    d.paragraph("A visit is announced at least 10 working days ahead with form **HV-1** in the panel.", note="For auditors with an order of an authority the time is 2 working days.")
    d.steps(
        "Name all visitors as they are written in their identity documents. A name cannot be changed later than the day before.",
        "Say what you want to see. Not every room can be shown on every day.",
        "Wait for the confirmation with the gate code. It arrives 4 working days ahead.",
    )
    d.paragraph("A group has at most 4 visitors. Each customer has two visits a year free of charge; a further one costs €260.")
    d.heading("At the door")
    d.bullets(
        "Bring the identity document itself. Copies and telephones with pictures of it are not enough.",
        "Telephones, watches with a camera and bags go into a locker.",
        "The lock takes one person at a time and weighs them; a difference of more than 8 kg on the way out keeps it shut.",
        "Visitors are never alone, not even in the corridor to the washrooms.",
    )
    d.heading("What can be shown")
    d.table(
        ("Room", "Shown", "Remark"),
        ("Hall", "from the gallery", "the aisles only to auditors"),
        ("Cooling", "yes", "85 dB; ear plugs hang at the door"),
        ("Batteries", "through the window", "–"),
        ("Generators", "yes, not during tests", "tests run on the second Monday of the month"),
        ("Network room", "no", "no exception"),
    )
    d.heading("Questions we hear often")
    d.heading("May I touch the machine on which my server runs?", 2)
    d.paragraph("No. Servers move between hosts, so that nobody could say which one it is.")
    d.heading("Why is it so warm?", 2)
    d.paragraph("The cold aisle is kept at 26 °C. Colder air would cost a tenth more electricity and save no disk.")
    d.heading("May I take pictures?", 2)
    d.paragraph("Our guide takes up to 10 pictures for you and sends them after a check, usually within 3 days.")
    d.save("nimbus/support/hall-visits.docx")


def company_visits():
    d = Document("Visits by companies and sales representatives", "Management office", "Lindenmoor Clinic · Management office · in force since 1 March")
    d.paragraph(
        "Representatives of makers of medicines, devices and software are welcome as long as they do not keep anyone from "
        "the patients. This rule applies to all departments and to the pharmacy."
    )
    d.heading("Announcing a visit")
    d.paragraph("A visit is announced at least 5 working days ahead with form **F-28**. Visitors who come without it get the form and a smile, and no talk.")
    d.bullets(
        "Time: Wednesday from 13:00 to 14:30, in room 16 and nowhere else",
        "Length: 20 minutes for each company",
        "Number: two visitors at most, one visit per company and quarter",
        "Staff: at least two of us take part, one of them from the pharmacy if it is about medicines",
    )
    d.heading("Badges")
    d.table(
        ("Badge", "Who", "May go alone"),
        ("Grey", "sales representative", "from the entrance to room 16"),
        ("Orange", "technician with an order number", "the department named in the order"),
        ("Green", "trainer for a device", "the department, while it is closed to patients"),
    )
    d.heading("Samples and devices on trial")
    d.paragraph("Samples of medicines are not accepted.", note="Inhalers without an active substance, which are used for teaching, are the one exception.")
    d.paragraph("A device may stay on trial for up to 28 days. Before it is switched on,")
    d.steps(
        "the technical service checks it and sticks on a blue label,",
        "the maker signs agreement **F-29**, which says who pays if it breaks,",
        "two persons per department are trained and entered in the device book.",
    )
    d.heading("Lunches, travel and talks")
    d.paragraph("Companies do not pay for food, travel or courses. A talk given by one of us for a company needs the consent of the medical director; the fee goes to the training fund.")
    d.heading("When a visit goes wrong")
    d.paragraph("A representative who walks through departments without being asked is shown the door by the lead receptionist. At the second time the company is barred for 12 months.")
    d.save("linden/front-desk/company-visits.docx")


if __name__ == "__main__":
    group_orders()
    hall_visits()
    company_visits()
