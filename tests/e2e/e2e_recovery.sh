# kill -9 of any worker, again and again: the run goes on by itself and ends with the same bits, losses and weights.
. "$(dirname "$0")/lib.sh" "$@"
write_config
steps=(--set train.steps=220 --set checkpoint.every=20 --set train.eval_every=110)
expect 0 stagecoach train config.yaml "${steps[@]}" --workers 1 --run-dir calm

stagecoach train config.yaml "${steps[@]}" --workers 4 --threads 1 --run-dir stormy >out 2>err &
train=$!
n=0
for worker in 0 3 1 2; do
  steps_behind stormy $((n++)) 25
  kill -9 "$(last_pid stormy "$worker")"
done
wait $train || { cat out err >&2; fail "train did not survive"; }
same_bits calm stormy
[ "$(grep -c '"event":"worker_lost"' stormy/events.jsonl)" -eq 4 ] || fail "four losses were expected"
says out 'was killed by signal 9' 'going on after step'
expect 0 stagecoach verify stormy

# `serve`: a worker that dies is replaced by one that comes; a frozen one is lost after its lease and comes back as new
start_worker() { setsid stagecoach-worker --coordinator "$endpoint" --threads 1 2>>"worker.err" & }
stagecoach serve config.yaml "${steps[@]}" --workers 2 --listen 'tcp://127.0.0.1:*' --set wire.lease_ms=1000 \
  --run-dir served >serve.out 2>serve.err &
serve=$!
wait_for serve.out 'waiting for 2 workers'
endpoint=$(grep -o 'tcp://127.0.0.1:[0-9]*' serve.out | head -1)
start_worker; start_worker
steps_behind served 0 25
kill -9 "$(last_pid served 0)"
start_worker
steps_behind served 1 10
frozen=$(last_pid served 1)
freeze "$frozen"
wait_for served/events.jsonl '"event":"worker_lost".*"worker":1,.*silent'
kill -CONT "$frozen"
wait $serve || { cat serve.out serve.err worker.err >&2; fail "serve did not survive"; }
same_bits calm served

# Losses while a checkpoint streams: survivors' pieces are still under way when it is given up.
stagecoach train config.yaml --set model.layers=6 --set model.heads=8 --set model.hidden=256 --set train.steps=1000000 \
  --set train.eval_every=0 --set checkpoint.every=1 --workers 5 --threads 1 --run-dir streaming >out 2>err &
train=$!
for n in 0 1 2 3 4; do
  steps_behind streaming $n 4
  kill -9 "$(last_pid streaming $n)"
done
wait_for_lines 5 streaming/events.jsonl '"event":"recovery"'
kill -TERM $train
wait $train || { cat out err >&2; fail "train did not survive losses while it saved"; }
expect 0 stagecoach verify streaming

# `train` replaces a frozen worker of its own; a coordinator that was itself stopped for a while counts nobody as lost.
setsid stagecoach train config.yaml --set train.steps=100000000 --set checkpoint.every=20 --set train.eval_every=0 \
  --set wire.lease_ms=1000 --workers 2 --threads 1 --run-dir frozen >out 2>err &
train=$!
wait_for frozen/events.jsonl '"event":"step".*"step":30,'
freeze "$(last_pid frozen 1)"
wait_for frozen/events.jsonl '"event":"recovery"'
says out 'worker 1' 'silent'
freeze $train
sleep 2.5
kill -CONT $train
sleep 1.5
[ "$(grep -c '"event":"worker_lost"' frozen/events.jsonl)" -eq 1 ] || fail "a stopped coordinator lost workers"
kill -TERM $train
wait $train || { cat out err >&2; fail "train did not survive a frozen worker"; }

# A stop that comes while `serve` waits for a lost worker's successor is an orderly one.
stagecoach serve config.yaml --set train.steps=100000000 --set checkpoint.every=20 --set train.eval_every=0 \
  --workers 1 --listen 'tcp://127.0.0.1:*' --set wire.lease_ms=1000 --run-dir waiting >serve.out 2>serve.err &
serve=$!
wait_for serve.out 'waiting for 1 worker'
endpoint=$(grep -o 'tcp://127.0.0.1:[0-9]*' serve.out | head -1)
start_worker
wait_for waiting/events.jsonl '"event":"step".*"step":50,'
kill -9 "$(last_pid waiting 0)"
wait_for waiting/events.jsonl '"event":"worker_lost"'
kill -TERM $serve
wait $serve || { cat serve.out serve.err >&2; fail "serve did not stop in order"; }
says serve.out 'stopped while lost workers had not come back'

# A worker lost while the state is being loaded, and one while the final weights are collected, are losses as any other.
stagecoach train config.yaml --set model.layers=6 --set model.heads=8 --set model.hidden=512 --set train.steps=6 \
  --set train.eval_every=0 --set checkpoint.every=2 --workers 3 --threads 1 --run-dir unlucky >out 2>err &
train=$!
wait_for unlucky/events.jsonl '"event":"checkpoint".*"step":2,'
first=$(last_pid unlucky 0) second=$(last_pid unlucky 2) third=$(last_pid unlucky 1)
kill -9 "$first"
wait_for unlucky/events.jsonl '"event":"worker_joined".*"worker":0,.*"generation":2'
kill -9 "$second"
wait_for unlucky/events.jsonl '"event":"checkpoint".*"step":6,'
kill -9 "$third"
wait $train || { cat out err >&2; fail "train did not survive losses while state was under way"; }
[ "$(grep -c '"event":"worker_lost"' unlucky/events.jsonl)" -eq 3 ] || fail "three losses were expected"
expect 0 stagecoach verify unlucky

# A worker that cannot stay is given up after recovery.max_attempts.
stagecoach train config.yaml --set train.steps=1000000 --set recovery.max_attempts=1 --set recovery.peer_every=0 \
  --set checkpoint.every=0 --workers 2 \
  --run-dir hopeless >out 2>err &
train=$!
wait_for hopeless/events.jsonl '"event":"step".*"step":2,'
kill -9 "$(last_pid hopeless 0)"
wait_for hopeless/events.jsonl '"event":"recovery"'
kill -9 "$(last_pid hopeless 0)" 2>/dev/null || true
code=0
wait_or_kill() { timeout 60 tail --pid=$train -f /dev/null || { kill -9 $train; fail "train did not give up"; }; }
wait_or_kill
wait $train || code=$?
[ $code -eq 1 ] || fail "train exited with $code instead of 1"
says err 'recovery.max_attempts'
