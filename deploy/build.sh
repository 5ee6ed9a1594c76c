#!/usr/bin/env bash
# Configures and builds one preset, or some targets of it:  deploy/build.sh release [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:?a preset of CMakePresets.json, as release}
shift
cmake --preset "$preset" >/dev/null
cmake --build --preset "$preset" -j "$(nproc)" --target "${@:-all}" -- --no-print-directory -s
