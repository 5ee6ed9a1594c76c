# Connections that are reset, cut in the middle of a message, black holes for seconds, or slow: both those to the coordinator and
# those between the stages. It costs time, never a recovery, and never a bit. SC_LONG=1: for longer.
. "$(dirname "$0")/lib.sh" "$@"
. "$sources/tests/e2e/lib_proxy.sh"
write_config
seed=${SEED:-$$}
echo "seed $seed"

# Between processes of one host payloads are not on the wire otherwise. A machine whose cores are busy takes its time to connect.
bytes_on_the_wire=(--set wire.shared_memory=false --set wire.reconnect_ms=5000)

# At random moments, anywhere, while checkpoints stream.
if [ "${SC_LONG:-}" ]; then n=1500; else n=40; fi
steps=(--set train.steps=$n --set train.eval_every=25 --set checkpoint.every=10)
expect 0 stagecoach train config.yaml "${steps[@]}" --workers 4 --threads 1 --run-dir calm
serve_behind_links stormy 4 "$seed" "${steps[@]}" "${bytes_on_the_wire[@]}"
wait_for stormy/events.jsonl '"event":"step".*"step":2,'
tell storm 60 300
no_loss_and_same_bits calm stormy
end_links stormy
grep -q 'resets [1-9]' stormy.logs/proxy.out || fail "the storm reset nothing"

# Nothing passes for seconds: everywhere, on the way to the coordinator alone, between two stages alone. The lease is longer.
serve_behind_links holes 4 "$seed" "${steps[@]}" --set wire.lease_ms=5000
for hole in "5 all" "15 c1" "25 d2"; do
  read -r step link <<<"$hole"
  wait_for holes/events.jsonl "\"event\":\"step\".*\"step\":$step,"
  tell blackhole "$link" 2500
done
no_loss_and_same_bits calm holes
end_links holes

# Messages that take longer than a receiver waits before it asks (wire.resend_ms), and a checkpoint over the same links.
steps=(--set train.steps=3 --set train.eval_every=0 --set checkpoint.every=2 --set model.hidden=128 --set model.context=128)
expect 0 stagecoach train config.yaml "${steps[@]}" --workers 4 --threads 1 --run-dir wide
serve_behind_links slow 4 "$seed" "${steps[@]}" --set wire.resend_ms=100 "${bytes_on_the_wire[@]}"
wait_for slow/events.jsonl '"event":"step".*"step":1,'
tell slow all 2500000 20
no_loss_and_same_bits wide slow
end_links slow
