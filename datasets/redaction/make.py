"""Writes cases.jsonl: `python make.py`. Contexts are written by hand, values come from values.py; the two halves share neither."""

import json
from pathlib import Path

import values as v

# `@` stands for the value, `#` for what it is called.
CONTEXTS = {
    "email": {
        "dev": ["Please write to @ and we will answer within two days.", "From: Anna <@>\nTo: desk", "Contact (@), office hours 9-17.", "| owner | @ |\n|---|---|",
                "mailto:@?subject=Hello", "user=@&plan=pro", "His address is @.", "{\"email\": \"@\", \"id\": 7}", "Kann ich die Rechnung an @ bekommen?",
                "ping @, she knows", "reach me: @;", "login failed for @ at 12:01"],
        "test": ["You can reach the accountant under @, usually before noon.", "Reply-To: @\nSubject: invoice", "The form was sent by [@](https://example.com/contact).",
                 "- cc @\n- bcc nobody", "INFO session opened account=@ ip=none", "Escríbame a @ por favor", "Did '@' ever confirm?", "<td>@</td><td>yes</td>",
                 "email:@", "signed, @", "We merged the accounts @ and the old one.", "invite \"@\" to the workspace"],
    },
    "phone": {
        "dev": ["Call me at @ tomorrow.", "Tel.: @", "My mobile is @, thanks", "phone: @", "Telefon @ (Zentrale)", "Fax: @", "| phone | @ |", "Bitte rufen Sie @ an.",
                "appelez le @ svp", "{\"phone\": \"@\"}", "You can text @ any time.", "hotline @, 24/7"],
        "test": ["Our reception answers on @ until six.", "Mobile: @", "Ring @ and ask for Dana.", "Handynummer: @", "téléphone : @", "contact number @ (evenings only)",
                 "Teléfono @.", "<tel>@</tel>", "WhatsApp @", "She left a callback number, @, with the desk", "T: @", "numero di telefono @"],
    },
    "card": {
        "dev": ["Charge my card @ please.", "card: @ exp 04/29", "Visa @, CVC on the back", "{\"pan\": \"@\"}", "I paid with @ yesterday", "number @."],
        "test": ["The customer typed @ into the chat.", "Kreditkarte @ gültig bis 11/28", "cc=@&exp=0330", "Refund to @?", "| card | @ | declined |", "My number (@) was rejected twice"],
    },
    "iban": {
        "dev": ["Please transfer to @ by Friday.", "IBAN: @", "Konto @ bei der Bank", "| iban | @ |", "{\"iban\":\"@\"}", "my account is @."],
        "test": ["Refund goes to @, not the old one.", "IBAN @ BIC COBADEFFXXX", "Bankverbindung: @", "virement sur le compte @ svp", "account=@;", "Numer konta: @"],
    },
    "id": {
        "dev": ["#: @", "My # is @.", "# @ (please keep private)", "| # | @ |", "{\"#\": \"@\"}", "Die # lautet @."],
        "test": ["Customer gave # @ on the phone.", "#=@", "Le # @ est faux.", "# number: @, issued last year", "Form 7, field #: @", "<b>#</b> @"],
    },
    "ip": {
        "dev": ["Login from @ was blocked.", "client @ sent 14 requests", "ping @", "http://@/status", "Host: @", "remote_addr=@ status=403"],
        "test": ["The alert names @ as the source.", "ssh root@@", "dst @ dropped by rule 7", "| addr | @ |", "allow @;", "Unsere Adresse ist @, bitte freischalten"],
    },
    "secret": {
        "dev": ["Use @ for now.", "export OPENAI=@", "the key is @, rotate it", "curl -H \"X: @\" https://api.example.com", "it printed @\nand died", "- @"],
        "test": ["He pasted @ into the ticket.", "key: @", "config has '@' in plain text", "`@` no longer works", "TOKEN @ expired", "git remote uses @ as login"],
    },
    "named_secret": {"dev": ["@", "config:\n  @\n", "the log shows @ in line 3"], "test": ["# .env\n@\nDEBUG=1", "We found @ in the dump", "run with @"]},
    "name": {
        "dev": ["The invoice of @ is overdue.", "@'s contract ends in May.", "Ask @, please.", "Re: @ (internal)", "\"@\" signed on Monday", "met with @ and two others"],
        "test": ["Forward this to @ today.", "Attendees: @, facilities, legal", "According to @, the valve failed.", "| lead | @ |", "(@)", "@ wrote back on Friday"],
    },
    "pattern": {
        "dev": ["Badge @ was revoked.", "see @ for terms", "ref:@", "(@)", "@ and others", "no entry for @."],
        "test": ["File @ is missing page 2.", "record \"@\" merged", "id=@", "Regarding @:", "- @\n", "Is @ still open?"],
    },
}

NEGATIVES = {
    "dev": """Your order 4711-2024-0815 has shipped.
Order number 1234567890123456 is on its way.
Invoice 2024-000123 of 12.03.2024 over 1.234,56 EUR.
The total is $12,345,678.90 including tax.
Upgrade from version 1.2.3.4 to 2.0.1.7 first.
nginx/1.25.3 answered with 502.
Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36
commit 9fceb02d0ae598e95dc970b74767f19372d61af8 fixed it.
sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
uuid 550e8400-e29b-41d4-a716-446655440000
ISBN 978-3-16-148410-0
ISBN-10: 0-306-40615-2
EAN 4006381333931 on the box
2024-01-31T23:59:59Z to 2024-02-01T00:00:00Z
Between 10:15:30 and 12:45:00 nothing happened.
See section 3.1.4.2 and table 12.
Figure 2.4.1.3 shows the layout.
Tracking 1Z999AA10123456784
Tracking number 00340434161094042557
MAC 00:1A:2B:3C:4D:5E of the adapter
#[derive(Debug)] struct A { b: std::collections::HashMap<u8, u8> }
@Override public void run() {}
use std::net::Ipv6Addr; let a = b::c(d);
let token_count = 4096; let tokens_max = 128000;
password: required, at least twelve characters
The password must be changed every 90 days.
api_key = os.environ["SERVICE_KEY"]
api_key: <YOUR_API_KEY>
token = get_token(user)
export SECRET=${VAULT_SECRET}
| year | revenue | margin |
|---|---|---|
| 2023 | 1,204,500 | 12.4 % |
| 2024 | 1,398,211 | 13.1 % |
npm install react@18.2.0 lodash@4.17.21
background: url(logo@2x.png);
git clone git@github.com:example/repo.git
5 people @ 3 tables
localhost 127.0.0.1 and mask 255.255.255.0
DOI 10.1000/182 and RFC 2606
ticket #123456789 was merged into #123456790
Coordinates 52.520008, 13.404954
Flight LH 1234 leaves at 14:05 from gate B27.
Serial number: SN-8842-1190-AB
The engine weighs 1 234 kg and turns 3 500 times a minute.
Pages 101-115 and 220-245
HTTP 404 and 503 are retried 3 times after 250 ms.
Article 12 (3) of Regulation (EU) 2016/679
Part no. 12-345-678, batch 20240131
The number 3.14159265358979 is not a phone.
Zip 10115 Berlin, PO box 12 34 56
Budget 2024/2025: 1.200.000 Euro
score 0.98765432 at epoch 120
ID range 100000000-199999999 is reserved.
Room 030, floor 2, building 12
document id 20240815-0042-17
chunk 1234 of 5678, offset 1048576
blake3 af1349b9f5f9a1a6a0404dea36dc
color #ff8800 and #00aa11
key "order_items" of table "orders"
Bearer of the letter is entitled to two drinks.
secret: none
The token is sent in the header.
select count(*) from t where id between 1000000000 and 2000000000;
1,2,3,4,5,6,7,8,9,10
10.12.2023 - 11.01.2024
12/31/2024 at 5 p.m.
Model X-1200-B4 needs 230 V, 50 Hz
RAL 9005, DIN 471, ISO 9001:2015
SKU 0123-4567-89
bank code 370 400 44
USt-IdNr. is printed on page 3
Customer since 1998, contract 7 of 12
the ratio is 16:9 or 4:3
x = a[12345678]; y = 0x1F4B3C2D;
fn main() { println!("{:?}", (1u64 << 40) - 1); }
for i in 0..1000000 { sum += i * 31 + 17; }
assert_eq!(hash("abc"), 0xa9993e364706816aba3e25717850c26c9cd0d89d);
base64 aGVsbG8gd29ybGQgdGhpcyBpcyBhIHRlc3Q=
The May report by the river team
population 83,237,124 in 2023
Quantity: 120 000 000 units
timestamp 1700000000 and 1700000000123
IBAN is required for refunds.
My phone is broken, can you help?
Call 3 of 5 failed.
The card was declined, error 51.
SSN format is AAA-GG-SSSS
IP rating IP67 and IP68
2 + 2 = 4, 17 * 23 = 391
postal code 75008 Paris
Kapitel 4.2.1.1 der Anleitung
lot 8005551234567890
Revision 1.0.0.12 replaces 1.0.0.11
v10.4.2.1 is out
0.1.2.3 beta""".split("\n"),
    "test": """Purchase order PO-2026-00871 was approved.
Order 4539578763621488 ships on Monday.
Rechnung Nr. 2025-10-0456 vom 03.11.2025
They paid 9.876.543,21 EUR in three rates.
Please install firmware 4.18.0.22 before 5.0.0.1.
OpenSSL/3.0.13 and curl/8.5.0 are listed.
Firefox says: Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:121.0) Gecko/20100101 Firefox/121.0
merge 4b825dc642cb6eb9a060e54bf8d69288fbee4904 into main
md5 d41d8cd98f00b204e9800998ecf8427e
request id 7d444840-9dc0-11d1-b245-5ffdce74fad2
ISBN 978-0-262-03384-8 is the textbook.
ISBN 0 19 852663 6
GTIN 05901234123457
2025-12-24 18:30:00.123456 +0100
Laps took 01:22:33, 01:23:10 and 01:21:59.
Clause 7.3.2.1 applies.
Step 5.2.0.1: loosen the bolt
Parcel JD014600003828392312
Shipment 1234 5678 9012 3456 arrived damaged.
adapter 3c:22:fb:9a:10:7e is unknown
impl From<io::Error> for Error { fn from(e: io::Error) -> Self { Self::Io(e) } }
@app.route("/users") def users(): pass
auto it = foo::bar::baz(); ns::b::c x;
max_tokens: 2048, token_limit=8192
password: (hidden)
Passwords are hashed with argon2id.
secret_key = settings.get("SECRET_KEY")
"apiKey": "YOUR_API_KEY_HERE"
auth_token = request.headers.get("x")
PASSWORD=$(cat /run/secrets/db)
| quarter | units | change |
|---|---|---|
| Q1 | 45,120 | +3.2 % |
| Q2 | 47,981 | +6.3 % |
yarn add vue@3.4.15 @types/node@20.11.5
icon@3x.webp is missing
git remote add origin git@gitlab.com:group/project.git
lunch @ noon
bind 0.0.0.0 and 127.0.0.1 only
doi:10.1145/3366423.3380211
case 987654321 duplicates case 987654322
lat 48.137154 lon 11.576124
Train ICE 1538 to Hamburg, platform 7, 09:42
S/N 5CG-1234-XYZ-77
The bridge is 1 991 m long and cost 4 300 000 000 yen.
lines 1200-1260, columns 80-120
retry after 1500 ms, at most 5 times, 429 or 503
Directive 2014/65/EU, Art. 4 (1) no. 18
bin 44-210-307, lot 20251130
e is about 2.718281828459045
80331 München, Postfach 20 10 30
Haushalt 2026/27: 3.450.000 Euro
loss 0.00312345 after 45000 steps
ports 1024-65535 are free
Hall 069, row 4, seat 18
doc 20251130-1177-03 supersedes 20251001-0009-01
page 77 of 1290, byte 33554432
crc32 cbf43926 xxh64 ef46db3751d8e999
fill #1e90ff, stroke #333333
the "customer_key" column is an integer
The bearer token expires after an hour.
secret = None
A token must not be logged.
update t set n = 3000000000 where n > 1500000000;
3,1,4,1,5,9,2,6,5,3,5,8,9,7,9,3
from 01.02.2025 until 28.02.2025
03/04/2026 or 04/03/2026?
Pump KX-400-22 runs on 400 V, 16 A
EN 60529, IEC 62443-4-2:2019
article 9876-5432-10
BLZ 100 100 10 is a bank code
VAT is shown on page 2 of 9
employee of the month 11/2025
aspect 21:9, zoom 1:250000
buf[67108864] = 0xDEADBEEFCAFE;
const int N = 1000000007; long long M = 998244353LL;
while (n < 4294967295) { n = n * 1103515245 + 12345; }
digest = "5f4dcc3b5aa765d61d8327deb882cf99"
data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk
the lang setting of peter's editor
Inhabitants: 67 413 000 (estimate)
stock 350 000 000 pieces
epoch 1760000000 = 2025-10-09
Where do I find my IBAN?
Which phone do you recommend under 300 euros?
Ring 2 of 4 is worn.
Why was my card blocked on 12 May?
The national insurance number is on your payslip.
IPv6 is off, IPv4 is on, IP65 housing
7 * 11 * 13 = 1001, 999983 is prime
CEP 01310 and ZIP 94105
Abschnitt 2.7.1.8 beschreibt das
batch 6304000000000000123
Release 2.4.0.9 follows 2.4.0.8
v7.0.12.3 fixes the crash
build 0.9.8.7 nightly""".split("\n"),
}


def case(number, half, kind, country, text, value):
    """The value's place in bytes; it is found by its mark, never by searching."""
    before, _, after = text.partition("\0")
    start = len(before.encode())
    spans = [] if value is None else [{"type": kind, "start": start, "end": start + len(value.encode())}]
    out = {"id": f"{half}-{number:04d}", "half": half, "about": kind, "text": text if value is None else before + value + after, "spans": spans}
    if country:
        out["country"] = country
    return out


def core(kind, value):
    """What of the written value is private: not the port or the prefix behind an address, not the words around a key."""
    if kind != "ip":
        return "", value, ""
    if value.startswith("["):
        return "[", value[1 : value.index("]")], value[value.index("]") :]
    if "." in value and ":" in value and not value.startswith("::"):
        host, port = value.split(":")
        return "", host, ":" + port
    if "/" in value:
        host, prefix = value.split("/")
        return "", host, "/" + prefix
    return "", value, ""


def main():
    cases = []

    def add(*args):
        cases.append(case(len(cases) + 1, *args))

    for half in ("dev", "test"):
        plain, named = v.secrets(half)
        pools = {
            "email": [("", x) for x in v.EMAIL[half]], "phone": v.PHONE[half], "card": [("", x) for x in v.CARD[half]], "iban": v.IBAN[half],
            "ip": [("", x) for x in v.IP[half]], "secret": [("", x) for x in plain], "name": [("", x) for x in v.NAME[half]],
            "pattern": [("", x) for x in v.PATTERN[half]],
        }
        for kind, pool in pools.items():
            contexts = CONTEXTS[kind][half]
            # Every value twice, every context several times, in pairs that differ.
            for i in range(2 * len(pool)):
                country, value = pool[i % len(pool)]
                context = contexts[(i + i // len(pool)) % len(contexts)]
                at = context.rindex("@")
                before, inner, after = core(kind, value)
                add(half, kind, country, context[:at] + before + "\0" + after + context[at + 1 :], inner)
        for i, (country, cue, value) in enumerate(v.national(half)):
            for turn in range(2):
                contexts = CONTEXTS["id"][half]
                context = contexts[(i + 2 * turn) % len(contexts)].replace("#", cue)
                at = context.rindex("@")
                add(half, "id", country, context[:at] + "\0" + context[at + 1 :], value)
        for i, (form, value) in enumerate(named):
            contexts = CONTEXTS["named_secret"][half]
            at = contexts[i % len(contexts)].rindex("@")
            written = contexts[i % len(contexts)]
            add(half, "secret", "", written[:at] + form.replace("{}", "\0") + written[at + 1 :], value)
        for line in NEGATIVES[half]:
            add(half, "none", "", line, None)
    here = Path(__file__).parent
    with open(here / "cases.jsonl", "w") as out:
        for row in cases:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    with open(here / "tenant.json", "w") as out:
        json.dump({"names": v.NAMES, "patterns": v.PATTERNS}, out, ensure_ascii=False, indent=2)
        out.write("\n")
    print(len(cases), "cases")


main()
