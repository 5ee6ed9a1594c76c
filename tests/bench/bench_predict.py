#!/usr/bin/env python3
"""Prediction beside PyTorch: real tokens a second of a classifier at the MiniLM shape (6 layers, hidden 384), alternating.

    bench_predict.py STAGECOACH TEXTS [--threads N] [--rounds N] [--top N]

TEXTS has a text a line. It needs torch and transformers. Both tokenise, sort by length, run in float32 and answer every line; PyTorch in
micro-batches of 32 of like length, as its users do it, and of 64. Starting the processes and reading the weights does not count. Run it
on a quiet machine; the ratio is the result.
"""

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

import torch
import transformers


def make_model(dir, vocab):
    torch.manual_seed(1)
    config = transformers.BertConfig(vocab_size=len(vocab), hidden_size=384, num_hidden_layers=6, num_attention_heads=12,
                                     intermediate_size=1536, num_labels=77)
    model = transformers.BertForSequenceClassification(config).eval()
    model.save_pretrained(dir)
    (dir / "vocab.txt").write_text("".join(w + "\n" for w in vocab))
    return model, transformers.BertTokenizerFast(vocab=str(dir / "vocab.txt"), do_lower_case=True)


def run_torch(model, tokenizer, texts, B):
    begin = time.monotonic()
    ids = tokenizer(texts, truncation=True, max_length=512)["input_ids"]
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    labels = [None] * len(ids)
    with torch.inference_mode():
        for at in range(0, len(order), B):
            rows = order[at:at + B]
            batch = tokenizer.pad({"input_ids": [ids[i] for i in rows]}, return_tensors="pt")
            p = model(**batch).logits.softmax(-1).max(-1)
            for i, k, v in zip(rows, p.indices.tolist(), p.values.tolist()):
                labels[i] = (k, v)
    return sum(map(len, ids)) / (time.monotonic() - begin)


def run_ours(program, dir, path, threads):
    done = subprocess.run([program, "predict", str(dir), "--file", path, "--threads", str(threads)], check=True,
                          capture_output=True, text=True, env={**os.environ, "SC_LOG": "warn,predict=debug"})
    return float(re.search(r"([0-9]+) tok/s", done.stderr).group(1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stagecoach")
    parser.add_argument("texts")
    parser.add_argument("--vocab", default=str(pathlib.Path(__file__).parent.parent / "golden/vocab-bert/uncased/vocab.txt"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    transformers.logging.set_verbosity_error()
    texts = pathlib.Path(a.texts).read_text().splitlines()
    with tempfile.TemporaryDirectory() as dir:
        dir = pathlib.Path(dir)
        model, tokenizer = make_model(dir, pathlib.Path(a.vocab).read_text().splitlines())
        run_torch(model, tokenizer, texts[:200], 32)
        rows = []
        for _ in range(a.rounds):
            rows.append((run_ours(a.stagecoach, dir, a.texts, a.threads), run_torch(model, tokenizer, texts, 32),
                         run_torch(model, tokenizer, texts, 64)))
            print("stagecoach %.0f, PyTorch %.0f (32), %.0f (64) tokens/s" % rows[-1], flush=True)
    best = [max(r[1:]) for r in rows]
    print("median ratio %.2f" % statistics.median(r[0] / b for r, b in zip(rows, best)))


main()
