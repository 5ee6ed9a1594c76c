#!/usr/bin/env bash
# Builds Stagecoach's Debian packages and installs them on this machine, with units for systemd:
#   deploy/install.sh                 both
#   deploy/install.sh coordinator     one of the two: coordinator, worker
#   deploy/install.sh --packages DIR  builds only, and leaves the packages in DIR
set -euo pipefail
sources=$(cd "$(dirname "$0")/.." && pwd)
out=$sources/build/packages
install=()
case ${1:-both} in
  both) install=(stagecoach stagecoach-worker) ;;
  coordinator) install=(stagecoach) ;;
  worker) install=(stagecoach-worker) ;;
  --packages) out=$(realpath -m "${2:?a directory for the packages}") ;;
  *) sed -n '2,5s/^# \?//p' "$0" >&2; exit 2 ;;
esac
cd "$sources"
deploy/setup.sh --packages
cmake --preset release >/dev/null
cmake --build --preset release -j "$(nproc)" --target stagecoach stagecoach-worker -- --no-print-directory -s
mkdir -p "$out"
rm -f "$out"/stagecoach*.deb
cpack --config build/release/CPackConfig.cmake -G DEB -B "$out" >/dev/null
rm -rf "$out/_CPack_Packages"
ls "$out"/*.deb

files=()
for name in "${install[@]}"; do
  files+=("$out/${name}"_*.deb)
done
[ ${#files[@]} -gt 0 ] || exit 0
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get install -y --no-install-recommends "${files[@]}"
