# The page in a real browser, beside a real run: what it shows, and that it asks nobody else for anything. Needs Debian's
# chromium, which deploy/setup.sh does not install (it is larger than all else together). SC_SCREENSHOTS=DIR keeps pictures to look at.
. "$(dirname "$0")/lib.sh" "$@"
command -v chromium >/dev/null || { echo "SKIPPED: chromium is not installed"; exit 77; }
write_config
stagecoach train config.yaml --set train.steps=100000000 --set train.eval_every=20 --set checkpoint.every=50 --workers 4 \
  --threads 1 --set status.listen=127.0.0.1:0 >train.out 2>train.err &
train=$!
wait_for run/events.jsonl '"event":"step".*"step":20,'
url=$(cat run/status.url)
kill -9 "$(curl -sS "${url}api/v1/stages" | jq -r '.stages[2].worker.name' | cut -d: -f2)"
wait_for run/events.jsonl '"event":"recovery"'

pictures=()
[ -z "${SC_SCREENSHOTS:-}" ] || { mkdir -p "$SC_SCREENSHOTS"; pictures=(--pictures "$SC_SCREENSHOTS"); }
"$sources/tests/tools/browse.py" "$url" 'document.querySelectorAll(".stage").length === 4 && schedule && points.length > 10 &&
  marks.length === 1 && evals.length > 0 && document.querySelector("#checkpoints tr") && $("state").textContent === "training"' \
  "${pictures[@]}" >page.txt || fail "the page"
says page.txt 'training' "$(hostname):" '1 recovery (dashed)' 'gradient norm' 'worker lost' 'Stage 3'
kill -TERM $train
wait $train || { cat train.out train.err >&2; fail "the run did not end in order"; }
