#!/bin/sh
# make-keys.sh N KEYS WORKER-KEYS: makes what is missing of the coordinator's key and those of workers 1 to N, and moves the workers' to
# a directory of their own, so that nobody but the coordinator gets the coordinator's. May be run again, with a larger N too.
set -e
n=$1 keys=$2 worker_keys=$3
i=1
while [ "$i" -le "$n" ]; do
  name=worker-$i
  i=$((i + 1))
  [ ! -e "$worker_keys/$name.key" ] || continue
  rm -f "$keys/allowed/$name.pub" # of one whose key is lost
  stagecoach keygen --out "$keys" --add "$name"
  mv "$keys/$name.key" "$worker_keys/$name.key"
done
