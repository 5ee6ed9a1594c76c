#!/usr/bin/env bash
# GPT-2's tokenizer beside Hugging Face's tokenizers and tiktoken, and BERT's beside tokenizers, one core each, alternating in
# one run:
#   bench_tokenizer.sh [BIN [ROUNDS [TEXT...]]]
# Prints, per text, the median of each in millions of tokens a second of user and system time for the whole file, that of
# stagecoach in MB/s, too, and the ratios. A text shorter than 20 MB is repeated up to there. PYTHON names an interpreter that
# has PyPI's tokenizers and tiktoken (default python3); without one its column is "-". The vocabularies are those of
# tests/golden/vocab-gpt2 and vocab-bert.
bin=${1:-build/release/bin}
rounds=${2:-3}
. "$(dirname "$0")/lib.sh"
bin=$(cd "$bin" && pwd)
python=${PYTHON:-python3}
golden=$sources/tests/golden
texts=("${@:3}")
[ ${#texts[@]} -gt 0 ] || texts=("$sources/deploy/configs/data/shakespeare.txt" "$sources/tests/golden/tokenizer/german.txt"
                                 "$sources/tests/golden/tokenizer/chinese.txt")

ours() { # VOCAB
  TIMEFORMAT='%U %S'
  { time taskset -c 0 "$bin/stagecoach" tokenize --tokenizer "$1" "$work/text" --out "$work/tokens" >/dev/null; } 2>&1 |
    awk -v bytes="$(stat -c %s "$work/text")" '{print bytes / 1e6 / ($1 + $2)}'
}

# A line: NAME VOCAB LIBRARY [LIBRARY], the libraries as bench_tokenizer.py knows them.
compare() {
  local name=$1 vocab=$2 rival s first=- second=-
  shift 2
  rm -f "$work"/rate.*
  for _ in $(seq "$rounds"); do
    ours "$vocab" >>"$work/rate.stagecoach"
    for rival in "$@"; do
      RAYON_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false taskset -c 0 "$python" "$(dirname "$0")/bench_tokenizer.py" "$rival" \
        "$vocab" "$work/text" >>"$work/rate.$rival" 2>/dev/null || echo - >"$work/rate.$rival"
    done
  done
  s=$(median <"$work/rate.stagecoach")
  first=$(grep -q -- - "$work/rate.$1" && echo - || median <"$work/rate.$1")
  [ $# -lt 2 ] || second=$(grep -q -- - "$work/rate.$2" && echo - || median <"$work/rate.$2")
  # ids are the same three times, two bytes each behind a header of 64
  awk -v n="$(basename "$text")" -v v="$name" -v bytes="$(stat -c %s "$work/text")" -v s="$s" -v h="$first" -v t="$second" \
    -v tokens="$((($(stat -c %s "$work/tokens") - 64) / 2))" '
    function of(x) { return x == "-" ? "-" : sprintf("%.2f", x * tokens / bytes) }
    function ratio(x) { return x == "-" ? "-" : sprintf("%.1f", s / x) }
    BEGIN { printf "%-16s %-8s %6.1f %7.1f %11s %11s %9s %6s %6s\n", n, v, bytes / 1e6, s, of(s), of(h), of(t), ratio(h), ratio(t) }'
}

printf '%-16s %-8s %6s %7s %11s %11s %9s %6s %6s\n' '' '' '' MB/s 'M tokens/s' 'M tokens/s' 'M tok/s' ratio ratio \
  text vocab MB ours stagecoach tokenizers tiktoken '' ''
for text in "${texts[@]}"; do
  : >"$work/text"
  while [ "$(stat -c %s "$work/text")" -lt 20000000 ]; do cat "$text" >>"$work/text"; done
  compare gpt2 "$golden/vocab-gpt2" tokenizers tiktoken
  for vocab in uncased cased chinese; do
    compare "$vocab" "$golden/vocab-bert/$vocab" wordpiece
  done
done
