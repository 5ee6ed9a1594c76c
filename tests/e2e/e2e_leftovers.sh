# What a command leaves when it is stopped or killed, and what it says of a place that is none.
. "$(dirname "$0")/lib.sh" "$@"
write_config

# The directory of a killed coordinator's sockets goes with the next start; that of a living one stays.
socket_dir() { readlink /proc/"$1"/fd/* 2>/dev/null | grep '/owner$' | xargs dirname; }
stagecoach train config.yaml --set train.steps=100000 --workers 2 --run-dir killed >/dev/null 2>&1 &
killed=$!
stagecoach train config.yaml --set train.steps=100000 --workers 2 --run-dir alive >/dev/null 2>&1 &
alive=$!
wait_for killed/events.jsonl '"step":3,'
wait_for alive/events.jsonl '"step":3,'
killed_dir=$(socket_dir $killed) alive_dir=$(socket_dir $alive)
[ -d "$killed_dir" ] && [ -d "$alive_dir" ] || fail "no directories of sockets"
workers=$(pgrep -P $killed)
kill -9 $killed
all_gone $workers
expect 0 stagecoach train config.yaml --workers 2 --run-dir next
[ ! -e "$killed_dir" ] || fail "$killed_dir is left behind"
[ -d "$alive_dir" ] || fail "the directory of a living coordinator was removed"
kill $alive
wait $alive || fail "the other run was disturbed"
[ ! -e "$alive_dir" ] || fail "$alive_dir is left behind"

# tokenize, stopped before its end, leaves neither its temporary file nor half a result.
cat text.txt text.txt >large.txt
for ((i = 0; i < 10; i++)); do cat large.txt large.txt >larger.txt && mv larger.txt large.txt; done
(
  trap - INT # which bash ignores in the background
  exec stagecoach tokenize --tokenizer "$sources/tests/golden/vocab-gpt2" large.txt --out large.tokens
) >tokenize.out 2>tokenize.err &
tokenize=$!
while ! compgen -G 'large.tokens.tmp.*' >/dev/null; do # it is in the midst of it
  kill -0 $tokenize 2>/dev/null || { cat tokenize.out tokenize.err >&2; fail "tokenize has ended"; }
  sleep 0.01
done
kill -INT $tokenize
code=0
wait $tokenize || code=$?
[ $code -eq 1 ] || { cat tokenize.out tokenize.err >&2; fail "tokenize ends with $code"; }
says tokenize.err 'stopped by a signal (Interrupt)'
! compgen -G 'large.tokens*' >/dev/null || fail "tokenize left $(compgen -G 'large.tokens*')"

# Places that are none.
for command in generate export evaluate; do
  more=()
  [ $command = export ] && more=(--out exported)
  [ $command = evaluate ] && more=(--data text.txt)
  expect 1 stagecoach $command text.txt "${more[@]}"
  says err "text.txt is neither a run's directory nor a model's, but a file"
  expect 1 stagecoach $command nowhere "${more[@]}"
  says err 'nowhere: No such file or directory; name the directory of a run, or of a model'
done
expect 1 stagecoach train config.yaml --run-dir /proc/x
says err 'cannot make the directory /proc/x' 'choose another place with --run-dir'
expect 1 stagecoach train config.yaml --run-dir text.txt
says err 'text.txt is not a directory; choose another place with --run-dir'
