# Intruders at the ports of a running coordinator and a worker: no step is lost, memory stays bounded, each is counted, and the
# run ends with the bits of one that nobody disturbed. SC_LONG=1 attacks for 60 s each.
. "$(dirname "$0")/lib.sh" "$@"
write_config
seconds=1.5
[ -z "${SC_LONG:-}" ] || seconds=60
long=(--set train.steps=100000000 --set train.lr_schedule=constant --set train.eval_every=0 --set checkpoint.every=100)
expect 0 stagecoach keygen --workers 3

resident() { awk '/^VmRSS/ {print $2}' "/proc/$1/status"; } # KiB

start() { # RUN WORKER-ARGUMENTS... : serve (with $serve_arguments) and two workers; sets serve, workers, coordinator, door
  local run=$1
  shift
  stagecoach serve config.yaml "${long[@]}" --workers 2 --listen 'tcp://127.0.0.1:*' "${serve_arguments[@]}" \
    --run-dir "$run" >$run.out 2>$run.err &
  serve=$!
  wait_for $run.out 'waiting for 2 workers'
  coordinator=$(grep -o 'tcp://127.0.0.1:[0-9]*' $run.out | head -1)
  workers=()
  for i in 1 2; do
    stagecoach-worker --coordinator "$coordinator" --threads 1 --log info "${@//NUMBER/$i}" 2>$run-$i.err &
    workers+=($!)
  done
  wait_for $run/events.jsonl '"event":"step".*"step":20,'
  door=$(sed -n 's/.*listening on \(tcp:[^;]*\);.*/\1/p' $run-1.err | head -1) # a worker's
  before=$(resident $serve)
  before_worker=$(resident "${workers[0]}")
}

attack() { # MODE [KEY]: both ports at once
  local mode=$1 pids=()
  shift
  intruder "$mode" "$coordinator" $seconds "$@" >>intruders.out &
  pids+=($!)
  intruder "$mode" "$door" $seconds "$@" >>intruders.out &
  pids+=($!)
  wait "${pids[0]}" && wait "${pids[1]}" || fail "the intruder of mode $mode failed"
  local grown=$(($(resident $serve) - before)) grown_worker=$(($(resident "${workers[0]}") - before_worker))
  # A thousand connections of 32 KiB and the peers of plaintext strangers stay far below.
  [ $grown -lt 131072 ] && [ $grown_worker -lt 131072 ] ||
    fail "$mode: the coordinator grew by $grown KiB, the worker by $grown_worker"
}

finish() { # RUN: stops it, and compares it with one that nobody disturbed
  local run=$1 steps
  steps=$(grep -c '"event":"step"' $run/events.jsonl)
  wait_for $run/events.jsonl "\"event\":\"step\".*\"step\":$((steps + 20)),"
  kill -TERM $serve
  wait $serve || { cat $run.err; fail "the run did not end in order"; }
  for pid in "${workers[@]}"; do wait "$pid" || { cat $run-*.err; fail "a worker did not end in order"; }; done
  ! grep -qE '"event":"(worker_lost|recovery)"' $run/events.jsonl || fail "$run: $(grep -E 'worker_lost' $run/events.jsonl)"
  steps=$(grep -o '"event":"step".*"step":[0-9]*' $run/events.jsonl | tail -1 | sed 's/.*://')
  [ "$(grep -c '"event":"step"' $run/events.jsonl)" -eq "$steps" ] || fail "a step was lost"
  expect 0 stagecoach train config.yaml "${long[@]}" --set train.steps="$steps" --workers 2 --threads 1 --run-dir calm --fresh --force
  cmp calm/final/model.safetensors $run/final/model.safetensors || fail "$run: the weights differ"
}

counted() { # FILE REASON: it was counted
  grep -q "turned away in all.*$2 [1-9]" "$1" || { grep 'turned away in all' "$1" >&2; fail "$1 counts no $2"; }
}

serve_arguments=(--keys keys)
start keyed --key keys/worker-NUMBER.key
attack silent
attack flood
attack garbage
attack no-key
attack wrong-key keys/worker-3.key
attack wrong-door keys/worker-3.key
attack frames keys/worker-3.key # one of those that may come runs wild; a worker's own port does not let him in
finish keyed
for reason in 'unknown keys' 'without keys' 'for another key' 'without a handshake' 'messages rejected' 'another version'; do
  counted keyed.err "$reason"
done
for reason in 'without keys' 'for another key' 'without a handshake'; do
  counted keyed-1.err "$reason"
done

serve_arguments=()
start plain
attack frames
attack garbage
finish plain
counted plain.err 'messages rejected'
counted plain-1.err 'messages rejected'
