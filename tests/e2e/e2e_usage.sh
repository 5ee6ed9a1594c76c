# Wrong use and wrong configs: a clear message that names the place, exit code 2 for usage and 1 for failure.
. "$(dirname "$0")/lib.sh" "$@"
write_config

expect 0 stagecoach --help
says out train serve plan batches generate evaluate export verify tokenize
expect 0 stagecoach --version
says out stagecoach 0.
expect 0 stagecoach-worker --version
for command in train serve plan batches generate evaluate export keygen verify tokenize; do
  expect 0 stagecoach $command --help
  says out "Usage: stagecoach $command"
done
expect 0 stagecoach-worker --help
expect 2 stagecoach
expect 2 stagecoach trian
says err train
expect 2 stagecoach train
says err CONFIG
expect 2 stagecoach train config.yaml --workers 0
says err --workers
expect 2 stagecoach train config.yaml --set train.steps
says err --set
expect 2 stagecoach train config.yaml --no-such-option
expect 2 stagecoach-worker
says err --coordinator
expect 2 stagecoach-worker --coordinator nonsense
says err nonsense
expect 2 stagecoach-worker --coordinator tcp://127.0.0.1:1 --device abacus
says err abacus

expect 1 stagecoach train missing.yaml
says err missing.yaml
expect 1 stagecoach train config.yaml --workers 6
says err 6 5
bad() { # TEXT EXPECTED...: a config with TEXT appended or changed by a sed script
  local script=$1
  shift
  sed -E "$script" config.yaml >bad.yaml
  expect 1 stagecoach train bad.yaml --run-dir bad
  says err "$@"
}
bad 's/steps: 6/stepz: 6/' 'bad.yaml:4' 'stepz' 'steps'
bad 's/steps: 6/steps: -1/' 'bad.yaml:4' 'train.steps' '-1'
bad 's/steps: 6/steps: lots/' 'bad.yaml:4' 'lots'
bad 's/heads: 2/heads: 3/' 'heads' '32'
bad 's/micro_batch_size: 2/micro_batch_size: 3/' 'micro_batch_size' '8'
bad 's/hidden: 32/hidden: 0/' 'model.hidden'
bad 's/text.txt/missing.txt/' 'missing.txt'
bad 's/schedule: 1f1b/schedule: 2f2b/' '2f2b' 'gpipe'
bad 's/^model: .*/model: [/' 'bad.yaml'
: >empty.txt
bad 's/text.txt/empty.txt/' 'empty.txt'
printf 'short' >short.txt
bad 's/text.txt/short.txt/' '4 tokens' 'context'
printf 'ab\377cd' >latin.txt
bad 's/text.txt/latin.txt/' 'latin.txt' 'UTF-8'
[ ! -e bad/events.jsonl ] || fail "a run that could not begin left an event log"

# what is not a run yet costs nothing: the same directory serves once the mistake is mended
expect 0 stagecoach train config.yaml --run-dir bad
expect 0 stagecoach batches config.yaml --steps 2
[ "$(wc -l <out)" -eq 8 ] || fail "two steps of four micro-batches were expected"
expect 0 stagecoach plan config.yaml --workers 3
says out bubble
expect 0 stagecoach plan --stages 4 --microbatches 8 --schedule 1f1b
