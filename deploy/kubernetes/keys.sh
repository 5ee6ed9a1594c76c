#!/usr/bin/env bash
# Makes the namespace and the keys of a run, as manifests:
#   deploy/kubernetes/keys.sh [N] | kubectl apply --server-side -f -        keys for N worker pods (16)
# Needs stagecoach and kubectl, and nothing in the cluster but the right to write Secrets. The keys are in no file afterwards.
# Run again, it makes all anew: then restart the pods.
set -euo pipefail
umask 077
n=${1:-16}
[[ $n =~ ^[1-9][0-9]*$ ]] || { echo "keys.sh: '$n' is no number of workers" >&2; exit 2; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
names=()
for ((i = 0; i < n; i++)); do names+=(--add "stagecoach-worker-$i"); done
stagecoach keygen --out "$dir" "${names[@]}" >&2
indent() { sed 's/^/    /' "$1"; }

manifest() { # KIND NAME FIELD FILE...
  printf -- '---\napiVersion: v1\nkind: %s\nmetadata: {name: %s, namespace: stagecoach}\n%s:\n' "$1" "$2" "$3"
  local file
  for file in "${@:4}"; do
    printf '  %s: |\n' "$(basename "$file")"
    indent "$file"
  done
}
printf -- 'apiVersion: v1\nkind: Namespace\nmetadata: {name: stagecoach, labels: {pod-security.kubernetes.io/enforce: restricted}}\n'
manifest Secret stagecoach-coordinator-key stringData "$dir/coordinator.key"
manifest Secret stagecoach-worker-keys stringData "$dir"/stagecoach-worker-*.key
manifest ConfigMap stagecoach-allowed data "$dir"/allowed/*.pub
