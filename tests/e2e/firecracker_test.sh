#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A snapshot's memory file goes to another process's micro-VM: `pageferry offer` at the source,
# `pageferry receive --client firecracker` at the destination, and a client that keeps to the letter
# of Firecracker's protocol (FIRECRACKER_CLIENT).
set -u
. "$(dirname "$0")/lib.sh"

socket=$work/uffd.sock
file=$work/memory

# start NAME COMMAND...: in the background, its output in NAME.out and NAME.err.
start() {
    local name=$1
    shift
    : >"$work/$name.out"
    : >"$work/$name.err"
    "$@" >"$work/$name.out" 2>"$work/$name.err" </dev/null &
    pids[$name]=$!
}
unset pids # by name here
declare -A pids

# await NAME TEXT: until it has said so.
await() {
    local tries=0
    until grep -qF -- "$2" "$work/$1.out" "$work/$1.err"; do
        kill -0 "${pids[$1]}" 2>/dev/null || grep -qF -- "$2" "$work/$1.out" "$work/$1.err" ||
            { fail "$1 ended before it said \"$2\""; show "$1"; return 1; }
        [ $((tries += 1)) -lt 1200 ] || { fail "$1 never said \"$2\""; show "$1"; return 1; }
        sleep 0.05
    done
}

show() {
    sed "s/^/    $1: /" "$work/$1.out" "$work/$1.err" >&2
}

# ends NAME STATUS
ends() {
    local got=0
    wait "${pids[$1]}" || got=$?
    [ "$got" = "$2" ] || { fail "$1: exit status $got instead of $2"; show "$1"; }
}

# 4 MiB of data, a hole, 4 MiB of data, and an odd end.
make_file() {
    head -c 4M /dev/urandom >"$file"
    truncate -s 8M "$file"
    head -c 4108K /dev/urandom >>"$file"
}

receiver() {
    start receiver "$PAGEFERRY" receive tcp://127.0.0.1:0 --once --name vm --client firecracker \
        --socket "$socket"
    await receiver "waiting for a firecracker client"
}

offer() {
    start offer "$PAGEFERRY" offer "${1:-$file}" --name file "${@:2}"
    await offer "offering"
}

address() {
    sed -n 's/^receiving at //p' "$work/receiver.out"
}

# The whole: faults while it arrives, a balloon, and life after the handler's end.
restores_a_vm() {
    receiver
    mkfifo "$work/hold"
    "$FIRECRACKER_CLIENT" "$socket" "$file" hold >"$work/vm.out" 2>"$work/vm.err" <"$work/hold" &
    pids[vm]=$!
    exec 9>"$work/hold"
    await receiver "receiving at"
    offer
    pf 0 migrate file "$(address)"
    ends offer 0
    ends receiver 0
    grep -q "all memory is here" "$work/receiver.out" || fail "the receiver's last word"
    await vm read
    echo over >&9
    exec 9>&-
    ends vm 0
    rm "$work/hold"
}

# On demand alone: every page that the VM has comes because it was touched.
restores_on_demand() {
    receiver
    start vm "$FIRECRACKER_CLIENT" "$socket" "$file"
    await receiver "receiving at"
    offer "$file" --background off --prefetch off
    timeout 60 "$PAGEFERRY" migrate file "$(address)" >"$work/out" 2>"$work/err" &
    pids[migrate]=$!
    ends vm 0
    # Pages that were given back before they came are not missing any more, so all is here.
    ends migrate 0
    ends offer 0
    ends receiver 0
}

# Guest memory of 2 MiB pages. Both ends are on this host, so it takes them twice.
restores_huge_pages() {
    local free
    free=$(sed -n 's/^HugePages_Free: *//p' /proc/meminfo)
    if [ "${free:-0}" -lt 20 ]; then
        echo "huge pages: not tested, only ${free:-0} of 20 are free (vm.nr_hugepages)"
        return
    fi
    head -c 16M "$file" >"$work/huge"
    truncate -s 16M "$work/huge"
    receiver
    start vm "$FIRECRACKER_CLIENT" "$socket" "$work/huge" run 2097152
    await receiver "receiving at"
    offer "$work/huge" --page-size 2M
    pf 0 migrate file "$(address)"
    ends vm 0
    ends offer 0
    ends receiver 0
}

vm_that_dies_ends_the_migration() {
    receiver
    start vm "$FIRECRACKER_CLIENT" "$socket" "$file"
    await receiver "receiving at"
    offer "$file" --background off
    kill -STOP "${pids[vm]}"
    timeout 60 "$PAGEFERRY" migrate file "$(address)" >"$work/out" 2>"$work/err" &
    pids[migrate]=$!
    until [ "$("$PAGEFERRY" status vm --json | sed -n 's/.*"state":"\([a-z]*\)".*/\1/p')" = postcopy ]
    do
        kill -0 "${pids[receiver]}" 2>/dev/null || { fail "the receiver ended early"; show receiver; break; }
        sleep 0.05
    done
    kill -KILL "${pids[vm]}"
    ends vm 137 2>/dev/null
    ends receiver 76
    grep -q "the client (process ${pids[vm]}) is gone" "$work/receiver.err" ||
        { fail "the receiver's reason"; show receiver; }
    ends migrate 75
    ends offer 75
}

vm_that_dies_before_the_source_comes() {
    receiver
    "$PAGEFERRY" list | grep -q 'vm .* destination *setup' || fail "the role of who waits for a client"
    "$PAGEFERRY" status vm | grep -q '^prefetch_useless_pages  *0$' || fail "the table of status"
    start vm "$FIRECRACKER_CLIENT" "$socket" "$file"
    await receiver "receiving at"
    kill -KILL "${pids[vm]}"
    ends vm 137 2>/dev/null
    ends receiver 1
    grep -q "is gone, and the job's memory was its memory" "$work/receiver.err" ||
        { fail "the receiver's reason"; show receiver; }
}

other_sizes_are_refused() {
    receiver
    start vm "$FIRECRACKER_CLIENT" "$socket" "$file"
    await receiver "receiving at"
    head -c 1M /dev/urandom >"$work/other"
    offer "$work/other"
    pf 1 migrate file "$(address)"
    has err 'region "memory" has 1048576 bytes at the source and 12595200 here'
    ends receiver 1
    kill -KILL "${pids[vm]}" "${pids[offer]}"
    ends vm 137 2>/dev/null
    ends offer 137 2>/dev/null
}

usage() {
    pf 2 receive tcp://h:1 --client firecracker
    has err "--client and --socket go together"
    pf 2 receive tcp://h:1 --client qemu --socket /x
    has err "firecracker and generic are known"
    pf 2 receive tcp://h:1 --client generic --socket /x -- true
    has err "there is no program"
    pf 1 offer "$work/nothing" --name file
    has err "can't open $work/nothing"
    : >"$work/empty"
    pf 1 offer "$work/empty" --name file
    has err "no file with something in it"
    pf 2 offer "$file"
    has err "--name is missing"
    pf 2 offer "$file" --name file --page-size 3m
    has err "4K, 2M and 1G are known"
    pf 1 receive tcp://127.0.0.1:0 --client firecracker --socket "$file"
    has err "is no socket"
}

make_file
usage
restores_a_vm
restores_on_demand
restores_huge_pages
vm_that_dies_ends_the_migration
vm_that_dies_before_the_source_comes
other_sizes_are_refused
finish
