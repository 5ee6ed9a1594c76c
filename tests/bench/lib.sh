# What the benchmark scripts share. Sourced after `bin` (the folder of the programs) is set.
set -euo pipefail
sources=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export SC_LOG=warn

median() { sort -g | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

# stagecoach_rate WORKERS THREADS STEPS SET...: median tokens/s of a run's steps without the first two.
stagecoach_rate() {
  local workers=$1 threads=$2 steps=$3 sets=()
  shift 3
  for set in "$@"; do sets+=(--set "$set"); done
  rm -rf "$work/run"
  cat >"$work/config.yaml" <<YAML
model: {family: gpt2, layers: 6, heads: 6, hidden: 384, context: 256, vocab: 256, dropout: 0.0}
data:  {train: [$sources/deploy/configs/data/shakespeare.txt], tokenizer: byte, validation_share: 0}
train: {batch_size: 12, micro_batch_size: 12, learning_rate: 1.0e-3, clip_norm: 1.0}
YAML
  "$bin/stagecoach" train "$work/config.yaml" --workers "$workers" --threads "$threads" --run-dir "$work/run" \
    --set train.steps="$steps" "${sets[@]}" >"$work/out" 2>&1 || { cat "$work/out" >&2; exit 1; }
  grep '"event":"step"' "$work/run/events.jsonl" | tail -n +3 | sed 's/.*"tokens_per_second":\([^,]*\).*/\1/' | median
}
