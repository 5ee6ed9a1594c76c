# What probes of a worker see: it is ready while it is a member of a run, and at no other time.
. "$(dirname "$0")/lib.sh" "$@"
export SC_LOG=info
write_config
expect 1 stagecoach-worker --check ready
says err 'no worker is ready'
expect 2 stagecoach-worker --check ready --coordinator tcp://127.0.0.1:1
expect 1 stagecoach-worker --coordinator tcp://127.0.0.1:1 --ready-file nowhere/ready
says err 'nowhere/ready'
gone() { timeout 30 bash -c 'while [ -e ready ]; do sleep 0.02; done' || fail "the ready file is still there"; }

# What a killed worker has left is not the next one's; alone it is not ready.
touch ready
expect 0 stagecoach-worker --check ready
stagecoach-worker --coordinator "ipc://$PWD/s" --threads 1 --ready-file ready 2>worker.err &
worker=$!
wait_for worker.err 'looking for coordinator'
expect 1 stagecoach-worker --check ready

# It joins, loses its coordinator, and joins again.
setsid stagecoach serve config.yaml --set train.steps=1000000 --set wire.lease_ms=300 --set checkpoint.at_end=false --workers 1 \
  --listen "ipc://$PWD/s" --run-dir run >serve.out 2>serve.err &
serve=$!
wait_for worker.err 'joined run'
expect 0 stagecoach-worker --check ready
freeze $serve
gone
kill -CONT $serve
wait_for run/events.jsonl '"event":"recovery"'
expect 0 stagecoach-worker --check ready
touch -d '1 minute ago' ready # it is touched again and again: within a second
timeout 30 bash -c 'until stagecoach-worker --check ready 2>/dev/null; do sleep 0.02; done' || fail "the ready file is not touched"

# Released, it is ready no more.
kill -TERM $serve
wait $serve || { cat serve.out serve.err; fail "serve did not stop in order"; }
wait $worker || { cat worker.err; fail "the worker did not exit with 0"; }
[ ! -e ready ] || fail "the ready file outlived the worker"
