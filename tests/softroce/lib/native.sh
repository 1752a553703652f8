# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# Without a VM: on an RDMA device of this host that has an IPv4 address, or on rxe over a veth pair
# that is made for the run and removed after it. Uses say.sh and environment.sh.
: "${time_limit:?}"

readonly native_netdev=softroce0 native_rxe=softroce_rxe
rdma_device='' rdma_address=''
loaded_rxe=''

# first_device: sets rdma_device and rdma_address from the first active port that has an address.
first_device() {
    local port netdev address
    for port in /sys/class/infiniband/*/ports/1; do
        [[ -e $port && $(<"$port/state") == *ACTIVE* ]] || continue
        netdev=$(cat "$port/gid_attrs/ndevs/0" 2>/dev/null) || continue
        address=$(ip -4 -o address show dev "$netdev" scope global | awk '{ print $4; exit }')
        [[ -n $address ]] || continue
        rdma_device=$(cut -d / -f 5 <<<"$port")
        rdma_address=${address%/*}
        return 0
    done
    return 1
}

can_load_rxe() {
    ((EUID == 0)) || return 1
    [[ -d /sys/module/rdma_rxe ]] || { modprobe -q rdma_rxe 2>/dev/null && loaded_rxe=yes; }
}

has_native() {
    first_device || can_load_rxe
}

remove_rxe() {
    rdma link delete "$native_rxe" 2>/dev/null || true
    ip link delete "$native_netdev" 2>/dev/null || true
    [[ -z $loaded_rxe ]] || modprobe -q -r rdma_rxe 2>/dev/null || true
}

# MTU 9000 gives a RoCE MTU of 4096: a page in one packet.
add_rxe() {
    trap remove_rxe EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    remove_rxe
    modprobe -q -a rdma_ucm ib_uverbs crc32_generic 2>/dev/null || true
    ip link add "$native_netdev" mtu 9000 type veth peer name "${native_netdev}p" mtu 9000
    ip link set "${native_netdev}p" up
    ip link set "$native_netdev" up
    ip address add 10.77.0.1/24 dev "$native_netdev"
    rdma link add "$native_rxe" type rxe netdev "$native_netdev"
    rdma_device=$native_rxe rdma_address=10.77.0.1
}

# Natively, runs share the host's ports and names: one at a time.
lock_host() {
    local lock=/run/lock/pageferry-softroce
    exec 8<>"$lock" || die "can't open $lock: it belongs to another user; or use --vm"
    flock 8
}

# run_natively COMMAND...: returns its exit status, 124 after the time limit.
run_natively() {
    local status=0
    lock_host
    [[ -n $rdma_device ]] || add_rxe
    say "natively on $rdma_device, $rdma_address"
    export_environment "$rdma_device" "$rdma_address" a
    ulimit -l unlimited 2>/dev/null || true
    timeout -k 5 "$time_limit" "$@" 8>&- &
    wait $! || status=$?
    return "$status"
}
