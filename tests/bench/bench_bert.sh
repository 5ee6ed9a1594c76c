#!/usr/bin/env bash
# Training speed of a BERT at MiniLM's shape beside PyTorch, alternating in one run, in real tokens/s (padding does not count):
#   bench_bert.sh [BIN [ROUNDS]]
# PYTHON names an interpreter that has PyPI's torch and transformers (default python3); without them the rival's columns are "-".
bin=${1:-build/release/bin}
rounds=${2:-3}
. "$(dirname "$0")/lib.sh"
python=${PYTHON:-python3}
threads=${THREADS:-2}
steps=8

"$python" -c 'import torch, transformers' 2>/dev/null && torch=yes || torch=no
printf '%-24s %12s %12s %8s\n' shape stagecoach pytorch ratio
for shape in "classification 0.0" "classification 0.1" "masked 0.1"; do
  set -- $shape
  : >"$work/ours"; : >"$work/theirs"
  for _ in $(seq "$rounds"); do
    "$bin/bench_bert" "$threads" "$1" "$2" "$steps" | tail -n +3 | median >>"$work/ours"
    [ $torch = no ] || "$python" "$(dirname "$0")/torch_bert.py" --task "$1" --dropout "$2" --steps "$steps" \
      --threads "$threads" | tail -n +3 | median >>"$work/theirs"
  done
  ours=$(median <"$work/ours")
  theirs=$([ $torch = yes ] && median <"$work/theirs" || echo -)
  awk -v n="$shape" -v o="$ours" -v t="$theirs" 'BEGIN {
    printf "%-24s %12.0f %12s %8s\n", n, o, t == "-" ? "-" : sprintf("%.0f", t), t == "-" ? "-" : sprintf("%.2f", o / t) }'
done
