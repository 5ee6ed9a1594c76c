#!/usr/bin/env bash
# A vocabulary from text, texts to token files, a run on them, and text from what it learned.
. "$(dirname "$0")/lib.sh" "$@"

write_config
head -c 20000 text.txt >a.txt
tail -c +20001 text.txt >b.txt

expect 0 stagecoach tokenize --train 400 a.txt b.txt --out vocabulary
says out "vocabulary: a vocabulary of 400 tokens"
[ -s vocabulary/vocab.json ] && [ -s vocabulary/merges.txt ] && [ -s vocabulary/tokenizer.json ] || fail "files are missing"

expect 0 stagecoach tokenize --tokenizer vocabulary a.txt b.txt --out both.tok
says out "both.tok: " "tokens of a vocabulary of 400"
expect 0 stagecoach tokenize --tokenizer vocabulary/merges.txt --no-boundary a.txt b.txt --out plain.tok
[ "$(stat -c %s both.tok)" -eq $(($(stat -c %s plain.tok) + 2)) ] || fail "one boundary stands between two files"

# The same tokens, from a token file and from text, give the same losses.
tokens=(--set data.tokenizer=vocabulary --workers 2 --threads 1)
expect 0 stagecoach train config.yaml "${tokens[@]}" --set data.train="[plain.tok]" --run-dir from-tokens
expect 0 stagecoach train config.yaml "${tokens[@]}" --set data.train="[a.txt,b.txt]" --run-dir from-text
cmp <(numbers from-tokens) <(numbers from-text) || fail "a token file gives other losses than its text"

# The run keeps its tokenizer, which makes token files for it and writes its text.
expect 0 stagecoach tokenize --tokenizer from-tokens --no-boundary a.txt b.txt --out again.tok
cmp plain.tok again.tok || fail "the run's tokenizer is another"
expect 0 stagecoach generate from-tokens --prompt "ROMEO:" --tokens 5 --threads 1
says out "ROMEO:"

# Memory does not grow with the file. A sanitizer needs more address space than that, even for a short text.
bounded() { (ulimit -v 60000 && exec stagecoach tokenize --tokenizer vocabulary --out bounded.tok "$1") >out 2>err; }
if bounded a.txt; then
  yes "The fox and the dog." 2>/dev/null | head -c 100000000 >long.txt || :
  bounded long.txt || { cat err; fail "a text of $(stat -c %s long.txt) bytes needs more memory than one of $(stat -c %s a.txt)"; }
  rm long.txt bounded.tok
fi

# BERT's WordPiece: tokens of a text, and a run keeps it.
printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' '[MASK]' {a..z} '##'{a..z} . , ';' ':' '!' '?' "'" - >vocab.txt
expect 0 stagecoach tokenize --tokenizer vocab.txt a.txt --out pieces.tok
says out "pieces.tok: " "tokens of a vocabulary of 65"
expect 0 stagecoach train config.yaml --set data.tokenizer=vocab.txt --set data.train="[pieces.tok]" --threads 1 --run-dir pieces
expect 0 stagecoach tokenize --tokenizer pieces a.txt --out again.tok
cmp pieces.tok again.tok || fail "the run's WordPiece tokenizer is another"

# Mistakes.
expect 1 stagecoach train config.yaml --set data.tokenizer=byte --set data.train="[plain.tok]" --run-dir none
says err "plain.tok: was made with another tokenizer"
expect 1 stagecoach tokenize --tokenizer vocabulary plain.tok --out more.tok
says err "plain.tok: is a token file already"
expect 1 stagecoach tokenize --tokenizer vocabulary a.txt --out a.txt
says err "would be overwritten by its own tokens"
printf 'ab\xff' >broken.txt
expect 1 stagecoach tokenize --tokenizer vocabulary a.txt broken.txt --out broken.tok
says err "broken.txt:1:3: byte 0xFF"
[ -z "$(ls broken.tok* 2>/dev/null)" ] || fail "a broken file leaves something behind"
(ulimit -f 5 && exec stagecoach tokenize --tokenizer byte a.txt --out full.tok) >out 2>err && fail "5 KiB were enough"
says err full.tok 'File too large' 'free some space'
[ -z "$(ls full.tok* 2>/dev/null)" ] || fail "a full disk leaves something behind"
expect 2 stagecoach tokenize --tokenizer vocabulary --train 300 a.txt --out x
expect 2 stagecoach tokenize --tokenizer char a.txt --out x
expect 2 stagecoach tokenize --train 256 a.txt --out x
says err "an integer from 257"
expect 2 stagecoach tokenize --tokenizer byte a.txt
says err "option '--out' is missing"
