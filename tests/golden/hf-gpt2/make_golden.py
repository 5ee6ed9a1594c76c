"""Small random GPT-2s as transformers saves them, and what transformers computes with each.

    python3 make_golden.py        (PyPI: torch, transformers; the versions are in README.md)

Writes beside itself the directories of the table below, "." first. Each has config.json and the weights as save_pretrained
writes them, stagecoach_tokenizer.json (bytes, so that texts can be used), and logits.safetensors with
    tokens   (1,T) int64     a prompt
    logits   (1,T,V)         of GPT2LMHeadModel, float32, whatever type the weights are saved in
    loss     ()              mean cross-entropy of predicting tokens[1:], float64 sums
"""
import os
import shutil

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

here = os.path.dirname(os.path.abspath(__file__))
torch.set_num_threads(1)

# directory, layers, channels, tied, type of the weights, names with "transformer.", largest file
FORMS = (
    (".", 3, 24, True, torch.float32, True, None),
    ("untied", 2, 8, False, torch.float32, True, None),
    ("untied-bfloat16", 1, 8, False, torch.bfloat16, True, "6KB"),
    ("bare-float16", 1, 8, True, torch.float16, False, None),
    ("bare-float32", 1, 8, True, torch.float32, False, "10KB"),
)


def make_model(layers, channels, tied, dtype):
    config = GPT2Config(vocab_size=260, n_positions=32, n_embd=channels, n_layer=layers, n_head=4,
                        layer_norm_epsilon=2e-5, bos_token_id=None, eos_token_id=None, tie_word_embeddings=tied)
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():  # larger than the initialisation, so that every parameter has its say
        for name, p in model.named_parameters():
            if name.endswith("bias") or ".ln_" in name:
                p.add_(torch.randn_like(p) * 0.2)
            else:
                p.mul_(8.0)
    return model.to(dtype)


def save(path, model, prefix, most_bytes):
    """The bare GPT2Model, which a GPT2LMHeadModel has within, saves its names without prefix."""
    os.makedirs(path, exist_ok=True)
    limit = {"max_shard_size": most_bytes} if most_bytes else {}
    (model if prefix else model.transformer).save_pretrained(path, **limit)
    generation = os.path.join(path, "generation_config.json")
    if os.path.exists(generation):
        os.remove(generation)
    with open(os.path.join(path, "stagecoach_tokenizer.json"), "w") as file:
        file.write('{"type":"byte"}\n')


def compute(path, model, n_tokens):
    tokens = torch.tensor([list(b"It was a stagecoach, drawn by six.")[:n_tokens]])
    model = model.float()
    with torch.no_grad():
        logits = model(tokens).logits
    loss = torch.nn.functional.cross_entropy(logits[0, :-1].double(), tokens[0, 1:])
    save_file({"tokens": tokens, "logits": logits.contiguous(), "loss": loss.float()},
              os.path.join(path, "logits.safetensors"))
    with torch.no_grad():
        exact = model.double()(tokens).logits
    print("%s: loss %.6f; logits: float32 is within %.1e of float64, relative to the largest" %
          (path, loss.item(), ((logits - exact).abs().max() / exact.abs().max()).item()))


def main():
    for name, layers, channels, tied, dtype, prefix, most_bytes in FORMS:
        path = os.path.join(here, name)
        if name != ".":
            shutil.rmtree(path, ignore_errors=True)
        torch.manual_seed(20)
        model = make_model(layers, channels, tied, dtype)
        save(path, model, prefix, most_bytes)
        compute(path, model, 32 if name == "." else 8)


main()
