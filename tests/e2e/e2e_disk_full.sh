# The disk is full for a while: saves fail and say so once, training goes on, and the weights are those of a run that had room.
# A limit on the size of files stands for the full disk (the same calls fail, with EFBIG); where this user may mount, a
# tmpfs is filled as well.
. "$(dirname "$0")/lib.sh" "$@"
write_config
run=(train config.yaml --set checkpoint.every=20 --set train.batch_size=16 --set train.eval_every=0 --set train.lr_schedule=constant)
endless=("${run[@]}" --set train.steps=100000000)

# whole FILE: every line is a JSON object.
whole() { ! grep -vqE '^\{"event":.*\}$' "$1" || fail "$1 has a broken line: $(grep -vE '^\{"event":.*\}$' "$1" | head -1)"; }

# told FILE: one error when saves began to fail, one line when they worked again, though many failed in between.
told() {
  [ "$(grep -c 'could not be saved' "$1")" -eq 1 ] || { cat "$1" >&2; fail "the failed saves are not told once"; }
  [ "$(grep -c 'is saved, after' "$1")" -eq 1 ] || { cat "$1" >&2; fail "the end of the failures is not told once"; }
}

# goes_on NAME DIR: there is room again: the next save works, and what the run has when it is stopped is what one has that had room
# all the time.
goes_on() {
  local name=$1 dir=$2 last
  wait_for $name.err 'is saved, after'
  kill -TERM $train
  wait $train || { cat $name.err >&2; fail "the run did not go on"; }
  told $name.err
  whole $dir/events.jsonl
  last=$(grep -oE 'stopped after step [0-9]+' $name.out | grep -oE '[0-9]+')
  expect 0 stagecoach "${run[@]}" --set train.steps="$last" --workers 2 --run-dir straight --fresh --force
  cmp straight/final/model.safetensors $dir/final/model.safetensors
  expect 0 stagecoach verify $dir
}

# The coordinator's disk.
stagecoach "${endless[@]}" --workers 2 --run-dir limited >limited.out 2>limited.err &
train=$!
wait_for limited/events.jsonl '"step":60,'
before=$(stat -c %s limited/events.jsonl)
prlimit --pid $train --fsize=$((before + 10)):
wait_for limited.err 'could not be saved, training goes on: .*(File too large|No space left)'
wait_for limited.err 'events cannot be written'
whole limited/events.jsonl
prlimit --pid $train --fsize=unlimited:
goes_on limited limited
says limited/events.jsonl '"event":"events_lost"'
[ "$(grep -c 'events cannot be written' limited.err)" -eq 1 ] || fail "lost events are told more than once"

# The workers' disk, with a shared directory. (The limit holds for shared memory as well, which a full disk would not touch.)
stagecoach "${endless[@]}" --workers 2 --run-dir shared --set checkpoint.dir=shared-sets --set wire.shared_memory=false >shared.out 2>shared.err &
train=$!
wait_for shared/events.jsonl '"step":60,'
worker=$(pgrep -P $train | head -1)
prlimit --pid "$worker" --fsize=50000:
wait_for shared.err 'could not be saved, training goes on: worker [01] '
wait_for_lines 3 shared/events.jsonl '"status":"RESOURCE_EXHAUSTED"'
prlimit --pid "$worker" --fsize=unlimited:
goes_on shared shared

# A real disk without room.
mkdir small
if mount -t tmpfs -o size=3m tmpfs small 2>/dev/null; then
  trap 'jobs -p | xargs -r kill -9 2>/dev/null || :; umount -l "$work/small"' EXIT
  stagecoach "${endless[@]}" --workers 2 --run-dir small/run >small.out 2>small.err &
  train=$!
  wait_for small/run/events.jsonl '"step":60,'
  head -c 4m /dev/zero >small/filler 2>/dev/null || : # all that is left
  wait_for small.err 'could not be saved, training goes on: .*No space left'
  rm small/filler
  goes_on small small/run
fi
