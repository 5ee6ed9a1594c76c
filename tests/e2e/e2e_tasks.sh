# What a BERT learns: texts with labels, words with tags, masked words; over any number of stages the same bytes, predictions and
# reports with them; the best weights kept, whatever dies; pre-trained, fine-tuned, and taken along with labels and vocabulary.
. "$(dirname "$0")/lib.sh" "$@"
vocab=$sources/tests/golden/vocab-bert
ner=$sources/tests/data/ner-wnut17

# 150 reviews that a small model can learn: one word of each says it.
awk 'function below(n) { x = (x * 1103 + 12345) % 65536; return int(x / 65536 * n) }
BEGIN {
  split("good fine great lovely", good); split("bad poor awful dull", bad); split("the film was and a plot with some actors", fill)
  x = 1
  for (i = 0; i < 150; i++) {
    n = 2 + below(9); at = below(n); text = ""
    for (w = 0; w < n; w++)
      text = text (w ? " " : "") (w == at ? (i % 2 ? good[1 + below(4)] : bad[1 + below(4)]) : fill[1 + below(9)])
    print "\"" text ",\"," (i % 2 ? "pos" : "neg")
  }
}' >rows
{ echo 'review,feeling'; cat rows; } >reviews.csv
model='layers: 2, heads: 2, hidden: 32, context: 48'
cat >reviews.yaml <<YAML
run:   {dir: reviews, seed: 5}
model: {family: bert, task: classification, $model}
data:  {train: [reviews.csv], format: csv, text_column: review, label_column: feeling, tokenizer: $vocab/uncased,
        validation_share: 0.2, test_share: 0.2}
train: {epochs: 8, batch_size: 8, micro_batch_size: 2, learning_rate: 5.0e-3, best_metric: accuracy}
checkpoint: {every: 0, at_end: false}
status: {listen: off}
YAML
cat >tags.yaml <<YAML
run:   {dir: tags, seed: 5}
model: {family: bert, task: tagging, $model}
data:  {train: [$ner/train.conll], validation: [$ner/dev.conll], test: [$ner/test.conll], tokenizer: $vocab/cased}
train: {epochs: 2, batch_size: 8, micro_batch_size: 2, learning_rate: 1.0e-3, best_metric: loss, sequence_length: 20}
status: {listen: off}
YAML
head -c 20000 "$sources/deploy/configs/data/shakespeare.txt" >plays.txt
cat >words.yaml <<YAML
run:   {dir: words, seed: 5}
model: {family: bert, task: pretraining, $model}
data:  {train: [plays.txt], tokenizer: $vocab/uncased, whole_words: true}
train: {steps: 6, batch_size: 8, micro_batch_size: 2, learning_rate: 1.0e-3, eval_every: 3}
status: {listen: off}
YAML

scores_of() { grep -oE '"event":"(eval|best|test)".*' "$1/events.jsonl" | sed -E 's/"time":"[^"]*",//'; }
same_results() { # RUN RUN: weights, losses, scores, and what the test says
  same_bits "$1" "$2"
  cmp <(scores_of "$1" | sort -u) <(scores_of "$2" | sort -u) || fail "the scores of $2 differ from those of $1"
  local file
  for file in test.pred test.json; do
    [ ! -e "$1/$file" ] || cmp "$1/$file" "$2/$file" || fail "$file of $2 differs from that of $1"
  done
}

# One worker and three.
for task in reviews tags words; do
  expect 0 stagecoach train $task.yaml --workers 1 --run-dir $task-1
  expect 0 stagecoach train $task.yaml --workers 3 --threads 1 --run-dir $task-3
  same_results $task-1 $task-3
  cp out $task.out
done

# Scores after each epoch; the report, on the terminal, as JSON, and from the predictions; the best weights in final/.
says reviews.out "validation loss" "is the best so far: accuracy" "weighted avg" "the best, are in reviews-3/final"
says tags.out "validation loss" entity_f1 "test, by token" "test, by entity" "micro avg"
says words.out next_accuracy
[ "$(scores_of reviews-1 | grep -c '"eval"')" -eq 8 ] || fail "an evaluation after each of 8 epochs was expected"
best=$(scores_of reviews-1 | grep '"best"' | tail -1 | grep -oE '"step":[0-9]+' | grep -oE '[0-9]+')
says reviews-1/test.json "\"step\": $best," '"confusion"'
grep -aq "\"step\":\"$best\"" reviews-1/final/model.safetensors || fail "final/ does not hold step $best, the best"
expect 0 stagecoach report reviews-1/test.pred
awk '/^test$/ {on = 1; next} on && NF {print} /weighted avg/ {exit}' reviews.out >shown
diff <(grep . out) shown || fail "the report on test.pred is not what train showed"
expect 0 stagecoach report tags-1/test.pred --format conlleval
says out accuracy person
[ "$(grep -c . tags-1/test.pred)" -eq "$(grep -c . "$ner/test.conll")" ] || fail "words were lost"
cmp <(cut -f1,2 tags-1/test.pred) <(cat "$ner/test.conll") || fail "other words or tags than those of the file"

# What was kept for the best stays, though no checkpoint was asked for; labels go with it, and with final/.
ls reviews-1/checkpoints | grep -q "$(printf 'step-%08d' "$best")" || fail "the checkpoint of step $best is gone"
for dir in reviews-1/checkpoints/*/ reviews-1/final; do
  says "$dir/config.json" '"id2label"' '"0": "neg"' '"pos": 1'
done
says reviews-1/final/tokenizer_config.json '"do_lower_case": true'
cmp reviews-1/final/vocab.txt "$vocab/uncased/vocab.txt" || fail "another vocabulary"
expect 0 stagecoach train tags-1/config.yaml --run-dir tags-1
says out "all 38 steps are done already"

# Whoever dies, and comes again.
steady=(--set run.dir=storm --set checkpoint.every=7 --threads 1)
stagecoach train reviews.yaml --workers 3 "${steady[@]}" >out 2>err &
train=$!
wait_for storm/events.jsonl '"event":"step".*"step":18,'
kill -9 "$(last_pid storm 1)"
wait_for storm/events.jsonl '"event":"recovery"'
wait_for storm/events.jsonl '"event":"step".*"step":40,'
kill -9 $train
wait $train 2>/dev/null || :
expect 0 stagecoach train reviews.yaml --workers 2 "${steady[@]}"
same_results reviews-1 storm

# Pre-training that is replayed: a lost stage divides by the masked words and the sequences of the steps that it runs again.
many=(--set train.steps=60 --set train.eval_every=30 --set checkpoint.every=0)
expect 0 stagecoach train words.yaml --workers 1 "${many[@]}" --run-dir calm
stagecoach train words.yaml --workers 3 --threads 1 "${many[@]}" --run-dir replayed >out 2>err &
train=$!
wait_for replayed/events.jsonl '"event":"step".*"step":15,'
kill -9 "$(last_pid replayed 2)"
wait_for replayed/events.jsonl '"event":"recovery"'
kill -9 "$(last_pid replayed 0)"
wait $train || { cat out err >&2; fail "train did not survive"; }
says replayed/events.jsonl '"level":"replay"'
same_results calm replayed

# Patience: a learning rate of nothing gets no better. What has ended so has ended, until it is to have more patience.
patient=(--set data.test_share=0 --set train.learning_rate=0 --set train.patience=2 --set checkpoint.at_end=true --run-dir patient)
expect 0 stagecoach train reviews.yaml "${patient[@]}"
says out "(train.patience)" "weighted avg"
[ "$(wc -l <patient/validation.pred)" -eq 30 ] || fail "without a test the validation is what is reported on"
says patient/validation.json '"macro_f1"'
[ "$(scores_of patient | grep -c '"eval"')" -eq 3 ] || fail "two worse evaluations behind the first should end the run"
expect 0 stagecoach train reviews.yaml "${patient[@]}"
says out "are done already" "a larger train.patience goes on"
expect 0 stagecoach train reviews.yaml "${patient[@]}" --set train.patience=3
[ "$(scores_of patient | grep -c '"eval"')" -eq 5 ] || fail "one more validation, and the last one again, were expected"

# Pre-trained, then fine-tuned: the shape and the vocabulary come along, the head is drawn.
sed "s|tokenizer: [^,]*,||; s|$model|init: words-1/final|; s|epochs: 8|epochs: 1|" reviews.yaml >tuned.yaml
expect 0 stagecoach train tuned.yaml --run-dir tuned-1
says err "missing and begun anew: classifier.weight, classifier.bias"
expect 0 stagecoach train tuned.yaml --workers 3 --run-dir tuned-3
same_results tuned-1 tuned-3

# What may not be meant is said: a head of other labels, texts that are cut.
sed 's/,pos$/,yes/' reviews.csv >renamed.csv
expect 0 stagecoach train tuned.yaml --set model.init=tuned-1/final --set 'data.train=[renamed.csv]' \
  --set train.sequence_length=8 --run-dir renamed
says err "trained for other labels" "'pos', that of the data 'yes'"
says out "training texts are longer than 8 tokens and are cut"

# What is wrong is told with its place, before anybody is waited for.
refused() { # TEXT OPTION...
  expect 1 stagecoach train reviews.yaml --run-dir bad "${@:2}"
  says err "$1"
  [ ! -e bad/events.jsonl ] || fail "a run was begun"
}
{ cat reviews.csv; echo 'one,two,three'; } >ragged.csv
{ cat reviews.csv; echo 'so so,neither'; } >unknown.csv
{ cat reviews.csv; printf 'caf\xe9,pos\n'; } >latin1.csv
: >empty.csv
awk -F, '{print "word\t" $NF "\n"}' rows >plain.conll
refused 'ragged.csv:152: ' --set 'data.train=[ragged.csv]'
refused 'unknown.csv:152: ' --set 'data.validation=[unknown.csv]' --set data.validation_share=0
refused 'latin1.csv:152' --set 'data.train=[latin1.csv]'
refused 'empty.csv' --set 'data.train=[empty.csv]'
refused "no column has the name 'mood'" --set data.label_column=mood
refused 'model.vocab: 100 is smaller than the tokenizer' --set model.vocab=100
refused 'accuracy, macro_f1, loss' --set model.task=tagging --set data.format=conll --set train.best_metric=entity_f1 \
  --set 'data.train=[plain.conll]'
refused 'none is left for test' --set data.test_share=0.001
exit 0
