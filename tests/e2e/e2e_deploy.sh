# What deploy/ brings for containers and clusters: the files against the programs, the images' scripts, and the keys as a cluster has them.
. "$(dirname "$0")/lib.sh" "$@"
images=$sources/deploy/images
check=$sources/tests/tools/check_deploy.py
/usr/bin/python3 "$check" "$sources" "$bin" || fail "deploy/ does not fit the programs, or itself"

# The check sees a wrong option, a wrong key of the config, a name that nobody has, a missing library, and a pod that may do too much.
cp -r "$sources/deploy" .
wrong() { # FILE SED-EXPRESSION SAID
  cp -r deploy spoilt-deploy
  rm -rf spoilt
  mkdir spoilt
  mv spoilt-deploy spoilt/deploy
  sed -i "$2" "spoilt/deploy/$1"
  ! cmp -s "deploy/$1" "spoilt/deploy/$1" || fail "$2 changes nothing in $1"
  expect 1 /usr/bin/python3 "$check" spoilt "$bin" "${1%%/*}"
  says out "$3"
}
wrong compose/compose.yaml 's/--keys=/--kees=/' '--kees=/keys'
wrong compose/compose.yaml 's/wire.join_ms/wire.jion_ms/' 'no key wire.jion_ms'
wrong compose/compose.yaml '/^  worker-keys:$/d' 'the volume worker-keys is not declared'
wrong images/Dockerfile 's/libdnnl2//' 'lacks libdnnl2'
wrong kubernetes/base/worker.yaml 's/readOnlyRootFilesystem: true/readOnlyRootFilesystem: false/' 'is not confined'
wrong kubernetes/base/worker.yaml 's/secretName: stagecoach-worker-keys/secretName: worker-keys/' 'the secret worker-keys is made nowhere'
wrong systemd/stagecoach-worker@.service 's/worker --coordinator/worker --coordinater/' '--coordinater'

# Keys for containers: each of the workers has one of its own, and none the coordinator's; more workers, more keys.
mkdir keys worker-keys
sh "$images/make-keys.sh" 2 "$PWD/keys" "$PWD/worker-keys" >/dev/null
cp worker-keys/worker-1.key first.key
sh "$images/make-keys.sh" 3 "$PWD/keys" "$PWD/worker-keys" >/dev/null
cmp first.key worker-keys/worker-1.key || fail "a key that was there was made anew"
[ "$(cd worker-keys && echo *) $(cd keys && echo *) $(cd keys/allowed && echo *)" = \
  "worker-1.key worker-2.key worker-3.key allowed coordinator.key worker-1.pub worker-2.pub worker-3.pub" ] || fail "$(ls -R keys worker-keys)"
mkfifo hold
for i in 1 2 3; do
  sh "$images/take-key.sh" worker-keys sh -c 'echo $STAGECOACH_KEY; read -r line <hold' >>taken &
done
timeout 30 bash -c 'until [ "$(wc -l <taken)" -eq 3 ]; do sleep 0.02; done' || fail "not everybody got a key"
[ "$(sort taken | uniq | wc -l)" -eq 3 ] || fail "two have the same key: $(cat taken)"
expect 1 sh "$images/take-key.sh" worker-keys true
says err 'more workers than keys'
jobs -p | xargs kill
wait
expect 0 env STAGECOACH_KEY=mine sh "$images/take-key.sh" worker-keys sh -c 'echo $STAGECOACH_KEY'
says out mine
expect 0 sh "$images/take-key.sh" nowhere stagecoach-worker --version
sh "$images/put-key.sh" put.key <first.key
[ "$(stat -c %a put.key)" = 600 ] && cmp put.key first.key || fail "put-key.sh"
expect 1 sh "$images/put-key.sh" put.key </dev/null
cmp put.key first.key || fail "put-key.sh lost a key"

# Two containers of compose.yaml, as far as it goes without containers; then the keys of a cluster, in volumes as the kubelet lays them.
write_config
run_keyed() { # KEYS WORKER-KEYS RUN
  stagecoach serve config.yaml --set train.eval_every=0 --set checkpoint.every=0 --workers 2 --listen 'tcp://0.0.0.0:*' \
    --keys "$1" --run-dir "$3" >"$3.out" 2>"$3.err" &
  local serve=$! i
  wait_for "$3.out" 'waiting for 2 workers'
  for i in 1 2; do
    sh "$images/take-key.sh" "$2" stagecoach-worker --threads 1 \
      --coordinator "tcp://127.0.0.1:$(sed -n 's/.*tcp:.*:\([0-9]*\) --key FILE.*/\1/p' "$3.out" | head -1)" 2>"$3.worker-$i.err" &
  done
  wait $serve || { cat "$3".*; fail "$3 failed"; }
  wait
}
run_keyed keys worker-keys composed
bash "$sources/deploy/kubernetes/keys.sh" 2 >manifests.yaml 2>keygen.out
/usr/bin/python3 - <<'PYTHON'
import os, yaml
for item in yaml.safe_load_all(open("manifests.yaml")):
    if item["kind"] == "Namespace":
        continue
    volume = item["metadata"]["name"]
    os.makedirs(f"{volume}/..2026")
    os.symlink("..2026", f"{volume}/..data")
    for name, text in (item.get("data") or item["stringData"]).items():
        with open(os.open(f"{volume}/..2026/{name}", os.O_WRONLY | os.O_CREAT, 0o400), "w") as file:
            file.write(text)
        os.symlink(f"..data/{name}", f"{volume}/{name}")
PYTHON
mkdir cluster-keys
ln -s ../stagecoach-coordinator-key/coordinator.key cluster-keys/coordinator.key
ln -s ../stagecoach-allowed cluster-keys/allowed
run_keyed cluster-keys stagecoach-worker-keys clustered
same_bits composed clustered

# A container of a StatefulSet stays when its work is done, and is in good health; one that is stopped lets its command end, and goes.
sed "s|/run/stagecoach|$PWD|" "$images/stay.sh" >stay.sh
expect 3 sh stay.sh sh -c 'exit 3'
expect 1 sh stay.sh --check false
setsid sh stay.sh true >stay.out &
stay=$!
wait_for stay.out 'The work is done'
expect 0 sh stay.sh --check false
kill -TERM $stay
wait $stay || :
setsid sh stay.sh sh -c 'trap "echo saved; exit 0" TERM; echo ready; while :; do sleep 0.05; done' >stay.out &
stay=$!
wait_for stay.out ready
kill -TERM -$stay
wait $stay || fail "a stop that went well is told as $?"
says stay.out saved
! grep 'work is done' stay.out || fail "what was stopped counts as done"
