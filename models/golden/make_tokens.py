"""What the tokenizers library makes of texts that are hard to tokenize, as a golden file for the tests of crates/infer.

    python make_tokens.py MODEL_FOLDER OUT.json

MODEL_FOLDER holds tokenizer.json. Each text is written as a part that repeats, with the number of its tokens and a SHA-256
over their ids and first bytes (32 bits each, little endian), special tokens left out.
"""

import hashlib
import json
import struct
import sys
from pathlib import Path

import tokenizers

PARTS = [
    ("", 1),
    (" ", 1),
    ("a", 1),
    ("The quick brown fox, jumps over 3.14159 lazy dogs -- don't you?", 1),
    ("[CLS] a [SEP] [MASK] [PAD] [UNK] ##ing ## #", 1),
    # words without an end
    ("a", 100),
    ("a", 101),
    ("a", 100_000),
    ("é", 100_000),
    ("🙂", 100_000),
    ("東", 100_000),
    ("中", 1_000),
    ("!", 20_000),
    ("\u0301", 100_000),
    ("a\u0301", 50),
    ("a\u0301", 101),
    ("supercalifragilisticexpialidocious", 2),
    # ideographs, kana, hangul, fullwidth, halfwidth
    ("東京は日本の首都です。機械学習、自然言語処理。", 1),
    ("서울은 대한민국의 수도이다. 각", 1),
    ("豈 﨑 \U0002f800 \U00020000\U0002a700 㐀", 1),
    ("ＦＵＬＬ width！ ｶﾞ ﷺ ﬁ ﬃ ½ ² ⅷ Ⅷ ㎏", 1),
    # emoji, joiners, flags, skin tones, keycaps
    ("👩‍👩‍👧‍👦 family 🏳️‍🌈 🇩🇪🇫🇷 👍🏽 5️⃣ ❤️", 1),
    # marks: composed, decomposed, out of canonical order, not spacing, spacing, at the start of a text
    ("é e\u0301 e\u0323\u0301 e\u0301\u0323 ệ \u1ec7 ǭ ṩ s\u0307\u0323", 1),
    ("\u0301a \u0338= ≠ ≮ \u0344\u0323 \u0f73\u0f71 \u0b94 कि नि \u302e가\u302f", 1),
    ("Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!͖̬̰̙̗̿̋ͥͥ̂ͣ̐́́͜͞", 3),
    # letters that lowercase to several, to themselves or by their place
    ("İstanbul IĞDIR ıi ΑΣ ΣΑΣ ẞ ß ǅ ǈ ŉ K Å ſ", 1),
    # nothing, control characters, line ends, spaces of every kind, private use, unassigned, beyond the last block
    ("nul\0in\0side \0 \ufffd replaced\ufffd", 1),
    ("bell\x07 tab\t vt\x0b ff\x0c cr\r\n nel\x85 del\x7f esc\x1b[0m", 1),
    ("a\u00a0b\u2003c\u200bd\u2028e\u2029f\u3000g\ufeffh\u00adi\u2060j\u180ek", 1),
    ("\ue000 \U000f0000 \u0378 \u05ff \U000e0001 \U0010ffff \ufdd0 \U0001fae8 \u31f0", 1),
    # right to left, with marks, digits and overrides
    ("שָׁלוֹם עולם! مَرْحَبًا بِالعالَم ١٢٣ \u202eabc\u202c \u061c،؛؟", 1),
    # marks of punctuation, ASCII and not
    ("a!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~b", 1),
    ("«a»—b–c…d·e‘f’“g”„h‚¿i¡ §¶†‡ °C €£¥ ×÷± ;` ‿⁀", 1),
    # Indic, Thai, Tibetan, Ethiopic, Cherokee, Gothic, hieroglyphs, mathematical letters
    ("नमस्ते दुनिया สวัสดีชาวโลก བོད་སྐད། ሰላም Ꭰꭰ 𐌰𐌱 𓀀𓀁 𝐀𝒷𝔠 𝟘", 1),
    ("Größe, naïve café façade São Łódź Đà Nẵng Москва ЁЛКА ёлка Ελλάδα", 40),
]


def hashed(tokenizer, text):
    encoding = tokenizer.encode(text, add_special_tokens=False)
    first_bytes, byte = [], 0
    for c in text:
        first_bytes.append(byte)
        byte += len(c.encode())
    starts = [first_bytes[start] for start, _ in encoding.offsets]
    sha = hashlib.sha256()
    for number in (*encoding.ids, *starts):
        sha.update(struct.pack("<I", number))
    return len(encoding.ids), sha.hexdigest()


def main(folder, out):
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    golden = {"made_by": f"tokenizers {tokenizers.__version__}", "texts": []}
    for part, times in PARTS:
        tokens, sha256 = hashed(tokenizer, part * times)
        golden["texts"].append({"part": part, "times": times, "tokens": tokens, "sha256": sha256})
    out.write_text(json.dumps(golden, indent=1) + "\n")
    print(f"{out}: {golden['made_by']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
