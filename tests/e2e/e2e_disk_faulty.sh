# A disk that spoils a shard, and one that is slow: the save is written again elsewhere, and training does not wait.
. "$(dirname "$0")/lib.sh" "$@"
write_config
# A sanitizer's library need not come first: faulty_disk calls the kernel alone.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0"
faulty=(env LD_PRELOAD="$bin/libfaulty_disk.so")
run=(train config.yaml --set train.eval_every=0 --workers 2)

expect 0 stagecoach "${run[@]}" --set train.steps=6 --run-dir straight

# The last checkpoint's first shard is lost: EIO of fsync. The same state goes to another directory, and no name is used twice.
for shared in '' shared-sets; do
  rm -rf spoilt
  expect 0 "${faulty[@]}" FAULTY_DISK='eio 1' stagecoach "${run[@]}" --set train.steps=6 --set checkpoint.dir="$shared" --run-dir spoilt
  says err 'is written again, to another directory' 'Input/output error'
  sets=${shared:-spoilt/checkpoints}
  expect 0 stagecoach verify spoilt
  says out 'step-00000006.2  ok  2 shards'
  cmp straight/checkpoints/step-00000006/stage-0.safetensors "$sets/step-00000006.2/stage-0.safetensors"
  cmp straight/final/model.safetensors spoilt/final/model.safetensors
done

# Writes that take 10 ms each: a save lasts for a second or more, in which hundreds of steps are made. One save at a time, the others
# are left out.
expect 0 "${faulty[@]}" FAULTY_DISK='slow 10' stagecoach "${run[@]}" --set train.steps=400 --set checkpoint.every=10 --run-dir slow
says err 'is left out'
awk -F'"step":' '
  /"event":"step"/ { steps = $2 + 0 }
  /"event":"checkpoint"/ { saved = $2 + 0; if (steps - saved > most) most = steps - saved; n++ }
  END { if (n < 2 || most < 20) { print n " saves, at most " most " steps during one"; exit 1 } }' slow/events.jsonl ||
  fail "training waited for the disk"
expect 0 stagecoach verify slow
expect 0 stagecoach "${run[@]}" --set train.steps=400 --set checkpoint.every=0 --run-dir quick
cmp quick/final/model.safetensors slow/final/model.safetensors
