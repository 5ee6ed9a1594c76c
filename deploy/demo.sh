#!/usr/bin/env bash
# The main job, on a fresh Debian machine: installs what is missing, builds, trains a small GPT on Shakespeare over four
# stage workers, and lets it write a few lines.
set -euo pipefail
cd "$(dirname "$0")/.."
deploy/setup.sh
echo "Building"
deploy/build.sh release
bin=build/release/bin
"$bin/stagecoach" train deploy/configs/demo.yaml --workers 4
echo
echo "What it learned:"
"$bin/stagecoach" generate runs/demo --prompt "ROMEO:" --tokens 300
