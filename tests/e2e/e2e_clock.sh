# The clock of all processes jumps, by 300 s forward and by 600 s back: leases, deadlines and pauses go by monotonic clocks, so nobody
# is lost, no step is repeated, and no bit changes.
. "$(dirname "$0")/lib.sh" "$@"
library=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1 2>/dev/null | head -1) || :
[ "$library" ] || fail "libfaketime is not installed; deploy/setup.sh --tests installs it"
write_config
steps=(--set train.steps=500 --set checkpoint.every=100 --set train.eval_every=150 --set wire.lease_ms=2000)
expect 0 stagecoach train config.yaml "${steps[@]}" --workers 1 --run-dir calm

# libfaketime reads the offset anew at each look at the wall clock, in the coordinator and in its workers alike.
echo '+0s' >clock
# A sanitizer's own library is not the first that is loaded then; it minds only if it is told to.
ASAN_OPTIONS="${ASAN_OPTIONS:-}:verify_asan_link_order=0" LD_PRELOAD=$library FAKETIME_TIMESTAMP_FILE=$PWD/clock FAKETIME_NO_CACHE=1 \
  FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 \
  stagecoach train config.yaml "${steps[@]}" --workers 3 --threads 1 --run-dir jumpy >out 2>err &
train=$!
# The steps behind the last jump take a second or more: it is seen before the run ends.
jump() { # OFFSET, in place at once
  echo "$1" >clock.new
  mv clock.new clock
}
wait_for jumpy/events.jsonl '"event":"step".*"step":50,'
jump +300s
wait_for jumpy/events.jsonl '"event":"step".*"step":150,'
jump -300s
wait_for jumpy/events.jsonl '"event":"step".*"step":250,'
jump +0s
wait $train || { cat out err >&2; fail "train did not survive the jumps"; }
! grep -E '"event":"(worker_lost|recovery)"' jumpy/events.jsonl || fail "a jump of the clock was taken for a loss"
same_bits calm jumpy

# The clock did jump: the coordinator's events tell.
jumps() { awk 'NR > 1 && ($1 - last > 250 || last - $1 > 250) {n++} {last = $1} END {print n + 0}'; }
seconds() { grep -oE '[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z' | date -f - +%s; }
n=$(seconds <jumpy/events.jsonl | jumps)
[ "$n" -ge 3 ] || fail "the clock of the coordinator jumped only $n times"
