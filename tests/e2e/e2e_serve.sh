# `serve` with four hand-started workers over TCP gives what `train` gives; both sides exit by themselves.
. "$(dirname "$0")/lib.sh" "$@"
write_config
expect 0 stagecoach train config.yaml --workers 4 --run-dir local

stagecoach serve config.yaml --workers 4 --listen 'tcp://127.0.0.1:*' --run-dir served >serve.out 2>serve.err &
serve=$!
wait_for serve.out 'waiting for 4 workers'
endpoint=$(grep -o 'tcp://127.0.0.1:[0-9]*' serve.out | head -1)
workers=()
for i in 1 2 3 4; do
  stagecoach-worker --coordinator "$endpoint" --threads 1 2>worker$i.err &
  workers+=($!)
done
wait $serve || { cat serve.out serve.err; fail "serve failed"; }
for pid in "${workers[@]}"; do
  wait "$pid" || { cat worker*.err; fail "a worker did not exit with 0"; }
done
diff <(numbers local) <(numbers served) || fail "serve gave other numbers"
cmp local/final/model.safetensors served/final/model.safetensors || fail "serve gave other weights"

# One worker too few: a clear error after wire.join_ms.
expect 1 stagecoach serve config.yaml --listen 'tcp://127.0.0.1:*' --workers 1 --set wire.join_ms=300 --run-dir alone
says err '0 of 1 workers' 'wire.join_ms' 'stagecoach-worker --coordinator tcp://127.0.0.1:'

# An address that others can reach needs a word.
expect 2 stagecoach serve config.yaml --listen tcp://0.0.0.0:5555
says err '--insecure'
expect 2 stagecoach serve config.yaml
says err '--listen'
