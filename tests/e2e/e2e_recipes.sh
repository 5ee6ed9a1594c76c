#!/usr/bin/env bash
# The recipes' configs against the programs: their data load, and each trains two steps from a tiny BERT in the place of MiniLM.
. "$(dirname "$0")/lib.sh" "$@"
recipes=$sources/deploy/recipes
tiny=(--set model.layers=1 --set model.heads=2 --set model.hidden=16)
short=(--set train.epochs=0 --set train.steps=2 --set train.warmup_steps=1 --set status.listen=off)

# The pre-training recipe makes the model that the others start from here.
expect 0 stagecoach train "$recipes/pre-training/pretrain.yaml" --run-dir pretrain "${tiny[@]}" "${short[@]}"
for recipe in ner/ner customer-service/intents financial-news/news pre-training/finetune; do
  name=$(basename "$recipe")
  expect 0 stagecoach train "$recipes/$recipe.yaml" --run-dir "$name" --workers 2 "${short[@]}" \
    --set model.init="$work/pretrain/final"
done
expect 0 stagecoach train "$recipes/pre-training/scratch.yaml" --run-dir scratch "${tiny[@]}" "${short[@]}"

expect 0 stagecoach predict ner --text "From Green Newsfeed"
says out '"entities":'
# An answer for each intent, and for nothing else; the alarm's label is one of the model's.
expect 0 stagecoach predict intents --text "Where is my card?" --answers "$recipes/customer-service/answers.yaml"
says out '"answer":'
[ "$(jq '.id2label | length' intents/final/config.json)" -eq 77 ] || fail "these are not the 77 intents"
head -20 "$recipes/data/sentfin/test.tsv" | cut -f 2 >headlines
stagecoach watch news --file headlines --label negative --window 10 --above 0.9 >out 2>err || [ $? -eq 3 ] || { cat err >&2; fail "watch"; }
