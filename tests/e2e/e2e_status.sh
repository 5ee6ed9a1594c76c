# The status server of a real run: documents, metrics, events as they happen, verbs, and the commands that look at it.
. "$(dirname "$0")/lib.sh" "$@"
write_config
echo 0123456789abcdef0123456789abcdef >token
endless=(--set train.steps=100000000 --set train.eval_every=0 --set checkpoint.every=0)
stagecoach train config.yaml "${endless[@]}" --workers 3 --threads 1 --set status.listen=127.0.0.1:0 \
  --set status.token_file=token >train.out 2>train.err &
train=$!
wait_for run/events.jsonl '"event":"step".*"step":5,'
url=$(cat run/status.url)

get() { curl -sS --max-time 60 "$@"; }
# is PATH FILTER: the document makes the filter true.
is() { get "$url$1" >document && jq -e "$2" document >/dev/null || { cat document >&2; fail "$1: not $2"; }; }
# until PATH FILTER: the same, within a minute.
until_is() {
  for _ in $(seq 600); do
    get "$url$1" | jq -e "$2" >/dev/null && return
    kill -0 $train 2>/dev/null || break
    sleep 0.1
  done
  cat train.out train.err >&2
  fail "$1 never was $2"
}
post() { get -o /dev/null -X POST -H "Authorization: Bearer $(cat token)" "${url}api/v1/$1"; }

is api/v1/status '.state == "training" and .step >= 5 and .loss > 0 and .workers == 3 and .generation == 1'
is api/v1/stages '[.stages[].state] == ["serving", "serving", "serving"] and (.stages | map(.n_blocks) | add) == 5 and
  (.stages | map(.messages | .sent > 0 and .received > 0 and .bytes_sent > 0 and .resent + .replayed + .stale == 0) | all)'
is 'api/v1/steps?last=3' '.steps | length == 3 and .[2].step == .[0].step + 2'
is api/v1/schedule '.schedule == "1f1b" and .stages == 3 and (.workers | length == 3) and .grid[0].action == "0F0"'
is api/v1/config '.train.batch_size == 8 and .status.token_file == null and .data.tokenizer == "char"'
is api/v1/events '.events[0].event == "run_started" and .events[0].id == 1'
is healthz '.status == "ok"'
get "${url}metrics" >metrics
promtool check metrics <metrics || fail "promtool finds fault with the metrics"
says metrics 'stagecoach_stage_up{stage="2"} 1' 'stagecoach_run_state{state="training"} 1'
get "$url" >page.html
grep -qE '(src|href)="?https?:|@import|url\(' page.html && fail "the page asks for something from elsewhere"

# The commands see the same.
expect 0 stagecoach status run
says out 'training' 'stage  worker'
expect 0 stagecoach status "$url" --json
jq -e '.status.state == "training" and (.stages.stages | length) == 3' out >/dev/null || fail "status --json"
expect 0 stagecoach healthcheck run --ready
expect 1 stagecoach status nowhere
says err 'nowhere' 'status server'
expect 1 stagecoach healthcheck http://127.0.0.1:1/
says err 'nothing answers'

# An address that is in use, and a file that holds no token, are told before the run begins.
expect 1 stagecoach train config.yaml --run-dir other --set "status.listen=$(sed 's|http://||; s|/||' run/status.url)"
says err 'in use'
expect 1 stagecoach train config.yaml --run-dir other --set status.token_file=config.yaml --set status.listen=127.0.0.1:0
says err 'config.yaml' 'openssl'

# Verbs: each does what it says, and only with the token.
get -X POST "${url}api/v1/pause" | jq -e '.status == 401' >/dev/null || fail "a verb without a token"
get -N -H 'Accept: text/event-stream' "${url}api/v1/events" >stream &
post pause
until_is api/v1/status '.state == "paused"'
get "${url}api/v1/status" | jq .step >before
post checkpoint
post resume
until_is api/v1/status ".state == \"training\" and .step > $(cat before)"
until_is api/v1/checkpoints '.checkpoints[0].complete'
kill -9 "$(get "${url}api/v1/stages" | jq -r '.stages[1].worker.name' | cut -d: -f2)"
until_is api/v1/status '.state == "training" and .totals.recoveries == 1 and .totals.losses == 1 and .totals.joins == 4'
leaver=$(get "${url}api/v1/stages" | jq -r '.stages[2].worker.name')
post drain/2
until_is api/v1/stages "[.stages[].worker.name] | index(\"$leaver\") == null"
until_is api/v1/status '.state == "training" and .totals.losses == 1'
post stop
wait $train || { cat train.out train.err >&2; fail "the run did not stop in order"; }
[ ! -e run/status.url ] || fail "status.url stayed behind"
grep -q '^event: steps' stream || fail "the stream brought no steps"
grep -q '"event":"recovery"' stream || fail "the stream brought no recovery"
grep -q '"state":"finished"' stream || fail "the stream did not bring the end"
expect 0 stagecoach verify run

# What is there for Prometheus and Grafana is sound, and speaks of metrics that there are.
promtool check config "$sources/deploy/monitoring/prometheus.yaml" >promtool.out || { cat promtool.out >&2; fail "promtool"; }
jq -r '.. | .expr? // empty' "$sources/deploy/monitoring/dashboard.json" >expressions
grep -hoE 'stagecoach_[a-z_]+' expressions "$sources/deploy/monitoring/alerts.yaml" | sort -u |
  while read -r name; do
    grep -qE "^(# TYPE )?$name[{ ]" metrics || [[ $name == stagecoach_checkpoint_last* ]] || fail "there is no metric $name"
  done
