# Each process on a host of its own: a slow cable, one that is pulled for seconds, and two hosts that cannot reach each other for a
# while cost time; a host that is cut off for longer than its lease is lost, comes back, and the bytes are those of an undisturbed run.
# Where namespaces are not allowed, links of the fault proxy stand for the cables.
. "$(dirname "$0")/lib.sh" "$@"
. "$sources/tests/e2e/lib_netns.sh"
[ -z "${SC_NO_NAMESPACES:-}" ] && in_namespaces "$sources/tests/e2e/e2e_hosts.sh" "$@" && namespaces=1 || namespaces=
. "$sources/tests/e2e/lib_proxy.sh"
write_config
steps=(--set train.steps=60 --set train.eval_every=20 --set checkpoint.every=10)
wire=(--set wire.shared_memory=false) # these hosts share a kernel
expect 0 stagecoach train config.yaml "${steps[@]}" --workers 3 --threads 1 --run-dir calm

if [ $namespaces ]; then
  make_hosts 4
  serve_on_hosts() { # DIR ARGUMENT...
    local dir=$1 i
    shift
    mkdir -p "$dir.logs"
    at_host 0 stagecoach serve config.yaml "${steps[@]}" "${wire[@]}" --workers 3 --insecure --run-dir "$dir" \
      --listen "tcp://$(address 0):7000" "$@" >"$dir.logs/serve.out" 2>"$dir.logs/serve.err" &
    serve=$!
    wait_for "$dir.logs/serve.out" 'waiting for 3 workers'
    for i in 1 2 3; do
      at_host $i stagecoach-worker --coordinator "tcp://$(address 0):7000" --insecure --threads 1 2>"$dir.logs/worker-$i.err" &
      workers[i]=$!
    done
  }
  trouble() { # KIND FOR-SECONDS
    case $1 in
      cable) cut_off 2; sleep "$2"; plug_in 2 ;;
      between) cannot_reach 1 2; sleep "$2"; can_reach 1 2 ;;
      slow) slow_down 3 4mbit; sleep "$2"; tc qdisc del dev p3 root ;;
    esac
  }
  end_hosts() { :; }
else
  echo "no network namespaces here: links of the fault proxy stand for the cables"
  serve_on_hosts() { # DIR ARGUMENT...
    local dir=$1
    shift
    serve_behind_links "$dir" 3 "$$" "${steps[@]}" "${wire[@]}" "$@"
  }
  trouble() { # KIND FOR-SECONDS
    case $1 in
      cable) tell blackhole c1 "$2"000; tell blackhole d1 "$2"000; sleep "$2" ;;
      between) tell blackhole d1 "$2"000; sleep "$2" ;;
      slow) tell slow c2 500000 20; tell slow d2 500000 20; sleep "$2"; tell slow all 0 0 ;;
    esac
  }
  end_hosts() { end_links "$1"; }
fi

serve_on_hosts patient
for event in "5 cable 2" "20 between 2" "35 slow 1"; do
  read -r step kind duration <<<"$event"
  wait_for patient/events.jsonl "\"event\":\"step\".*\"step\":$step,"
  trouble "$kind" "$duration"
done
no_loss_and_same_bits calm patient
end_hosts patient

serve_on_hosts strict --set wire.lease_ms=1500
wait_for strict/events.jsonl '"event":"step".*"step":25,'
trouble cable 4
wait "$serve" || { tail -v -n 30 strict.logs/*; fail "strict: serve failed"; }
for pid in "${workers[@]}"; do
  wait "$pid" || { tail -v -n 30 strict.logs/*; fail "strict: a worker did not exit with 0"; }
done
grep -q '"event":"worker_lost"' strict/events.jsonl || fail "a host that was away for longer than its lease was not lost"
grep -q '"event":"recovery"' strict/events.jsonl || fail "no recovery"
same_bits calm strict
end_hosts strict
