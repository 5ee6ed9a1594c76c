#!/usr/bin/env bash
# What CURVE costs in training: tokens/s of two workers with keys beside the same without, alternating in one run, over loopback
# TCP without shared memory, as between machines; activations and gradients are messages of 1.5 MB.
#   bench_curve.sh [BIN [ROUNDS]]
# The mark is a loss of less than 10 %. Encryption runs in libzmq's thread beside the computing ones: on a machine whose cores
# are all computing, it takes its share of them.
bin=${1:-build/release/bin}
rounds=${2:-5}
. "$(dirname "$0")/lib.sh"
bin=$(realpath "$bin")
"$bin/stagecoach" keygen --out "$work/keys" --workers 2 >"$work/out"

# 4 sequences of 256 tokens of 384 channels in float32: 1.5 MB
cat >"$work/config.yaml" <<YAML
model: {family: gpt2, layers: 6, heads: 6, hidden: 384, context: 256, vocab: 256, dropout: 0.0}
data:  {train: [$sources/deploy/configs/data/shakespeare.txt], tokenizer: byte, validation_share: 0}
train: {steps: 6, batch_size: 16, micro_batch_size: 4, learning_rate: 1.0e-3, clip_norm: 1.0}
YAML

# served_rate [KEYS]: median tokens/s of a run's steps without the first two.
served_rate() {
  local serve_keys=() port i
  [ $# -eq 0 ] || serve_keys=(--keys "$1")
  rm -rf "$work/run"
  "$bin/stagecoach" serve "$work/config.yaml" --listen 'tcp://127.0.0.1:*' --workers 2 --run-dir "$work/run" --set wire.shared_memory=false \
    "${serve_keys[@]}" >"$work/out" 2>&1 &
  local serve=$!
  until grep -q 'tcp://127.0.0.1:[0-9]' "$work/out"; do
    kill -0 $serve 2>/dev/null || { cat "$work/out" >&2; exit 1; }
    sleep 0.05
  done
  port=$(grep -o 'tcp://127.0.0.1:[0-9]*' "$work/out" | head -1)
  for i in 1 2; do
    local key=()
    [ $# -eq 0 ] || key=(--key "$1/worker-$i.key")
    "$bin/stagecoach-worker" --coordinator "$port" --threads 1 "${key[@]}" 2>>"$work/out" &
  done
  wait $serve || { cat "$work/out" >&2; exit 1; }
  wait
  grep '"event":"step"' "$work/run/events.jsonl" | tail -n +3 | sed 's/.*"tokens_per_second":\([^,]*\).*/\1/' | median
}

: >"$work/plain"; : >"$work/keyed"
for round in $(seq "$rounds"); do
  served_rate >>"$work/plain"
  served_rate "$work/keys" >>"$work/keyed"
  echo "round $round: $(tail -1 "$work/plain") tokens/s without keys, $(tail -1 "$work/keyed") with"
done
awk -v plain="$(median <"$work/plain")" -v keyed="$(median <"$work/keyed")" 'BEGIN {
  printf "without keys %.0f tokens/s, with keys %.0f tokens/s: loss %.1f%%\n", plain, keyed, 100 * (1 - keyed / plain) }'
