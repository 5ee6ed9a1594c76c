# model.init and export: a Hugging Face directory goes in, and comes out byte for byte where nothing was learned; what a run
# learned is exported from its final weights; wrong use is told and leaves nothing.
. "$(dirname "$0")/lib.sh" "$@"
golden="$sources/tests/golden/hf-gpt2"
head -c 20000 "$sources/deploy/configs/data/shakespeare.txt" >text.txt
cat >init.yaml <<YAML
run:   {dir: run}
model: {init: $golden}
data:  {train: [text.txt], tokenizer: byte}
train: {steps: 1, batch_size: 4, micro_batch_size: 2, learning_rate: 0, eval_every: 0}
YAML

# The golden file has its tensors in another order than an export, so it is exported, too; tests/backend/test_hf_gpt2.c
# compares the two tensor by tensor.
expect 0 stagecoach export "$golden" --out again
says out again float32
for workers in 1 3; do
  expect 0 stagecoach train init.yaml --workers $workers --run-dir run$workers
  expect 0 stagecoach export run$workers --out out$workers
  says out 'step 1'
  cmp <(tensors out$workers/model.safetensors) <(tensors again/model.safetensors) || fail "tensors have changed"
done

# a step that learns something changes them, and the export is the final weights
expect 0 stagecoach train init.yaml --set train.learning_rate=0.001 --set train.steps=2 --run-dir learned
expect 0 stagecoach export learned --out learned-out --step 2
cmp learned/final/model.safetensors learned-out/model.safetensors || fail "the export is not the final weights"
cmp -s <(tensors learned-out/model.safetensors) <(tensors again/model.safetensors) && fail "nothing was learned"
expect 0 stagecoach evaluate learned --data text.txt --json
cp out evaluated
expect 0 stagecoach evaluate learned-out --data text.txt --json
[ "$(cut -d, -f1 out)" = "$(cut -d, -f1 evaluated)" ] || fail "the export has another loss than the run"
# of an earlier step: what a run that ended there has
sets=(--set train.learning_rate=0.001 --set train.lr_schedule=constant --set checkpoint.every=1)
expect 0 stagecoach train init.yaml "${sets[@]}" --run-dir one
expect 0 stagecoach train init.yaml "${sets[@]}" --set train.steps=2 --workers 3 --run-dir two
expect 0 stagecoach export two --out two-out --step 1
says out 'step 1'
cmp one/final/model.safetensors two-out/model.safetensors || fail "the export of step 1 is not that step's weights"
for type in bfloat16 float16; do
  expect 0 stagecoach export learned --out learned-$type --dtype $type
  says out $type
  says learned-$type/config.json "\"torch_dtype\": \"$type\""
  expect 0 stagecoach generate learned-$type --prompt "It was" --tokens 5
done

# wrong use
expect 1 stagecoach export learned --out learned-out
says err learned-out 'overwrites nothing'
expect 1 stagecoach export learned --out other --step 7
says err 'step 7' 2
[ ! -e other ] || fail "a failed export left something"
expect 1 stagecoach export nowhere --out other
says err nowhere
expect 2 stagecoach export learned
says err --out
expect 2 stagecoach export learned --out other --dtype int8
says err int8 bfloat16
expect 2 stagecoach export
says err RUN

# a disk that is full: the error names the file, and nothing is left
(ulimit -f 20 && exec stagecoach export "$golden" --out full) >out 2>err && fail "20 KiB were enough"
says err full/model.safetensors 'File too large' 'free some space'
[ ! -e full ] || fail "a failed export left something"

# wrong directories
expect 1 stagecoach train init.yaml --set model.heads=2 --run-dir bad
says err model.heads 2 4
expect 1 stagecoach train init.yaml --set model.init=nowhere --run-dir bad
says err model.init nowhere
wrong() { # SED-SCRIPT TEXT...: a copy of the golden directory with another config.json
  rm -rf wrong && cp -r "$golden" wrong
  sed -i "$1" wrong/config.json
  shift
  expect 1 stagecoach train init.yaml --set model.init=wrong --run-dir bad
  says err wrong "$@"
}
wrong 's/gelu_new/relu/' activation_function relu
wrong 's/"n_embd": 24/"n_embd": 32/' '(260,24)' '(260,32)'
wrong 's/"n_layer": 3/"n_layer": 4/' transformer.h.3.ln_1.weight
wrong 's/"model_type": "gpt2"/"model_type": "t5"/' t5
rm -rf wrong && cp -r "$golden" wrong
truncate -s -5 wrong/model.safetensors
expect 1 stagecoach train init.yaml --set model.init=wrong --run-dir bad
says err wrong/model.safetensors
rm wrong/model.safetensors
printf '{"weight_map": {"transformer.wte.weight": "model-00001.safetensors"}}' >wrong/model.safetensors.index.json
expect 1 stagecoach train init.yaml --set model.init=wrong --run-dir bad
says err model-00001.safetensors 'not there'
rm wrong/model.safetensors.index.json
: >wrong/pytorch_model.bin
expect 1 stagecoach train init.yaml --set model.init=wrong --run-dir bad
says err pytorch_model.bin save_pretrained
[ ! -e bad/events.jsonl ] || fail "a run that could not begin left an event log"
