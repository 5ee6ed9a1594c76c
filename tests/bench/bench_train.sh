#!/usr/bin/env bash
# Training speed of one worker beside PyTorch, alternating in one run:  bench_train.sh [BIN [ROUNDS [SHAPE...]]]
# Prints, per shape, the medians in tokens/s, their ratio, and our share of the float32 peak (which bench_kernels measures).
# PYTHON names an interpreter that has PyPI's torch (default python3); without torch the rival's columns are "-".
bin=${1:-build/release/bin}
rounds=${2:-3}
. "$(dirname "$0")/lib.sh"
python=${PYTHON:-python3}
threads=${THREADS:-2}
shapes=("${@:3}")
[ ${#shapes[@]} -gt 0 ] || shapes=(char char-dropout gpt2-t256 gpt2-t1024)

"$python" -c 'import torch' 2>/dev/null && torch=yes || torch=no
peak=$("$bin/bench_kernels" "$threads" none | awk '/float32 peak/ {print $(NF - 4)}')
echo "float32 peak with $threads threads: $peak GFLOP/s"
printf '%-14s %12s %12s %8s %10s\n' shape stagecoach pytorch ratio of-peak

for shape in "${shapes[@]}"; do
  # layers heads hidden context vocab batch dropout steps
  case $shape in
    char) set -- 6 6 384 256 256 12 0.0 8 ;;
    char-dropout) set -- 6 6 384 256 256 12 0.2 8 ;;
    gpt2-t256) set -- 12 12 768 256 50257 4 0.0 5 ;;
    gpt2-t1024) set -- 12 12 768 1024 50257 1 0.0 5 ;;
    *) echo "no shape is called $shape" >&2; exit 2 ;;
  esac
  : >"$work/ours"; : >"$work/theirs"
  for _ in $(seq "$rounds"); do
    stagecoach_rate 1 "$threads" "$8" model.layers="$1" model.heads="$2" model.hidden="$3" model.context="$4" \
      model.vocab="$5" train.batch_size="$6" train.micro_batch_size="$6" model.dropout="$7" >>"$work/ours"
    if [ $torch = yes ]; then
      "$python" "$(dirname "$0")/torch_train.py" --layers "$1" --heads "$2" --hidden "$3" --context "$4" --vocab "$5" \
        --batch "$6" --micro "$6" --dropout "$7" --steps "$8" --threads "$threads" | tail -n +3 | median >>"$work/theirs"
    fi
  done
  ours=$(median <"$work/ours")
  theirs=$([ $torch = yes ] && median <"$work/theirs" || echo -)
  # GFLOP a token: 6 x parameters that multiply, plus attention
  awk -v n="$shape" -v o="$ours" -v t="$theirs" -v L="$1" -v C="$3" -v T="$4" -v V="$5" -v peak="$peak" 'BEGIN {
    flops = 6 * (12 * L * C * C + C * V) + 12 * L * T * C
    printf "%-14s %12.0f %12s %8s %9.1f%%\n", n, o, t == "-" ? "-" : sprintf("%.0f", t),
           t == "-" ? "-" : sprintf("%.2f", o / t), 100 * o * flops / (peak * 1e9) }'
done
