#!/usr/bin/env bash
# What a second stage brings: two workers with one thread each beside one worker with one thread, alternating in one run.
#   bench_pipeline.sh [BIN [ROUNDS]]
# The schedule's bound on the speed-up is 2 * M / (M + S - 1); the mark is 90 % of it, and 98 % in the end.
bin=${1:-build/release/bin}
rounds=${2:-5}
. "$(dirname "$0")/lib.sh"
M=8
shape=(train.batch_size=16 train.micro_batch_size=2)
: >"$work/one"; : >"$work/two"
for _ in $(seq "$rounds"); do
  stagecoach_rate 1 1 6 "${shape[@]}" >>"$work/one"
  stagecoach_rate 2 1 6 "${shape[@]}" >>"$work/two"
done
awk -v one="$(median <"$work/one")" -v two="$(median <"$work/two")" -v M=$M 'BEGIN {
  bound = 2 * M / (M + 1)
  printf "one worker %.0f tokens/s, two workers %.0f tokens/s: speed-up %.2f, bound %.2f, share of the bound %.1f%%\n",
         one, two, two / one, bound, 100 * two / one / bound }'
