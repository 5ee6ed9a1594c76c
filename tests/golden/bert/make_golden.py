#!/usr/bin/env python3
"""Writes a .safetensors file per head: what transformers computes for a small BERT.

    make_golden.py DIRECTORY

It needs torch, transformers and safetensors; see README.md for the versions used. Everything is computed in float64 and
stored in float32, so that what a comparison finds is the error of the other side.

A file has five sequences of different lengths, padded to the longest. With N tokens in a sequence, tensors are
    param.NAME  weights                 grad.NAME  gradients of the loss, dropout off
    tokens, segments (5,N), lengths (5), targets (5,N), (5) or (5,K) and, for pre-training, next (5): int32; -1 does not count
    logits      for pre-training next_logits, too       loss  (1) as the model returns it
    hidden      the last layer's output (5,N,C)
Those whose loss has class weights, `weighted` and `weighted-tagging`, have them as class_weights (K). `frozen` is trained with its
embedding and its first layer's parameters not requiring gradients, for STEPS steps of AdamW on the same sequences; it has
    after.NAME  weights after them          norms  (STEPS) of the gradients before clipping
"""

import sys

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file

B, N, K = 5, 9, 3
LENGTHS = [9, 5, 7, 6, 4]
HEADS = {
    "pretraining": (transformers.BertForPreTraining, 2, {}),
    "masked": (transformers.BertForMaskedLM, 1, {}),
    "classification": (transformers.BertForSequenceClassification, 1, {"num_labels": K}),
    "multi-label": (
        transformers.BertForSequenceClassification, 1,
        {"num_labels": K, "problem_type": "multi_label_classification"},
    ),
    "tagging": (transformers.BertForTokenClassification, 1, {"num_labels": K + 1}),
    "weighted": (transformers.BertForSequenceClassification, 1, {"num_labels": K}),
    "weighted-tagging": (transformers.BertForTokenClassification, 1, {"num_labels": K + 1}),
    "frozen": (transformers.BertForSequenceClassification, 2, {"num_labels": K}),
}
CLASS_WEIGHTS = [0.5, 2.0, 1.25, 3.0]
STEPS, FROZEN_LAYERS = 3, 1
# An epsilon far above rounding: where a gradient is zero but for that, as that of the keys' bias, AdamW would make much of it.
ADAMW = {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-3}


def draw_weights(model):
    """Larger than a fresh model's, and no bias at zero: every term of every gradient has weight."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_(0.0, 0.2 if p.dim() == 2 else 0.1)
            if "LayerNorm.weight" in name:
                p.add_(1.0)


def draw_inputs(config, head):
    lengths = torch.tensor(LENGTHS)
    inside = torch.arange(N)[None, :] < lengths[:, None]
    tokens = torch.randint(1, config.vocab_size, (B, N)) * inside
    segments = (torch.arange(N)[None, :] >= (lengths // 2)[:, None]).long() * inside
    inputs = {"input_ids": tokens, "token_type_ids": segments, "attention_mask": inside.long()}
    out = {"tokens": tokens, "segments": segments, "lengths": lengths}
    if head in ("pretraining", "masked"):
        masked = (torch.rand(B, N) < 0.35) & inside
        masked[1] = False  # a sequence without a masked word
        labels = torch.where(masked, torch.randint(0, config.vocab_size, (B, N)), -100)
    elif head.endswith("tagging"):
        labels = torch.where(inside & (torch.rand(B, N) < 0.8), torch.randint(0, config.num_labels, (B, N)), -100)
    elif head == "multi-label":
        labels = torch.randint(0, 2, (B, K)).double()
    else:
        labels = torch.randint(0, K, (B,))
    inputs["labels"] = labels
    out["targets"] = torch.where(labels == -100, -1, labels)
    if head == "pretraining":
        inputs["next_sentence_label"] = out["next"] = torch.randint(0, 2, (B,))
    return inputs, {name: value.int() for name, value in out.items()}


def train_frozen(model, inputs, tensors):
    """Clipped to a norm of 1, with weight decay on matrices alone, as the other side does."""
    frozen = [model.bert.embeddings, *model.bert.encoder.layer[:FROZEN_LAYERS]]
    for module in frozen:
        module.requires_grad_(False)
    learning = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.dim() == 2], "weight_decay": 0.1},
        {"params": [p for p in learning if p.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer, norms = torch.optim.AdamW(groups, **ADAMW), []
    for _ in range(STEPS):
        optimizer.zero_grad()
        model(**inputs).loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(learning, 1.0).detach())
        optimizer.step()
    tensors["norms"] = torch.stack(norms)
    for name, p in model.named_parameters():
        tensors["after." + name] = p.detach()


def main():
    for number, (head, (kind, layers, extra)) in enumerate(HEADS.items()):
        torch.manual_seed(20240607 + number)
        config = transformers.BertConfig(
            vocab_size=29, hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=24,
            max_position_embeddings=12, attn_implementation="eager", **extra,
        )
        model = kind(config)
        draw_weights(model)
        model.float().double().eval()
        inputs, tensors = draw_inputs(config, head)
        result = model(**inputs, output_hidden_states=True)
        loss = result.loss
        if head.startswith("weighted"):
            weights = torch.tensor(CLASS_WEIGHTS[: config.num_labels]).double()
            loss = F.cross_entropy(result.logits.flatten(0, -2), inputs["labels"].flatten(), weight=weights)
            tensors["class_weights"] = weights
        loss.backward()
        tensors["loss"] = loss.detach()[None]
        if head == "pretraining":
            tensors["logits"], tensors["next_logits"] = result.prediction_logits, result.seq_relationship_logits
        else:
            tensors["logits"] = result.logits
        tensors["hidden"] = result.hidden_states[-1]
        for name, p in model.named_parameters():
            tensors["param." + name], tensors["grad." + name] = p.detach().clone(), p.grad.clone()
        if head == "frozen":
            train_frozen(model, inputs, tensors)
        tensors = {n: (t.detach().float() if t.is_floating_point() else t).contiguous() for n, t in tensors.items()}
        metadata = {
            "layers": layers, "heads": 2, "hidden": 16, "intermediate": 24, "context": 12, "vocab": 29,
            "torch": torch.__version__.split("+")[0], "transformers": transformers.__version__,
        }
        save_file(tensors, f"{sys.argv[1]}/{head}.safetensors", {name: str(value) for name, value in metadata.items()})
        print(head, "loss", loss.item())


if __name__ == "__main__":
    main()
