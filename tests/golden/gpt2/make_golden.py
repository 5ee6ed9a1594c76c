#!/usr/bin/env python3
"""Writes golden.safetensors and untied.safetensors: what PyTorch computes for a small GPT-2.

The model is written out in plain torch, with the names of Hugging Face's GPT2LMHeadModel, and computed twice: in float32,
whose results are stored, and in float64, to know how far float32 itself is from the truth.

    make_golden.py golden.safetensors
    make_golden.py untied.safetensors --untied     smaller, and the head has a matrix of its own

It needs torch and numpy; see README.md for the versions used.

Tensors in the file, all float32 but for the ids:
    param.NAME   the weights at the start           tokens, targets  (10,B,T) int32, one batch a step; -1 does not count
    grad.NAME    gradients of the first batch       logits           (B,T,V) of the first batch
    final.NAME   the weights after ten steps        losses, norms    (10) before each step, norms before clipping
"""

import json
import platform
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

UNTIED = "--untied" in sys.argv
LAYERS, HEADS, HIDDEN, CONTEXT, VOCAB = (1, 2, 12, 16, 20) if UNTIED else (2, 2, 24, 16, 50)
B, T, STEPS = 3, 12, 10
LEARNING_RATE, BETAS, EPSILON, WEIGHT_DECAY, CLIP = 1e-3, (0.9, 0.95), 1e-8, 0.1, 1.0


class Conv1D(nn.Module):
    """GPT-2's linear layer: the weight is (in, out)."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_in, n_out))
        self.bias = nn.Parameter(torch.empty(n_out))

    def forward(self, x):
        return x @ self.weight + self.bias


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.c_attn = Conv1D(HIDDEN, 3 * HIDDEN)
        self.c_proj = Conv1D(HIDDEN, HIDDEN)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, HEADS, c // HEADS).transpose(1, 2) for y in self.c_attn(x).split(c, dim=2))
        scores = q @ k.transpose(2, 3) / (c // HEADS) ** 0.5
        scores = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), float("-inf"))
        return self.c_proj((scores.softmax(dim=3) @ v).transpose(1, 2).reshape(b, t, c))


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.c_fc = Conv1D(HIDDEN, 4 * HIDDEN)
        self.c_proj = Conv1D(4 * HIDDEN, HIDDEN)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1 = nn.LayerNorm(HIDDEN)
        self.attn = Attention()
        self.ln_2 = nn.LayerNorm(HIDDEN)
        self.mlp = MLP()

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    def __init__(self):
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(VOCAB, HIDDEN),
                "wpe": nn.Embedding(CONTEXT, HIDDEN),
                "h": nn.ModuleList(Block() for _ in range(LAYERS)),
                "ln_f": nn.LayerNorm(HIDDEN),
            }
        )
        if UNTIED:
            self.lm_head = nn.Linear(HIDDEN, VOCAB, bias=False)

    def forward(self, tokens):
        t = self.transformer
        x = t["wte"](tokens) + t["wpe"](torch.arange(tokens.shape[1]))
        for block in t["h"]:
            x = block(x)
        head = self.lm_head if UNTIED else t["wte"]
        return t["ln_f"](x) @ head.weight.T


def draw_weights(model):
    """Larger than a fresh model's, and no bias at zero: every term of every gradient has weight."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_(0.0, 0.2 if p.dim() == 2 else 0.1)
            if ".ln_" in name and name.endswith("weight"):
                p.add_(1.0)


def train(model, tokens, targets):
    matrices = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if p.dim() != 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}],
        lr=LEARNING_RATE, betas=BETAS, eps=EPSILON,
    )
    out = {"losses": [], "norms": []}
    for name, p in model.named_parameters():
        out["param." + name] = p.detach().clone()
    for step in range(STEPS):
        logits = model(tokens[step])
        loss = F.cross_entropy(logits.view(-1, VOCAB), targets[step].view(-1), ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            out["logits"] = logits.detach().clone()
            for name, p in model.named_parameters():
                out["grad." + name] = p.grad.clone()
        norm = nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        out["losses"].append(loss.detach())
        out["norms"].append(norm.detach())
        optimizer.step()
    for name, p in model.named_parameters():
        out["final." + name] = p.detach().clone()
    out["losses"], out["norms"] = torch.stack(out["losses"]), torch.stack(out["norms"])
    return out


def write_safetensors(path, tensors, metadata):
    header, offset, payload = {"__metadata__": metadata}, 0, []
    for name, tensor in tensors.items():
        data = np.ascontiguousarray(tensor.numpy()).tobytes()
        dtype = {torch.float32: "F32", torch.int32: "I32"}[tensor.dtype]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
        payload.append(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(payload))


def relative_error(single, double, prefix):
    """The largest difference of any tensor, each relative to its own largest element."""
    worst = ("", 0.0)
    for name, value in double.items():
        if name.startswith(prefix):
            error = ((single[name].double() - value).abs().max() / value.abs().max()).item()
            worst = max(worst, (name, error), key=lambda pair: pair[1])
    return worst


def main():
    path = sys.argv[1]
    torch.manual_seed(20240607)
    torch.set_num_threads(1)
    model = GPT2()
    draw_weights(model)
    tokens = torch.randint(0, VOCAB, (STEPS, B, T))
    targets = torch.randint(0, VOCAB, (STEPS, B, T))
    targets[:, 1, -3:] = -1

    exact = GPT2().double()
    exact.load_state_dict(model.state_dict())
    double = train(exact, tokens, targets)
    single = train(model, tokens, targets)

    metadata = {
        "layers": str(LAYERS), "heads": str(HEADS), "hidden": str(HIDDEN), "context": str(CONTEXT), "vocab": str(VOCAB),
        "torch": torch.__version__.split("+")[0], "python": platform.python_version(), "numpy": np.__version__,
    }
    single["tokens"], single["targets"] = tokens.int(), targets.int()
    write_safetensors(path, single, metadata)

    print(metadata)
    print("losses", [round(x, 6) for x in single["losses"].tolist()])
    print("norms", [round(x, 4) for x in single["norms"].tolist()])
    for prefix in ("logits", "grad.", "losses", "final."):
        print("float32 against float64, worst %s: %s %.2g" % ((prefix,) + relative_error(single, double, prefix)))


if __name__ == "__main__":
    main()
