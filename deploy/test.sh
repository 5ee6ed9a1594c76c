#!/usr/bin/env bash
# All tests, on a fresh Debian machine: installs what is missing, builds every preset, runs what belongs to each.
#   deploy/test.sh          everything
#   deploy/test.sh release  one preset alone (release, asan, tsan, fuzz, cuda)
set -euo pipefail
cd "$(dirname "$0")/.."
deploy/setup.sh --tests

# PRESET [CTEST-ARGUMENT...]: builds; runs what the arguments select.
run() {
  local preset=$1
  shift
  echo "== $preset"
  deploy/build.sh "$preset"
  # one more than there are cores: some only wait
  ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j "$(($(nproc) + 1))" "$@"
}

for preset in "${@:-release asan tsan fuzz cuda}"; do
  for name in $preset; do
    case $name in
      release) run release -L '.' ;;
      asan)    run asan -L 'unit|sim|backend|e2e' -LE long ;; # see tests/e2e/CMakeLists.txt
      tsan)    run tsan -L 'unit|e2e' -LE 'long|serial' ;;
      fuzz)    run fuzz -L fuzz ;;
      cuda)    echo "== cuda" # has no code of its own yet, beside that of release: it must configure
               cmake --preset cuda >/dev/null ;;
      *)       echo "deploy/test.sh: no preset is called $name" >&2; exit 2 ;;
    esac
  done
done
