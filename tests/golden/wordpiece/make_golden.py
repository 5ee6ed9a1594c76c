"""Writes the golden files of the WordPiece tokenizer with Hugging Face's library: cases.tsv, wholes.tsv, characters.txt, tokenizer.json.

    make_golden.py

Made with tokenizers 0.23.3, Python 3.11 (Unicode 14).
"""
import os
import random
import unicodedata

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

here = os.path.dirname(os.path.abspath(__file__))
sources = os.path.join(here, "..", "..", "..")
# name: vocabulary, and the normaliser's clean_text, handle_chinese_chars, strip_accents, lowercase
kinds = {
    "uncased": ("uncased", True, True, None, True),
    "cased": ("cased", True, True, None, False),
    "chinese": ("chinese", True, True, None, True),
    "accents": ("uncased", True, True, False, True),
    "bare": ("cased", False, False, True, False),
}


def tokenizer(kind):
    vocab, clean, chinese, strip, lower = kinds[kind]
    t = Tokenizer(models.WordPiece.from_file(os.path.join(here, "..", "vocab-bert", vocab, "vocab.txt"),
                                             unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(clean, chinese, strip, lower)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return t


def fnv(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def some_character(r):
    """Of all kinds, but none that is unassigned here: newer tables may know it for something else."""
    kind = r.random()
    if kind < 0.5:
        return r.choice("abcdestrvmlAEQZ'  ''  \n\t019.,-")
    if kind < 0.6:
        return chr(r.randrange(128))
    if kind < 0.7:
        return r.choice(["[MASK]", "[MAS", "[[SEP]]", "ing", "un", "\u180e", "\u00a0", "\u3000", "\u2028", "\x85", "\x1c", "\u200b",
                         "\ufeff", "\u00ad", "\ufffd", "Straße", "Größe", "ÇÀ", "İstanbul", "नमस्ते", "שָׁלוֹם", "Привет", "ё", "👩‍👩‍👧",
                         "≮", "中文", "中", "한국어", "e\u0301\u0323", "\u1fef", "\u212b", "ﬁ", "Việt", "x" * 101, "𝕏"])
    while True:
        c = chr(r.choice([r.randrange(0x80, 0x600), r.randrange(0x800, 0xD800), r.randrange(0x10000, 0x20000)]))
        if unicodedata.category(c) != "Cn" and c != "\U00011938":
            return c


def cases():
    r = random.Random(5)
    with open(os.path.join(here, "cases.tsv"), "w") as out:
        for n in range(400):
            kind = list(kinds)[n % 5]
            text = "".join(some_character(r) for _ in range(1 + n // 8))
            e = tokenizers[kind].encode(text, add_special_tokens=False)
            print(kind, text.encode().hex(), " ".join(map(str, e.ids)), " ".join(f"{a}-{b}" for a, b in e.offsets), sep="\t",
                  file=out)


def wholes():
    files = ["deploy/configs/data/shakespeare.txt", "tests/golden/tokenizer/german.txt", "tests/golden/tokenizer/chinese.txt"]
    with open(os.path.join(here, "wholes.tsv"), "w") as out:
        for name in files:
            with open(os.path.join(sources, name), encoding="utf-8", newline="") as f:
                text = f.read()
            for kind in "uncased", "cased", "chinese":
                ids = tokenizers[kind].encode(text, add_special_tokens=False).ids
                print(name, kind, len(ids), f"{fnv(b''.join(i.to_bytes(2, 'little') for i in ids)):016x}", sep="\t", file=out)


def characters():
    """What becomes of every assigned character between an a and a b: the words, each with a newline."""
    with open(os.path.join(here, "characters.txt"), "w") as out:
        for kind, (_, clean, chinese, strip, lower) in kinds.items():
            n, split = normalizers.BertNormalizer(clean, chinese, strip, lower), pre_tokenizers.BertPreTokenizer()
            words, count = [], 0
            for c in map(chr, range(1, 0x110000)):
                if unicodedata.category(c) in ("Cn", "Cs") or c == "\U00011938":
                    continue
                words += [w for w, _ in split.pre_tokenize_str(n.normalize_str("a" + c + "b"))]
                count += 1
            print(kind, count, f"{fnv(''.join(w + chr(10) for w in words).encode()):016x}", file=out)
    with open(os.path.join(here, "assigned.txt"), "w") as out:
        first = None
        for c in range(1, 0x110001):
            there = c < 0x110000 and unicodedata.category(chr(c)) not in ("Cn", "Cs") and c != 0x11938
            if there and first is None:
                first = c
            elif not there and first is not None:
                print(f"{first:X} {c - 1:X}", file=out)
                first = None


def small():
    vocab = "[PAD] [UNK] [CLS] [SEP] [MASK] un ##believ ##able ! b ##e".split()
    t = Tokenizer(models.WordPiece({v: i for i, v in enumerate(vocab)}, unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.add_special_tokens(vocab[:5])
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    t.decoder = decoders.WordPiece()
    t.enable_truncation(128)
    t.enable_padding()
    t.save(os.path.join(here, "tokenizer.json"))


tokenizers = {kind: tokenizer(kind) for kind in kinds}
cases()
wholes()
characters()
small()
