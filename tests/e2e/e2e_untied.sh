# A head with a matrix of its own: the same bits on any number of workers, stopped and resumed on another; from and to a
# Hugging Face directory; never taken for a tied one.
. "$(dirname "$0")/lib.sh" "$@"
golden="$sources/tests/golden/hf-gpt2/untied"
write_config
untied=(--set model.tied=false --set train.lr_schedule=constant)

expect 0 stagecoach train config.yaml "${untied[@]}" --run-dir reference
numbers reference >reference.txt
says reference/final/config.json '"tie_word_embeddings": false'
says reference/final/model.safetensors '"lm_head.weight":{"dtype":"F32"'
for run in '2 gpipe' '3 1f1b' '4 1f1b' '5 gpipe'; do
  read -r workers schedule <<<"$run"
  expect 0 stagecoach train config.yaml "${untied[@]}" --workers "$workers" --set pipeline.schedule="$schedule" --run-dir "w$workers"
  numbers "w$workers" | cmp - reference.txt || fail "$workers workers: other losses or norms"
  cmp "w$workers/final/model.safetensors" reference/final/model.safetensors || fail "$workers workers: other weights"
done
# ... and another model than the tied one
expect 0 stagecoach train config.yaml --set train.lr_schedule=constant --run-dir tied
numbers tied | cmp -s - reference.txt && fail "an untied model gave a tied one's losses"
grep -qF '"lm_head.weight"' tied/final/model.safetensors && fail "a tied model has a head of its own"

# its plan exchanges no gradient between the ends
expect 0 stagecoach plan config.yaml --set model.tied=false --workers 3 --actions
says out 0STEP
grep -qF REDUCE_TIED out && fail "an untied model's plan has REDUCE_TIED"

# stopped after step 3, and on with other stages
expect 0 stagecoach train config.yaml "${untied[@]}" --workers 2 --set train.steps=3 --run-dir resumed
expect 1 stagecoach train config.yaml --set train.lr_schedule=constant --run-dir resumed
says err model.tied 'has false' 'config true'
expect 0 stagecoach train config.yaml "${untied[@]}" --workers 3 --run-dir resumed
cmp resumed/final/model.safetensors reference/final/model.safetensors || fail "resumed: other weights"
expect 0 stagecoach verify resumed
expect 0 stagecoach export resumed --step 3 --out step3 # of a checkpoint, whose shards are two
says step3/model.safetensors '"lm_head.weight"'

# what is trained is read again
for workers in 1 3; do
  expect 0 stagecoach evaluate reference --data text.txt --workers $workers --json
  cut -d, -f1 out >evaluated$workers
done
cmp evaluated1 evaluated3 || fail "evaluate: other numbers over three workers"
expect 0 stagecoach generate reference --prompt ROMEO --tokens 8 --temperature 0

# from and to Hugging Face
cat >init.yaml <<YAML
run:   {dir: run}
model: {init: $golden}
data:  {train: [text.txt], tokenizer: byte}
train: {steps: 2, batch_size: 4, micro_batch_size: 2, learning_rate: 0, eval_every: 0}
YAML
expect 0 stagecoach export "$golden" --out again
expect 0 stagecoach train init.yaml --workers 3 --run-dir init
expect 0 stagecoach export init --out out3
says out3/config.json '"tie_word_embeddings": false'
cmp <(tensors out3/model.safetensors) <(tensors again/model.safetensors) || fail "the weights have changed"
expect 0 stagecoach train init.yaml --workers 2 --set train.learning_rate=0.01 --run-dir learned
expect 0 stagecoach export learned --out learned-out --dtype bfloat16
says learned-out/model.safetensors '"lm_head.weight":{"dtype":"BF16"'
expect 0 stagecoach evaluate learned-out --data text.txt
expect 1 stagecoach train init.yaml --set model.tied=true --run-dir bad
says err model.tied 'true is set' 'has false'
