# Without recovery a worker's death ends `train` with one clear line; nothing outlives the run, whatever ends it.
. "$(dirname "$0")/lib.sh" "$@"
write_config
long=(--set train.steps=1000000 --set train.eval_every=0 --set recovery.max_attempts=0 --workers 3 --threads 1)

pids_of() { # the workers that a run's event log names, as host:pid
  sed -n 's/.*"worker_joined".*"name":"[^":]*:\([0-9]*\)".*/\1/p' "$1/events.jsonl"
}

# killed in the middle of a step; by a parent that ignores SIGCHLD, which would hide the death
env --ignore-signal=CHLD stagecoach train config.yaml "${long[@]}" --run-dir killed >out 2>err &
train=$!
wait_for killed/events.jsonl '"event":"step","?.*"step":3,'
mapfile -t workers < <(pids_of killed)
[ ${#workers[@]} -eq 3 ] || fail "three workers were expected"
kill -9 "${workers[1]}"
code=0
wait $train || code=$?
[ $code -eq 1 ] || fail "train exited with $code instead of 1"
says err "worker" "(pid ${workers[1]})" 'was killed by signal 9 (Killed)' 'killed/logs/worker-'
[ "$(grep -c 'was killed by signal 9' err)" -eq 1 ] || fail "the death is reported more than once"
grep -q '"event":"run_finished".*"UNAVAILABLE"' killed/events.jsonl || fail "the event log does not say how it ended"
all_gone "${workers[@]}"

# the coordinator killed: its workers end too
stagecoach train config.yaml "${long[@]}" --run-dir orphans >out 2>err &
train=$!
wait_for orphans/events.jsonl '"step":2,'
mapfile -t workers < <(pids_of orphans)
kill -9 $train
all_gone "${workers[@]}"

# SIGTERM, and Ctrl-C, which comes to a whole process group: the step is finished, the weights are kept, exit 0
for stop in "TERM stopped" "INT interrupted"; do
  read -r signal run <<<"$stop"
  setsid stagecoach train config.yaml "${long[@]}" --run-dir "$run" >out 2>err &
  train=$!
  wait_for "$run/events.jsonl" '"step":2,'
  mapfile -t workers < <(pids_of "$run")
  kill -"$signal" -- "-$train"
  wait $train || { cat out err; fail "train did not exit with 0 after SIG$signal"; }
  says out 'stopped after step' 'the weights are in'
  [ -s "$run/final/model.safetensors" ] || fail "no weights were kept"
  ! grep -qE '"event":"worker_(drain|lost)"' "$run/events.jsonl" || fail "SIG$signal reached the workers as well"
  all_gone "${workers[@]}"
done
expect 0 stagecoach generate stopped --prompt "A" --tokens 3

# a worker that is asked to end hands over, which is no loss; another is started in its place
stagecoach train config.yaml "${long[@]}" --run-dir left >out 2>err &
train=$!
wait_for left/events.jsonl '"step":2,'
mapfile -t workers < <(pids_of left)
kill -TERM "${workers[0]}"
wait_for left/events.jsonl '"event":"recovery".*"cause":"drain".*"steps_lost":0,.*"workers":2,'
all_gone "${workers[0]}"
wait_for left/events.jsonl '"event":"recovery".*"cause":"growth".*"steps_lost":0,.*"workers":3,'
kill -TERM $train
wait $train || { cat out err >&2; fail "train did not go on without the worker that left"; }
! grep -q '"event":"worker_lost"' left/events.jsonl || fail "the leaver counts as lost"
mapfile -t workers < <(pids_of left)
all_gone "${workers[@]}"

# A stop while a recovery waits for a worker that does not come: a second signal ends the run at once, and so does the end of its
# grace; the newest checkpoint is whole, and the run can go on from it.
for how in second grace; do
  stagecoach serve config.yaml --set train.steps=100000000 --set train.eval_every=0 --set checkpoint.every=5 --workers 2 \
    --set recovery.wait_ms=600000 --set run.grace_ms=$([ $how = grace ] && echo 500 || echo 600000) \
    --listen 'tcp://127.0.0.1:*' --run-dir $how >out 2>err &
  serve=$!
  wait_for out 'waiting for 2 workers'
  endpoint=$(grep -o 'tcp://127.0.0.1:[0-9]*' out | head -1)
  workers=()
  for _ in 1 2; do
    stagecoach-worker --coordinator "$endpoint" --threads 1 2>>worker.err &
    workers+=($!)
  done
  wait_for $how/events.jsonl '"event":"checkpoint".*"step":[0-9]*,"status":"OK"'
  kill -9 "${workers[0]}"
  wait_for $how/events.jsonl '"event":"worker_lost"'
  kill -TERM $serve
  if [ $how = second ]; then
    wait_for err 'once more stops at once'
    kill -TERM $serve
  fi
  code=0
  wait $serve || code=$?
  [ $code -eq 1 ] || { cat out err >&2; fail "$how: serve exited with $code instead of 1"; }
  says err "$([ $how = grace ] && echo run.grace_ms || echo 'stopped at once by a second signal')"
  kill -9 "${workers[1]}" 2>/dev/null || : # it may have been left to look for its run
  expect 0 stagecoach verify $how
done
