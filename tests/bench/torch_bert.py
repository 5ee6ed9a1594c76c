"""Real tokens/s of transformers and PyTorch on a BERT of MiniLM's shape: the rival that bench_bert.sh measures Stagecoach against.

The model is transformers' own with its fastest attention (scaled_dot_product_attention), fused AdamW where there is one. A step
is four micro-batches of 16 sequences of like length; see bench_bert.c. Prints one number a step. Needs PyPI's torch, transformers.
"""
import argparse
import time

import torch
import transformers

BATCH, MICRO, LABELS = 16, 4, 77


def make_batch(m, vocab, task):
    lengths = torch.tensor([11 + 26 * m + b % 8 for b in range(BATCH)])
    at = torch.arange(int(lengths.max()))[None, :]
    inside = at < lengths[:, None]
    tokens = torch.randint(1, vocab, inside.shape) * inside
    if task == "masked":
        labels = torch.where(inside & (at % 7 == 3), torch.randint(0, vocab, inside.shape), -100)
    else:
        labels = torch.randint(0, LABELS, (BATCH,))
    return {"input_ids": tokens, "attention_mask": inside.long(), "labels": labels}, int(lengths.sum())


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--task", choices=("classification", "masked"), default="classification")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--steps", type=int, default=6)
    p.add_argument("--dropout", type=float, default=0.1)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
        hidden_dropout_prob=a.dropout, attention_probs_dropout_prob=a.dropout, num_labels=LABELS,
    )
    kind = transformers.BertForMaskedLM if a.task == "masked" else transformers.BertForSequenceClassification
    model = kind(config).train()
    try:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    except (RuntimeError, TypeError):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    batches = [make_batch(m, config.vocab_size, a.task) for m in range(MICRO)]
    tokens = sum(n for _, n in batches)
    for _ in range(a.steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=False)
        for inputs, _ in batches:
            (model(**inputs).loss / MICRO).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        print(f"{tokens / (time.perf_counter() - start):.1f}", flush=True)


if __name__ == "__main__":
    main()
