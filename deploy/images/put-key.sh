#!/bin/sh
# put-key.sh FILE: puts the key that comes on the standard input there, for its owner alone, whole or not at all.
set -e
umask 077
cat >"$1.new"
[ -s "$1.new" ] || { rm -f "$1.new"; echo "put-key.sh: no key came on the standard input" >&2; exit 1; }
mv "$1.new" "$1"
