#!/usr/bin/env bash
# The images and compose.yaml for real, where there is a Docker engine: builds the images, trains twice with four workers, kills a worker
# in the second run, and compares the bytes. Exit status 77: there is no engine.
#   deploy/compose/smoke.sh
set -euo pipefail
cd "$(dirname "$0")"
sources=$(cd ../.. && pwd)

fail() {
  echo "smoke.sh: $*" >&2
  exit 1
}
if ! command -v docker >/dev/null || ! docker info >/dev/null 2>&1; then
  echo "smoke.sh: skipped: there is no Docker engine"
  exit 77
elif ! docker compose version >/dev/null 2>&1; then
  echo "smoke.sh: skipped: there is no Docker Compose 2"
  exit 77
fi

work=$(mktemp -d)
projects=(stagecoach-smoke-calm stagecoach-smoke-stormy)
end() {
  for project in "${projects[@]}"; do docker compose -p "$project" down --volumes --timeout 5 >/dev/null 2>&1 || :; done
  rm -rf "$work"
}
trap end EXIT

# ---- the images ----

base=debian:bookworm-slim
if ! docker image inspect $base >/dev/null 2>&1 && ! docker pull -q $base; then
  echo "The base image cannot be fetched: it is made with debootstrap"
  command -v debootstrap >/dev/null || fail "debootstrap is not installed"
  debootstrap --variant=minbase bookworm "$work/root" >"$work/debootstrap.log"
  base=stagecoach-smoke-base
  tar -C "$work/root" -c . | docker import - $base
  rm -rf "$work/root"
fi
for image in coordinator worker; do
  # shellcheck disable=SC2086
  docker build ${SMOKE_BUILD_OPTIONS:-} --build-arg BASE=$base -f "$sources/deploy/images/Dockerfile" --target $image -t stagecoach-$image "$sources"
  size=$(docker image inspect -f '{{.Size}}' stagecoach-$image)
  echo "stagecoach-$image: $((size / 1000000)) MB"
  [ "$size" -lt 120000000 ] || fail "stagecoach-$image is larger than 120 MB"
  [ "$(docker image inspect -f '{{.Config.User}}' stagecoach-$image)" = 10001:10001 ] || fail "stagecoach-$image would run as root"
done
docker run --rm --read-only stagecoach-worker --version
docker run --rm --read-only stagecoach-coordinator --version

# ---- two runs ----

mkdir -p "$work/data"
cp "$sources/deploy/configs/data/shakespeare.txt" "$work/data"
cat >"$work/data/demo.yaml" <<'YAML'
model:      {family: gpt2, layers: 4, heads: 4, hidden: 64, context: 64, dropout: 0.1}
data:       {train: [shakespeare.txt], tokenizer: char, validation_share: 0.1}
train:      {steps: 300, batch_size: 16, micro_batch_size: 4, learning_rate: 2.0e-3, eval_every: 0}
checkpoint: {every: 20}
YAML
chmod -R a+rX "$work"
export STAGECOACH_DATA=$work/data STAGECOACH_CONFIG=demo.yaml STAGECOACH_WORKERS=4 STAGECOACH_RUN=run

# on PROJECT SERVICE COMMAND...
on() {
  local project=$1 service=$2
  shift 2
  docker compose -p "$project" exec -T "$service" "$@"
}

train() { # PROJECT STATUS-PORT DISTURBANCE
  export STAGECOACH_STATUS_PORT=$2
  docker compose -p "$1" up -d --no-build --scale worker=4
  "$3" "$1"
  coordinator=$(docker compose -p "$1" ps -aq coordinator)
  [ "$(docker wait "$coordinator")" = 0 ] || { docker compose -p "$1" logs --tail 50; fail "$1: the coordinator failed"; }
  docker cp -q "$coordinator:/runs/run/final/model.safetensors" "$work/$1.safetensors" 2>/dev/null ||
    docker cp "$coordinator:/runs/run/final/model.safetensors" "$work/$1.safetensors"
}

at_step() { # PROJECT STEP
  local i
  for ((i = 0; i < 600; i++)); do
    ! on "$1" coordinator grep -q "\"event\":\"step\".*\"step\":$2," /runs/run/events.jsonl 2>/dev/null || return 0
    sleep 0.5
  done
  fail "$1: step $2 did not come"
}

nothing() { :; }

kill_a_worker() { # PROJECT
  at_step "$1" 40
  on "$1" worker sh -c '! touch /here 2>/dev/null' || fail "the root file system can be written"
  on "$1" worker sh -c 'for p in /proc/[0-9]*; do [ "$(cat $p/comm)" != stagecoach-work ] || kill -9 "${p#/proc/}"; done'
}

train "${projects[0]}" 18080 nothing
docker compose -p "${projects[0]}" down --volumes --timeout 5
train "${projects[1]}" 18081 kill_a_worker
docker cp "$coordinator:/runs/run/events.jsonl" "$work/events.jsonl"
grep -q '"event":"worker_lost"' "$work/events.jsonl" || fail "the killed worker was not lost"
cmp "$work/${projects[0]}.safetensors" "$work/${projects[1]}.safetensors" || fail "the weights differ"
echo "The same bytes, with a worker killed: $(sha256sum <"$work/${projects[1]}.safetensors")"
