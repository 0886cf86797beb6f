"""Invented values of every type: reserved ranges, published test numbers, and numbers whose check digits are computed here.

No value belongs to anybody on purpose: mail domains are RFC 2606's, addresses RFC 5737's and RFC 3849's, card numbers the
payment providers' published test numbers, IBANs the registry's examples or computed, telephone numbers from the ranges that
regulators keep for fiction where there is one, national ids computed from made-up serials.
"""

import random
import string

ALNUM = string.ascii_letters + string.digits


def weights(digits, factors):
    return sum(int(d) * f for d, f in zip(digits, factors))


def luhn(body):
    total = 0
    for i, d in enumerate(reversed(body)):
        n = int(d) * (2 if i % 2 == 0 else 1)
        total += n - 9 if n > 9 else n
    return str(-total % 10)


def iban(country, bban):
    moved = "".join(str(int(c, 36)) for c in bban + country + "00")
    return f"{country}{98 - int(moved) % 97:02d}{bban}"


def grouped(text, size=4, by=" "):
    return by.join(text[i : i + size] for i in range(0, len(text), size))


# ---------------------------------------------------------------- national ids


def de_tax(body):
    product = 10
    for d in body:
        s = (int(d) + product) % 10 or 10
        product = 2 * s % 11
    return body + str((11 - product) % 10)


def de_pension(area, date, letter, serial):
    body = f"{area}{date}{ord(letter) - 64:02d}{serial}"
    total = 0
    for d, f in zip(body, [2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1]):
        total += sum(divmod(int(d) * f, 10))
    return f"{area}{date}{letter}{serial}{total % 10}"


def fr_nir(body):
    n = int(body.replace("2A", "19").replace("2B", "18"))
    return f"{body}{97 - n % 97:02d}"


def es_dni(number):
    return f"{number:08d}" + "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23]


def es_nie(letter, number):
    return f"{letter}{number:07d}" + "TRWAGMYFPDXBNJZSQVHLCKE"[int(f"{'XYZ'.index(letter)}{number:07d}") % 23]


def it_cf(body):
    odd = dict(zip(string.digits + string.ascii_uppercase,
                   [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14,
                    16, 10, 22, 25, 24, 23]))
    total = sum(odd[c] if i % 2 == 0 else (int(c) if c.isdigit() else ord(c) - 65) for i, c in enumerate(body))
    return body + chr(65 + total % 26)


def nl_bsn(body):
    check = weights(body, range(9, 1, -1)) % 11
    assert check < 10, body
    return body + str(check)


def be_rrn(date, serial, after_2000=False):
    n = int(("2" if after_2000 else "") + date + serial)
    return f"{date}{serial}{97 - n % 97:02d}"


def pl_pesel(body):
    return body + str(-weights(body, [1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10)


def se_pnr(date, serial):
    return f"{date}-{serial}{luhn(date[-6:] + serial)}"


def fi_hetu(date, sign, serial):
    return f"{date}{sign}{serial}" + "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(date + serial) % 31]


def no_fnr(date, serial):
    body = date + serial
    k1 = -weights(body, [3, 7, 6, 1, 8, 9, 4, 5, 2]) % 11
    k2 = -weights(body + str(k1), [5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11
    assert k1 < 10 and k2 < 10, body
    return f"{body}{k1}{k2}"


def ch_ahv(body):
    return body + str(-sum(int(d) * (3 if i % 2 else 1) for i, d in enumerate(body)) % 10)


def at_svnr(serial, date):
    check = weights(serial + date, [3, 7, 9, 5, 8, 4, 2, 1, 6]) % 11
    assert check < 10
    return f"{serial}{check}{date}"


def br_cpf(body):
    for n in (10, 11):
        body += str(-weights(body, range(n, 1, -1)) % 11 % 10)
    return body


def in_aadhaar(body):
    d = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 0, 6, 7, 8, 9, 5], [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
         [3, 4, 0, 1, 2, 8, 9, 5, 6, 7], [4, 0, 1, 2, 3, 9, 5, 6, 7, 8], [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
         [6, 5, 9, 8, 7, 1, 0, 4, 3, 2], [7, 6, 5, 9, 8, 2, 1, 0, 4, 3], [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
         [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]]
    p = [list(range(10)), [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
    for _ in range(6):
        p.append([p[-1][p[1][i]] for i in range(10)])
    inverse = [0, 4, 3, 2, 1, 5, 6, 7, 8, 9]
    c = 0
    for i, digit in enumerate(reversed(body)):
        c = d[c][p[(i + 1) % 8][int(digit)]]
    return body + str(inverse[c])


def kr_rrn(date, serial):
    body = date + serial
    return f"{date}-{serial}{(11 - weights(body, [2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]) % 11) % 10}"


def cn_id(body):
    total = weights(body, [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2])
    return body + "10X98765432"[total % 11]


def tr_tckn(body):
    odd, even = sum(map(int, body[0::2])), sum(map(int, body[1::2]))
    tenth = (odd * 7 - even) % 10
    return f"{body}{tenth}{(odd + even + tenth) % 10}"


def sg_nric(letter, body):
    total = weights(body, [2, 7, 6, 5, 4, 3, 2]) + (4 if letter in "TG" else 0)
    return letter + body + ("JZIHGFEDCBA" if letter in "ST" else "XWUTRQPNMLK")[total % 11]


def gb_nhs(body):
    check = 11 - weights(body, range(10, 1, -1)) % 11
    assert check != 10
    return f"{body}{check % 11}"


def dotted(text, shape, by):
    out, at = [], 0
    for size in shape:
        out.append(text[at : at + size])
        at += size
    return by.join(out)


def national(half):
    """(country, cue, value): what the id is called, where it is written with its name."""
    t = half == "test"
    cpf = br_cpf("529982247" if t else "390533447")
    tax = de_tax("4703689281" if t else "8609574271")
    nir = fr_nir("2890675112004" if t else "1850578006084")
    corse = fr_nir("198112A004123" if t else "270032B112008")
    aad = in_aadhaar("23412341234" if t else "49917186517")
    bsn = nl_bsn("12345678" if t else "11122233")
    rrn = be_rrn("930518", "223") if t else be_rrn("850730", "033")
    ahv = ch_ahv("756921733284" if t else "756123456789")
    svnr = at_svnr("123", "010180") if not t else at_svnr("782", "280955")
    nhs = gb_nhs("943476591" if t else "485777345")
    sin = "046454286" if not t else "193456787"
    sin = sin[:8] + luhn(sin[:8])
    pairs = [
        ("US", "SSN", "219-09-9999" if t else "078-05-1120"),
        ("US", "social security number", "457-55-5462" if t else "123-45-6789"),
        ("US", "ITIN", "912-70-1234" if t else "987-65-4321"),
        ("US", "SSN", "457555462" if t else "123456789"),
        ("GB", "National Insurance number", "AB 12 34 56 C" if t else "QQ 12 34 56 C"),
        ("GB", "NINO", "JG103759A" if t else "AA123456D"),
        ("GB", "NHS number", dotted(nhs, (3, 3, 4), " ")),
        ("DE", "Steuer-ID", dotted(tax, (2, 3, 3, 3), " ")),
        ("DE", "Steuerliche Identifikationsnummer", tax),
        ("DE", "Rentenversicherungsnummer", de_pension("65", "170839", "J", "00") if t else de_pension("15", "070649", "C", "10")),
        ("FR", "numéro de sécurité sociale", dotted(nir, (1, 2, 2, 2, 3, 3, 2), " ")),
        ("FR", "NIR", nir),
        ("FR", "n° de sécu", corse),
        ("ES", "DNI", es_dni(87654321 if t else 12345678)),
        ("ES", "NIE", es_nie("Y", 7654321) if t else es_nie("X", 1234567)),
        ("IT", "codice fiscale", it_cf("BNCLRA90D41H501") if t else it_cf("RSSMRA85T10A562")),
        ("NL", "BSN", bsn),
        ("NL", "burgerservicenummer", grouped(bsn, 3, ".") if t else bsn),
        ("BE", "rijksregisternummer", f"{dotted(rrn[:6], (2, 2, 2), '.')}-{rrn[6:9]}.{rrn[9:]}"),
        ("PL", "PESEL", pl_pesel("9203151234" if t else "4405140135")),
        ("SE", "personnummer", se_pnr("19640823", "323") if t else se_pnr("811218", "987")),
        ("FI", "henkilötunnus", fi_hetu("131052", "-", "308") if not t else fi_hetu("010594", "A", "901")),
        ("NO", "fødselsnummer", no_fnr("150577", "321") if t else no_fnr("010190", "450")),
        ("DK", "CPR", "211062-5629" if t else "070761-4285"),
        ("CH", "AHV-Nummer", dotted(ahv, (3, 4, 4, 2), ".")),
        ("AT", "Sozialversicherungsnummer", f"{svnr[:4]} {svnr[4:]}"),
        ("PT", "NIF", pt_nif("50144261" if t else "12345678")),
        ("BR", "CPF", f"{dotted(cpf[:9], (3, 3, 3), '.')}-{cpf[9:]}"),
        ("BR", "CPF", cpf),
        ("IN", "Aadhaar", grouped(aad)),
        ("IN", "PAN", "BNZPM2501F" if t else "ABCPE1234F"),
        ("CA", "SIN", grouped(sin, 3, " " if t else "-")),
        ("CN", "身份证", cn_id("11010519491231002" if not t else "44052419880101001")),
        ("KR", "주민등록번호", kr_rrn("971013", "901901") if not t else kr_rrn("850312", "123456")),
        ("TR", "TC kimlik no", tr_tckn("172911608" if t else "100000001")),
        ("SG", "NRIC", sg_nric("S", "1234567") if not t else sg_nric("G", "2345678")),
    ]
    return pairs


def pt_nif(body):
    check = 11 - weights(body, range(9, 1, -1)) % 11
    return body + str(0 if check > 9 else check)


# ---------------------------------------------------------------- the other types

EMAIL = {
    "dev": ["anna.schmidt@example.com", "j.o'neill@example.org", "support+tickets@example.net", "max_mustermann@mail.example.de",
            "INFO@EXAMPLE.COM", "søren@example.dk", "maría.garcía@correo.example.es", "x@example.io", "first.last@sub.dept.example.co.uk",
            "1234567@example.com", "a-b-c@example-shop.com", "user%home@example.org", "kontakt@müller.example", "li.wei@example.cn",
            "jean-pierre.dupont@exemple.example.fr", "no-reply@example.com", "tanaka@example.co.jp", "dev_null@example.museum"],
    "test": ["peter.lang@example.org", "k.o'brien@example.com", "billing+2026@example.com", "erika_musterfrau@post.example.at",
             "SALES@EXAMPLE.NET", "åsa@example.se", "josé.núñez@empresa.example.mx", "q@example.ai", "given.family@eu.corp.example.com.au",
             "9876543@example.net", "x-y-z@example-store.de", "ops%eu@example.com", "büro@bäcker.example", "zhang.min@example.com.cn",
             "marie-claire.petit@courriel.example.ca", "noreply@example.org", "suzuki@example.ne.jp", "root_admin@example.technology"],
}

PHONE = {
    "dev": [("US", "(415) 555-0132"), ("US", "+1 212 555 0147"), ("US", "415-555-0199"), ("US", "1-800-555-0100"), ("US", "+14155550123"),
            ("GB", "+44 20 7946 0123"), ("GB", "020 7946 0958"), ("GB", "+44 (0)20 7946 0321"), ("DE", "+49 30 23125 123"),
            ("DE", "030 23125 456"), ("DE", "0171 3920012"), ("DE", "+49 (0)171 39200 34"), ("DE", "030/23125-789"), ("FR", "01 99 00 12 34"),
            ("FR", "+33 1 99 00 56 78"), ("FR", "01.99.00.33.44"), ("ES", "+34 612 345 678"), ("ES", "612 34 56 78"), ("IT", "+39 06 1234 5678"),
            ("IT", "06 1234 5678"), ("NL", "+31 6 12345678"), ("NL", "06-12345678"), ("CH", "+41 44 668 18 00"), ("CH", "044 668 18 00"),
            ("AU", "+61 2 5550 1234"), ("AU", "0491 570 006"), ("SE", "+46 8 465 004 12"), ("SE", "08-465 004 34"), ("PL", "+48 512 345 678"),
            ("IN", "+91 98765 43210"), ("JP", "+81 90-1234-5678"), ("BR", "+55 11 91234-5678"), ("BR", "(11) 91234-5678"), ("AT", "+43 1 234567"),
            ("BE", "0470 12 34 56"), ("FR", "0033 1 99 00 12 99")],
    "test": [("US", "(212) 555-0178"), ("US", "+1 (646) 555-0119"), ("US", "312.555.0142"), ("US", "1-888-555-0123"), ("US", "+13125550165"),
             ("GB", "+44 20 7946 0777"), ("GB", "0117 496 0123"), ("GB", "+44 (0)117 496 0456"), ("DE", "+49 69 90009 123"),
             ("DE", "069 90009 456"), ("DE", "0152 28817386"), ("DE", "+49 (0)152 288 17386"), ("DE", "0221/4710-789"), ("FR", "02 61 91 12 34"),
             ("FR", "+33 4 65 71 56 78"), ("FR", "05.36.49.33.44"), ("ES", "+34 698 765 432"), ("ES", "698 76 54 32"), ("IT", "+39 02 8765 4321"),
             ("IT", "02 8765 4321"), ("NL", "+31 6 87654321"), ("NL", "020-7654321"), ("CH", "+41 79 123 45 67"), ("CH", "079 765 43 21"),
             ("AU", "+61 3 7010 4321"), ("AU", "(02) 5550 4321"), ("SE", "+46 31 390 06 12"), ("SE", "031-390 06 34"), ("PL", "+48 601 234 567"),
             ("IN", "+91-99887-76655"), ("JP", "+81 3-1234-5678"), ("BR", "+55 21 99876-5432"), ("BR", "(21) 99876-5432"), ("AT", "+43 660 1234567"),
             ("BE", "0486 65 43 21"), ("DE", "0049 30 23125 999")],
}

CARD = {
    "dev": ["4242424242424242", "4242 4242 4242 4242", "4000056655665556", "5555 5555 5555 4444", "5555555555554444", "2223003122003222",
            "5200-8282-8282-8210", "378282246310005", "3782 822463 10005", "6011111111111117", "6011 1111 1111 1117", "3056930009020004",
            "36227206271667", "3566002020360505", "6200000000000005", "4012888888881881", "4222222222222", "5105 1051 0510 5100"],
    "test": ["4111111111111111", "4111 1111 1111 1111", "4000002500003155", "5105105105105100", "2223 0031 2200 3222", "5454545454545454",
             "4000-0000-0000-9995", "371449635398431", "3714 496353 98431", "6011000990139424", "6011 0009 9013 9424", "30569309025904",
             "3622 720627 1667", "3530111333300000", "6205500000000000004", "4917610000000000", "2720990000000007", "6759649826438453"],
}

IBAN = {
    "dev": [("DE", "DE89 3704 0044 0532 0130 00"), ("DE", "DE89370400440532013000"), ("GB", "GB29 NWBK 6016 1331 9268 19"),
            ("FR", "FR14 2004 1010 0505 0001 3M02 606"), ("FR", "FR1420041010050500013M02606"), ("ES", "ES91 2100 0418 4502 0005 1332"),
            ("IT", "IT60 X054 2811 1010 0000 0123 456"), ("NL", "NL91 ABNA 0417 1643 00"), ("CH", "CH93 0076 2011 6238 5295 7"),
            ("AT", "AT61 1904 3002 3457 3201"), ("BE", "BE68 5390 0754 7034"), ("PL", "PL61 1090 1014 0000 0712 1981 2874"),
            ("SE", "SE45 5000 0000 0583 9825 7466"), ("NO", "NO93 8601 1117 947"), ("MT", "MT84MALT011000012345MTLCAST001S"),
            ("BR", "BR9700360305000010009795493P1"), ("SA", "SA03 8000 0000 6080 1016 7519"), ("NL", "nl91abna0417164300")],
}


def test_ibans():
    made = [("DE", "500105175407324931"), ("DE", "100500000054540402"), ("GB", "BUKB20201555555555"), ("FR", "30006000011234567890189"),
            ("FR", "20041010051234567A02606"), ("ES", "20852066623456789011"), ("IT", "X0542811101000000654321"), ("NL", "RABO0315273637"),
            ("CH", "00762011623852957"), ("AT", "2011182221219800"), ("BE", "096123456769"), ("PL", "105000997603123456789123"),
            ("SE", "30000000030301099952"), ("NO", "15032080118"), ("LU", "0019400644750000"), ("DK", "00400440116243"),
            ("IE", "AIBK93115212345678"), ("PT", "002700000001234567833")]
    out = []
    for i, (country, bban) in enumerate(made):
        whole = iban(country, bban)
        out.append((country, [grouped(whole), whole, grouped(whole), whole.lower()][i % 4] if i != 7 else whole))
    return out


IBAN["test"] = test_ibans()

IP = {
    "dev": ["192.0.2.17", "198.51.100.200", "203.0.113.9", "192.0.2.1:8080", "10.20.30.40", "172.16.254.1", "2001:db8::1", "2001:db8:85a3::8a2e:370:7334",
            "2001:0db8:0000:0000:0000:ff00:0042:8329", "fe80::1ff:fe23:4567:890a", "[2001:db8::5]:443", "192.0.2.128/25", "2001:db8:abcd::/48",
            "::ffff:192.0.2.33", "198.51.100.7", "203.0.113.255", "2001:DB8:0:1::42", "192.168.178.23"],
    "test": ["192.0.2.201", "198.51.100.14", "203.0.113.77", "203.0.113.5:443", "10.0.8.15", "172.31.0.99", "2001:db8::abcd", "2001:db8:1:2:3:4:5:6",
             "2001:0db8:00aa:00bb:00cc:00dd:00ee:00ff", "fe80::c001:37ff:fe6c:0", "[2001:db8:7::9]:8443", "198.51.100.0/24", "2001:db8:beef::/64",
             "::ffff:203.0.113.12", "192.0.2.64", "198.51.100.254", "2001:DB8:CAFE::7", "192.168.1.104"],
}


def secrets(half):
    """Shapes of real keys around random letters: nobody's, and revoked before they were made."""
    r = random.Random(f"secret {half}")

    def some(n, of=ALNUM):
        return "".join(r.choice(of) for _ in range(n))

    up, hexa = string.ascii_uppercase + "234567", "0123456789abcdef"
    jwt = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9." + "eyJzdWIiOiI" + some(30) + "." + some(43)
    plain = ["sk-" + some(48), "sk-proj-" + some(60), "sk-ant-api03-" + some(80) + "-" + some(8) + "AA", "ghp_" + some(36),
             "github_pat_" + some(22) + "_" + some(59), "glpat-" + some(20), "xoxb-" + some(12, string.digits) + "-" + some(12, string.digits) + "-" + some(24),
             "AKIA" + some(16, up), "AIza" + some(35), "SG." + some(22) + "." + some(43), "sk_live_" + some(24), "rk_test_" + some(24),
             "npm_" + some(36), "hf_" + some(34, string.ascii_letters), jwt, "whsec_" + some(32), "shpat_" + some(32, hexa), "GOCSPX-" + some(28),
             "dop_v1_" + some(64, hexa), "hvs." + some(90), "dapi" + some(32, hexa), some(9, string.digits) + ":AA" + some(33), "pypi-AgEIcHlwaS5vcmc" + some(60),
             "ya29." + some(80)]
    named = []
    for form in ['api_key = "{}"', "API_KEY={}", '"apiKey": "{}"', "Authorization: Bearer {}", "client_secret: {}", "X-Api-Key: {}", "access_token={}&x=1",
                 "secret_key='{}'"]:
        named.append((form, some(32)))
    words = ["hunter2!Blue", "Tr0ub4dor&3", "S0mmer#2026", "p4ssw0rd-Kiel"] if half == "dev" else ["Winter!77snow", "c0rrectH0rse#", "G3heim-Wort9", "qW3rty-uiop!"]
    for form, word in zip(["password: {}", "DB_PASSWORD={}", "pwd={};", 'passwd = "{}"'], words):
        named.append((form, word))
    named.append(("postgres://app:{}@db.example.com:5432/orders", some(16)))
    named.append(("https://deploy:{}@git.example.org/x.git", some(20)))
    key = "\n".join(["-----BEGIN PRIVATE KEY-----", some(64), some(64), some(28), "-----END PRIVATE KEY-----"])
    return plain + [key], named


NAMES = ["Anna Schmidt", "Peter Lang", "María García López", "Jean-Pierre Dupont", "Søren Kjær", "Project Nightjar", "Yuki Tanaka", "Okonkwo",
         "O'Neill", "Müller-Lüdenscheidt", "Björk Guðmundsdóttir", "王小明", "Operation Heron", "Zhang Min", "Priya Raghunathan", "Blackwood"]
PATTERNS = {"EMPLOYEE": r"\bEMP-\d{5}\b", "CONTRACT": r"\bCT/20\d\d/\d+\b", "PATIENT": r"\bP[0-9]{7}[A-Z]\b"}
NAME = {
    "dev": ["Anna Schmidt", "anna schmidt", "ANNA SCHMIDT", "Jean-Pierre Dupont", "María García López", "Project Nightjar", "Okonkwo", "Müller-Lüdenscheidt",
            "王小明", "Priya Raghunathan", "O'Neill", "Anna  Schmidt"],
    "test": ["Peter Lang", "PETER LANG", "peter lang", "Søren Kjær", "SØREN KJÆR", "Operation Heron", "Blackwood", "Björk Guðmundsdóttir", "BJÖRK GUÐMUNDSDÓTTIR",
             "Zhang Min", "Yuki\nTanaka", "Yuki Tanaka"],
}
PATTERN = {
    "dev": ["EMP-00417", "EMP-99120", "CT/2024/1", "CT/2025/884213", "P1234567A", "P7654321Z"],
    "test": ["EMP-31337", "EMP-10001", "CT/2026/77", "CT/2023/120045", "P0000417K", "P9182736Q"],
}
