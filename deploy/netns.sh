#!/usr/bin/env bash
# A run on five hosts, on any Linux machine: the coordinator and four workers, each in namespaces of its own (network, processes, host
# name) with an address of its own, behind a switch; with keys. One worker's link is slow, and another worker's is cut while they train,
# until it counts as lost, and comes back. The run must end with the bytes of one that was left in peace.
#   deploy/netns.sh [CONFIG [OPTION-OF-SERVE]...]        builds first
# BIN=DIR takes the programs from there, WORK=DIR keeps what is left, SLOW=100mbit is the slow link's rate, as tc spells it.
# Exit status: 0 the same bytes; 1 not; 77 this machine has no namespaces.
set -euo pipefail
sources=$(cd "$(dirname "$0")/.." && pwd)
. "$sources/tests/e2e/lib_netns.sh"

fail() {
  echo "deploy/netns.sh: $*" >&2
  exit 1
}

if [ -z "${SC_IN_NAMESPACES:-}" ]; then
  if [ -z "${BIN:-}" ]; then
    "$sources/deploy/setup.sh"
    "$sources/deploy/build.sh" release
    BIN=$sources/build/release/bin
  fi
  [ $# -gt 0 ] || set -- "$sources/deploy/configs/demo.yaml" --set train.steps=200 --set checkpoint.every=50
  config=$(realpath "$1")
  shift
  BIN=$(realpath "$BIN")
  if [ -z "${WORK:-}" ]; then
    WORK=$(mktemp -d)
    export REMOVE_WORK=1
  fi
  mkdir -p "$WORK"
  export BIN WORK
  in_namespaces "$sources/deploy/netns.sh" "$config" "$@" || true
  echo "deploy/netns.sh: skipped: no namespaces may be made here, or the tools for them (util-linux, iproute2) are missing"
  exit 77
fi

[ -z "${REMOVE_WORK:-}" ] || trap 'rm -rf "$WORK"' EXIT
config=$1
shift
cd "$WORK"
export PATH="$BIN:$PATH"

on() { # I NAME COMMAND...: with host I's network, and processes and a host name of its own
  local i=$1
  shift
  at_host "$i" unshare --uts --pid --fork --kill-child --mount-proc bash -c 'hostname "$1"; shift; exec "$@"' bash "$@"
}

event() { # PATTERN: waits for it, while the coordinator lives
  timeout 300 grep -qm1 -E -- "\"event\":$1" <(tail -s 0.1 --pid="$serve" -n +1 -F hosts/events.jsonl 2>/dev/null) ||
    { tail -v -n 30 serve.out ./*.err >&2; fail "no event $1 came"; }
}

echo "Training in peace"
stagecoach train "$config" "$@" --workers 4 --run-dir peace >peace.out 2>&1 || { cat peace.out; fail "the run in peace failed"; }

rm -rf keys hosts
stagecoach keygen --workers 4 >/dev/null
make_hosts 5
slow_down 2 "${SLOW:-100mbit}"
ip netns exec h2 tc qdisc add dev eth0 root tbf rate "${SLOW:-100mbit}" burst 32kbit latency 400ms

# The lost worker itself is waited for, so that its return is part of what is tested.
on 0 coordinator stagecoach serve "$config" "$@" --run-dir hosts --listen tcp://0.0.0.0:5555 --keys keys --workers 4 \
  --set wire.lease_ms=1500 --set recovery.wait_ms=60000 >serve.out 2>serve.err &
serve=$!
workers=()
for i in 1 2 3 4; do
  on $i "worker-$i" stagecoach-worker --coordinator "tcp://$(address 0):5555" --key "keys/worker-$i.key" --threads 1 2>"worker-$i.err" &
  workers+=($!)
done

event '"step".*"step":12,'
echo "Five hosts train; worker-3 is cut off"
cut_off 3
event '"worker_lost".*"name":"worker-3'
plug_in 3
echo "It counted as lost, and may come back"
event '"recovery"'
echo "It is back; the run goes on"

wait $serve || { tail -v -n 30 serve.out ./*.err >&2; fail "the coordinator failed"; }
for pid in "${workers[@]}"; do
  wait "$pid" || { tail -v -n 30 ./*.err >&2; fail "a worker did not exit with 0"; }
done
[ "$(grep -oE '"name":"worker-[0-9]' hosts/events.jsonl | sort -u | wc -l)" -eq 4 ] || fail "not every worker had a host of its own"
cmp peace/final/model.safetensors hosts/final/model.safetensors || fail "the weights differ from those of the run in peace"
echo "The same bytes: $(sha256sum <hosts/final/model.safetensors)"
