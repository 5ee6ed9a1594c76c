# checkpoint.dir: each worker writes its own shard into a directory that all share, and the result is the same to the byte.
. "$(dirname "$0")/lib.sh" "$@"
write_config
run=(train config.yaml --set checkpoint.every=2)
shared=(--set checkpoint.dir=shared)

expect 0 stagecoach "${run[@]}" --workers 3 --run-dir plain
expect 0 stagecoach "${run[@]}" "${shared[@]}" --workers 3 --run-dir run
[ ! -e run/checkpoints ] || fail "checkpoints went to the run directory, too"
for file in plain/checkpoints/step-00000006/*; do
  [ "${file##*/}" = manifest.json ] || cmp "$file" "shared/step-00000006/${file##*/}"
done
cmp plain/final/model.safetensors run/final/model.safetensors

# They are found and read there.
expect 0 stagecoach verify run
says out 'step-00000006  ok  3 shards'
expect 0 stagecoach export run --step 6 --out exported
expect 0 stagecoach generate run --tokens 3

# Once without the key, once with it again, and from the shared directory alone: the run goes on each time.
expect 0 stagecoach "${run[@]}" --set train.steps=8 --workers 2 --run-dir run
says out 'going on after step 6, from run/shared-checkpoints/step-00000006'
expect 0 stagecoach "${run[@]}" "${shared[@]}" --set train.steps=10 --workers 1 --run-dir run
says out 'going on after step 8, from run/checkpoints/step-00000008'
expect 0 stagecoach "${run[@]}" "${shared[@]}" --set train.steps=12 --workers 2 --run-dir new
says out 'going on after step 10, from new/shared-checkpoints/step-00000010'

# A flipped byte is named, and the older set is used.
newest=shared/step-00000012/stage-1.safetensors
printf '\xff' | dd of="$newest" bs=1 seek=$(($(stat -c %s "$newest") / 2)) conv=notrunc status=none
expect 1 stagecoach verify new
says out 'step-00000012  DAMAGED: stage-1.safetensors'
expect 0 stagecoach "${run[@]}" "${shared[@]}" --set train.steps=13 --workers 2 --run-dir new
says out 'going on after step 10'
[ -d shared/step-00000013 ] || fail "no checkpoint of step 13"

# Another directory, while that one has checkpoints; one that has gone; one that another run uses.
expect 1 stagecoach "${run[@]}" --set checkpoint.dir=elsewhere --set train.steps=20 --run-dir new
says err 'checkpoint.dir' "$PWD/shared" "$PWD/elsewhere"
mv shared away
expect 1 stagecoach "${run[@]}" --set train.steps=20 --run-dir new
says err "$PWD/shared" 'mount it'
mv away shared
stagecoach serve config.yaml "${shared[@]}" --set train.steps=20 --listen tcp://127.0.0.1:0 --run-dir new >serve.out 2>serve.err &
serve=$!
wait_for serve.out 'waiting for'
expect 1 stagecoach "${run[@]}" "${shared[@]}" --run-dir third
says err "$(hostname):$serve, since 20" "$PWD/shared" 'choose another checkpoint.dir'
expect 1 stagecoach "${run[@]}" --run-dir new
says err "$(hostname):$serve, since 20" 'choose another directory with --run-dir'

# A worker that sees another directory at that path: told before the first step, with worker, host, path and remedy.
echo another >shared/.stagecoach-token
endpoint=$(grep -o 'tcp://[^ ]*' serve.out | head -1)
stagecoach-worker --coordinator "$endpoint" >worker.out 2>&1 &
code=0
wait $serve || code=$?
[ $code -eq 1 ] || { cat serve.err >&2; fail "serve exits with $code"; }
says serve.err "worker 0 ($(hostname):" "$PWD/shared" 'is not the directory that the coordinator sees' 'mount the shared file system'
! grep -q '"event":"step","time":"[^"]*","step":14' new/events.jsonl || fail "a step was made all the same"

# --fresh --force moves what is there aside, on both sides.
expect 1 stagecoach "${run[@]}" "${shared[@]}" --fresh --run-dir new
expect 0 stagecoach "${run[@]}" "${shared[@]}" --fresh --force --workers 2 --run-dir new
[ -d shared/earlier/1/step-00000013 ] && [ -d shared/step-00000006 ] || fail "the shared sets were not moved aside"
expect 0 stagecoach verify new
earlier=$(ls -d new/earlier/* | tail -1)
expect 0 stagecoach export "$earlier" --step 13 --out exported-13

# Workers are killed while they write; the run goes on and ends with the same weights.
expect 0 stagecoach train config.yaml --set checkpoint.every=5 --set train.steps=120 --workers 3 --run-dir straight
stagecoach train config.yaml --set checkpoint.every=5 --set train.steps=120 --set checkpoint.dir=shared-2 --workers 3 \
  --run-dir killed >killed.out 2>killed.err &
train=$!
for step in 20 50 80; do
  wait_for killed/events.jsonl "\"step\":$step,"
  kill -9 "$(pgrep -P $train | shuf -n 1)" 2>/dev/null || :
done
wait $train || { cat killed.err >&2; fail "the run with kills failed"; }
cmp straight/final/model.safetensors killed/final/model.safetensors
expect 0 stagecoach verify killed
