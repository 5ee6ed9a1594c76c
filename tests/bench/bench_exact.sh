#!/usr/bin/env bash
# What has to be exact, as numbers: a run that was stopped twenty times and resumed beside one that was not; and the
# directories of tests/golden/hf-gpt2, their logits beside transformers', their tensors after an export.
#   bench_exact.sh [BIN]
# The marks: no bit differs; logits are within 1e-5 of transformers', relative. Exits with 1 if one is missed.
bin=${1:-build/release/bin}
. "$(dirname "$0")/lib.sh"
bash "$sources/tests/e2e/e2e_resume.sh" "$(cd "$bin" && pwd)" "$work/resume" | grep stopped
"$bin/test_hf_gpt2" 2>/dev/null | grep '^hf-gpt2'
