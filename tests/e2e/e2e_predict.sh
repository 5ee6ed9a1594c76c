# predict: what transformers says of the same texts, over any number of workers the same bytes; from files, standard input and a
# FIFO that trickles; answers; what is wrong with a text, and with the command.
. "$(dirname "$0")/lib.sh" "$@"
golden="$sources/tests/golden/hf-bert"

# close WANTED FILE: the same columns; numbers within 1e-5, as ours are of float32 and transformers' here of float64.
close() {
  awk -F'\t' -v wanted="$1" '
    { if ((getline line <wanted) <= 0) { print "more lines than " wanted; exit 1 }
      if (split(line, w) != NF) { print line " <> " $0; exit 1 }
      for (i = 1; i <= NF; i++)
        if ($i != w[i] && !($i ~ /^[0-9.e-]+$/ && w[i] ~ /\./ && ($i - w[i]) ^ 2 < 1e-10)) { print line " <> " $0; exit 1 } }
    END { if ((getline line <wanted) > 0) { print "fewer lines than " wanted; exit 1 } }' "$2" || fail "$2 is not $1"
}

for model in classification multi-label tagging masked pairs; do
  dir=$golden/$model input=$golden/texts.txt options=()
  [ $model = masked ] && input=$golden/masks.txt
  [ $model = pairs ] && dir=$golden/classification input=$golden/pairs.txt options=(--pair)
  # tagging goes on in a next window where the others cut: the golden lines have no texts that are too long
  [ $model = tagging ] && grep -v 'john smith lives and works' "$input" >fitting.txt && input=fitting.txt
  expect 0 stagecoach predict "$dir" --file "$input" --format tsv "${options[@]}"
  cp out $model.tsv
  [ $model != tagging ] || sed -i -E 's/^7\t/8\t/' $model.tsv
  close "$golden/$model.tsv" $model.tsv
  expect 0 stagecoach predict "$dir" --file "$input" --top 3 "${options[@]}"
  cp out $model.jsonl
  expect 0 stagecoach predict "$dir" --top 3 --workers 3 --threads 2 "${options[@]}" <"$input"
  cmp out $model.jsonl || fail "three workers say something else of $model"
done
says classification.jsonl '"text":"中国 and Pàris"' '"cut":true' '"scores":[{"label":'
says tagging.jsonl '"entities":[{"type":'

# many texts of all lengths: each answer is that of the text alone, and in its place
for i in $(seq 40); do cat "$golden/texts.txt"; done >many.txt
expect 0 stagecoach predict "$golden/classification" --file many.txt
head -8 out >first
for i in $(seq 40); do cat first; done | cmp - out || fail "an answer depends on the texts around it"
expect 0 stagecoach predict "$golden/classification" --text "$(sed -n 5p "$golden/texts.txt")"
cmp out <(sed -n 5p first) || fail "--text says something else"

# tagging in windows: each word of a text that is too long has a tag
expect 0 stagecoach predict "$golden/tagging" --format conll --file <(sed -n 7p "$golden/texts.txt")
[ "$(grep -c . out)" -eq "$(sed -n 7p "$golden/texts.txt" | wc -w)" ] || fail "words are lost in windows"

# CoNLL in and out: what 'stagecoach report' reads
printf -- '-DOCSTART- O\n\nMary B-PER\nlives O\n\n\nParis B-LOC\n. O\n' >words.conll
expect 0 stagecoach predict "$golden/tagging" --input conll --file words.conll --format conll
cp out words.pred
[ "$(cut -f1,2 words.pred | tr '\t\n' ' |')" = "Mary B-PER|lives O||Paris B-LOC|. O||" ] || fail "the words or their tags changed"
expect 0 stagecoach report words.pred
says out PER LOC
expect 0 stagecoach predict "$golden/tagging" --input conll --tag-column 0 --format conll <words.conll
cmp out <(cut -f1,3 words.pred) || fail "without right tags the words have others"

# a line is answered when it comes, also while the next one does not
mkfifo slow
stagecoach predict "$golden/classification" <slow >answers.jsonl &
pid=$!
exec 3>slow
for i in 1 2 3; do
  sed -n ${i}p "$golden/texts.txt" >&3
  wait_for_lines $i answers.jsonl '"label"'
done
printf 'no line end' >&3
exec 3>&-
wait $pid || fail "the stream ended with an error"
cmp <(head -3 answers.jsonl) <(head -3 first) || fail "the stream says something else"
[ "$(wc -l <answers.jsonl)" -eq 4 ] || fail "the last line was not answered"

# what is wrong with a text is told in its place, and the others go on
printf 'not bad\n\nbad \xff byte\nnot bad\r\nnul \x00 byte\n' >mixed.txt
head -c 1100000 /dev/zero | tr '\0' 'a' >>mixed.txt
printf '\nnot bad' >>mixed.txt
expect 1 stagecoach predict "$golden/classification" --file mixed.txt
[ "$(wc -l <out)" -eq 7 ] || fail "not every line has its answer"
good='{"text":"not bad"'
[ "$(cut -c1-17 out | grep -cF -- "$good")" -eq 3 ] || fail "good lines are not answered"
says <(sed -n 2p out) '{"line":2,"error":"the text is empty"}'
says <(sed -n 3p out) '{"line":3,"error":"the text is not UTF-8: byte 0xFF at its character 5"}'
says <(sed -n 5p out) '{"line":5,"error":"the text holds a NUL byte; it must be UTF-8"}'
says <(sed -n 6p out) '{"line":6,"error":"the line has more than 1048576 bytes"}'
expect 1 stagecoach predict "$golden/classification" --file mixed.txt --format tsv
says err 'line 2' 'line 6'
[ "$(wc -l <out)" -eq 3 ] || fail "tsv has other than the good lines"
expect 1 stagecoach predict "$golden/classification" --pair --text "no tab"
says out 'no tab'
expect 1 stagecoach predict "$golden/masked" --text "nothing to fill"
says out '[MASK]'
expect 0 stagecoach predict "$golden/tagging" --text ""
says out '{"text":"","entities":[]}'
expect 0 stagecoach predict "$golden/classification" </dev/null
[ ! -s out ] || fail "something was said of nothing"

# answers
cat >answers.yaml <<'YAML'
threshold: 0.5
unknown: I do not know about "{text}".
default: "{label} {{{probability}}}"
answers:
  positive: Glad to hear it!
  neutral: {answer: So so., threshold: 0}
YAML
expect 0 stagecoach predict "$golden/classification" --answers answers.yaml --file "$golden/texts.txt"
says out '"answer":"' '"known":true'
while IFS= read -r line; do
  label=$(sed -E 's/.*"label":"([a-z]*)".*/\1/' <<<"$line") p=$(sed -E 's/.*"probability":([0-9.]*).*/\1/' <<<"$line")
  case $label in
    neutral) says <(echo "$line") '"answer":"So so.","known":true' ;;
    *) if [ "$(cut -c1-3 <<<"$p")" \< 0.5 ]; then
         says <(echo "$line") '"answer":"I do not know about' '"known":false'
       elif [ "$label" = positive ]; then
         says <(echo "$line") '"answer":"Glad to hear it!","known":true'
       else
         says <(echo "$line") "\"answer\":\"$label {"
       fi ;;
  esac
done <out
echo 'answers: {positve: Yes}' >wrong.yaml
expect 1 stagecoach predict "$golden/classification" --answers wrong.yaml --text good
says err wrong.yaml:1 positve "did you mean 'positive'"
expect 2 stagecoach predict "$golden/tagging" --answers answers.yaml --text good
says err --answers

# who reads has gone: an end without a word
for i in $(seq 100); do cat many.txt; done >more.txt
{ stagecoach predict "$golden/classification" --file more.txt 2>err || echo $? >code; } | head -1 >one
[ "$(cat code)" = 1 ] && [ ! -s err ] || fail "a closed pipe: $(cat err)"

# memory does not grow with the input: 64,000 texts would take some 100 MB, three windows take 2; a sanitizer keeps what was freed
if ! grep -q __asan_init "$bin/stagecoach"; then
  mkfifo much
  stagecoach predict "$golden/classification" <much >much.jsonl &
  pid=$!
  exec 3>much
  peak() { awk '/VmHWM/ { print $2 }' /proc/$pid/status; }
  cat more.txt >&3
  wait_for_lines 32000 much.jsonl '"label"'
  before=$(peak)
  cat more.txt more.txt >&3
  wait_for_lines 96000 much.jsonl '"label"'
  after=$(peak)
  exec 3>&-
  wait $pid || fail "the long stream ended with an error"
  [ $((after - before)) -lt 20000 ] || fail "memory grew from $before to $after KiB"
fi

# a signal ends a stream that waits, and what came before is answered
mkfifo waiting
stagecoach predict "$golden/classification" <waiting >stopped.jsonl 2>stopped.err &
pid=$!
exec 3>waiting
echo "not bad" >&3
wait_for_lines 1 stopped.jsonl '"label"'
kill -INT $pid
code=0
wait $pid || code=$?
exec 3>&-
[ $code -eq 1 ] || fail "exit code $code after a signal"
says stopped.err 'stopped by a signal'

# a worker that is killed is replaced, in the middle of much and while nothing is to be done: the answers are the same
mkfifo killing
stagecoach predict "$golden/classification" --workers 2 <killing >killed.jsonl 2>killed.err &
pid=$!
exec 3>killing
for round in 1 2 3; do
  cat many.txt >&3
  [ $round = 2 ] || wait_for_lines $((320 * round)) killed.jsonl '"label"'
  kill -9 "$(cut -d' ' -f$((round % 2 + 1)) /proc/$pid/task/$pid/children)"
done
cat many.txt >&3
exec 3>&-
wait $pid || { cat killed.err >&2; fail "the loss of a worker ended the stream"; }
for i in $(seq 160); do cat first; done | cmp - killed.jsonl || fail "answers differ after the loss of a worker"
says killed.err 'signal 9' 'another is started'

# wrong use
expect 1 stagecoach predict "$sources/tests/golden/hf-gpt2" --text good
says err GPT2LMHeadModel 'stagecoach generate'
expect 1 stagecoach predict "$sources/tests" --text good
says err 'has no weights' config.json
expect 1 stagecoach predict nowhere --text good
says err nowhere
expect 1 stagecoach predict "$golden/classification" --file nowhere
says err nowhere
expect 1 stagecoach predict "$golden/classification" --file .
says err directory
expect 1 stagecoach predict "$golden/classification" --text good --max-length 25
says err 24
cp -r "$golden/masked" headless && sed -i 's/BertForMaskedLM/BertForSequenceClassification/' headless/config.json
expect 1 stagecoach predict headless --text good
says err headless 'fine-tune'
for wrong in "" "--text a --file b" "b c" "--format xml" "--input xml" "--workers 0" "--format conll" "--input conll" "--word-column 0"; do
  expect 2 stagecoach predict ${wrong:+"$golden/classification"} $wrong
done
expect 2 stagecoach predict "$golden/masked" --pair
says err --pair

# evaluate: right labels that are the predicted ones but for one; the loss is that of predict's probabilities
cut -f1,2 classification.tsv >labelled.tsv
loss() { sed -nE 's/.*"loss":([0-9.]*).*/\1/p' "$1"; }
expect 0 stagecoach evaluate "$golden/classification" --data labelled.tsv --predictions all.pred --json
says out '"accuracy":1.0' '"macro avg"'
cp out evaluated.json
awk -F'\t' -v loss="$(loss out)" '{ sum -= log($3) } END { exit (sum / NR - loss) ^ 2 > 1e-10 }' classification.tsv ||
  fail "the loss is not that of the probabilities" # six digits of each
expect 0 stagecoach evaluate "$golden/classification" --data labelled.tsv --workers 3 --predictions three.pred --json
[ "$(loss out)" = "$(loss evaluated.json)" ] || fail "three workers give another loss"
cmp <(cut -f1,2 classification.tsv) <(cut -f1,3 all.pred) || fail "the file of predictions has something else"
cmp all.pred three.pred || fail "three workers predict something else"
sed -i '1s/\t.*/\tother/' labelled.tsv
expect 0 stagecoach evaluate "$golden/classification" --data labelled.tsv
says out 'accuracy 0.8750' '8 examples' 'macro avg'
expect 0 stagecoach evaluate "$golden/tagging" --data words.conll --predictions tags.pred
says out '4 words'
cmp tags.pred words.pred || fail "evaluate tags otherwise than predict"
printf 'good\tangry\n' >unknown.tsv
expect 1 stagecoach evaluate "$golden/classification" --data unknown.tsv
says err unknown.tsv:1 angry
expect 1 stagecoach evaluate "$golden/tagging" --data words.conll --format csv
says err csv
expect 1 stagecoach evaluate "$golden/classification" --data words.conll --format sequences
says err sequences
# any number of labels: the predicted ones are right, but for one text that has another one more
cut -f1,2 multi-label.tsv | sed '1s/$/,travel/' >sets.tsv
expect 0 stagecoach evaluate "$golden/multi-label" --data sets.tsv --predictions sets.pred
says out 'accuracy 0.8750' 'samples avg'
expect 0 stagecoach report sets.pred --label-separator , --digits 4
cmp out <(stagecoach evaluate "$golden/multi-label" --data sets.tsv | tail -n +3) || fail "report says something else"
