#!/usr/bin/env bash
# Reports on files of predictions.
. "$(dirname "$0")/lib.sh" "$@"

printf 'I want a refund\trefund\trefund\nmy card\tcard\trefund\nno card yet\tcard\tcard\n' >classes.pred
expect 0 stagecoach report classes.pred
says out "precision    recall  f1-score   support" "card       1.00      0.50      0.67         2" "accuracy "
expect 0 stagecoach report classes.pred --digits 4
says out "0.6667"
expect 0 stagecoach report classes.pred --format json
[ "$(jq -c .confusion.counts out)" = "[[1,1],[0,1]]" ] || fail "the confusion matrix is another"

printf 'John B-PER B-PER\nSmith I-PER O\n\nParis B-LOC B-LOC\n' >tags.pred
expect 0 stagecoach report tags.pred
says out "micro avg       0.50      0.50      0.50         2"
expect 0 stagecoach report tags.pred --format conlleval
says out "processed 3 tokens with 2 phrases; found: 2 phrases; correct: 1."
expect 0 stagecoach report tags.pred --format sklearn
says out "I-PER "

# Mistakes.
expect 1 stagecoach report classes.pred --format seqeval
says err "classes.pred: the label 'refund' is neither O nor B-"
printf 'a b c\nd\n' >bad.pred
expect 1 stagecoach report bad.pred
says err "bad.pred:2: has one column"
expect 1 stagecoach report missing.pred
expect 2 stagecoach report
expect 2 stagecoach report classes.pred tags.pred
expect 2 stagecoach report classes.pred --format html
says err "sklearn, seqeval, conlleval, confusion or json"
