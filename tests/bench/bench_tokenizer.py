"""bench_tokenizer.py tokenizers|tiktoken|wordpiece VOCAB TEXT: MB/s of processor time at which the library encodes the text, as a list of
pieces of about a megabyte that end with a line. Loading is not counted, as it is small beside."""
import json
import sys
import time

library, vocab, path = sys.argv[1:]


def byte_symbols():
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [b for b in range(256) if b not in kept]
    return {**{chr(b): b for b in kept}, **{chr(256 + i): b for i, b in enumerate(moved)}}


if library == "tokenizers":
    from tokenizers import Tokenizer, models, pre_tokenizers

    t = Tokenizer(models.BPE.from_file(f"{vocab}/encoder.json", f"{vocab}/vocab.bpe"))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.add_special_tokens(["<|endoftext|>"])
    encode = lambda s: t.encode(s).ids
elif library == "wordpiece":
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    with open(f"{vocab}/tokenizer_config.json", encoding="utf-8") as f:
        lowercase = json.load(f)["do_lower_case"]
    t = Tokenizer(models.WordPiece.from_file(f"{vocab}/vocab.txt", unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    encode = lambda s: t.encode(s, add_special_tokens=False).ids
else:
    import tiktoken

    symbols = byte_symbols()
    with open(f"{vocab}/encoder.json", encoding="utf-8") as f:
        ranks = {bytes(symbols[c] for c in token): i for token, i in json.load(f).items() if token != "<|endoftext|>"}
    t = tiktoken.Encoding(
        "gpt2-local", mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256},
        pat_str=r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s""")
    encode = t.encode_ordinary

with open(path, encoding="utf-8", newline="") as f:
    pieces = iter(lambda: f.readlines(1 << 20), [])
    start, n = time.process_time(), 0
    for lines in pieces:
        text = "".join(lines)
        n += len(text.encode())
        encode(text)
    print(n / 1e6 / (time.process_time() - start))
