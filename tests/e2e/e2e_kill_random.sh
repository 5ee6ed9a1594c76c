# kill -9 of any process at random moments, again and again: local workers and the coordinator of `train`, workers and the
# coordinator of `serve`, each started again with the same command; frozen ones too. What the run exports in the end are the bytes of
# a run that nobody disturbed.
#   SEED=N repeats the moments and victims (not what the processes were doing then); SC_LONG=1 kills 500 times.
. "$(dirname "$0")/lib.sh" "$@"
. "$sources/tests/e2e/lib_proxy.sh"
write_config
if [ "${SC_LONG:-}" ]; then n_train=350 n_serve=150; else n_train=70 n_serve=30; fi
RANDOM=${SEED:=$$}
echo "seed $SEED"
# How far the runs come is known at their end only; a constant learning rate makes what comes before the end the same for all ends.
steps=(--set train.eval_every=50 --set train.lr_schedule=constant --set train.warmup_steps=0 --set checkpoint.every=5
       --set recovery.max_attempts=1000)
endless=(--set train.steps=1000000000)

pause() { sleep "$(printf '0.%03d' $((RANDOM % 400)))"; }
# The farthest step of any life: one may have been farther than the last checkpoint, from which the next went on.
farthest() { sed -n 's/.*"event":"step".*"step":\([0-9]*\),.*/\1/p' "$1/events.jsonl" | sort -n | tail -1; }
give_up() {
  tail -v -n 20 ./*.out ./*.err
  fail "seed $SEED: $*"
}

# come_to_rest DIR: waits for twenty steps from here.
come_to_rest() {
  local seen end=$((SECONDS + 60))
  seen=$(wc -l <"$1/events.jsonl")
  until [ "$(tail -n +$((seen + 1)) "$1/events.jsonl" | grep -c '"event":"step"')" -ge 20 ]; do
    [ $SECONDS -lt $end ] || give_up "$1 makes no progress any more"
    sleep 0.05
  done
}

# finish DIR LAST: lets the run go on to step LAST, and compares with an undisturbed one.
finish() {
  local dir=$1 last=$2
  expect 0 stagecoach train config.yaml "${steps[@]}" --set train.steps="$last" --workers 3 --threads 1 --run-dir "$dir"
  expect 0 stagecoach train config.yaml "${steps[@]}" --set train.steps="$last" --workers 1 --run-dir "$dir.calm"
  expect 0 stagecoach export "$dir" --out "$dir.exported"
  expect 0 stagecoach export "$dir.calm" --out "$dir.calm.exported"
  diff -r "$dir.exported" "$dir.calm.exported" || give_up "$dir: the exported files differ from the undisturbed run's"
  diff <(numbers_by_step "$dir.calm") <(numbers_by_step "$dir") || give_up "$dir: the losses differ from the undisturbed run's"
  expect 0 stagecoach verify "$dir"
  echo "$dir: $(grep -c '"event":"recovery"' "$dir/events.jsonl") recoveries, $last steps"
}

# --- train: its workers are its children, and go with it

start_train() {
  stagecoach train config.yaml "${steps[@]}" "${endless[@]}" --workers 4 --threads 1 --run-dir train >>train.out 2>>train.err &
  train=$!
}
start_train
kills=0
while [ $kills -lt $n_train ]; do
  pause
  kill -0 $train 2>/dev/null || give_up "train ended by itself"
  mapfile -t victims < <(echo $train; pgrep -P $train)
  victim=${victims[RANDOM % ${#victims[@]}]}
  kill -9 "$victim" 2>/dev/null || continue # it has just ended, as a loser's successor may
  kills=$((kills + 1))
  if [ "$victim" = $train ]; then
    wait $train 2>/dev/null || :
    start_train
  fi
done
come_to_rest train
kill -TERM $train
wait $train || give_up "train did not stop in order"
finish train $(($(farthest train) + 5))

# --- serve: everybody is started again by somebody else

start_serve() {
  setsid stagecoach serve config.yaml "${steps[@]}" "${endless[@]}" --set wire.lease_ms=1000 --workers 3 \
    --listen "tcp://$net.1:7000" --run-dir serve >>serve.out 2>>serve.err &
  serve=$!
}
start_worker() {
  setsid stagecoach-worker --coordinator "tcp://$net.1:7000" --threads 1 2>>worker.err &
  workers[$1]=$!
}
start_serve
for i in 0 1 2; do start_worker $i; done
kills=0
while [ $kills -lt $n_serve ]; do
  pause
  i=$((RANDOM % 4))
  if [ $i -eq 3 ]; then
    victim=$serve
  else
    victim=${workers[i]}
    kill -0 "$victim" 2>/dev/null || give_up "a worker ended by itself"
  fi
  kill -0 $serve 2>/dev/null || give_up "serve ended by itself"
  if [ $((RANDOM % 8)) -eq 0 ]; then # frozen for longer than its lease
    freeze "$victim"
    sleep 1.5
    kill -CONT "$victim"
  elif [ $i -eq 3 ]; then
    kill -9 $serve
    wait $serve 2>/dev/null || :
    start_serve
  else
    kill -9 "$victim"
    start_worker $i
  fi
  kills=$((kills + 1))
done
come_to_rest serve
kill -TERM $serve
wait $serve || give_up "serve did not stop in order"
for pid in "${workers[@]}"; do
  wait "$pid" || give_up "a worker did not exit with 0 when it was released"
done
finish serve $(($(farthest serve) + 5))
