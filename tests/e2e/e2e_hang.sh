# A worker whose computing hangs while its network lives is lost after recovery.hang_ms, long before anything else would notice, and
# replaced; the bits are those of an undisturbed run.
. "$(dirname "$0")/lib.sh" "$@"
write_config
run=(train config.yaml --set train.lr_schedule=constant --set train.eval_every=0 --set checkpoint.every=0)

mkdir hanging
# A sanitizer's library need not come first: oneDNN is not part of it.
ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0" LD_PRELOAD="$bin/libhanging_product.so" \
  HANGING_PRODUCT="$PWD/hanging" \
  stagecoach "${run[@]}" --set train.steps=100000000 --workers 3 --threads 1 --run-dir hung >out 2>err &
train=$!
n=0
for worker in 1 2; do
  wait_for_lines $((n * 40 + 25)) hung/events.jsonl '"event":"step"'
  hung=$(last_pid hung $worker)
  touch "hanging/$hung"
  wait_for hung/events.jsonl "\"event\":\"worker_lost\".*\"worker\":$worker,.*lives but has not moved.*recovery.hang_ms"
  wait_for_lines $((++n)) hung/events.jsonl '"event":"recovery"'
  all_gone "$hung" # `train` has killed it
done
kill -TERM $train
wait $train || { cat out err >&2; fail "train did not survive workers that hang"; }
last=$(grep -oE 'stopped after step [0-9]+' out | grep -oE '[0-9]+')
expect 0 stagecoach "${run[@]}" --set train.steps="$last" --workers 1 --run-dir calm
same_bits calm hung
