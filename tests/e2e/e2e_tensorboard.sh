# TensorBoard's files of a run that is stopped and goes on: a file a start, and each step's numbers those of events.jsonl. Where
# the tensorboard package is at hand (PYTHON names the interpreter that has it), TensorBoard's own reader reads them.
. "$(dirname "$0")/lib.sh" "$@"
write_config
expect 0 stagecoach train config.yaml --workers 2 --threads 1 --tensorboard boards/one --set checkpoint.every=3 --set train.steps=6
expect 0 stagecoach train config.yaml --workers 2 --threads 1 --tensorboard boards/one --set train.steps=9
[ "$(ls boards/one | wc -l)" -eq 2 ] || fail "not a file a start: $(ls boards/one)"
grep -qF 'tensorboard: ' run/config.yaml || fail "config.yaml does not name the directory"
for tag in train/loss train/grad_norm train/learning_rate train/tokens_per_second eval/loss eval/perplexity; do
  grep -aqF "$tag" boards/one/* || fail "no curve $tag"
done

# A directory that cannot be made is told before the run begins; one that fills up is not the end of it.
expect 1 stagecoach train config.yaml --run-dir other --tensorboard config.yaml
says err 'config.yaml is not a directory'

python=${PYTHON:-python3}
"$python" -c 'import tensorboard' 2>/dev/null || { echo "SKIPPED: the tensorboard package is not installed"; exit 77; }
"$python" "$sources/tests/tools/read_tensorboard.py" boards/one >read 2>read.err || { cat read.err >&2; fail "TensorBoard cannot read it"; }
jq -r 'select(.event == "step") | "train/loss \(.step) \(.loss)", "train/grad_norm \(.step) \(.grad_norm)"' run/events.jsonl >wanted
jq -r 'select(.event == "eval") | "eval/loss \(.step) \(.loss)"' run/events.jsonl >>wanted
"$python" - <<'PYTHON' || fail "TensorBoard reads other numbers"
read, wanted = ({tuple(l.split()[:2]): float(l.split()[2]) for l in open(f)} for f in ("read", "wanted"))
assert len(wanted) == 2 * 9 + 3, wanted
assert all(read[k] == v for k, v in wanted.items()), (read, wanted)
assert sum(k[0] == "train/loss" for k in read) == len(open("read").read().split("train/loss ")) - 1 == 9
PYTHON
