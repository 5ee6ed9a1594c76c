# Each way back to a step that all stages can reach, one after the other: it is taken, and the bits are the same.
. "$(dirname "$0")/lib.sh" "$@"
write_config
steps=(--set train.steps=160 --set train.eval_every=80 --set checkpoint.every=0)
expect 0 stagecoach train config.yaml "${steps[@]}" --workers 1 --run-dir calm

# recovered RUN PATTERN: whether a recovery of the run was like this.
recovered() {
  grep -qE "\"event\":\"recovery\".*$2" "$1/events.jsonl" ||
    { grep '"recovery"' "$1/events.jsonl" >&2 || :; fail "no recovery of $1 was like $2"; }
}
at_step() { wait_for "$1/events.jsonl" "\"event\":\"step\".*\"step\":$2,"; }
ended() { # RUN PID
  wait "$2" || { cat "$1.out" >&2; fail "$1 did not survive"; }
  same_bits calm "$1"
}

# With logs a lost stage runs its steps again alone; without, all go back to the point; without points, to the checkpoint.
storm() { # RUN "RANK..." OPTIONS...: the ranks that are lost, each when a point or a checkpoint is long complete
  local run=$1 ranks=$2 n=0 rank
  shift 2
  stagecoach train config.yaml "${steps[@]}" --workers 4 --threads 1 --run-dir "$run" "$@" >"$run.out" 2>&1 &
  local train=$!
  for rank in $ranks; do
    steps_behind "$run" $((n++)) 25
    kill -9 "$(last_pid "$run" "$rank")"
  done
  wait_for_lines $n "$run/events.jsonl" '"event":"recovery"'
  ended "$run" $train
}
storm replayed "0 3 1"
[ "$(grep -c '"event":"recovery".*"level":"replay".*"steps_lost":0,' replayed/events.jsonl)" -eq 3 ] ||
  fail "a loss cost the survivors steps: $(grep '"recovery"' replayed/events.jsonl)"
grep -q '"event":"run_finished".*"replayed":[1-9]' replayed/events.jsonl || fail "no message came from a log"
says replayed.out 'from the workers'\'' memories' '0 steps are repeated'
storm restored "2 0" --set recovery.log_messages=false
recovered restored '"level":"memory"'
storm loaded "1 3" --set recovery.peer_every=0 --set checkpoint.every=10
recovered loaded '"level":"disk"'
! grep -q '"level":"memory"' loaded/events.jsonl || fail "points were made without recovery.peer_every"
says loaded.out 'from the newest checkpoint'

# Two neighbours at once, logs or not; and all but one.
stagecoach train config.yaml "${steps[@]}" --workers 4 --threads 1 --run-dir both --set checkpoint.every=25 >both.out 2>&1 &
train=$!
steps_behind both 0 30
kill -9 "$(last_pid both 1)" "$(last_pid both 2)"
steps_behind both 1 30
kill -9 "$(last_pid both 0)" "$(last_pid both 1)" "$(last_pid both 3)"
ended both $train

# `serve`: nobody comes in a lost worker's place, so three share the model; when a fourth comes, it is four again, with no step
# repeated; one that is asked to go hands over, with no step repeated either.
endless=("${steps[@]}" --set train.steps=1000000 --set train.lr_schedule=constant --set train.eval_every=0)
start_worker() { stagecoach-worker --coordinator "$endpoint" --threads 1 2>>worker.err & }
stagecoach serve config.yaml "${endless[@]}" --workers 4 --listen 'tcp://127.0.0.1:*' \
  --set recovery.wait_ms=200 --run-dir shrunk >shrunk.out 2>&1 &
serve=$!
wait_for shrunk.out 'waiting for 4 workers'
endpoint=$(grep -o 'tcp://127.0.0.1:[0-9]*' shrunk.out | head -1)
start_worker; start_worker; start_worker; start_worker
at_step shrunk 40
kill -9 "$(last_pid shrunk 2)"
wait_for shrunk/events.jsonl '"event":"recovery".*"level":"memory".*"workers":3,'
start_worker
wait_for shrunk/events.jsonl '"event":"recovery".*"cause":"growth".*"steps_lost":0,.*"workers":4,'
leaver=$(last_pid shrunk 1)
kill -TERM "$leaver"
wait_for shrunk/events.jsonl '"event":"recovery".*"cause":"drain".*"steps_lost":0,.*"workers":3,'
all_gone "$leaver"
kill -TERM $serve
wait $serve || { cat shrunk.out worker.err >&2; fail "serve did not stop in order"; }
[ "$(grep -c '"event":"worker_lost"' shrunk/events.jsonl)" -eq 1 ] || fail "one loss was expected: the leaver is none"
last=$(grep -oE 'stopped after step [0-9]+' shrunk.out | grep -oE '[0-9]+')
expect 0 stagecoach train config.yaml "${endless[@]}" --set train.steps="$last" --workers 1 --run-dir straight
same_bits straight shrunk

# A coordinator that is killed and started again goes on from what its workers hold, with no checkpoint anywhere, though one of
# them is gone; when that comes back, they are three again. When all are gone, it waits, for longer than a beginning would.
serve() { # RUN LISTEN OPTIONS...
  local run=$1 listen=$2
  shift 2
  stagecoach serve config.yaml "${endless[@]}" --set recovery.wait_ms=1500 --set wire.join_ms=1500 "$@" --workers 3 \
    --listen "$listen" --run-dir "$run" >>"$run.out" 2>&1 &
  serve=$!
}
stop_and_compare() { # RUN: stops it beyond all steps that it has told of
  local farthest
  farthest=$(sed -n 's/.*"event":"step".*"step":\([0-9]*\),.*/\1/p' "$1/events.jsonl" | sort -n | tail -1)
  at_step "$1" $((farthest + 10))
  kill -TERM $serve
  wait $serve || { cat "$1.out" worker.err >&2; fail "the second coordinator of $1 did not stop in order"; }
  last=$(grep -oE 'stopped after step [0-9]+' "$1.out" | grep -oE '[0-9]+')
  expect 0 stagecoach train config.yaml "${endless[@]}" --set train.steps="$last" --workers 1 --run-dir "$1.straight"
  same_bits "$1.straight" "$1"
}
serve reborn 'tcp://127.0.0.1:*'
wait_for reborn.out 'waiting for 3 workers'
endpoint=$(grep -o 'tcp://127.0.0.1:[0-9]*' reborn.out | head -1)
start_worker; start_worker; start_worker
at_step reborn 35
kill -9 $serve "$(last_pid reborn 2)"
serve reborn "$endpoint"
wait_for reborn.out 'going on after step [1-9][0-9]*, from the workers'
at_step reborn 70
! grep -q '"event":"recovery".*"workers":3,' reborn/events.jsonl || fail "two workers were three"
start_worker
wait_for reborn/events.jsonl '"event":"recovery".*"cause":"growth".*"workers":3,'
kill -9 "$(last_pid reborn 0)" "$(last_pid reborn 1)" "$(last_pid reborn 2)"
wait_for reborn.out 'no worker is there for'
kill -0 $serve || fail "serve did not wait"
start_worker; start_worker; start_worker
wait_for reborn/events.jsonl '"event":"recovery".*"level":"start".*"workers":3,'
stop_and_compare reborn

# With the coordinator all workers go, and what they had in memory, which was newer than the checkpoint. Two that are new share
# the model and go on from the disk; with the third they are three.
serve orphaned 'tcp://127.0.0.1:*' --set checkpoint.every=15
wait_for orphaned.out 'waiting for 3 workers'
endpoint=$(grep -o 'tcp://127.0.0.1:[0-9]*' orphaned.out | head -1)
start_worker; start_worker; start_worker
wait_for orphaned/events.jsonl '"event":"checkpoint".*"step":15,"status":"OK"'
at_step orphaned 28
kill -9 $serve "$(last_pid orphaned 0)" "$(last_pid orphaned 1)" "$(last_pid orphaned 2)"
serve orphaned "$endpoint" --set checkpoint.every=15
start_worker; start_worker
wait_for orphaned.out 'going on after step (15|30|45), from .*/checkpoints/'
wait_for orphaned/events.jsonl '"event":"step".*"stages":\[\{"stage":0,[^}]*\},\{"stage":1,[^}]*\}\]'
! grep -q "from the workers' memories" orphaned.out || fail "new workers had memories"
start_worker
wait_for orphaned/events.jsonl '"event":"recovery".*"cause":"growth".*"workers":3,'
stop_and_compare orphaned
