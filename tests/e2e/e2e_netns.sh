# deploy/netns.sh: five hosts with keys, one behind a slow link, one cut off and back.
. "$(dirname "$0")/lib.sh" "$@"
write_config
code=0
BIN=$bin WORK=$work/netns SLOW=6mbit "$sources/deploy/netns.sh" "$work/config.yaml" --set train.steps=36 --set checkpoint.every=20 \
  >out 2>err || code=$?
cat out
[ $code -ne 77 ] || exit 77
[ $code -eq 0 ] || { cat err >&2; fail "exit code $code"; }
says out 'It counted as lost' 'The same bytes'
says netns/serve.out 'worker-3'
