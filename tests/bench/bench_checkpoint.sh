#!/usr/bin/env bash
# What a checkpoint costs while it is written: GPT-2 124M, steps during a save beside steps without one, in one run.
#   bench_checkpoint.sh [BIN [WORKERS [EVERY]]]
# The mark: training slows by less than 5 %, and a worker's memory grows by one copy of its state (12 bytes a parameter).
bin=${1:-build/release/bin}
workers=${2:-1}
every=${3:-12}
. "$(dirname "$0")/lib.sh"
shape=(model.layers=12 model.heads=12 model.hidden=768 model.vocab=50257 train.batch_size=2 train.micro_batch_size=1)
peak() { grep '"event":"step"' "$work/run/events.jsonl" | tail -1 | grep -o '"peak_resident_bytes":[0-9]*' | cut -d: -f2; }

stagecoach_rate "$workers" 1 3 "${shape[@]}" checkpoint.every=0 checkpoint.at_end=false >/dev/null
without=$(peak)
stagecoach_rate "$workers" 1 $((3 * every)) "${shape[@]}" checkpoint.every="$every" checkpoint.at_end=false >/dev/null
# Lines are in the order of what happened: a save runs from a step that is a multiple of `every` to its "checkpoint" line;
# the step in which it ends still counts.
awk -v every="$every" '
  /"event":"checkpoint"/ { ended = 1; match($0, /"bytes":[0-9]*/); bytes = substr($0, RSTART + 8, RLENGTH - 8)
                           match($0, /"seconds":[0-9.]*/); print "save " bytes / 1e6 " MB in " substr($0, RSTART + 10, RLENGTH - 10) " s" > "/dev/stderr" }
  /"event":"step"/ { match($0, /"step":[0-9]*/); step = substr($0, RSTART + 7, RLENGTH - 7)
                     match($0, /"step_seconds":[0-9.]*/); seconds = substr($0, RSTART + 15, RLENGTH - 15)
                     if (step > 2) print (saving ? "during" : "alone"), seconds
                     if (ended) saving = ended = 0
                     if (step % every == 0) saving = 1 }' "$work/run/events.jsonl" >"$work/steps"
during=$(awk '$1 == "during" {print $2}' "$work/steps" | median)
alone=$(awk '$1 == "alone" {print $2}' "$work/steps" | median)
awk -v d="$during" -v a="$alone" 'BEGIN {printf "step %.3f s alone, %.3f s during a save: slower by %.1f%%\n", a, d, 100 * (d / a - 1)}'
paste <(echo "$without") <(peak) | awk '{printf "peak of the first worker: %.0f MiB without, %.0f MiB with checkpoints\n", $1 / 1048576, $2 / 1048576}'
