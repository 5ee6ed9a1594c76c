#!/bin/sh
# take-key.sh DIR COMMAND...: runs the command with the first key of the directory that no other container of this host holds, as
# STAGECOACH_KEY. So each of several equal containers has a key of its own; the lock is held for as long as the command lives. Where no
# keys are, or STAGECOACH_KEY is set, the command is left to itself.
dir=$1
shift
[ -z "$STAGECOACH_KEY" ] || exec "$@"
there=
for key in "$dir"/*.key; do
  [ -e "$key" ] || continue
  there=1
  exec 9<"$key"
  if flock --nonblock 9; then
    STAGECOACH_KEY=$key
    export STAGECOACH_KEY
    exec "$@"
  fi
done
[ -n "$there" ] || exec "$@"
echo "take-key.sh: no key in $dir is free: there are more workers than keys" >&2
exit 1
