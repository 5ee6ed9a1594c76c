# Frozen blocks stay as they were drawn, and the rest has the same bits over any number of workers, behind losses, and when the run
# goes on over others. How many are frozen may change from one start to the next.
. "$(dirname "$0")/lib.sh" "$@"
write_config
frozen=(--set train.freeze_blocks=2 --set train.lr_schedule=constant)

expect 0 stagecoach plan config.yaml --workers 4 "${frozen[@]}"
says out 'the embedding and 2 of 3 layers do not learn'
expect 0 stagecoach plan config.yaml --workers 4 "${frozen[@]}" --actions
says out 'mode=train frozen='
expect 1 stagecoach train config.yaml --set train.freeze_blocks=4 --run-dir bad
says err train.freeze_blocks model.layers

expect 0 stagecoach train config.yaml "${frozen[@]}" --workers 1 --run-dir whole
expect 0 stagecoach train config.yaml "${frozen[@]}" --workers 4 --run-dir parts --set train.steps=3
expect 0 stagecoach train config.yaml "${frozen[@]}" --workers 2 --run-dir parts
same_bits whole parts

# With another learning rate only what learns comes to other weights.
other=(--set train.lr_schedule=constant --set train.learning_rate=2.0e-2 --workers 1)
expect 0 stagecoach train config.yaml "${frozen[@]}" "${other[@]}" --run-dir faster
expect 0 stagecoach train config.yaml "${other[@]}" --run-dir all
changed=$({ cmp -l <(tensors whole/final/model.safetensors) <(tensors faster/final/model.safetensors) || :; } | wc -l)
all=$({ cmp -l <(tensors whole/final/model.safetensors) <(tensors all/final/model.safetensors) || :; } | wc -l)
[ "$changed" -gt 10000 ] && [ "$changed" -lt $((all / 2)) ] || fail "$changed bytes of the weights changed, of $all that can"

# The run goes on with other blocks frozen: the moments of those that learn from now on begin at zero.
expect 0 stagecoach train config.yaml --workers 3 --run-dir parts --set train.steps=8 --set train.freeze_blocks=1
expect 0 stagecoach train config.yaml --workers 1 --run-dir whole --set train.steps=8 --set train.freeze_blocks=1
same_bits whole parts

# A worker with frozen blocks alone is lost, then one that learns.
steps=(--set train.steps=1000 --set checkpoint.every=0 --set train.eval_every=0)
expect 0 stagecoach train config.yaml "${frozen[@]}" "${steps[@]}" --workers 1 --run-dir calm
stagecoach train config.yaml "${frozen[@]}" "${steps[@]}" --workers 4 --threads 1 --run-dir stormy >out 2>err &
train=$!
n=0
for round in "35 0" "335 3" "635 1"; do
  read -r step worker <<<"$round"
  wait_for stormy/events.jsonl "\"event\":\"step\".*\"step\":$step,"
  kill -9 "$(last_pid stormy "$worker")"
  wait_for_lines $((++n)) stormy/events.jsonl '"event":"recovery"'
done
wait $train || { cat out err >&2; fail "train did not survive"; }
same_bits calm stormy
[ "$(grep '"event":"recovery"' stormy/events.jsonl | grep -c replay)" -ge 3 ] || fail "the losses were not replayed"
