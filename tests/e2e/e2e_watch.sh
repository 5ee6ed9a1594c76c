# watch: alarms where the share of a label crosses the threshold, once each; exit codes; a command that is handed each alarm, and
# that nobody waits for.
. "$(dirname "$0")/lib.sh" "$@"
model="$sources/tests/golden/hf-bert/classification"

# a text of each of two labels, by what predict says of it
expect 0 stagecoach predict "$model" --file "$sources/tests/golden/hf-bert/texts.txt" --format tsv
bad=$(awk -F'\t' '$2 == "neutral" { print $1; exit }' out) good=$(awk -F'\t' '$2 != "neutral" { print $1; exit }' out)
[ -n "$bad" ] && [ -n "$good" ] || fail "the texts have not two labels"
# stream PATTERN: a line for each x (with the label) or dot
stream() {
  fold -w1 <<<"$1" | sed "s/x/$bad/; s/^[.]$/$good/"
}
alarms() { # of the file: line, count and number of each
  sed -E 's/.*"alarm":([0-9]*).*"count":([0-9]*).*"line":([0-9]*).*/\1 \2 \3/' "$1" | tr '\n' '|'
}

for workers in 1 3; do
  stream '..xxx.....xxx' >texts
  expect 3 stagecoach watch "$model" --label neutral --above 0.5 --window 4 --file texts --workers $workers
  [ "$(alarms out)" = '1 3 5|2 3 13|' ] || fail "alarms at $(alarms out)"
done
says out '"label":"neutral"' '"share":0.75' '"window":4' '"above":0.5' '"time":"' "\"text\":\"$bad\""
expect 0 stagecoach watch "$model" --label neutral --above 0.75 --window 4 <texts
[ ! -s out ] || fail "an alarm without a crossing"
# the hysteresis: nine tenths of the threshold by default, so that 2/4 after 3/4 is no end of the alarm with 0.55
stream '..xxx.x.xx' >wavering
expect 3 stagecoach watch "$model" --label neutral --above 0.55 --window 4 --below 0.5 <wavering
[ "$(alarms out)" = '1 3 5|2 3 10|' ] || fail "alarms at $(alarms out)"
expect 3 stagecoach watch "$model" --label neutral --above 0.55 --window 4 <wavering
[ "$(alarms out)" = '1 3 5|' ] || fail "alarms at $(alarms out)"
# what is broken does not count
{ stream '..xx'; printf '\n\xff\n'; stream x; } >broken
expect 3 stagecoach watch "$model" --label neutral --above 0.5 --window 4 --file broken
[ "$(alarms out)" = '1 3 7|' ] || fail "alarms at $(alarms out)"
says err 'line 5: the text is empty' 'line 6: the text is not UTF-8'

# the command has the alarm on its input and in its environment, and its failure is told
expect 3 stagecoach watch "$model" --label neutral --above 0.5 --window 4 --file texts --command 'cat >>seen; printf "%s\n" "$STAGECOACH_ALARM" >>named; echo shown; exit 7'
cmp <(sort seen) <(sort out) || fail "the command read another alarm"
cmp <(sort named) <(sort out) || fail "the environment has another alarm"
says err shown 'exit code 7'

# an alarm comes while the stream is open, and a command that hangs stops nothing
mkfifo slow release
stagecoach watch "$model" --label neutral --above 0.5 --window 4 --command 'read line <release' <slow >live.jsonl 2>live.err &
pid=$!
exec 3>slow
stream '..xxx' >&3
wait_for_lines 1 live.jsonl '"alarm"'
stream '.....xxx' >&3
wait_for_lines 2 live.jsonl '"alarm"'
exec 4<>release
printf '\n\n' >&4
kill -TERM $pid
code=0
wait $pid || code=$?
exec 3>&- 4>&-
[ $code -eq 3 ] || { cat live.err >&2; fail "exit code $code after a signal, with alarms"; }

expect 1 stagecoach watch "$model" --label angry --above 0.5 <texts
says err angry negative positive
expect 1 stagecoach watch "$sources/tests/golden/hf-bert/tagging" --label O --above 0.5 <texts
says err BertForTokenClassification
for wrong in "" "--label neutral" "--above 0.5" "--label neutral --above 1" "--label neutral --above 0.5 --below 0.6" \
             "--label neutral --above 0.5 --window 0" "--label neutral --above 0.5 x"; do
  expect 2 stagecoach watch "$model" $wrong
done
