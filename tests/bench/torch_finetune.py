"""Real tokens/s, and per second of processor time, of transformers and PyTorch on the recipe for BANKING77: the rival that
bench_finetune.sh measures Stagecoach against.

A BERT of MiniLM's shape with random weights, the recipe's batches of like length (deploy/recipes/baseline.py), transformers' fastest
attention, fused AdamW. Prints one line: tokens/s, and per second of processor time. Needs what baseline.py needs.
"""

import argparse
import pathlib
import sys
import time

import torch
import transformers

sources = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(sources / "deploy/recipes"))
import baseline  # noqa: E402


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--steps", type=int, default=20)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    tokenizer = transformers.BertTokenizerFast(str(sources / "tests/golden/vocab-bert/uncased/vocab.txt"))
    known, _ = baseline.texts("banking77")
    labels = sorted({label for _, label in known})
    rows, _ = baseline.split(1, baseline.classes(tokenizer, known, labels, 64), 0.1)
    config = transformers.BertConfig(
        vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, num_labels=len(labels)
    )
    model = transformers.BertForSequenceClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    count = lambda chosen: sum(len(rows[i][0]) for i in chosen)
    batches, tokens = baseline.order(1, 0, [len(ids) for ids, _ in rows], 2)[: a.steps + 2], 0
    for step, chosen in enumerate(batches):
        if step == 2:  # the first two allocate
            start, used = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        model(**baseline.batch([rows[i] for i in chosen], 0, "classes")).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        tokens += count(chosen) if step >= 2 else 0
    wall, processor = time.perf_counter() - start, time.process_time() - used
    print(f"{tokens / wall:.1f} {tokens / processor:.1f}")


if __name__ == "__main__":
    main()
