# What the end-to-end tests share. Sourced as:   . "$(dirname "$0")/lib.sh" "$@"
set -euo pipefail
bin=$1
work=$2
sources=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
rm -rf "$work"
mkdir -p "$work"
cd "$work"
export PATH="$bin:$PATH"
export SC_LOG=warn

# Nothing that a test started outlives it.
trap 'jobs -p | xargs -r kill -9 2>/dev/null || :' EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# A small GPT with dropout on real text; five blocks, so up to five stages.
write_config() {
  head -c 60000 "$sources/deploy/configs/data/shakespeare.txt" >text.txt
  cat >config.yaml <<'YAML'
run:      {dir: run, seed: 7}
model:    {family: gpt2, layers: 3, heads: 2, hidden: 32, context: 32, dropout: 0.2}
data:     {train: [text.txt], tokenizer: char, validation_share: 0.1}
train:    {steps: 6, batch_size: 8, micro_batch_size: 2, learning_rate: 1.0e-2, warmup_steps: 2, clip_norm: 1.0,
           eval_every: 3, eval_batches: 2}
pipeline: {schedule: 1f1b}
status:   {listen: off}
YAML
}

# The losses, gradient norms and validation losses of a run directory, as they were written.
numbers() {
  grep -oE '"(event":"(step|eval)|step|loss|grad_norm)"?:[^,}]*' "$1/events.jsonl"
}

# The same, each step and evaluation once: of a step that was repeated, the last time.
numbers_by_step() {
  grep -oE '"event":"(step|eval)".*' "$1/events.jsonl" | sed -E 's/"time":"[^"]*",//; s/,"lr".*//' | tac |
    awk -F, '!seen[$1 $2]++' | sort
}

# Both runs' losses, and the weights that they ended with, are the same bytes.
same_bits() {
  diff <(numbers_by_step "$1") <(numbers_by_step "$2") || fail "the losses of $2 differ from those of $1"
  cmp "$1/final/model.safetensors" "$2/final/model.safetensors" || fail "the weights of $2 differ from those of $1"
}

# The bytes of a safetensors file's tensors, behind the header.
tensors() {
  tail -c +"$((9 + $(od -An -t u8 -N 8 "$1")))" "$1"
}

# expect CODE COMMAND...: runs it, its output in ./out and ./err.
expect() {
  local wanted=$1 code=0
  shift
  "$@" >out 2>err || code=$?
  [ "$code" -eq "$wanted" ] || { cat out err >&2; fail "exit code $code instead of $wanted: $*"; }
}

# says FILE TEXT...: each text is in the file.
says() {
  local file=$1 text
  shift
  for text in "$@"; do
    grep -qF -- "$text" "$file" || { cat "$file" >&2; fail "$file does not say: $text"; }
  done
}

# The lines of a file, and those that come; the file need not be there yet. It looks often: where its folder is not there
# either, nothing tells it of changes.
follow() { exec tail --pid=$$ -s 0.02 -n +1 -F "$1" 2>/dev/null; }

# Waits until a line of a file matches.
wait_for() {
  local file=$1 pattern=$2
  timeout 120 grep -qm1 -E -- "$pattern" < <(follow "$file") || fail "no line matching $pattern came in $file"
}

# wait_for_lines N FILE PATTERN: until so many lines match.
wait_for_lines() {
  local n=$1 file=$2 pattern=$3
  [ "$(timeout 120 grep -cm"$n" -E -- "$pattern" < <(follow "$file"))" -eq "$n" ] ||
    fail "no $n lines matching $pattern came in $file"
}

# steps_behind RUN N STEPS: waits for so many steps behind the run's Nth recovery, or behind a later one.
steps_behind() {
  local recoveries=0 steps=0 event
  while read -rt 120 event; do
    case $event in
      *recovery*) recoveries=$((recoveries + 1)) steps=0 ;;
      *) steps=$((steps + 1)) ;;
    esac
    [ $recoveries -lt "$2" ] || [ $steps -lt "$3" ] || return 0
  done < <(follow "$1/events.jsonl" | grep --line-buffered -oE '"event":"(step|recovery)"')
  fail "no $3 steps came behind recovery $2 of $1"
}

# Stops a process that leads a process group of its own: one that was started with setsid, or a local worker of `train`.
# Where a process group has a stopped member, and the last process that tied the group to another one of its session ends,
# the kernel hangs the whole group up (setpgid(2)): the test itself, its neighbours and ctest.
freeze() {
  local end=$((SECONDS + 10))
  until [ "$(ps -o pgid= -p "$1")" -eq "$1" ]; do
    [ $SECONDS -lt $end ] || fail "process $1 cannot be stopped: it shares the test's process group"
    sleep 0.01
  done
  kill -STOP "$1"
}

# last_pid RUN RANK: the process that serves, or served last, under this rank.
last_pid() {
  grep "\"worker_joined\".*\"worker\":$2," "$1/events.jsonl" | tail -1 | sed 's/.*"name":"[^":]*:\([0-9]*\)".*/\1/'
}

# Passes if none of these pids is a running process within ten seconds.
all_gone() {
  local pid
  for pid in "$@"; do
    timeout 10 tail --pid="$pid" -f /dev/null || fail "process $pid is still there"
  done
}
