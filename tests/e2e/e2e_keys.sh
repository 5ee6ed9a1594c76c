# Keys: made, used, refused, added and taken off; a run with them has the bits of one without.
. "$(dirname "$0")/lib.sh" "$@"
write_config

# keygen: secrets are private, nothing is replaced unasked.
expect 2 stagecoach keygen
says err '--workers' '--add'
expect 2 stagecoach keygen --workers 2 --add x
expect 2 stagecoach keygen --add ../x
says err '--add ../x'
expect 0 stagecoach keygen --workers 2
[ "$(stat -c %a keys keys/coordinator.key keys/worker-1.key keys/allowed/worker-1.pub | tr '\n' ' ')" = '700 600 600 644 ' ] ||
  fail "modes: $(stat -c '%a %n' keys keys/* keys/allowed/*)"
expect 1 stagecoach keygen --workers 2
says err 'keys/coordinator.key' '--add' '--force'
expect 1 stagecoach keygen --add worker-2
says err 'worker-2.key' '--force'
expect 0 stagecoach keygen --add gpu-box
says out 'keys/gpu-box.key'
expect 0 stagecoach keygen --out other --workers 3
expect 0 stagecoach keygen --out other --add worker-3 --force
cp other/worker-1.key old.key
expect 0 stagecoach keygen --out other --workers 1 --force
[ "$(ls other/allowed)" = worker-1.pub ] || fail "earlier workers are still allowed: $(ls other/allowed)"
! cmp -s old.key other/worker-1.key || fail "--force did not replace a key"

# An address that others can reach needs keys, or a word.
expect 2 stagecoach serve config.yaml --listen tcp://0.0.0.0:5555
says err 'stagecoach keygen' '--insecure'
expect 2 stagecoach serve config.yaml --listen tcp://0.0.0.0:5555 --keys keys --insecure
expect 2 stagecoach-worker --coordinator tcp://192.0.2.1:5555
says err '--coordinator' 'stagecoach keygen' '--insecure'
expect 2 stagecoach-worker --coordinator tcp://127.0.0.1:5555 --listen tcp://0.0.0.0:5556
says err '--listen' 'stagecoach keygen'
expect 2 stagecoach-worker --coordinator tcp://127.0.0.1:5555 --advertise tcp://192.0.2.1:5556
says err '--advertise'
expect 1 stagecoach serve config.yaml --listen tcp://0.0.0.0:0 --keys nowhere
says err 'nowhere/coordinator.key' 'stagecoach keygen --out nowhere'
expect 1 stagecoach-worker --coordinator tcp://192.0.2.1:5555 --key keys/coordinator.key
says err "not a worker's key"
expect 1 env STAGECOACH_KEY=nowhere.key stagecoach-worker --coordinator tcp://192.0.2.1:5555
says err nowhere.key
cp keys/worker-1.key open.key
chmod 644 open.key
expect 1 stagecoach-worker --coordinator tcp://192.0.2.1:5555 --key open.key
says err 'open.key' 'chmod 600'

# The same bits, with keys, on an address that others can reach.
steps=(--set train.steps=400 --set checkpoint.every=20 --set train.eval_every=0)
expect 0 env STAGECOACH_KEY=nowhere.key stagecoach train config.yaml "${steps[@]}" --workers 2 --run-dir plain
start_worker() { # NAME ARGUMENT...
  local name=$1
  shift
  stagecoach-worker --coordinator "$endpoint" --threads 1 "$@" 2>"$name.err" &
}
refused() { # NAME ARGUMENT...: this worker ends with code 1 by itself
  local code=0
  timeout 30 stagecoach-worker --coordinator "$endpoint" --threads 1 "${@:2}" 2>"$1.err" || code=$?
  [ $code -eq 1 ] || { cat "$1.err"; fail "$1: exit code $code instead of 1"; }
}
stagecoach serve config.yaml "${steps[@]}" --workers 2 --listen 'tcp://0.0.0.0:*' --keys keys --run-dir keyed \
  >serve.out 2>serve.err &
serve=$!
wait_for serve.out 'waiting for 2 workers'
endpoint=tcp://127.0.0.1:$(sed -n 's/.*tcp:.*:\([0-9]*\) --key FILE.*/\1/p' serve.out | head -1)

# Who has no business here hears why; the run does not.
refused plain
says plain.err 'asks for a key' '--key FILE'
stagecoach keygen --out keys --add revoked >/dev/null
rm keys/allowed/revoked.pub
refused revoked --key keys/revoked.key
says revoked.err 'refused our key' 'keys/revoked.key' 'allowed/'
start_worker elsewhere --key other/worker-1.key # it knows another coordinator
elsewhere=$!
wait_for elsewhere.err 'is it the coordinator whose public key'
kill $elsewhere

start_worker one --key keys/worker-1.key
STAGECOACH_KEY=keys/worker-2.key start_worker two
two=$!
wait_for keyed/events.jsonl '"event":"step".*"step":60,'

# A key that is taken off in the middle of the run: its worker is cut off and told, another one takes its place.
rm keys/allowed/worker-2.pub
wait_for keyed/events.jsonl '"event":"worker_lost".*key was taken off'
code=0
wait $two || code=$?
[ $code -eq 1 ] || { cat two.err; fail "the worker that was cut off exited with $code instead of 1"; }
says two.err 'refused our key'
start_worker three --key keys/gpu-box.key
wait $serve || { cat serve.out serve.err ./*.err >&2; fail "serve did not survive"; }
cmp plain/final/model.safetensors keyed/final/model.safetensors || fail "the weights differ from those of a run without keys"
says serve.err 'was turned away' 'is cut off'
