#!/usr/bin/env bash
# Fine-tuning at MiniLM's shape beside PyTorch, on the recipe for BANKING77, alternating in one run, with one thread and with two:
#   bench_finetune.sh [BIN [ROUNDS]]
# In real tokens/s (padding does not count); "cpu" is the same per second of processor time, which a busy machine changes less. What
# starting costs is taken off by the difference of a long and a short run. PYTHON names an interpreter that has PyPI's torch,
# transformers, scikit-learn and seqeval (default python3); without them the rival is "-". See bench_predict.py for prediction.
bin=${1:-build/release/bin}
rounds=${2:-3}
. "$(dirname "$0")/lib.sh"
python=${PYTHON:-python3}
short=4 long=24 # steps

"$python" -c 'import torch, transformers, sklearn, seqeval' 2>/dev/null && torch=yes || torch=no
cat >"$work/config.yaml" <<YAML
run:        {seed: 1}
model:      {family: bert, task: classification, layers: 6, heads: 12, hidden: 384, context: 512}
data:       {format: csv, label_column: category, train: [$sources/deploy/recipes/data/banking77/train.csv],
             tokenizer: $sources/tests/golden/vocab-bert/uncased}
train:      {batch_size: 32, micro_batch_size: 16, sequence_length: 64, learning_rate: 1.0e-5, eval_every: 0}
checkpoint: {every: 0, at_end: false}
recovery:   {peer_every: 0, log_messages: false, hang_ms: 600000}
status:     {listen: off}
YAML

# train THREADS STEPS: wall and processor seconds, on one line.
train() {
  local TIMEFORMAT='%R %U %S'
  rm -rf "$work/run"
  { time "$bin/stagecoach" train "$work/config.yaml" --threads "$1" --run-dir "$work/run" --set train.steps="$2" &>"$work/out"; } 2>&1 |
    awk '{print $1, $2 + $3}'
}

# ours THREADS: tokens/s, and per second of processor time.
ours() {
  local begin end
  begin=$(train "$1" $short)
  end=$(train "$1" $long)
  grep '"event":"step"' "$work/run/events.jsonl" | tail -n +$((short + 1)) | sed 's/.*"tokens":\([0-9]*\).*/\1/' |
    awk -v t="$begin $end" '{n += $1} END {split(t, s, " "); print n / (s[3] - s[1]), n / (s[4] - s[2])}'
}

printf '%-8s %12s %12s %8s %10s\n' threads stagecoach pytorch ratio "cpu ratio"
for threads in 1 2; do
  : >"$work/ours"; : >"$work/theirs"
  for _ in $(seq "$rounds"); do
    ours $threads >>"$work/ours"
    [ $torch = no ] || OMP_NUM_THREADS=$threads "$python" "$(dirname "$0")/torch_finetune.py" --threads $threads >>"$work/theirs" 2>/dev/null
  done
  of() { [ -s "$work/$1" ] && cut -d ' ' -f "$2" "$work/$1" | median || echo 0; }
  echo "$threads $(of ours 1) $(of theirs 1) $(of ours 2) $(of theirs 2)" | awk '{
    printf "%-8s %12.0f %12s %8s %10s\n", $1, $2, $3 ? sprintf("%.0f", $3) : "-", $3 ? sprintf("%.2f", $2 / $3) : "-",
           $5 ? sprintf("%.2f", $4 / $5) : "-" }'
done
