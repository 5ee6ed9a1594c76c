# generate: deterministic by seed, greedy at temperature 0, the same over any number of workers; clear errors.
. "$(dirname "$0")/lib.sh" "$@"
write_config
expect 0 stagecoach train config.yaml --run-dir run
generate() { stagecoach generate run --prompt "First" --tokens 40 "$@"; }
generate --seed 1 >a
generate --seed 1 --workers 3 >b
generate --seed 2 >c
generate --temperature 0 --seed 1 >d
generate --temperature 0 --seed 2 >e
generate --top-k 1 >f
cmp a b || fail "three workers wrote another text"
cmp -s a c && fail "another seed wrote the same text"
cmp d e || fail "the likeliest text depends on the seed"
cmp d f || fail "top-k 1 is not the likeliest text"
[ "$(head -c 5 a)" = First ] || fail "the prompt does not come first"
[ "$(wc -m <a)" -eq 46 ] || fail "5 + 40 characters and a newline were expected"
expect 1 stagecoach generate run --prompt "日本" --tokens 5
says err 'U+65E5'
expect 1 stagecoach generate nowhere --prompt a
says err 'nowhere' 'finished run'
expect 2 stagecoach generate run --top-p 2
says err '--top-p'
expect 2 stagecoach generate
says err 'RUN'
# weights that are cut short are told, not used
cp -r run/final broken
truncate -s -100 broken/model.safetensors
expect 1 stagecoach generate broken --prompt a
says err 'broken/model.safetensors'
