#!/bin/sh
# stay.sh COMMAND...: runs the command; when its work is done, stays, so that a StatefulSet does not begin it again. stay.sh --check
# COMMAND...: a probe that is content then.
done=/run/stagecoach/done
if [ "$1" = --check ]; then
  shift
  [ ! -e "$done" ] || exit 0
  exec "$@"
fi
rm -f "$done"
stopped=
trap 'stopped=1' TERM INT # it reaches the command as well, which ends in its own time
"$@" || exit
trap - TERM INT # from here on a stop ends this shell; one that came before is known
[ -z "$stopped" ] || exit 0
: >"$done"
echo "The work is done. This container stays; its results are in its volume."
exec sleep infinity
