"""A small random GPT-2 as transformers saves it, and what transformers computes with it.

    python3 make_golden.py        (PyPI: torch, transformers; the versions are in README.md)

Writes beside itself: config.json and model.safetensors (save_pretrained's own), stagecoach_tokenizer.json
(bytes, so that texts can be used), and logits.safetensors with
    tokens   (1,T) int64     a prompt
    logits   (1,T,V)         of GPT2LMHeadModel, float32
    loss     ()              mean cross-entropy of predicting tokens[1:], float64 sums
"""
import os

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

here = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(20)
torch.set_num_threads(1)

config = GPT2Config(vocab_size=260, n_positions=32, n_embd=24, n_layer=3, n_head=4, layer_norm_epsilon=2e-5,
                    bos_token_id=None, eos_token_id=None)
model = GPT2LMHeadModel(config).eval()
with torch.no_grad():  # larger than the initialisation, so that every parameter has its say
    for name, p in model.named_parameters():
        if name.endswith("bias") or ".ln_" in name:
            p.add_(torch.randn_like(p) * 0.2)
        else:
            p.mul_(8.0)
model.save_pretrained(here)
os.remove(os.path.join(here, "generation_config.json"))
with open(os.path.join(here, "stagecoach_tokenizer.json"), "w") as file:
    file.write('{"type":"byte"}\n')

tokens = torch.tensor([list(b"It was a stagecoach, drawn by six.")[:32]])
with torch.no_grad():
    logits = model(tokens).logits
loss = torch.nn.functional.cross_entropy(logits[0, :-1].double(), tokens[0, 1:])
save_file({"tokens": tokens, "logits": logits.contiguous(), "loss": loss.float()},
          os.path.join(here, "logits.safetensors"))

reference = GPT2LMHeadModel(config).eval()
reference.load_state_dict(model.state_dict())
with torch.no_grad():
    exact = reference.double()(tokens).logits
print("logits: float32 is within %.1e of float64, relative to the largest" %
      ((logits - exact).abs().max() / exact.abs().max()).item())
print("loss", loss.item(), "vocabulary", config.vocab_size)
