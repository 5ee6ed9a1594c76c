# evaluate: the loss of transformers, the same bits for any number of workers and threads, and clear errors.
. "$(dirname "$0")/lib.sh" "$@"
golden="$sources/tests/golden/hf-gpt2"
printf 'It was a stagecoach, drawn by si' >prompt.txt
head -c 20000 "$sources/deploy/configs/data/shakespeare.txt" >text.txt

# tests/golden/hf-gpt2: transformers' loss of the prompt; 1e-5 relative is the project's mark for logits
expect 0 stagecoach evaluate "$golden" --data prompt.txt --json
says out '"tokens":31' '"windows":1' '"context":32'
awk -F '[:,]' '{ d = $2 / 6.095203174843322 - 1; exit !(d < 1e-5 && d > -1e-5) }' out || { cat out; fail "another loss than transformers'"; }

loss() { # OPTION...: the loss as it was written, all digits
  stagecoach evaluate "$golden" --data text.txt --json "$@" | cut -d, -f1
}
one=$(loss)
[ -n "$one" ] || fail "no loss was told"
for options in '--workers 2' '--workers 5' '--threads 2' '--workers 3 --threads 1'; do
  # shellcheck disable=SC2086
  [ "$(loss $options)" = "$one" ] || fail "another loss with $options"
done
[ "$(loss --context 20)" != "$one" ] || fail "the context makes no difference"

# a token file is the text that it was made from
expect 0 stagecoach tokenize --tokenizer "$golden" text.txt --out text.tok
[ "$(stagecoach evaluate "$golden" --data text.tok --json --workers 3 | cut -d, -f1)" = "$one" ] || fail "another loss of the token file"

# a text for a person
expect 0 stagecoach evaluate "$golden" --data text.txt --batch 3
says out loss perplexity '19999 tokens in 625 windows of 32'
[ ! -s err ] || fail "progress was drawn where there is no terminal"

expect 1 stagecoach evaluate "$golden" --data missing.txt
says err missing.txt
expect 1 stagecoach evaluate nowhere --data text.txt
says err nowhere
expect 1 stagecoach evaluate "$golden" --data text.txt --context 33
says err 33 32
printf x >one.txt
expect 1 stagecoach evaluate "$golden" --data one.txt
says err one.txt 2
expect 1 stagecoach evaluate "$golden" --data text.txt --workers 6
says err 6 5
expect 2 stagecoach evaluate "$golden"
says err --data
expect 2 stagecoach evaluate --data text.txt
says err RUN
expect 2 stagecoach evaluate "$golden" --data text.txt --workers 0
says err --workers
