#!/usr/bin/env bash
# What a lost worker costs, and what being ready for it costs: the small GPT over 4 workers on loopback, medians of SC_N (20) kills.
#   bench_recovery.sh [BIN]
# The marks: kill to detected < 1 s; detected to the next committed step < 1 s with a process that takes the place, < 2 s by
# re-partition; at most as many steps repeated as lie between two points in memory (recovery.peer_every); training slower by
# < 3 % with such points, < 5 % with message logging, < 10 % with CURVE (bench_curve.sh); the coordinator of 64 idle workers uses
# < 5 % of a core.
bin=$(realpath "${1:-build/release/bin}")
n=${SC_N:-20}
. "$(dirname "$0")/lib.sh"
# Nothing that was started outlives this, and nothing of it is of interest then.
trap 'exec 2>/dev/null; jobs -p | xargs -r kill -9; wait; rm -rf "$work"' EXIT
head -c 60000 "$sources/deploy/configs/data/shakespeare.txt" >"$work/text.txt"
cat >"$work/config.yaml" <<'YAML'
model:    {family: gpt2, layers: 6, heads: 4, hidden: 64, context: 64, dropout: 0.1}
data:     {train: [text.txt], tokenizer: char, validation_share: 0}
train:    {steps: 1000000000, batch_size: 8, micro_batch_size: 2, lr_schedule: constant}
YAML
cd "$work"
events=run/events.jsonl

# milliseconds TIME: of an event's time, as of date.
milliseconds() { echo $(($(date -d "$1" +%s%N) / 1000000)); }
now() { echo $(($(date +%s%N) / 1000000)); }
lines() { wc -l <"$events"; }
# first_after LINE PATTERN: waits for the first event behind that line that matches; prints its number and the event.
first_after() {
  timeout 60 bash -c 'until found=$(tail -n +$(($1 + 1)) "$3" | grep -nm1 -E "$2"); do sleep 0.005; done; echo "$found"' - "$1" "$2" "$events" |
    awk -F: -v from="$1" '{n = $1 + from; sub(/^[0-9]*:/, ""); print n, $0}'
}
time_of() { milliseconds "$(sed 's/.*"time":"\([^"]*\)".*/\1/' <<<"$1")"; }
field() { sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p" <<<"$2"; }
row() { printf '%-58s %s\n' "$1" "$2"; }

# measure NAME KILL [READY]: SC_N times: runs KILL, which kills a worker, and reads the events; then READY LINE, of the step after it.
measure() {
  local name=$1 ready=${3:-:} round line killed lost next reached
  : >detected; : >back; : >repeated
  for ((round = 0; round < n; round++)); do
    line=$(lines)
    read -r line _ < <(first_after "$line" '"event":"step"')
    for _ in 1 2 3 4 5 6 7 8; do read -r line _ < <(first_after "$line" '"event":"step"'); done
    line=$(lines)
    killed=$(now)
    "$2"
    read -r line lost < <(first_after "$line" '"event":"worker_lost"')
    reached=$(head -n "$line" "$events" | grep '"event":"step"' | tail -1)
    read -r line next < <(first_after "$line" '"event":"step"')
    echo $(($(time_of "$lost") - killed)) >>detected
    echo $(($(time_of "$next") - $(time_of "$lost"))) >>back
    echo $(($(field step "$reached") + 1 - $(field step "$next"))) >>repeated
    $ready "$line"
  done
  row "$name: kill to detected, ms" "$(median <detected)"
  row "$name: detected to the next committed step, ms" "$(median <back)"
  row "$name: steps repeated" "$(median <repeated)"
}

start() { # COMMAND ARGUMENT...
  rm -rf run
  "$bin/stagecoach" "$@" --set recovery.max_attempts=1000 --run-dir run >out 2>err &
  run=$!
  until [ -s "$events" ] && grep -q '"step":3,' "$events"; do
    kill -0 $run 2>/dev/null || { cat out err >&2; exit 1; }
    sleep 0.05
  done
}
finish() { kill -TERM $run && wait $run || { cat out err >&2; exit 1; }; }

# --- a worker of `train`, which starts another in its place

kill_local() {
  local pids
  mapfile -t pids < <(pgrep -P $run)
  kill -9 "${pids[RANDOM % ${#pids[@]}]}"
}
start train config.yaml --workers 4 --threads 1
measure 'restarted process, replay' kill_local
finish
start train config.yaml --workers 4 --threads 1 --set recovery.log_messages=false
measure 'restarted process, points in memory' kill_local
finish
start train config.yaml --workers 4 --threads 1 --set recovery.peer_every=0 --set checkpoint.every=10
measure 'restarted process, checkpoints on disk' kill_local
finish

# --- a worker of `serve`: a spare is there, or those that remain go on without it

coordinator=tcp://127.0.0.1:$((20000 + $$ % 20000))
# A worker that came too late for the run waits for another.
dismiss() { { jobs -p | xargs -r kill -9 || :; wait || :; } 2>/dev/null; }
start_worker() { "$bin/stagecoach-worker" --coordinator $coordinator --threads 1 2>/dev/null & }
# Kills the worker that serves under rank 2.
kill_served() {
  kill -9 "$(grep '"event":"worker_joined".*"worker":2,' "$events" | tail -1 | sed 's/.*"name":"[^":]*:\([0-9]*\)".*/\1/')"
}
for i in 1 2 3 4 5; do start_worker; done
start serve config.yaml --workers 4 --listen $coordinator
kill_and_refill() { kill_served; start_worker; } # of five, one waits
measure 'spare' kill_and_refill
finish
dismiss
for i in 1 2 3 4; do start_worker; done
start serve config.yaml --workers 4 --listen $coordinator --set recovery.wait_ms=0 --set checkpoint.every=20
# Between two kills the run has grown again, with the worker that has come meanwhile.
kill_and_shrink() {
  local line
  line=$(lines)
  kill_served
  (
    first_after "$line" '"event":"recovery".*"cause":"loss"' >/dev/null
    exec "$bin/stagecoach-worker" --coordinator $coordinator --threads 1 2>/dev/null
  ) &
}
grown() { first_after "$1" '"event":"recovery".*"cause":"growth"' >/dev/null; }
measure 're-partition' kill_and_shrink grown
finish
dismiss

# --- training at its usual pace: messages of 1.5 MB, runs that alternate

# Seconds of steps 11 to 30, which hold two points: a median would not see what one step in ten costs.
seconds_of() {
  stagecoach_rate 2 1 30 model.layers=2 train.batch_size=16 train.micro_batch_size=4 checkpoint.every=0 \
    checkpoint.at_end=false "$@" >/dev/null
  grep '"event":"step"' "$events" | tail -n 20 | sed 's/.*"step_seconds":\([^,]*\).*/\1/' | awk '{s += $1} END {print s}'
}
slower() { # NAME PEER_EVERY LOG_MESSAGES beside PEER_EVERY LOG_MESSAGES
  local round
  : >with; : >without
  for ((round = 0; round < (n + 3) / 4; round++)); do
    seconds_of recovery.peer_every=$2 recovery.log_messages=$3 >>with
    seconds_of recovery.peer_every=$4 recovery.log_messages=$5 >>without
  done
  row "$1: training slower by" "$(awk -v a="$(median <with)" -v b="$(median <without)" 'BEGIN {printf "%.1f%%", 100 * (a / b - 1)}')"
}
slower 'points in memory every 10 steps' 10 false 0 false
slower 'message logging' 10 true 10 false
"$sources/tests/bench/bench_curve.sh" "$bin" 3

# --- the coordinator, idle

"$bin/stagecoach" serve config.yaml --set model.layers=70 --set wire.join_ms=0 --workers 65 --listen $coordinator --run-dir idle >out 2>err &
run=$!
until grep -q 'waiting for' out; do sleep 0.05; done
for ((i = 0; i < 64; i++)); do start_worker; done
until [ "$(grep -c worker_joined idle/events.jsonl)" -eq 64 ]; do sleep 0.1; done
ticks() { awk '{print $14 + $15}' /proc/$run/stat; }
before=$(ticks)
sleep 20
row '64 idle workers: share of a core that the coordinator uses' \
  "$(awk -v t=$(($(ticks) - before)) -v hz="$(getconf CLK_TCK)" 'BEGIN {printf "%.2f%%", 100 * t / hz / 20}')"
