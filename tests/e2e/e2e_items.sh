# A recommender: sequences of items are learnt, ranked beside popularity, and continued; the same bytes over any number of workers,
# and after a stop.
. "$(dirname "$0")/lib.sh" "$@"

# 150 users of 40 items: behind item i comes i + 7, in one of ten cases any other; no item is more popular than chance makes it.
# The random numbers are Lehmer's, as awk's own differ from one awk to another.
awk 'function random(n) { x = x * 16807 % 2147483647; return x % n }
     BEGIN {
       x = 7
       for (user = 1; user <= 150; user++) {
         item = random(40); n = 6 + random(8); time = 1000 + random(1000)
         for (i = 0; i < n; i++) {
           printf "u%d::i%02d::%d::%d\n", user, item, 1 + random(10), time
           item = random(10) ? (item + 7) % 40 : random(40); time += 1 + random(100)
         }
       }
     }' >ratings.dat
awk 'BEGIN { for (i = 0; i < 40; i += 2) printf "i%02d::Item \"%d\" (1999)::Drama\n", i, i }' >titles.dat
cat >config.yaml <<'YAML'
run:      {dir: run, seed: 7}
model:    {family: gpt2, layers: 2, heads: 2, hidden: 32, context: 8, dropout: 0.1}
data:     {train: [ratings.dat], format: items, separator: "::", titles: titles.dat, min_item_count: 2}
train:    {epochs: 5, batch_size: 16, micro_batch_size: 8, learning_rate: 1.0e-2, lr_schedule: constant, best_metric: ndcg@10}
checkpoint: {every: 5}
status:   {listen: off}
YAML

score() { # RUN EVENT NAME: of the last such event, in thousandths
  grep "\"event\":\"$2\"" "$1/events.jsonl" | tail -1 | sed -E "s/.*\"$3\":([0-9.]+).*/\1/" | awk '{ print int($1 * 1000) }'
}
scores() { # RUN: of all evaluations and the test
  sed -nE '/"event":"(eval|test)"/s/"time":"[^"]*",//p' "$1/events.jsonl" | sort -u
}

expect 0 stagecoach train config.yaml --workers 1
says out "hr@10" "popularity_ndcg@10"
[ "$(grep -c '"event":"eval"' run/events.jsonl)" -eq 5 ] || fail "an evaluation after each epoch was expected"
[ "$(score run test "hr@10")" -gt "$((2 * $(score run test "popularity_hr@10")))" ] || fail "HR@10 is that of popularity"
[ "$(score run test "ndcg@10")" -gt 700 ] || fail "what comes next was not learnt"
grep -q '"popularity_ndcg@10"' run/test.json || fail "no popularity in the report"

# The same data as ready sequences, and over three workers.
sort -t: -k1.2,1n -k7,7n -s ratings.dat | awk -F:: '$1 != user { printf "%s", user ? "\n" : ""; user = $1 } { printf "%s ", $2 } END { print "" }' >sequences.txt
expect 0 stagecoach train config.yaml --workers 3 --run-dir ready --set data.train="[sequences.txt]" --set data.format=sequences
same_bits run ready
diff <(scores run) <(scores ready) || fail "sequences over three workers have other scores"

# A run that is stopped goes on to the same end.
expect 0 stagecoach train config.yaml --workers 2 --run-dir halves --set train.epochs=2
expect 0 stagecoach train config.yaml --workers 1 --run-dir halves
cmp run/final/model.safetensors halves/final/model.safetensors || fail "the weights of a run in two parts differ"
diff <(scores run) <(scores halves) || fail "a run in two parts has other scores"

# What comes next: i28 behind i21, with a title, and nothing that was met.
printf 'i00 i07\ti14 i21\n\nnobody\nnobody i05 i12\n' >users.txt
expect 1 stagecoach predict run --file users.txt --top 3
[ "$(wc -l <out)" -eq 4 ] || fail "a line for each line was expected"
sed -n 1p out | grep -q '^{"items":\[{"item":"i28","title":"Item \\"28\\" (1999)","probability":0\.[4-9]' || fail "not i28: $(sed -n 1p out)"
sed -n 1p out | grep -qE 'i00|i07|i14|i21' && fail "an item that was met came again"
says out '{"line":2,"error":"the line has no item that the model knows"}' '"unknown":["nobody"]}'
cp out one
expect 1 stagecoach predict run --file users.txt --top 3 --workers 3
cmp one out || fail "three workers predict otherwise"
expect 0 stagecoach predict run --text "i00 i07" --top 40
[ "$(grep -o '"item"' out | wc -l)" -eq 38 ] || fail "all items but two were expected"
expect 0 stagecoach predict run --text "i00 i07" --top 40 --include-seen --format tsv
[ "$(wc -l <out)" -eq 40 ] || fail "all items were expected"

# What is wrong is told with its place, before anything starts.
sed 's/^u3::i[0-9]*::[0-9]*::/&soon/' ratings.dat >broken.dat
expect 1 stagecoach train config.yaml --run-dir broken --set data.train="[broken.dat]"
says err "broken.dat:" "is not a number"
expect 1 stagecoach train config.yaml --run-dir few --set data.min_user_items=100
says err "no user has 100 items that occur at least 2 times"
expect 1 stagecoach evaluate run --data sequences.txt
says err "holds a model of items"
expect 1 stagecoach generate run --tokens 2
says err "nothing to begin with"
