"""The mails whose bodies are encoded. The thread of nimbus is plain text and is written by hand."""

import quopri
from email.header import Header

from common import HANDBOOK

POLES = """\
Dear all,

here is what we know now. Please use this mail and throw the two earlier
ones away.

Affected are Fell Trail poles of batch FT-2406, 310 pairs, sold between
3 February and 28 April. The batch is printed on the sticker under the hand
strap. In cold weather the lower clamp can crack along its screw.

- Customers get a new clamp by post, without sending the poles in.
- The kit is HW-4417 and is free until 31 March 2026. It holds two clamps,
  two screws and a key of 3 mm.
- Nobody tightens a clamp by more than a quarter turn past the stop.
- Poles from the same months with batch FT-2407 are fine: their clamps come
  from another mould.

If somebody has fallen, it is a case for the product-safety mailbox, as
always.

Best
Hanne Quarrywood
Workshop lead, Depot South
"""

POLES_HISTORY = """\
On Monday, 5 May 2025 at 16:02, Corin Wetherlow wrote:
> Hanne, the desk has nine calls now. The pages still say WS-33 for 13
> euros. Are we really going to charge for this?
> Corin
>
> On Friday, 2 May 2025 at 11:37, Hanne Quarrywood wrote:
>> Hello,
>> three pairs with a cracked clamp this week, all FT-2406. I think that
>> we sold about 120 pairs of them. Until I know more, book them as
>> ordinary repairs and keep the old clamps for me.
>> Hanne
"""

LOT = """\
Liebe Kolleginnen, dear all,

the new control serum, lot CQ-7713, has been in use since this morning. The
old lot CQ-7698 is used up; please pour away what stands in refrigerator L2.

Targets for level 2:

  Potassium      4.31 mmol/l   (± 0.14)
  Glucose        6.9 mmol/l    (± 0.3)
  Creatinine     152 µmol/l    (± 8)

An opened bottle keeps for 6 days at 2 to 8 °C, not for 9 as with the old
lot. Thaw it for 35 minutes at room temperature, turn it ten times, never
shake it.

Two values beyond two standard deviations on the same side: stop, change the
reagent, run the control again. Results of patients since the last good
control are held back and measured again.

Greetings from the cold cellar
Käthe Mühlbach
Laboratory, quality control

-- 
Lindenmoor Clinic · Laboratory · extension 48
Values of patients are never sent by mail.
"""

LOT_HISTORY = """\
Am 12.05.2025 um 14:20 schrieb Tilo Rautenweg:
> Käthe, how long does the new serum keep once it is open? I have written
> 9 days on the bottle. And is it true that the target for potassium is
> 4.05?
> Tilo
>
> Am 09.05.2025 um 09:05 schrieb Käthe Mühlbach:
>> The courier brings 24 bottles of the new lot on Monday. Put them into the
>> freezer at once and do not open any before I have checked the sheet.
"""


def encoded(text, charset):
    return quopri.encodestring(text.encode(charset)).decode("ascii")


def html(text, history):
    paragraphs = "".join(f"<p>{part.strip()}</p>\n" for part in text.strip().split("\n\n"))
    quoted = history.replace(">", "&gt;").replace("\n", "<br>\n")
    return f'<html><head><style>p{{font-family:sans-serif}}</style></head><body>\n{paragraphs}<blockquote type="cite">{quoted}</blockquote>\n<img src="https://mail.harborwick.example/p.gif" width="1" height="1" alt=""></body></html>\n'


def write(path, head, body):
    (HANDBOOK / path).write_text("\n".join(head) + "\n\n" + body, encoding="ascii")


def poles():
    parts = [("plain", POLES + "\n" + POLES_HISTORY), ("html", html(POLES, POLES_HISTORY))]
    body = "This message has two forms of the same text.\n"
    for kind, text in parts:
        body += f"\n--=_hw_81c0\nContent-Type: text/{kind}; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n{encoded(text, 'utf-8')}"
    write("harbor/products/trail-pole-thread.eml", [
        "Date: Wed, 7 May 2025 08:41:09 +0200",
        "From: Hanne Quarrywood <workshop@harborwick.example>",
        "To: Shift leads <shift-leads@harborwick.example>",
        "Cc: Corin Wetherlow <c.wetherlow@harborwick.example>, product-safety@harborwick.example",
        "Subject: Re: Re: Cracked clamps on Fell Trail poles",
        "Message-ID: <20250507084109.5512@harborwick.example>",
        "In-Reply-To: <20250505160233.0917@harborwick.example>",
        "References: <20250502113755.4471@harborwick.example>\n <20250505160233.0917@harborwick.example>",
        "MIME-Version: 1.0",
        'Content-Type: multipart/alternative; boundary="=_hw_81c0"',
    ], body + "\n--=_hw_81c0--\n")


def lot():
    subject = Header("AW: Kontrollserum / control serum, lot CQ-7713 – ab sofort", "utf-8").encode()
    sender = Header("Käthe Mühlbach", "iso-8859-1").encode()
    write("linden/labs/control-lot-thread.eml", [
        "Received: from lab-pc4.lindenmoor.example by mail.lindenmoor.example;\n\tTue, 13 May 2025 07:58:31 +0200",
        "Date: Tue, 13 May 2025 07:58:30 +0200",
        f"From: {sender} <qc@lindenmoor.example>",
        "To: laboratory@lindenmoor.example",
        "Cc: technical@lindenmoor.example",
        f"Subject: {subject}",
        "Message-ID: <b7e2-7713@lindenmoor.example>",
        "In-Reply-To: <b7e1-2209@lindenmoor.example>",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=iso-8859-1",
        "Content-Transfer-Encoding: quoted-printable",
    ], encoded(LOT + "\n" + LOT_HISTORY, "iso-8859-1"))


if __name__ == "__main__":
    poles()
    lot()
