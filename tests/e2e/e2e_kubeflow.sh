# A run in the pod of a Kubeflow TrainJob: its progress arrives over TLS with the pod's token; a server that is not the right one gets
# nothing; and whatever is wrong, the run goes on.
. "$(dirname "$0")/lib.sh" "$@"
write_config

# The cluster's authority and its server's certificate; and a stranger's.
authority() { # NAME HOST
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1-ca.key" -out "$1-ca.crt" -subj "/CN=$1" -days 2 \
    -addext basicConstraints=critical,CA:TRUE 2>/dev/null
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$1" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA "$1-ca.crt" -CAkey "$1-ca.key" -CAcreateserial -days 2 -out "$1.crt" \
    -extfile <(echo "subjectAltName=$2") 2>/dev/null
}
authority cluster DNS:localhost,IP:127.0.0.1
authority stranger DNS:localhost
authority other DNS:elsewhere
serve() { # NAME
  "$sources/tests/tools/trainer_server.py" "$1.crt" "$1.key" secret-1 "$1.reports" &
  timeout 30 bash -c "until [ -s $1.reports.port ]; do sleep 0.02; done" || fail "no server"
}
serve cluster
serve stranger
serve other
printf 'secret-1\n' >token
train() { # SERVER HOST CA RUN [OPTION...]
  local url=https://$2:$(cat "$1.reports.port")/apis/trainer.kubeflow.org/v1alpha1/namespaces/team/trainjobs/job/status
  expect 0 env KUBEFLOW_TRAINER_SERVER_URL="$url" KUBEFLOW_TRAINER_SERVER_CA_CERT="$3-ca.crt" KUBEFLOW_TRAINER_SERVER_TOKEN=token \
    stagecoach train config.yaml --run-dir "$4" "${@:5}"
}

train cluster localhost cluster one
[ ! -s err ] || { cat err; fail "a run whose reports arrive complains"; }
tail -1 cluster.reports | jq -e '.trainerStatus | .progressPercentage == 100 and .estimatedRemainingSeconds == 0 and
  (.metrics | map({(.name): .value}) | add | .step == "6" and .steps == "6" and (.loss | tonumber > 0) and (.eval_loss | tonumber > 0))
  and (.lastUpdatedTime | fromdate > 1700000000)' >/dev/null || { cat cluster.reports; fail "the last report"; }
train cluster 127.0.0.1 cluster address --set status.listen=127.0.0.1:0
[ "$(tail -1 cluster.reports | jq .trainerStatus.progressPercentage)" -eq 100 ] || fail "no report to an address"

# Nothing is told to a server that the authority does not vouch for, or that vouches for another name.
train stranger localhost cluster two
says err 'progress cannot be reported' 'certificate of localhost is refused' 'the run goes on'
train other localhost other three
says err 'certificate of localhost is refused'
[ ! -e stranger.reports ] && [ ! -e other.reports ] || fail "a report went to the wrong server"

# A token that the server does not take, none at all, a server that has gone, an authority that cannot be read.
n=$(wc -l <cluster.reports)
echo wrong >token
train cluster localhost cluster four
says err 'the answer is 403' 'Forbidden'
rm token
train cluster localhost cluster five
says err 'token'
[ "$(wc -l <cluster.reports)" -eq "$n" ] || fail "a report with a wrong token was taken"
echo secret-1 >token
train cluster localhost nowhere six
says err 'nowhere-ca.crt holds no certificate'
echo 1 >cluster.reports.port
train cluster localhost cluster seven
says err 'nothing answers'
[ "$(grep -c 'cannot be reported' err)" -eq 1 ] || fail "said more than once"
for run in two three four five six seven; do same_bits one $run; done
