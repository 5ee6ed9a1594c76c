#!/usr/bin/env bash
# GPT-2's tokenizer beside Hugging Face's tokenizers and tiktoken, one core each, alternating in one run:
#   bench_tokenizer.sh [BIN [ROUNDS [TEXT...]]]
# Prints, per text, the median of each in millions of tokens a second of user and system time for the whole file, that of
# stagecoach in MB/s, too, and the ratios. A text shorter than 20 MB is repeated up to there. PYTHON names an interpreter that has PyPI's tokenizers and tiktoken (default python3);
# without one its column is "-". The vocabulary is that of tests/golden/vocab-gpt2.
bin=${1:-build/release/bin}
rounds=${2:-3}
. "$(dirname "$0")/lib.sh"
bin=$(cd "$bin" && pwd)
python=${PYTHON:-python3}
vocab=$sources/tests/golden/vocab-gpt2
texts=("${@:3}")
[ ${#texts[@]} -gt 0 ] || texts=("$sources/deploy/configs/data/shakespeare.txt" "$sources/tests/golden/tokenizer/german.txt"
                                 "$sources/tests/golden/tokenizer/chinese.txt")

ours() {
  TIMEFORMAT='%U %S'
  { time taskset -c 0 "$bin/stagecoach" tokenize --tokenizer "$vocab" "$work/text" --out "$work/tokens" >/dev/null; } 2>&1 |
    awk -v bytes="$(stat -c %s "$work/text")" '{print bytes / 1e6 / ($1 + $2)}'
}

printf '%-18s %8s %8s %11s %11s %9s %7s %7s\n' '' '' MB/s 'M tokens/s' 'M tokens/s' 'M tok/s' ratio ratio \
  text MB stagecoach stagecoach tokenizers tiktoken '' ''
for text in "${texts[@]}"; do
  : >"$work/text"
  while [ "$(stat -c %s "$work/text")" -lt 20000000 ]; do cat "$text" >>"$work/text"; done
  rm -f "$work"/rate.*
  for _ in $(seq "$rounds"); do
    ours >>"$work/rate.stagecoach"
    for rival in tokenizers tiktoken; do
      RAYON_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false taskset -c 0 "$python" "$(dirname "$0")/bench_tokenizer.py" "$rival" \
        "$vocab" "$work/text" >>"$work/rate.$rival" 2>/dev/null || echo - >"$work/rate.$rival"
    done
  done
  s=$(median <"$work/rate.stagecoach")
  for rival in tokenizers tiktoken; do
    declare "$rival=$(grep -q -- - "$work/rate.$rival" && echo - || median <"$work/rate.$rival")"
  done
  # ids are the same three times, two bytes each behind a header of 64
  awk -v n="$(basename "$text")" -v bytes="$(stat -c %s "$work/text")" -v tokens="$((($(stat -c %s "$work/tokens") - 64) / 2))" \
    -v s="$s" -v h="$tokenizers" -v t="$tiktoken" '
    function of(x) { return x == "-" ? "-" : sprintf("%.2f", x * tokens / bytes) }
    function ratio(x) { return x == "-" ? "-" : sprintf("%.1f", s / x) }
    BEGIN { printf "%-18s %8.1f %8.1f %11s %11s %9s %7s %7s\n", n, bytes / 1e6, s, of(s), of(h), of(t), ratio(h), ratio(t) }'
done
