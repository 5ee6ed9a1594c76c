#!/usr/bin/env python3
"""What transformers and PyTorch reach on a recipe, beside which its README puts what Stagecoach reaches.

    baseline.py RECIPE MODEL [--seeds 1,2,3] [--threads 2]       # RECIPE: banking77, wnut17 or sentfin; MODEL: a directory

The same examples in the same order, split, steps, hyper-parameters and length limit as the recipe's config; the weights of a new
head and the dropout come from PyTorch's random numbers. One JSON object a seed. It needs torch, transformers, scikit-learn and
seqeval of PyPI; nothing else in this repository does. The order of examples is that of coordinator/data/example_batches.h.
"""

import argparse
import csv
import json
import pathlib
import sys
import time

import numpy as np
import torch
import transformers
from seqeval.metrics import f1_score as entity_f1
from sklearn.metrics import accuracy_score, f1_score

DATA = pathlib.Path(__file__).resolve().parent / "data"
RECIPES = {
    "banking77": dict(task="classes", epochs=2, rate=3e-4, warmup=56, length=64, parts=2),
    "wnut17": dict(task="tags", epochs=2, rate=3e-4, warmup=21, length=128, parts=4),
    "sentfin": dict(task="classes", epochs=2, rate=3e-4, warmup=45, length=64, parts=2),
}
BATCH, POOL = 32, 50
SHUFFLE = 3  # SC_RNG_SHUFFLE


def philox(counter, key):
    """Philox4x32-10 on arrays of counters, as proto/base/rng.c."""
    mask = np.uint64(0xFFFFFFFF)
    c0, c1, c2, c3 = (np.asarray(c, dtype=np.uint64) for c in counter)
    k0, k1 = key
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c2 = (p1 >> np.uint64(32)) ^ c1 ^ np.uint64(k0), (p0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1)
        c1, c3 = p1 & mask, p0 & mask
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def draw(seed, place, step, row, index):
    index = np.asarray(index, dtype=np.uint64)
    full = lambda value: np.full(index.shape, value, dtype=np.uint64)
    key = (seed & 0xFFFFFFFF, seed >> 32)
    words = philox((index // np.uint64(4), full(row), full(step), full(SHUFFLE << 24 | place)), key)
    return np.choose((index % np.uint64(4)).astype(int), words)


def permutation(seed, epoch, n):
    """Where sc_windows_permute sends 0 .. n - 1: a Feistel network, walked until it falls into the range."""
    half = 1
    while half < 31 and n > 1 << 2 * half:
        half += 1
    half, mask = np.uint64(half), np.uint64((1 << half) - 1)
    at, todo = np.arange(n, dtype=np.uint64), np.ones(n, dtype=bool)
    while todo.any():
        left, right = at[todo] >> half, at[todo] & mask
        for r in range(8):
            left, right = right, left ^ (draw(seed, 0, 0, epoch, np.uint64(r) << half | right) & mask)
        at[todo] = left << half | right
        todo = at >= n
    return at.astype(int)


def order(seed, epoch, lengths, parts):
    """The batches of an epoch: lists of rows. A last one with fewer rows than a batch has micro-batches gets some of the first."""
    rows, out, pool = permutation(seed, epoch, len(lengths)), [], POOL * BATCH
    for first in range(0, len(rows), pool):
        part = sorted(rows[first : first + pool], key=lambda row: -lengths[row])
        batches = [part[i : i + BATCH] for i in range(0, len(part), BATCH)]
        for i in range(len(part) // BATCH - 1, 0, -1):
            high, low = draw(seed, 2, epoch, first // BATCH, [2 * i, 2 * i + 1])
            k = (int(high) << 32 | int(low)) * (i + 1) >> 64
            batches[i], batches[k] = batches[k], batches[i]
        out += batches
    out[-1] += out[0][: max(0, parts - len(out[-1]))]
    return out


def split(seed, items, share):
    """Train and dev, as sc_data_split_takes."""
    to = permutation(seed, 0xFFFFFFFF, len(items))
    taken = to < int(len(items) * share + 0.5)
    return [x for x, t in zip(items, taken) if not t], [x for x, t in zip(items, taken) if t]


def texts(name):
    if name == "banking77":
        for part in ("train", "test"):
            with open(DATA / "banking77" / (part + ".csv"), newline="", encoding="utf-8") as file:
                yield [(row["text"].strip(" \t\r\n"), row["category"].strip()) for row in csv.DictReader(file)]
    else:
        for part in ("train", "test"):
            with open(DATA / "sentfin" / (part + ".tsv"), encoding="utf-8", newline="\n") as file:
                yield [tuple(x.strip(" \t\r") for x in line.rstrip("\n").split("\t"))[::-1] for line in file]


def sentences(part):
    out, sentence = [], []
    with open(DATA / "wnut17" / (part + ".conll"), encoding="utf-8", newline="\n") as file:
        for line in file:
            line = line.rstrip("\r\n")
            if line.strip():
                sentence.append(tuple(line.split("\t")))
            elif sentence:
                out.append(sentence)
                sentence = []
    return out + ([sentence] if sentence else [])


def classes(tokenizer, items, labels, length):
    ids = tokenizer([text for text, _ in items], truncation=True, max_length=length)["input_ids"]
    return [(i, labels.index(label)) for i, (_, label) in zip(ids, items)]


def tags(tokenizer, items, labels, length):
    """Rows of (ids, targets); a sentence that is too long becomes several, cut between words."""
    out = []
    for sentence in items:
        ids, targets = [], []
        for word, tag in sentence:
            pieces = tokenizer(word, add_special_tokens=False)["input_ids"] or [tokenizer.unk_token_id]
            pieces = pieces[: length - 2]
            if len(ids) + len(pieces) > length - 2:
                out.append((ids, targets))
                ids, targets = [], []
            ids, targets = ids + pieces, targets + [labels.index(tag)] + [-100] * (len(pieces) - 1)
        out.append((ids, targets))
    wrap = lambda ids: [tokenizer.cls_token_id] + ids + [tokenizer.sep_token_id]
    return [(wrap(ids), [-100] + targets + [-100]) for ids, targets in out]


def batch(rows, pad, task):
    T = max(len(ids) for ids, _ in rows)
    tokens = torch.full((len(rows), T), pad)
    mask = torch.zeros_like(tokens)
    targets = torch.full((len(rows), T), -100)
    for b, (ids, target) in enumerate(rows):
        tokens[b, : len(ids)] = torch.tensor(ids)
        mask[b, : len(ids)] = 1
        if task == "tags":
            targets[b, : len(ids)] = torch.tensor(target)
    if task == "classes":
        targets = torch.tensor([target for _, target in rows])
    return {"input_ids": tokens, "attention_mask": mask, "labels": targets}


def evaluate(model, rows, pad, task, labels):
    """(score by which the best epoch is chosen, all scores)"""
    model.eval()
    gold, found = [None] * len(rows), [None] * len(rows)
    by_length = sorted(range(len(rows)), key=lambda row: -len(rows[row][0]))
    with torch.no_grad():
        for first in range(0, len(rows), 64):
            part = by_length[first : first + 64]
            logits = model(**batch([rows[i] for i in part], pad, task)).logits.argmax(-1)
            for b, i in enumerate(part):
                if task == "classes":
                    gold[i], found[i] = rows[i][1], int(logits[b])
                else:
                    at = [t for t, target in enumerate(rows[i][1]) if target >= 0]
                    gold[i] = [labels[rows[i][1][t]] for t in at]
                    found[i] = [labels[int(logits[b, t])] for t in at]
    model.train()
    if task == "tags":
        score = entity_f1(gold, found)
        return score, {"entity_f1": score}
    score = accuracy_score(gold, found)
    return score, {"accuracy": score, "macro_f1": f1_score(gold, found, average="macro")}


def train(name, directory, seed):
    r = RECIPES[name]
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    if r["task"] == "classes":
        known, test = texts(name)
        labels = sorted({label for _, label in known})
        parts = [classes(tokenizer, part, labels, r["length"]) for part in (*split(seed, known, 0.1), test)]
        kind = transformers.AutoModelForSequenceClassification
    else:
        parts = [sentences(part) for part in ("train", "dev", "test")]
        labels = sorted({tag for sentence in parts[0] for _, tag in sentence})
        parts = [tags(tokenizer, part, labels, r["length"]) for part in parts]
        kind = transformers.AutoModelForTokenClassification
    rows, dev, test = parts
    torch.manual_seed(seed)
    model = kind.from_pretrained(directory, num_labels=len(labels)).train()
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=r["rate"], betas=(0.9, 0.999), eps=1e-8, fused=True)
    steps, step = r["epochs"] * -(-len(rows) // BATCH), 0
    best, result, seconds, n_tokens, devs, processor = -1.0, None, 0.0, 0, [], 0.0
    for epoch in range(r["epochs"]):
        start, used = time.perf_counter(), time.process_time()
        for chosen in order(seed, epoch, [len(ids) for ids, _ in rows], r["parts"]):
            step += 1
            past = max(0.0, (step - r["warmup"]) / (steps - r["warmup"]))
            for group in optimizer.param_groups:
                group["lr"] = r["rate"] * min(step / r["warmup"], 1 - past)
            inputs = batch([rows[i] for i in chosen], tokenizer.pad_token_id, r["task"])
            optimizer.zero_grad()
            loss = model(**inputs).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            n_tokens += int(inputs["attention_mask"].sum())
            if step % 50 == 1:
                print(name, "seed", seed, "step", step, "of", steps, "loss", round(loss.item(), 4), file=sys.stderr, flush=True)
        seconds += time.perf_counter() - start
        processor += time.process_time() - used
        score, _ = evaluate(model, dev, tokenizer.pad_token_id, r["task"], labels)
        devs.append(round(score, 4))
        print(name, "seed", seed, "epoch", epoch + 1, "dev", round(score, 4), file=sys.stderr, flush=True)
        if score > best:
            best = score
            result = evaluate(model, test, tokenizer.pad_token_id, r["task"], labels)[1]
    result = {key: round(float(value), 4) for key, value in result.items()}
    speed = {"tokens": n_tokens, "seconds": round(seconds, 1), "processor_seconds": round(processor, 1)}
    print(json.dumps({"recipe": name, "seed": seed, "rows": len(rows), "dev": devs, "test": result, **speed}), flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("recipe", choices=RECIPES)
    p.add_argument("model")
    p.add_argument("--seeds", default="1,2,3")
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    zero = philox([[0]] * 4, (0, 0))
    assert [int(w[0]) for w in zero] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]  # Random123's vector
    for seed in a.seeds.split(","):
        train(a.recipe, a.model, int(seed))


if __name__ == "__main__":
    main()
