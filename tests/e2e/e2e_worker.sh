# A worker on its own: it waits for its coordinator, leaves when it is asked to, and ends with the process that started it.
. "$(dirname "$0")/lib.sh" "$@"
export SC_LOG=info

# Without a coordinator it waits; asked to stop, it goes at once and takes its socket file along.
stagecoach-worker --coordinator "ipc://$PWD/c" --threads 1 2>worker.err &
worker=$!
wait_for worker.err 'looking for coordinator'
[ -S "c.w$worker" ] || fail "the worker listens on no socket beside the coordinator's"
kill -TERM $worker
code=0
wait $worker || code=$?
[ "$code" -eq 0 ] || { cat worker.err; fail "exit code $code after SIGTERM"; }
[ ! -e "c.w$worker" ] || fail "the worker left its socket file behind"

# Asked to stop it waits to be released; a second signal leaves at once, and a coordinator that does not answer the goodbye
# keeps it no longer than a third.
write_config
setsid stagecoach serve config.yaml --workers 2 --listen "ipc://$PWD/s" --run-dir run >serve.out 2>serve.err &
serve=$!
wait_for serve.out 'waiting for 2 workers'
stagecoach-worker --coordinator "ipc://$PWD/s" --threads 1 2>worker.err &
worker=$!
wait_for worker.err 'joined run'
freeze $serve
kill -TERM $worker
wait_for worker.err 'draining'
kill -TERM $worker
wait_for worker.err 'leaving'
kill -TERM $worker
code=0
wait $worker || code=$?
[ "$code" -eq 143 ] || { cat worker.err; fail "exit code $code after a third SIGTERM"; }
[ ! -e "s.w$worker" ] || fail "the worker left its socket file behind"
kill -KILL $serve

# Started under a number, it does not outlive its parent, even one that could not say goodbye.
bash -c 'stagecoach-worker --coordinator tcp://127.0.0.1:1 --threads 1 --local-index 0 2>orphan.err & echo $! >pid; wait' &
parent=$!
wait_for orphan.err 'looking for coordinator'
kill -KILL $parent
for _ in $(seq 100); do
  kill -0 "$(cat pid)" 2>/dev/null || exit 0
  sleep 0.1
done
kill -KILL "$(cat pid)"
fail "the worker outlived its parent by 10 s"
