"""The slides."""

import pptx
from pptx.util import Cm, Pt

from common import properties, write_packed


class Slides:
    def __init__(self, title, subtitle, author):
        self.show = pptx.Presentation()
        properties(self.show.core_properties, title, author)
        slide = self.show.slides.add_slide(self.show.slide_layouts[0])
        slide.shapes.title.text, slide.placeholders[1].text = title, subtitle

    def bullets(self, title, *texts, notes=None):
        """A text that starts with a dash is one level deeper."""
        slide = self.show.slides.add_slide(self.show.slide_layouts[1])
        slide.shapes.title.text = title
        frame = slide.placeholders[1].text_frame
        for number, text in enumerate(texts):
            paragraph = frame.paragraphs[0] if number == 0 else frame.add_paragraph()
            paragraph.level = 1 if text.startswith("- ") else 0
            paragraph.text = text.removeprefix("- ")
        self.notes(slide, notes)

    def table(self, title, *rows, notes=None):
        slide = self.show.slides.add_slide(self.show.slide_layouts[5])
        slide.shapes.title.text = title
        shape = slide.shapes.add_table(len(rows), len(rows[0]), Cm(1.5), Cm(4.5), Cm(22), Cm(1.2 * len(rows)))
        for number, row in enumerate(rows):
            for column, text in enumerate(row):
                cell = shape.table.cell(number, column)
                cell.text = text
                cell.text_frame.paragraphs[0].font.size = Pt(16)
        self.notes(slide, notes)

    def notes(self, slide, text):
        if text:
            slide.notes_slide.notes_text_frame.text = text

    def save(self, path):
        write_packed(path, self.show.save)


def winter_season():
    s = Slides("Winter season 2025", "Briefing for the service desk, 3 November", "Head of service")
    s.bullets(
        "What is different in winter",
        "Twice as many contacts as in June",
        "Half of them are about delivery dates",
        "Gifts: the person who calls is often not the person who ordered",
        "- Say nothing about an order to the one who is to receive it",
        notes="Last year eleven surprises were spoilt by us. A caller who names the order number has still to be identified.",
    )
    s.table(
        "Expected contacts a day",
        ("Week", "Telephone", "Chat", "E-mail", "Colleagues needed"),
        ("46", "620", "410", "530", "34"),
        ("48", "1,150", "790", "940", "58"),
        ("50", "1,480", "1,020", "1,110", "71"),
        ("52", "890", "640", "760", "45"),
        notes="The figures are those of last year plus 6 per cent. Week 48 has the sale days.",
    )
    s.bullets(
        "Leave and shifts",
        "No leave from 24 November to 20 December",
        "Swaps: until noon of the day before, in the rota tool",
        "Extra shifts: €4.50 an hour on top",
        "- paid in January",
        "Late shift in December: taxi home after 22:00 up to €30",
        notes="Whoever has worked all three Saturdays before Christmas chooses first for the bridge days in spring.",
    )
    s.bullets(
        "When it snows",
        "Banner SNOW-1: a carrier is late by a day in some regions",
        "Banner SNOW-2: a carrier takes no parcels at all",
        "- express is hidden in the checkout",
        "- parcels that are packed stay in the depot, status 35",
        "Do not open carrier searches while SNOW-2 is up",
        notes="SNOW-2 is switched by the shipping desk only, after a call with Depot North at 06:15.",
    )
    s.bullets(
        "Looking after ourselves",
        "Soup from the canteen until 20:45 from 1 December",
        "Quiet room on the second floor, bookable in slots of 20 minutes",
        "Tell your shift lead early if it is too much",
    )
    s.save("harbor/support/winter-season.pptx")


def slow_queries():
    s = Slides("Finding slow queries", "Workshop for customers with a managed PostgreSQL cluster", "Database team")
    s.bullets(
        "Where to look first",
        "Slow log: every statement of more than 400 ms",
        "- change it with nbf db set shop-db --slow-ms 150",
        "Panel: Queries, the ten with the largest total time",
        "nbf db slow shop-db --last 24h",
        notes="The slow log is kept for 9 days. Values in statements are replaced by question marks before they are stored.",
    )
    s.table(
        "What the wait says",
        ("Wait", "Meaning", "First step"),
        ("DataFileRead", "Pages come from disk", "More memory, or an index"),
        ("transactionid", "Waits for another transaction", "Look for sessions idle in transaction"),
        ("WALWrite", "The log is the bottleneck", "Write in larger batches"),
        ("ClientRead", "Waits for your application", "Nothing wrong in the database"),
        ("BufferMapping", "Too many pages are swapped in and out", "Fewer parallel scans"),
        notes="ClientRead at the top of the list is the most frequent false alarm.",
    )
    s.bullets(
        "Reading a plan",
        "EXPLAIN (ANALYZE, BUFFERS) on the replica, not on the primary",
        "Estimated and real rows differ by a factor of 50: statistics",
        "- ALTER TABLE ... SET STATISTICS 800, then ANALYZE",
        "Sort Method: external merge: raise work_mem for this session",
        notes="We cap work_mem at 256 MB per session. Larger values are accepted by SET but cut.",
    )
    s.bullets(
        "Sessions that hold others up",
        "Idle in transaction for more than 15 minutes: ended by us on db-dev only",
        "On other plans you decide: nbf db sessions shop-db --idle-in-tx",
        "Deadlocks appear in the events with code DBL-40",
        notes="DBL-40 shows both statements and the table, never the rows.",
    )
    s.bullets(
        "Homework",
        "Write down your three most expensive queries before Thursday",
        "Next workshop: vacuum and bloat, in four weeks",
        "Questions: component dbperf",
    )
    s.save("nimbus/databases/slow-queries.pptx")


def hand_hygiene():
    s = Slides("Hand hygiene", "Yearly training, all departments", "Hygiene officer")
    s.bullets(
        "The five moments",
        "Before touching a patient",
        "Before a clean task",
        "After contact with body fluids",
        "After touching a patient",
        "After touching the surroundings of a patient",
        notes="In last year's audit the second moment was missed most, in 41 of 100 cases.",
    )
    s.table(
        "Which product, and how long",
        ("Product", "Use", "Time", "Place"),
        ("HD-1 rub", "normal disinfection", "30 seconds", "every room"),
        ("HD-3 rub", "norovirus season, red card on the door", "60 seconds", "cupboard by the lift"),
        ("HS-2 soap", "visible dirt, Clostridioides", "40 seconds, then HD-1", "every basin"),
        ("HC-5 cream", "before breaks and after work", "–", "staff rooms"),
        notes="Two strokes of the lever give 3 ml, which is the right amount for most hands. Large hands need three strokes.",
    )
    s.bullets(
        "Gloves",
        "Gloves do not replace disinfection",
        "Not disinfected, not worn from one patient to the next",
        "Nitrile for chlorine and cytostatics",
        "- stock number HG-0704, blue box",
        notes="Vinyl gloves are gone since February; what is left is used up in the kitchen.",
    )
    s.bullets(
        "Nails and jewellery",
        "Short, natural, no varnish",
        "No rings, bracelets or watches in treatment rooms",
        "- the safe of desk 3 takes them for the shift",
        notes="A plain wedding ring counts as a ring.",
    )
    s.bullets(
        "Measuring",
        "Use per department: goal 24 ml for each patient contact",
        "Observation twice a year, 60 moments in each department",
        "Below 75 %: training on the spot within 3 weeks",
        "Skin trouble: occupational physician, form F-54",
    )
    s.save("linden/procedures/hand-hygiene.pptx")


if __name__ == "__main__":
    winter_season()
    slow_queries()
    hand_hygiene()
