#!/usr/bin/env python3
"""Writes small BERT directories as save_pretrained does, and what transformers predicts with them.

    make_golden.py DIRECTORY

It needs torch, transformers and safetensors; see README.md for the versions used. A directory has config.json, model.safetensors and
vocab.txt, and beside it lies NAME.tsv: what `stagecoach predict --format tsv` is to print for the lines of texts.txt, masks.txt
(masked) or pairs.txt (pairs.tsv, of the classifier). What is too long is cut, but in tagging left out. Everything is computed in
float64.
"""

import pathlib
import sys

import torch
import transformers

WORDS = """the a of to in and is was not good bad very movie bank money river paris london mary john smith lives works at for card
lost where my why un ##able ##s ##ing ##ed play work the ##se . , ! ? ' - 中 国""".split()
LONGEST = 24
SEEDS = [20240921, 20240832, 20240833, 20240814]  # of those tried, ones whose models say different things of the texts
LABELS = {
    "classification": ["negative", "neutral", "positive", "other"],
    "multi-label": ["sports", "money", "travel"],
    "tagging": ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"],
}
KINDS = {
    "classification": transformers.BertForSequenceClassification,
    "multi-label": transformers.BertForSequenceClassification,
    "tagging": transformers.BertForTokenClassification,
    "masked": transformers.BertForMaskedLM,
}
TEXTS = [
    "The movie was good.",
    "Mary Smith lives in Paris, and John works in London!",
    "Where is my lost card?",
    "not bad",
    "My bank lost the money - WHY?  Unable...",
    "中国 and Pàris",
    "the movie was not very good and the river was bad and the bank was not playing for money at the river in london where john "
    "smith lives and works",
    "\U0001F600 is unknown",
]
MASKS = ["The movie was [MASK].", "[MASK] lives in [MASK], paris!", "中国 is [MASK] good"]
PAIRS = [("Where is my card?", "the card is lost"), ("good", "The movie was very good and the bank was bad and the river was not in "
                                                     "london or paris")]


def draw_weights(model):
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_(0.0, 0.8 if p.dim() == 2 else 0.1)
            if "LayerNorm.weight" in name:
                p.add_(1.0)
    model.tie_weights()


def encode(tokenizer, text, pair=None):
    return tokenizer(text, pair, truncation=True, max_length=LONGEST, return_tensors="pt")


def columns(*values):
    return "\t".join(f"{v:.9f}" if isinstance(v, float) else str(v) for v in values) + "\n"


def classify(tokenizer, model, line, text, pair=None):
    p = model(**encode(tokenizer, text, pair)).logits[0].softmax(-1)
    k = int(p.argmax())
    return columns(text, *([pair] if pair else []), model.config.id2label[k], float(p[k]))


def score(tokenizer, model, line, text):
    p = model(**encode(tokenizer, text)).logits[0].sigmoid()
    order = sorted(range(len(p)), key=lambda k: -p[k])
    return columns(text, ",".join(model.config.id2label[k] for k in order if p[k] > 0.5), float(p[order[0]]))


def tag(tokenizer, model, line, text):
    inputs = tokenizer(text, return_tensors="pt")
    if inputs.input_ids.shape[1] > LONGEST:
        return ""
    p = model(**inputs).logits[0].softmax(-1)
    entities, before, seen = [], "O", set()
    for t, w in enumerate(inputs.word_ids()):
        if w is None or w in seen:
            continue
        seen.add(w)
        span = inputs.word_to_chars(w)
        k = int(p[t].argmax())
        label = model.config.id2label[k]
        if label != "O" and (label[0] == "B" or before == "O" or before[2:] != label[2:]):
            entities.append([span.start, span.end, label[2:], []])
        if label != "O":
            entities[-1][1] = span.end
            entities[-1][3].append(float(p[t, k]))
        before = label
    return "".join(columns(line, start, end, kind, text[start:end], sum(ps) / len(ps)) for start, end, kind, ps in entities)


def fill(tokenizer, model, line, text):
    inputs = encode(tokenizer, text)
    p = model(**inputs).logits[0].softmax(-1)
    out = ""
    for t, i in enumerate(inputs.input_ids[0]):
        if i == tokenizer.mask_token_id:
            span = inputs.token_to_chars(t)
            for v, k in zip(*p[t].topk(5)):
                out += columns(line, span.start, span.end, tokenizer.convert_ids_to_tokens(int(k)), float(v))
    return out


def write(path, of, tokenizer, model, rows):
    path.write_text("".join(of(tokenizer, model, line + 1, *row) for line, row in enumerate(rows)))


def main():
    root = pathlib.Path(sys.argv[1])
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + list(dict.fromkeys(WORDS))
    (root / "texts.txt").write_text("".join(t + "\n" for t in TEXTS))
    (root / "masks.txt").write_text("".join(t + "\n" for t in MASKS))
    (root / "pairs.txt").write_text("".join(a + "\t" + b + "\n" for a, b in PAIRS))
    for number, (name, kind) in enumerate(KINDS.items()):
        torch.manual_seed(SEEDS[number])
        extra = {}
        if name in LABELS:
            extra = {"id2label": dict(enumerate(LABELS[name])), "label2id": {l: i for i, l in enumerate(LABELS[name])}}
        if name == "multi-label":
            extra["problem_type"] = "multi_label_classification"
        model = kind(transformers.BertConfig(
            vocab_size=len(vocab), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
            max_position_embeddings=LONGEST, attn_implementation="eager", **extra))
        draw_weights(model)
        model.save_pretrained(root / name)
        (root / name / "vocab.txt").write_text("".join(w + "\n" for w in vocab))
        tokenizer = transformers.BertTokenizerFast(vocab=str(root / name / "vocab.txt"), do_lower_case=True)
        assert tokenizer.tokenize("Unable, playing") == ["un", "##able", ",", "play", "##ing"], tokenizer.tokenize("Unable, playing")
        model.double().eval()
        of = {"classification": classify, "multi-label": score, "tagging": tag, "masked": fill}[name]
        with torch.no_grad():
            write(root / (name + ".tsv"), of, tokenizer, model, [[t] for t in (MASKS if name == "masked" else TEXTS)])
            if name == "classification":
                write(root / "pairs.tsv", of, tokenizer, model, PAIRS)
    for path in root.glob("*/generation_config.json"):
        path.unlink()


main()
