#!/usr/bin/env bash
# Configures and builds one preset:  deploy/build.sh release
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:?a preset of CMakePresets.json, as release}
cmake --preset "$preset" >/dev/null
cmake --build --preset "$preset" -j "$(nproc)" -- --no-print-directory -s
