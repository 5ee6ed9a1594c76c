#!/usr/bin/env python3
"""Models of transformers go through `stagecoach export` and come back: no missing or unexpected key, the same logits, the same
labels.

    check_transformers.py PATH_OF_STAGECOACH

It needs torch and transformers; see README.md for the versions used. Not run by the tests: the machine that runs it needs PyPI.
"""

import subprocess
import sys
import tempfile

import torch
import transformers

LABELS = {"id2label": {0: "bad", 1: "so so", 2: "good"}, "label2id": {"bad": 0, "so so": 1, "good": 2}}
CLASSES = [
    (transformers.BertForPreTraining, {}),
    (transformers.BertForMaskedLM, {}),
    (transformers.BertForSequenceClassification, LABELS),
    (transformers.BertForSequenceClassification, {"problem_type": "multi_label_classification", **LABELS}),
    (transformers.BertForTokenClassification, LABELS),
]


def main():
    tokens = torch.randint(1, 29, (2, 9))
    for kind, extra in CLASSES:
        config = transformers.BertConfig(
            vocab_size=29, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
            max_position_embeddings=12, **extra,
        )
        model = kind(config).eval()
        with tempfile.TemporaryDirectory() as directory:
            model.save_pretrained(directory + "/in")
            subprocess.run([sys.argv[1], "export", directory + "/in", "--out", directory + "/out"], check=True)
            back, info = kind.from_pretrained(directory + "/out", output_loading_info=True)
            found = transformers.AutoConfig.from_pretrained(directory + "/out")
        wrong = {what: keys for what, keys in info.items() if keys}
        assert not wrong, (kind.__name__, wrong)
        for a, b in zip(model(tokens).to_tuple(), back.eval()(tokens).to_tuple()):
            assert torch.equal(a, b), kind.__name__
        several = "multi_label_classification"
        assert found.architectures == [kind.__name__]
        assert (found.problem_type == several) == (config.problem_type == several)
        assert found.id2label == config.id2label, (found.id2label, config.id2label)
        print(kind.__name__, "ok")


if __name__ == "__main__":
    main()
