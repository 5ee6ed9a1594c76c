"""Whether transformers loads a directory that `stagecoach export` wrote, and computes the same with it.

    python3 check_transformers.py DIR [TEXT]      (PyPI: torch, transformers)

Checks that no key is missing, unexpected or of another shape, that the tensors are those of the file, bit for bit, and, where
`stagecoach` is in the PATH, that `stagecoach evaluate` over 1 and 3 workers gives transformers' loss of the text file
TEXT (cut into windows of the model's context, as `stagecoach evaluate --help` says) to 1e-5, relative. Exits 1 if not.
"""
import json
import shutil
import subprocess
import sys

import torch
from safetensors import safe_open
from transformers import GPT2LMHeadModel


def check_keys(path):
    model, info = GPT2LMHeadModel.from_pretrained(path, output_loading_info=True, dtype="auto")
    wrong = {kind: sorted(keys) for kind, keys in info.items() if keys}
    if wrong:
        sys.exit("%s: %s" % (path, wrong))
    state = model.state_dict()
    with safe_open(path + "/model.safetensors", "pt") as file:
        names = list(file.keys())
        for name in names:
            if not torch.equal(file.get_tensor(name), state[name]):
                sys.exit("%s: %s was not loaded as it is" % (path, name))
    print("%s: %d tensors of %s, none missing, none unexpected" % (path, len(names), model.dtype))
    return model.float().eval()


def loss_of(model, path, ids):
    T, total = model.config.n_positions, 0.0
    with torch.no_grad():
        for start in range(0, len(ids) - 1, T):
            targets = torch.tensor(ids[start + 1:start + T + 1])
            logits = model(torch.tensor([ids[start:start + len(targets)]])).logits[0].double()
            total += torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
    return total / (len(ids) - 1)


def tokens_of(path, text):
    """Tokens as the exported tokenizer makes them: bytes, characters, or transformers' own BPE."""
    with open(path + "/stagecoach_tokenizer.json") as file:
        tokenizer = json.load(file)
    if tokenizer["type"] == "byte":
        return list(text)
    if tokenizer["type"] == "char":
        place = {c: i for i, c in enumerate(tokenizer["vocab"])}
        return [place[c] for c in text.decode()]
    from transformers import GPT2TokenizerFast
    return GPT2TokenizerFast.from_pretrained(path)(text.decode())["input_ids"]


def main():
    path = sys.argv[1].rstrip("/")
    model = check_keys(path)
    if len(sys.argv) < 3 or not shutil.which("stagecoach"):
        return
    with open(sys.argv[2], "rb") as file:
        text = file.read()
    wanted = loss_of(model, path, tokens_of(path, text))
    for workers in ("1", "3"):
        out = subprocess.run(["stagecoach", "evaluate", path, "--data", sys.argv[2], "--workers", workers, "--json"],
                             check=True, capture_output=True, text=True).stdout
        got = json.loads(out)["loss"]
        error = abs(got - wanted) / wanted
        print("%s workers: loss %.9f, transformers %.9f, relative difference %.1e" % (workers, got, wanted, error))
        if not error <= 1e-5:
            sys.exit("the losses differ")


main()
