# verify: finds a byte flipped by hand in whatever a run has saved, names the file, and has something to say about nothing.
. "$(dirname "$0")/lib.sh" "$@"
write_config
flip() { # FILE OFFSET
  local byte
  byte=$(od -An -tu1 -j"$2" -N1 "$1")
  printf "$(printf '\\%03o' $((byte ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

expect 2 stagecoach verify
says err RUN
expect 2 stagecoach verify a b
expect 1 stagecoach verify missing
says err missing
mkdir empty
expect 1 stagecoach verify empty
says err "nothing to verify" empty/checkpoints empty/final

expect 0 stagecoach train config.yaml --workers 2
expect 0 stagecoach verify run
says out "final  ok  3 files"
for file in model.safetensors config.json stagecoach_tokenizer.json; do
  for offset in 7 $(($(stat -c %s run/final/$file) - 1)); do
    flip run/final/$file "$offset"
    expect 1 stagecoach verify run
    says out "final  DAMAGED: $file: "
    flip run/final/$file "$offset"
  done
done
mv run/final/config.json .
expect 1 stagecoach verify run
says out "final  DAMAGED: config.json: is missing"
mv config.json run/final

# weights that came without the list: what can be checked is, and the rest is said
rm run/final/checksums.xxh128
expect 0 stagecoach verify run
says out "final  ok" "the values are not checked"
truncate -s -1 run/final/model.safetensors
expect 1 stagecoach verify run
says out "final  DAMAGED: model.safetensors: "
