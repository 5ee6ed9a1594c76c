"""Tokens/s of PyTorch on a GPT-2 of the given shape: the rival that bench_train.sh measures Stagecoach against.

The model is the plain module-by-module one that a user would write, with what PyTorch offers to make it fast on a CPU:
F.scaled_dot_product_attention, fused AdamW where there is one, memory kept by the allocator. Prints one number a step on
standard output. Needs PyPI's `torch`.
"""
import argparse
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


class Block(nn.Module):
    def __init__(self, channels, heads, dropout):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.ln_1, self.ln_2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.c_attn, self.c_proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.c_fc, self.c_out = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.c_attn(self.ln_1(x)).split(C, dim=2)
        q, k, v = (t.view(B, T, self.heads, C // self.heads).transpose(1, 2) for t in (q, k, v))
        drop = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=drop, is_causal=True)
        x = x + F.dropout(self.c_proj(y.transpose(1, 2).reshape(B, T, C)), drop)
        h = self.c_out(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))
        return x + F.dropout(h, drop)


class GPT(nn.Module):
    def __init__(self, layers, heads, channels, context, vocab, dropout):
        super().__init__()
        self.dropout = dropout
        self.wte, self.wpe = nn.Embedding(vocab, channels), nn.Embedding(context, channels)
        self.h = nn.ModuleList(Block(channels, heads, dropout) for _ in range(layers))
        self.ln_f = nn.LayerNorm(channels)
        nn.init.normal_(self.wte.weight, std=0.02)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        x = F.dropout(x, self.dropout)
        for block in self.h:
            x = block(x)
        logits = self.ln_f(x) @ self.wte.weight.t()
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


def main():
    p = argparse.ArgumentParser()
    for name, default in (("layers", 6), ("heads", 6), ("hidden", 384), ("context", 256), ("vocab", 256), ("batch", 12),
                          ("micro", 12), ("threads", 2), ("steps", 6)):
        p.add_argument(f"--{name}", type=int, default=default)
    p.add_argument("--dropout", type=float, default=0.0)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    model = GPT(a.layers, a.heads, a.hidden, a.context, a.vocab, a.dropout)
    try:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    except (RuntimeError, TypeError):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    tokens = torch.randint(a.vocab, (a.batch, a.context + 1))
    n_micro = a.batch // a.micro
    for _ in range(a.steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=False)
        for m in range(n_micro):
            rows = tokens[m * a.micro : (m + 1) * a.micro]
            (model(rows[:, :-1], rows[:, 1:]) / n_micro).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        print(f"{a.batch * a.context / (time.perf_counter() - start):.1f}", flush=True)


if __name__ == "__main__":
    main()
