# generate: deterministic by seed, greedy at temperature 0, the same over any number of workers, before and behind the
# context's end; clear errors.
. "$(dirname "$0")/lib.sh" "$@"
write_config
# enough steps for a model that looks at more than the last character
expect 0 stagecoach train config.yaml --run-dir run --set train.steps=200 --set train.eval_every=0
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

# The text passes the context of 32 tokens. Drawn token by token, each behind a prompt of its own, it is the same: what the
# stages keep of earlier tokens is what they would compute anew. (But for the last bits, which would matter to a draw about
# once in a million.)
text=First
greedy=First
for _ in $(seq 40); do
  text=$(stagecoach generate run --prompt "$text" --tokens 1 --seed 1; echo .)
  text=${text%$'\n'.}
  greedy=$(stagecoach generate run --prompt "$greedy" --tokens 1 --temperature 0; echo .)
  greedy=${greedy%$'\n'.}
done
printf '%s\n' "$text" | cmp - a || fail "token by token the text is another: $text"
printf '%s\n' "$greedy" | cmp - d || fail "token by token the likeliest text is another: $greedy"
generate --temperature 0 --workers 3 >g
cmp d g || fail "three workers wrote another likeliest text"
[ "$(head -c 5 a)" = First ] || fail "the prompt does not come first"
[ "$(wc -m <a)" -eq 46 ] || fail "5 + 40 characters and a newline were expected"
expect 1 stagecoach generate run --prompt "日本" --tokens 5
says err 'U+65E5'
expect 1 stagecoach generate nowhere --prompt a
says err 'nowhere' 'directory of a run'
expect 2 stagecoach generate run --top-p 2
says err '--top-p'
expect 2 stagecoach generate
says err 'RUN'
# weights that are cut short are told, not used
cp -r run/final broken
truncate -s -100 broken/model.safetensors
expect 1 stagecoach generate broken --prompt a
says err 'broken/model.safetensors'
