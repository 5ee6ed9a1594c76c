"""Writes the golden files of the BPE tokenizer with Hugging Face's library: cases.tsv, wholes.tsv, trained-merges.txt.

    make_golden.py FAUST HONGLOUMENG     the two texts; their beginnings are kept as german.txt and chinese.txt

Made with tokenizers 0.23.3, Python 3.11 (Unicode 14).
"""
import os
import random
import sys
import unicodedata

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

here = os.path.dirname(os.path.abspath(__file__))
vocab = os.path.join(here, "..", "vocab-gpt2")


def path(name):
    return os.path.join(here, name)


def read(name):
    with open(name, encoding="utf-8", newline="") as f:
        return f.read()


def gpt2():
    t = Tokenizer(models.BPE.from_file(os.path.join(vocab, "encoder.json"), os.path.join(vocab, "vocab.bpe")))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.add_special_tokens(["<|endoftext|>"])
    return t


def fnv(ids):
    h = 0xCBF29CE484222325
    for byte in b"".join(i.to_bytes(2, "little") for i in ids):
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def some_character(r):
    """Of all kinds, but none that is unassigned here: newer tables may know it for a letter."""
    kind = r.random()
    if kind < 0.4:
        return r.choice("abcdestrvml'  ''  \n\t019.,-")
    if kind < 0.5:
        return chr(r.randrange(128))
    if kind < 0.6:
        return r.choice(["<|endoftext|>", "<|endoftext", "|>", "'ll", " 're", "\u180e", "\u00a0", "\u3000", "\u2028",
                         "\x85", "\x1c", "\u200b", "\ufeff", "Straße", "Größe", "çà", "नमस्ते", "שלום", "Привет", "👩‍👩‍👧"])
    while True:
        c = chr(r.choice([r.randrange(0x80, 0x600), r.randrange(0x800, 0xD800), r.randrange(0x10000, 0x20000)]))
        if unicodedata.category(c) != "Cn":
            return c


def main():
    t, r = gpt2(), random.Random(5)
    with open(path("cases.tsv"), "w") as out:
        for n in range(400):
            text = "".join(some_character(r) for _ in range(1 + n // 8))
            print(text.encode().hex(), *t.encode(text).ids, sep="\t", file=out)
    for source, name, n in (sys.argv[1], "german.txt", 60000), (sys.argv[2], "chinese.txt", 40000):
        with open(path(name), "w", encoding="utf-8", newline="") as out:
            out.write(read(source)[:n])
    shakespeare = os.path.join(here, "..", "..", "..", "deploy", "configs", "data", "shakespeare.txt")
    with open(path("wholes.tsv"), "w") as out:
        for name in shakespeare, path("german.txt"), path("chinese.txt"):
            ids = t.encode(read(name)).ids
            print(os.path.relpath(name, os.path.join(here, "..", "..", "..")), len(ids), f"{fnv(ids):016x}", sep="\t",
                  file=out)
    b = Tokenizer(models.BPE())
    b.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    b.train_from_iterator([read(shakespeare)], trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    b.model.save(here)
    os.rename(path("merges.txt"), path("trained-merges.txt"))
    os.remove(path("vocab.json"))


main()
