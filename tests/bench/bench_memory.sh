#!/usr/bin/env bash
# The peak resident memory of each worker beside what `stagecoach plan` predicts (16 bytes a parameter, the activations
# that the simulator counts for the schedule, scratch), plus 10 % and 64 MiB:   bench_memory.sh [BIN]
# Without points and checkpoints: the prediction is of all copies at their most, and a run has them now and then.
# Exits with 1 if a worker needs more.
bin=${1:-build/release/bin}
. "$(dirname "$0")/lib.sh"
code=0
for case in "char 1f1b 1" "char 1f1b 2" "char 1f1b 4" "char gpipe 4" "gpt2 1f1b 1" "gpt2 1f1b 4"; do
  read -r shape schedule workers <<<"$case"
  sets=(pipeline.schedule="$schedule" recovery.peer_every=0 checkpoint.every=0 checkpoint.at_end=false
        train.batch_size=16 train.micro_batch_size=2)
  [ "$shape" = char ] || sets=(pipeline.schedule="$schedule" recovery.peer_every=0 checkpoint.every=0
                               checkpoint.at_end=false model.layers=12 model.heads=12
                               model.hidden=768 model.vocab=50257 train.batch_size=4 train.micro_batch_size=1)
  stagecoach_rate "$workers" 1 3 "${sets[@]}" >/dev/null
  set -- ; for s in "${sets[@]}"; do set -- "$@" --set "$s"; done
  "$bin/stagecoach" plan "$work/config.yaml" --workers "$workers" "$@" |
    awk '/^worker +busy/ {table = 1; next} table && $1 ~ /^[0-9]+$/ {print $NF}' >"$work/predicted"
  grep '"event":"step"' "$work/run/events.jsonl" | tail -1 | grep -o '"peak_resident_bytes":[0-9]*' | cut -d: -f2 >"$work/peaks"
  paste "$work/predicted" "$work/peaks" | awk -v name="$shape, $schedule, $workers workers" '{
    bound = $1 * 1.1 + 64; peak = $2 / 1048576
    printf "%-26s worker %d: peak %7.1f MiB, predicted %7.1f, bound %7.1f  %s\n", name, NR - 1, peak, $1, bound,
           peak <= bound ? "ok" : "OVER"
    over += peak > bound } END { exit over > 0 }' || code=1
done
exit $code
