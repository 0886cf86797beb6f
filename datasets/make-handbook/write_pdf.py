"""The PDF files."""

import reportlab
from pathlib import Path
from reportlab import rl_config
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import cm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import BaseDocTemplate, Frame, FrameBreak, NextPageTemplate, PageBreak, PageTemplate, Paragraph, Spacer, Table

from common import HANDBOOK

rl_config.invariant = 1
FONTS = Path(reportlab.__file__).parent / "fonts"
pdfmetrics.registerFont(TTFont("Vera", FONTS / "Vera.ttf"))
pdfmetrics.registerFont(TTFont("VeraBd", FONTS / "VeraBd.ttf"))


class Leaflet:
    def __init__(self, path, title, running, columns, fonts=("Helvetica", "Helvetica-Bold"), size=9.5):
        self.regular, self.bold = fonts
        self.title, self.running, self.story = title, running, []
        self.text = ParagraphStyle("text", fontName=self.regular, fontSize=size, leading=size * 1.35, spaceAfter=5)
        self.cell = ParagraphStyle("cell", self.text, fontSize=size - 1, leading=size * 1.2, spaceAfter=0)
        self.head = ParagraphStyle("head", self.cell, fontName=self.bold)
        self.h1 = ParagraphStyle("h1", self.text, fontName=self.bold, fontSize=18, leading=22, spaceAfter=10)
        self.h2 = ParagraphStyle("h2", self.text, fontName=self.bold, fontSize=size + 2.5, leading=size + 6, spaceBefore=8, keepWithNext=1)
        self.document = BaseDocTemplate(str(HANDBOOK / path), pagesize=A4, title=title, author=running.split(" · ")[0])
        width, height = A4
        left, bottom, gap = 2 * cm, 2 * cm, 0.8 * cm
        top = height - 2.4 * cm
        if columns == 1:
            frames = [Frame(left, bottom, width - 2 * left, top - bottom, id="all", leftPadding=0, rightPadding=0)]
            first = frames
        else:
            column = (width - 2 * left - gap) / 2
            sides = [left, left + column + gap]
            frames = [Frame(x, bottom, column, top - bottom, leftPadding=0, rightPadding=0) for x in sides]
            banner = 2.6 * cm
            first = [Frame(left, top - banner, width - 2 * left, banner, leftPadding=0, rightPadding=0)]
            first += [Frame(x, bottom, column, top - banner - bottom, leftPadding=0, rightPadding=0) for x in sides]
        self.document.addPageTemplates([
            PageTemplate("first", first, onPage=self.margins), PageTemplate("later", frames, onPage=self.margins),
        ])
        self.story = [NextPageTemplate("later"), Paragraph(title, self.h1)]
        self.columns = columns

    def margins(self, canvas, document):
        width, height = A4
        canvas.setFont(self.regular, 8)
        canvas.drawString(2 * cm, height - 1.5 * cm, self.running)
        canvas.drawRightString(width - 2 * cm, 1.2 * cm, f"Page {document.page}")
        canvas.line(2 * cm, height - 1.7 * cm, width - 2 * cm, height - 1.7 * cm)

    def lead(self, text):
        self.paragraph(text)
        if self.columns == 2:
            self.story.append(FrameBreak())

    def heading(self, text):
        self.story.append(Paragraph(text, self.h2))

    def paragraph(self, *texts):
        self.story += [Paragraph(text, self.text) for text in texts]

    def bullets(self, *texts):
        style = ParagraphStyle("bullet", self.text, leftIndent=10, spaceAfter=2)
        self.story += [Paragraph(text, style, bulletText="•") for text in texts]
        self.story.append(Spacer(1, 4))

    def steps(self, *texts):
        style = ParagraphStyle("step", self.text, leftIndent=14, spaceAfter=2)
        self.story += [Paragraph(text, style, bulletText=f"{number}.") for number, text in enumerate(texts, 1)]
        self.story.append(Spacer(1, 4))

    def table(self, widths, *rows):
        cells = [[Paragraph(text, self.head if number == 0 else self.cell) for text in row] for number, row in enumerate(rows)]
        style = [("GRID", (0, 0), (-1, -1), 0.4, "#888888"), ("VALIGN", (0, 0), (-1, -1), "TOP"), ("BACKGROUND", (0, 0), (-1, 0), "#e6e6e6")]
        self.story += [Table(cells, colWidths=[width * cm for width in widths], style=style, repeatRows=1), Spacer(1, 8)]

    def fields(self, *names):
        rows = [[Paragraph(name, self.cell), ""] for name in names]
        self.story += [Table(rows, colWidths=[6 * cm, 11 * cm], rowHeights=0.85 * cm, style=[("LINEBELOW", (1, 0), (1, -1), 0.5, "#000000"), ("VALIGN", (0, 0), (-1, -1), "BOTTOM")]), Spacer(1, 8)]

    def boxes(self, *names):
        rows = [["", Paragraph(name, self.cell)] for name in names]
        self.story += [Table(rows, colWidths=[0.45 * cm, 16.5 * cm], style=[("BOX", (0, row), (0, row), 0.7, "#000000") for row in range(len(rows))]), Spacer(1, 8)]

    def page_break(self):
        self.story.append(PageBreak())

    def save(self):
        self.document.build(self.story)


def packing_guide():
    d = Leaflet("harbor/shipping/packing-guide.pdf", "Packing guide for the depots", "Harborwick Supply · Packing guide · edition 5, May 2025", 2)
    d.lead("For everyone at the packing tables of Depot North and Depot South. A parcel falls eight times on its way, on average. This guide is about the one fall that counts.")
    d.heading("1. Choosing the box")
    d.paragraph("Take the smallest box that leaves 3 cm of room on every side. Air is paid for twice: once as filling and once as volume on the carrier's bill.")
    d.table([1.5, 3.0, 1.8, 1.8],
        ("Box", "Inside, cm", "Most", "Wall"),
        ("BX-1", "22 × 16 × 10", "2 kg", "single"),
        ("BX-2", "32 × 24 × 14", "5 kg", "single"),
        ("BX-3", "40 × 30 × 22", "9 kg", "single"),
        ("BX-4", "48 × 36 × 30", "14 kg", "double"),
        ("BX-5", "58 × 48 × 38", "15 kg", "double"),
        ("BX-6", "78 × 50 × 48", "26 kg", "double"),
        ("BX-T", "tube, 120 × 14", "6 kg", "–"))
    d.paragraph("BX-5 is the largest box that a pick-up point takes. Tubes are for poles, paddles and fishing rods; close both ends with a cap and two strips of tape.")
    d.heading("2. Filling")
    d.bullets("Crumpled paper for everything up to 5 kg", "Paper honeycomb for heavy things with edges, such as cast iron", "Moulded pulp for lantern globes and flasks", "No foam and no air cushions since January; they cost us two complaints a day")
    d.paragraph("Shake the closed box. If anything moves, open it again.")
    d.heading("3. Closing")
    d.paragraph("Paper tape in the shape of an H, wetted to 55 % on the dial. The strips run 7 cm down the sides. In frost the tape machine is warmed up for 10 minutes first.")
    d.heading("4. Cast iron")
    d.steps("Wrap the pan in two sheets of oiled paper. Plain paper draws water.", "Put the lid in upside down, with a ring of cardboard under the knob.", "Fill every gap with honeycomb, and put a plate of cardboard on top.", "Stick the yellow label <b>HV-20</b> on two sides when the parcel weighs more than 20 kg.")
    d.heading("5. Liquids")
    d.paragraph("Waterproofing, soap and oil go upright into a bag with a clip, and the bag into the middle of the box. At most four bottles in a parcel. A parcel with liquids gets arrows on two opposite sides.")
    d.heading("6. Bundles")
    d.paragraph("Sleeping mats, folding chairs and tent bags of more than 70 cm travel without a box, in a sleeve of film. The sleeve is welded at 160 °C. Put the delivery note inside the film with the address to the outside, so that it can be read if the label comes off.")
    d.heading("7. The drop test")
    d.paragraph("One parcel in 60 is taken off the belt and dropped from 80 cm: once on a corner, once on an edge and once on its largest side. Then it is opened. If something is broken, the last 20 parcels of the same table are opened too.")
    d.table([2.6, 2.4, 3.1],
        ("Result", "Mark", "What follows"),
        ("Nothing moved", "DT-0", "parcel goes on"),
        ("Moved, not broken", "DT-1", "a word at the table"),
        ("Scratched", "DT-2", "repack, coaching"),
        ("Broken", "DT-3", "open the last 20"))
    d.heading("8. The delivery note")
    d.paragraph("Folded once, face up, on top of the filling. For orders with the mark <i>no prices</i> the note is printed from tray 3. Put nothing else in: leaflets go into the parcel by machine, at the end of the belt.")
    d.heading("9. Lifting")
    d.bullets("Up to 12 kg: one person", "12 to 25 kg: one person with the vacuum lifter", "Above that: lane 9, two persons", "Knees bent, box close to the body, no turning with the load in hand")
    d.heading("10. When the box has run out")
    d.paragraph("Take the next larger one and more filling, press <b>BX?</b> on the screen, and go on. The screen calls the runner, who brings boxes within 6 minutes. Never cut a larger box down; the carrier refuses boxes without their stamp.")
    d.heading("11. Waste")
    d.paragraph("Tape cores go into the grey bin, film into the clear one. Damaged boxes are shredded to filling on the machine by Gate 5 at the end of the shift; it takes cardboard without tape only.")
    d.save()


def disk_import():
    d = Leaflet("nimbus/storage/disk-import.pdf", "Disk import by post", "Nimbusfell Cloud · Order form DI-2 · 2025", 1, ("Vera", "VeraBd"), 9)
    d.paragraph("Some data are quicker by post than by line. You send us disks, we copy them into a bucket. Fill in both pages, sign, and put a copy into the parcel. One form for each parcel.")
    d.heading("A. Who sends")
    d.fields("Organisation", "Project (prj- and four digits)", "Name of the person who may be asked", "Telephone")
    d.heading("B. Where the data go")
    d.fields("Bucket", "Prefix, if any", "Storage class (hot or cool)")
    d.boxes("Overwrite objects with the same name", "Skip objects with the same name and list them", "Stop at the first one")
    d.heading("C. Disks")
    d.table([5, 3.2, 3.2, 5.4],
        ("Size of the disk", "Price per disk", "Time for copying", "Remark"),
        ("up to 4 TB", "€70", "3 working days", ""),
        ("over 4 and up to 12 TB", "€115", "5 working days", ""),
        ("over 12 and up to 24 TB", "€190", "8 working days", "3.5 inch only"),
        ("own NAS with several disks", "€340", "10 working days", "by appointment"))
    d.fields("Number of disks", "Serial numbers", "File system (ext4, XFS or exFAT)")
    d.page_break()
    d.heading("D. Encryption")
    d.paragraph("We accept encrypted disks only, with LUKS2. Enter the passphrase in the panel under <b>Storage → Import</b>, never on this form and never in the parcel. It is deleted one hour after the last file has been copied.")
    d.heading("E. After copying")
    d.boxes("Send the disks back by insured parcel (€18 for each parcel)", "Shred the disks and send a certificate (€14 for each disk)", "Keep them for collection at the gate, 20 days at most")
    d.paragraph("Before they leave us, disks are not wiped: what is on them is still encrypted. Disks for which nothing was ticked are shredded after 60 days.")
    d.heading("F. Address and packing")
    d.bullets("Import is possible in alp-1 only. From there a bucket can be copied to another region.", "Disks travel in anti-static bags with 5 cm of padding on all sides.", "The parcel number must be entered in the panel within 24 hours of posting, or the parcel is refused at the gate.", "We insure a parcel from the gate on, up to €2,000.")
    d.heading("G. What you get")
    d.paragraph("A list of all files with size and SHA-256, as an object in the same bucket, named <b>import-report.csv</b>. Files that could not be read are tried three times and then listed with code DI-READ. File names that are not UTF-8 are stored with a percent sign and two digits for each strange byte.")
    d.table([3.2, 6.2, 7.4],
        ("Code", "Meaning", "What to do"),
        ("DI-READ", "The disk could not be read at this place", "Send the file by line"),
        ("DI-NAME", "The name is longer than a key may be", "Shorten the path and send it again"),
        ("DI-PASS", "The passphrase does not open the disk", "Enter it again within 7 days"),
        ("DI-FULL", "The budget of the project is used up", "Raise it; copying goes on by itself"))
    d.heading("H. Signature")
    d.paragraph("I may dispose of these data, and I know that the disks may be lost on their way to you.")
    d.fields("Place and date", "Signature")
    d.save()


def wound_care():
    d = Leaflet("linden/procedures/wound-care.pdf", "The wound room", "Lindenmoor Clinic · Wound room, working guide · version 6", 2, size=10)
    d.lead("For nurses of all departments who work in room 12. It does not replace the word of the physician, and nothing in it is meant for treating yourself.")
    d.heading("Times and booking")
    d.paragraph("The wound room is open on Monday and Thursday from 08:30 to 12:30 and on Tuesday from 14:00 to 17:00. A first dressing takes 45 minutes, a change 25. Book under the name of the room, with the note <i>wound</i> and the side of the body.")
    d.paragraph("Infected wounds come last in the morning. The room is closed for 40 minutes after them.")
    d.heading("Before you begin")
    d.steps("Read the last photograph and the last measure.", "Ask for pain from 0 to 10. At 5 or more give the ordered painkiller and wait for half an hour.", "Lay out everything on trolley 2. Nobody leaves the room for a swab.", "Rinsing solution is warmed to body temperature in the small cabinet, 12 minutes for a bottle.")
    d.heading("Measuring")
    d.paragraph("Length times width with the paper ruler, depth with a sterile probe. The photograph is taken from 30 cm, with the ruler and the patient number in it, and without the face. It is kept in the record, not on the camera: the card is emptied at the end of the day.")
    d.heading("Which dressing")
    d.table([2.5, 3.0, 2.6],
        ("Wound", "Dressing", "Change"),
        ("Dry, closing", "hydrocolloid", "every 5 days"),
        ("Weeping", "foam", "every 3 days"),
        ("Weeping much", "foam over alginate", "every 2 days"),
        ("Deep", "alginate rope, loosely", "every 2 days"),
        ("Infected", "silver, on order", "daily at first"),
        ("Graze", "film", "after a week"),
        ("Cut, stuck", "closure strips", "fall off"))
    d.paragraph("Stock numbers are in the list of dressings. Take what is nearest to its date.")
    d.heading("Compression")
    d.paragraph("Nobody is bandaged before the pressure at the ankle has been compared with that of the arm. If the quotient is below 0.8, do not bandage; cardiology is asked within 3 working days. Bandage from the toes to below the knee, foot at a right angle, with half of each turn covered by the next.")
    d.paragraph("Toes must be pink when you have finished and when the patient has walked for 10 minutes. If they are white or blue, take it off.")
    d.heading("When to call a physician")
    d.bullets("Redness that has grown by more than 2 cm since the last time", "Fever, or a smell that was not there before", "Bone or tendon to be seen", "Bleeding that does not stop after 15 minutes of pressure", "No smaller after 4 weeks")
    d.heading("Negative pressure")
    d.paragraph("The clinic has three pumps, NP-1 to NP-3. The usual setting is 125 mmHg, without pauses. The canister is changed when it is three quarters full and at least once a week.")
    d.table([2.0, 3.0, 3.1],
        ("Alarm", "Meaning", "Action"),
        ("LEAK", "Air gets in", "Press the film down, add a strip"),
        ("BLOCK", "Tube closed", "Straighten, then change the tube"),
        ("FULL", "Canister full", "New canister"),
        ("LOW", "Battery low", "Charger; 3 hours"))
    d.heading("Dressings at home")
    d.paragraph("Patients who change dressings at home get sheet P-19 and three sets for the first week. The nursing service gets a copy of the plan by secure mail. They call the wound room, extension 58, not the desk.")
    d.heading("Tetanus")
    d.paragraph("Ask for the vaccination card at the first visit. If it is missing, tell the physician on the same day.")
    d.heading("Cleaning up")
    d.paragraph("Dressings with blood go into the yellow bag, all others into the grey one. Scissors and tweezers go into the tub with cleaner for 15 minutes before they are taken to the steriliser. The couch is wiped after each patient; the film on it is for one patient.")
    d.heading("Writing it down")
    d.paragraph("Wound, measure, what was done, what the patient said, and the date of the next change. Use the words of the form: edge, ground, surroundings, fluid, smell. The form asks for one of the seven colours on the card; do not invent an eighth.")
    d.heading("Numbers")
    d.paragraph("The wound team meets on the third Friday of the month at 13:00. It looks at all wounds that have been treated for more than 12 weeks.")
    d.save()


def registration_form():
    d = Leaflet("linden/front-desk/registration-form.pdf", "Registration of new patients", "Lindenmoor Clinic · Form F-01 · January 2025", 1, ("Vera", "VeraBd"), 9)
    d.paragraph("Please fill in this page in capital letters and bring it to your first visit. You need not answer questions marked with a star. The desk will gladly help.")
    d.heading("1. About you")
    d.fields("Family name, first name", "Date of birth", "Address", "Telephone", "Language you prefer *")
    d.heading("2. Insurance")
    d.boxes("Statutory", "Private", "I pay myself")
    d.fields("Name of the insurer", "Number on the card")
    d.heading("3. Whom we may call")
    d.fields("Name and telephone *", "This person may be told *")
    d.boxes("that I am here", "that I can be collected", "results (please also sign form F-08)")
    d.heading("4. Consent")
    d.boxes("I agree to reminders by text message.", "I agree that my family practice gets a letter about my visit.", "I agree to be asked about studies *")
    d.fields("Date and signature")
    d.page_break()
    d.heading("Notes on the form")
    d.paragraph("<b>For the desk.</b> The form is valid for 24 months after the last visit; then it is filled in anew. It is scanned on the same day and shredded after 8 weeks.")
    d.table([2.2, 7.3, 7.3],
        ("Field", "Question that is often asked", "Answer"),
        ("1", "Must the address be that of my passport?", "No, the one where letters reach you."),
        ("1", "May I leave out the telephone?", "Yes, but then nobody can call you if the clinician is ill."),
        ("2", "My card is at home.", "Fill in the name of the insurer; the card can follow."),
        ("3", "May I name two persons?", "Yes, write the second one on the back."),
        ("3", "Is the person told my diagnosis?", "Never by the desk, whatever is ticked."),
        ("4", "What if I tick nothing?", "You are treated all the same; you get letters instead of messages."))
    d.heading("Withdrawing consent")
    d.paragraph("Each consent in section 4 can be withdrawn at any time with one line, also in the portal. Reminders stop within 2 working days. Letters that have been sent are not called back.")
    d.heading("For patients without a fixed address")
    d.paragraph("The clinic keeps letters for you at desk 2 for 5 weeks. Write KEEP in the field for the address.")
    d.heading("If you cannot sign")
    d.paragraph("A cross is enough if two members of staff sign next to it. A stamp is not.")
    d.heading("Names")
    d.paragraph("We call you by the name that you write in field 1, even if the card says something else. Write the name on the card in brackets, so that the insurer finds you. If you do not wish to be called by name in the hall, tick the box with the bell on the back: you get a buzzer instead.")
    d.save()


if __name__ == "__main__":
    packing_guide()
    disk_import()
    wound_care()
    registration_form()
