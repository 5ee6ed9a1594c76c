# The disk is full for a while: saves fail and say so once, training goes on, and the weights are those of a run that had room.
# A limit on the size of files stands for the full disk (the same calls fail, with EFBIG); where this user may mount, a
# tmpfs is filled as well.
. "$(dirname "$0")/lib.sh" "$@"
write_config
run=(train config.yaml --set checkpoint.every=20 --set train.batch_size=16 --set train.eval_every=0 --set train.steps=800)
expect 0 stagecoach "${run[@]}" --workers 2 --run-dir straight

# whole FILE: every line is a JSON object.
whole() { ! grep -vqE '^\{"event":.*\}$' "$1" || fail "$1 has a broken line: $(grep -vE '^\{"event":.*\}$' "$1" | head -1)"; }

# told FILE: one error when saves began to fail, one line when they worked again, though many failed in between.
told() {
  [ "$(grep -c 'could not be saved' "$1")" -eq 1 ] || { cat "$1" >&2; fail "the failed saves are not told once"; }
  [ "$(grep -c 'is saved, after' "$1")" -eq 1 ] || { cat "$1" >&2; fail "the end of the failures is not told once"; }
}

# The coordinator's disk.
stagecoach "${run[@]}" --workers 2 --run-dir limited >limited.out 2>limited.err &
train=$!
wait_for limited/events.jsonl '"step":60,'
before=$(stat -c %s limited/events.jsonl)
prlimit --pid $train --fsize=$((before + 10)):
wait_for limited.err 'could not be saved, training goes on: .*(File too large|No space left)'
wait_for limited.err 'events cannot be written'
whole limited/events.jsonl
prlimit --pid $train --fsize=unlimited:
wait $train || { cat limited.err >&2; fail "the run did not go on"; }
told limited.err
whole limited/events.jsonl
says limited/events.jsonl '"event":"events_lost"'
[ "$(grep -c 'events cannot be written' limited.err)" -eq 1 ] || fail "lost events are told more than once"
cmp straight/final/model.safetensors limited/final/model.safetensors
expect 0 stagecoach verify limited

# The workers' disk, with a shared directory.
stagecoach "${run[@]}" --workers 2 --run-dir shared --set checkpoint.dir=shared-sets >shared.out 2>shared.err &
train=$!
wait_for shared/events.jsonl '"step":60,'
worker=$(pgrep -P $train | head -1)
prlimit --pid "$worker" --fsize=50000:
wait_for shared.err 'could not be saved, training goes on: worker [01] '
while [ "$(grep -c '"status":"RESOURCE_EXHAUSTED"' shared/events.jsonl)" -lt 3 ] && kill -0 $train; do :; done # more fail
prlimit --pid "$worker" --fsize=unlimited:
wait $train || { cat shared.err >&2; fail "the run did not go on"; }
told shared.err
cmp straight/final/model.safetensors shared/final/model.safetensors
expect 0 stagecoach verify shared

# A real disk without room.
mkdir small
if mount -t tmpfs -o size=3m tmpfs small 2>/dev/null; then
  trap 'jobs -p | xargs -r kill -9 2>/dev/null || :; umount -l "$work/small"' EXIT
  stagecoach "${run[@]}" --workers 2 --run-dir small/run >small.out 2>small.err &
  train=$!
  wait_for small/run/events.jsonl '"step":60,'
  head -c 4m /dev/zero >small/filler 2>/dev/null || : # all that is left
  wait_for small.err 'could not be saved, training goes on: .*No space left'
  rm small/filler
  wait $train || { cat small.err >&2; fail "the run did not go on"; }
  told small.err
  whole small/run/events.jsonl
  cmp straight/final/model.safetensors small/run/final/model.safetensors
  expect 0 stagecoach verify small/run
fi
