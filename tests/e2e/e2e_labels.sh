# A BERT that tells labels apart: with class weights the same bits over any number of workers and behind a loss; weights that name no
# label are refused before anything starts.
. "$(dirname "$0")/lib.sh" "$@"
for i in $(seq 1 60); do
  case $((i % 5)) in
  0) printf 'the bank said no to loan %d\tbad\n' "$i" ;;
  1 | 2 | 3) printf 'a quiet day, number %d\tneither\n' "$i" ;;
  4) printf 'profits are up by %d again\tgood\n' "$i" ;;
  esac
done >texts.tsv
cat >config.yaml <<YAML
run:        {dir: run, seed: 7}
model:      {family: bert, task: classification, layers: 2, heads: 2, hidden: 32, context: 24, dropout: 0.1}
data:       {train: [texts.tsv], format: text-label, tokenizer: $sources/tests/golden/vocab-bert/uncased, validation_share: 0.1}
train:      {epochs: 3, batch_size: 8, micro_batch_size: 2, learning_rate: 1.0e-3}
status:     {listen: off}
YAML
weights=(--set 'train.class_weights=[bad=2.5, "neither=0.5"]')

expect 1 stagecoach train config.yaml --set 'train.class_weights=[worse=2]' --run-dir bad
says err train.class_weights "no label 'worse'"

expect 0 stagecoach train config.yaml --workers 1 --run-dir plain
expect 0 stagecoach train config.yaml --workers 1 "${weights[@]}" --run-dir one
expect 0 stagecoach train config.yaml --workers 3 "${weights[@]}" --run-dir three
same_bits one three
expect 0 stagecoach train config.yaml --workers 2 --set train.class_weights=balanced --run-dir balanced
for run in one balanced; do
  cmp -s plain/final/model.safetensors $run/final/model.safetensors && fail "the class weights of $run changed nothing"
done

# Replay: the last stage, whose targets weigh, is lost between two points.
steps=(--set train.epochs=0 --set train.steps=200 --set checkpoint.every=0 --set train.eval_every=0)
expect 0 stagecoach train config.yaml --workers 1 "${weights[@]}" "${steps[@]}" --run-dir calm
stagecoach train config.yaml --workers 3 --threads 1 "${weights[@]}" "${steps[@]}" --run-dir stormy >out 2>err &
train=$!
wait_for stormy/events.jsonl '"event":"step".*"step":35,'
kill -9 "$(last_pid stormy 2)"
wait $train || { cat out err >&2; fail "train did not survive"; }
same_bits calm stormy
grep -q '"event":"recovery".*"level":"replay"' stormy/events.jsonl || fail "the loss was not replayed"

# Any number of labels at once, as arrays.
for i in $(seq 1 40); do
  case $((i % 4)) in
  0) printf '{"text": "rates and profits rise, %d", "label": ["rates", "profits"]}\n' "$i" ;;
  1) printf '{"text": "rates rise, %d", "label": ["rates"]}\n' "$i" ;;
  *) printf '{"text": "nothing on day %d", "label": []}\n' "$i" ;;
  esac
done >sets.jsonl
many=(--set data.test_share=0.2 --set train.best_metric=macro_f1 --set data.train=sets.jsonl --set data.format=jsonl --set model.multi_label=true --threads 1)
for workers in 1 3; do
  expect 0 stagecoach train config.yaml --workers $workers "${many[@]}" --run-dir many$workers
done
same_bits many1 many3
says many1/final/config.json '"problem_type": "multi_label_classification"' '"profits": 0' '"rates": 1'
cmp many1/test.pred many3/test.pred
says many1/test.json '"micro avg"' '"samples avg"' '"micro_f1"'
expect 0 stagecoach report many1/test.pred --label-separator ,
says out 'samples avg'
expect 2 stagecoach report many1/test.pred --label-separator ''
expect 1 stagecoach report many1/test.pred --label-separator , --format confusion
