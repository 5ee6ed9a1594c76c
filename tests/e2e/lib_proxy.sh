# `serve` and its workers with a link that can fail before every endpoint. Sourced after lib.sh.
#
# Every worker reaches the coordinator through a link of its own, c0, c1, ..., and its neighbours reach it through d0, d1, ...
# Each endpoint has its own loopback address, so that tests which run side by side do not meet.
net=127.$((1 + $$ / 250 % 250)).$(($$ % 250))

# serve_behind_links DIR N SEED ARGUMENT...: starts all, and sets $serve, $proxy and $workers (pids). `tell COMMAND` commands
# the links.
serve_behind_links() {
  local dir=$1 n=$2 seed=$3 links=() i
  shift 3
  mkdir -p "$dir.logs"
  stagecoach serve config.yaml --workers "$n" --listen "tcp://$net.1:7000" --run-dir "$dir" "$@" \
    >"$dir.logs/serve.out" 2>"$dir.logs/serve.err" &
  serve=$!
  wait_for "$dir.logs/serve.out" "waiting for $n worker"
  for ((i = 0; i < n; i++)); do
    links+=("c$i=$net.$((100 + i)):7000=$net.1:7000" "d$i=$net.$((150 + i)):7000=$net.$((200 + i)):7000")
  done
  rm -f "$dir.logs/commands"
  mkfifo "$dir.logs/commands"
  fault-proxy --seed "$seed" "${links[@]}" <"$dir.logs/commands" >"$dir.logs/proxy.out" 2>"$dir.logs/proxy.err" &
  proxy=$!
  exec {commands}>"$dir.logs/commands"
  wait_for "$dir.logs/proxy.out" '^ready'
  workers=()
  for ((i = 0; i < n; i++)); do
    start_behind_links "$dir" "$i"
  done
}

start_behind_links() { # DIR I
  stagecoach-worker --coordinator "tcp://$net.$((100 + $2)):7000" --listen "tcp://$net.$((200 + $2)):7000" \
    --advertise "tcp://$net.$((150 + $2)):7000" --threads 1 2>>"$1.logs/worker-$2.err" &
  workers[$2]=$!
}

tell() { echo "$*" >&"$commands"; }

# Prints what the links did, and ends them.
end_links() { # DIR
  tell count
  wait_for "$1.logs/proxy.out" '^accepted'
  tail -1 "$1.logs/proxy.out"
  exec {commands}>&-
  wait "$proxy" || fail "the fault proxy failed: $(cat "$1.logs/proxy.err")"
}

# The run that $serve is ends by itself, its workers too; it has lost nobody, and ended with the same bytes as run CALM.
no_loss_and_same_bits() { # CALM DIR
  local pid
  wait "$serve" || { tail -v -n 30 "$2".logs/*; fail "$2: serve failed"; }
  for pid in "${workers[@]}"; do
    wait "$pid" || { tail -v -n 30 "$2".logs/*; fail "$2: a worker did not exit with 0"; }
  done
  ! grep -E '"event":"(worker_lost|recovery)"' "$2/events.jsonl" || { tail -v -n 30 "$2".logs/*; fail "$2: a fault of the wire became a loss"; }
  same_bits "$1" "$2"
}
