# Stopped at a random moment (SIGTERM, or kill -9 of everything) and started again with the same command on another number
# of workers, twenty times: losses and final bytes are those of the uninterrupted run, dropout on.
. "$(dirname "$0")/lib.sh" "$@"
write_config
steps=(--set train.steps=240 --set checkpoint.every=7 --set train.eval_every=40)
expect 0 stagecoach train config.yaml "${steps[@]}" --workers 2 --run-dir straight
steps_logged() { cat broken/events.jsonl 2>/dev/null | grep -c '"event":"step"' || true; }

RANDOM=${SEED:=$$}
echo "seed $SEED"
stops=0 kills=0
for ((round = 0; stops < 20 && round < 200; round++)); do
  workers=$((RANDOM % 4 + 1))
  setsid stagecoach train config.yaml "${steps[@]}" --workers $workers --threads 1 --run-dir broken >out 2>err &
  train=$!
  # some steps further than the run has come: a few, so that twenty stops fit into the run
  goal=$(($(steps_logged) + RANDOM % 12 + 1))
  while kill -0 $train 2>/dev/null && [ "$(steps_logged)" -lt $goal ]; do :; done
  if ((RANDOM % 2)); then
    kill -TERM $train 2>/dev/null || true
  else
    pids=$(pgrep -P $train || true)
    kill -9 $train $pids 2>/dev/null || true
    kills=$((kills + 1))
  fi
  code=0
  wait $train 2>/dev/null || code=$?
  stops=$((stops + 1))
  [ $code -eq 0 ] || [ $code -eq 137 ] || { cat out err >&2; fail "round $round: exit code $code"; }
done
[ $stops -eq 20 ] || fail "only $stops stops"
expect 0 stagecoach train config.yaml "${steps[@]}" --workers 3 --run-dir broken
diff <(numbers_by_step straight) <(numbers_by_step broken) || fail "seed $SEED: the numbers differ from the uninterrupted run's"
cmp straight/final/model.safetensors broken/final/model.safetensors || fail "seed $SEED: the weights differ"
echo "240 steps over 1 to 4 workers, stopped 20 times ($((stops - kills)) SIGTERM, $kills kill -9) and resumed: every loss and" \
  "all $(stat -c %s broken/final/model.safetensors) bytes of the weights are those of the uninterrupted run"

# Started once more, a complete run says so and touches nothing.
expect 0 stagecoach train config.yaml "${steps[@]}" --run-dir broken
says out 'all 240 steps are done already'
# More steps go on; the learning rate may change, the model's shape may not.
expect 0 stagecoach train config.yaml "${steps[@]}" --set train.steps=243 --set train.learning_rate=2e-3 --run-dir broken
says out 'going on after step 240'
expect 1 stagecoach train config.yaml "${steps[@]}" --set train.steps=250 --set model.hidden=64 --run-dir broken
says err 'model.hidden' 32 64
expect 1 stagecoach train config.yaml "${steps[@]}" --set train.steps=250 --set train.optimizer=sgd --run-dir broken
says err 'train.optimizer' adamw sgd
expect 1 stagecoach train config.yaml --fresh --run-dir broken
says err '--force'
expect 2 stagecoach train config.yaml --force --run-dir broken

# A flipped byte is found and named, and the older checkpoint is used.
newest=$(ls -d broken/checkpoints/step-* | sort | tail -1)
shard=$(ls "$newest"/*.safetensors | head -1)
size=$(stat -c %s "$shard")
printf '\xff' | dd of="$shard" bs=1 seek=$((size / 2)) conv=notrunc status=none
expect 1 stagecoach verify broken
says out "$(basename "$shard")" DAMAGED
expect 0 stagecoach train config.yaml "${steps[@]}" --set train.steps=244 --run-dir broken
says out 'going on after step 240'

# --fresh --force keeps what was there.
expect 0 stagecoach train config.yaml --fresh --force --run-dir broken
says out 'was moved to broken/earlier/'
ls -d broken/earlier/*/checkpoints/step-* >/dev/null || fail "the checkpoints were not kept"
