#!/usr/bin/env bash
# Installs what Stagecoach needs on a Debian machine and is not there yet. Sourced or run; needs root (or sudo) only if
# something is missing.
#   deploy/setup.sh             what building and running needs
#   deploy/setup.sh --tests     also what the tests need
#   deploy/setup.sh --packages  also what making Debian packages needs
set -euo pipefail

packages=(gcc g++ make cmake pkg-config libc6-dev libczmq-dev libzmq3-dev libprotobuf-c-dev protobuf-c-compiler
          libdnnl-dev libjansson-dev libfyaml-dev libgnutls28-dev libmicrohttpd-dev libxxhash-dev libpcre2-dev libutf8proc-dev)
if [ "${1:-}" = --tests ]; then
  packages+=(libcmocka-dev clang libclang-rt-14-dev curl jq procps iproute2 faketime prometheus python3 python3-yaml binutils openssl)
elif [ "${1:-}" = --packages ]; then
  packages+=(dpkg-dev file)
fi

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "Installing ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "These packages are missing and this is not root: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
