# Hosts of their own, as network namespaces: host 0 for a coordinator, 1, 2, ... for workers, all on one switch, with addresses
# 10.77.0.1, 10.77.0.2, ... Sourced after lib.sh by a script that in_namespaces has started; nothing outside of it is touched, and no
# privilege is needed where users may have namespaces.

# Starts the script anew, as $0 with its arguments, where it may make hosts. False: that is not allowed here.
in_namespaces() {
  [ -z "${SC_IN_NAMESPACES:-}" ] || return 0
  command -v ip tc unshare >/dev/null && unshare --map-root-user --net --mount --pid --fork true 2>/dev/null || return 1
  SC_IN_NAMESPACES=1 exec unshare --map-root-user --net --mount --pid --fork --mount-proc bash "$@"
}

make_hosts() { # N
  local i
  mount -t tmpfs none /run
  mkdir -p /run/netns
  ip link add switch type bridge
  ip link set switch up
  for ((i = 0; i < $1; i++)); do
    ip netns add "h$i"
    ip link add "p$i" type veth peer name eth0 netns "h$i"
    ip link set "p$i" master switch up
    ip -n "h$i" address add "$(address "$i")/24" dev eth0
    ip -n "h$i" link set eth0 up
    ip -n "h$i" link set lo up
  done
}

address() { echo "10.77.0.$((1 + $1))"; }

at_host() { # I COMMAND...
  local i=$1
  shift
  ip netns exec "h$i" "$@"
}

cut_off() { ip link set "p$1" down; } # the cable of host $1 is pulled
plug_in() { ip link set "p$1" up; }
cannot_reach() { ip -n "h$1" route add blackhole "$(address "$2")/32"; } # host $1 sends nothing to host $2 any more
can_reach() { ip -n "h$1" route del blackhole "$(address "$2")/32"; }
slow_down() { tc qdisc add dev "p$1" root tbf rate "$2" burst 32kbit latency 400ms; } # what comes to host $1
