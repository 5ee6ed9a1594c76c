#!/usr/bin/env bash
# A recipe with several seeds, and what transformers reaches with the same: the tests' scores, their mean and standard deviation.
#   compare.sh CONFIG RECIPE [SEED...]      as in: compare.sh deploy/recipes/ner/ner.yaml wnut17 1 2 3
# RECIPE is baseline.py's name of it. `stagecoach` is looked for in PATH; PYTHON names an interpreter for baseline.py (default
# python3): without torch in it that part is left out. The runs stay in runs/, and what is there is not trained again.
set -euo pipefail
config=$1 recipe=$2
shift 2
[ $# -gt 0 ] || set -- 1 2 3
python=${PYTHON:-python3}
here=$(dirname "$0")
name=$(basename "$config" .yaml)

scores() { # NAME: of the lines on standard input the score that the recipe is judged by
  grep -oE '"(entity_f1|accuracy)": ?[0-9.]+' | sed 's/.*: *//' | awk -v name="$1" '
    {n++; sum += $1; square += $1 * $1; all = all " " sprintf("%.4f", $1)}
    END {if (!n) exit 1; mean = sum / n
         printf "%-14s%s   mean %.4f", name, all, mean
         if (n > 1) {v = (square - n * mean * mean) / (n - 1); printf ", standard deviation %.4f", v > 0 ? sqrt(v) : 0}
         print ""}'
}

for seed in "$@"; do
  grep -qs '"event":"test"' "runs/$name-$seed/events.jsonl" ||
    stagecoach train "$config" --run-dir "runs/$name-$seed" --set run.seed="$seed" >/dev/null
  [ "$recipe" = wnut17 ] && key=entity_f1 || key=accuracy
  grep '"event":"test"' "runs/$name-$seed/events.jsonl" | tail -n 1 | grep -oE "\"$key\":[0-9.]+"
done | scores stagecoach

if "$python" -c 'import torch, transformers, sklearn, seqeval' 2>/dev/null; then
  "$python" "$here/baseline.py" "$recipe" "$here/minilm" --seeds "$(IFS=,; echo "$*")" 2>/dev/null | scores transformers
fi
