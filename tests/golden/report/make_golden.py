"""Writes the golden reports: classes.pred and tags.pred, random, and what scikit-learn and seqeval say of them and of the files of
conlleval.

    make_golden.py

Made with scikit-learn 1.9.1, seqeval 1.2.2, NumPy 2.4.6, Python 3.11.
"""
import json
import os
import random
import warnings

import seqeval.metrics
import sklearn.metrics
import sklearn.preprocessing

warnings.filterwarnings("ignore")
os.chdir(os.path.dirname(os.path.abspath(__file__)))
r = random.Random(3)


def make_classes(name, labels, n):
    with open(name, "w") as out:
        for _ in range(n):
            right = r.choice(labels[:-1])
            print("some text", right, right if r.random() < 0.7 else r.choice(labels[1:]), sep="\t", file=out)


def make_tags():
    types = ["PER", "LOC", "ORG-X", "Größe"]
    tags = ["O", "O", "O"] + [f"{p}-{t}" for p in "BIIES" for t in types]
    with open("tags.pred", "w") as out:
        for _ in range(300):
            right = [r.choice(tags) for _ in range(r.randrange(1, 12))]
            for tag in right:
                print("w", tag, tag if r.random() < 0.75 else r.choice(tags), file=out)
            print(file=out)


def read(name):
    sentences, right, predicted = [], [], []
    with open(name) as f:
        for line in [*f.read().split("\n"), ""]:
            columns = line.split("\t") if "\t" in line else line.split()
            if columns:
                right.append(columns[-2])
                predicted.append(columns[-1])
            elif right:
                sentences.append((right, predicted))
                right, predicted = [], []
    return [s[0] for s in sentences], [s[1] for s in sentences]


def write(name, text):
    with open(name, "w") as out:
        out.write(text)


make_classes("classes.pred", ["card arrival", "refund", "Überweisung", "exchange rate of the day", "never right"], 500)
make_classes("many.pred", [f"intent {i}" for i in range(150)], 3000)
make_tags()
for name in "classes", "many", "tags", "arcada", "edge-a":
    right, predicted = read(name + ".pred")
    flat = [t for s in right for t in s], [t for s in predicted for t in s]
    write(name + ".sklearn.txt", sklearn.metrics.classification_report(*flat))
    write(name + ".sklearn4.txt", sklearn.metrics.classification_report(*flat, digits=4))
    scores = sklearn.metrics.classification_report(*flat, output_dict=True)
    matrix = sklearn.metrics.confusion_matrix(*flat).tolist()
    kept = {"accuracy": scores.pop("accuracy"), "macro avg": scores.pop("macro avg"),
            "weighted avg": scores.pop("weighted avg"), "classes": scores, "confusion": matrix}
    if name not in ("classes", "many"):
        write(name + ".seqeval.txt", seqeval.metrics.classification_report(right, predicted))
        kept["entities"] = seqeval.metrics.classification_report(right, predicted, output_dict=True)
    if name != "many":
        write(name + ".json", json.dumps(kept, indent=1, default=float) + "\n")


def make_sets(name, labels, n):
    """Some texts have no label, some get none, and one label is never predicted."""
    sets = []
    with open(name + ".pred", "w") as out:
        for _ in range(n):
            right = [x for x in labels if r.random() < 0.25]
            predicted = [x for x in labels[:-1] if r.random() < (0.7 if x in right else 0.1)]
            sets.append((right, predicted))
            print("some text", "|".join(right), "|".join(predicted), sep="\t", file=out)
    return [s[0] for s in sets], [s[1] for s in sets]


right, predicted = make_sets("sets", ["joy", "Ärger", "fear of the day", "never predicted"], 300)
binarizer = sklearn.preprocessing.MultiLabelBinarizer().fit(right + predicted)
matrices = binarizer.transform(right), binarizer.transform(predicted)
names = list(binarizer.classes_)
for digits, ending in (2, "sklearn"), (4, "sklearn4"):
    write(f"sets.{ending}.txt", sklearn.metrics.classification_report(*matrices, target_names=names, digits=digits))
kept = sklearn.metrics.classification_report(*matrices, target_names=names, output_dict=True)
averages = {key: kept.pop(key) for key in [*kept] if key.endswith(" avg")}
kept = {"accuracy": sklearn.metrics.accuracy_score(*matrices), "classes": kept, **averages}
write("sets.json", json.dumps(kept, indent=1, default=float) + "\n")
