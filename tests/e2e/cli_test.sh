#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The command's own behaviour, against fake jobs: what it prints, what it exits with, what it makes
# of a job that sends nonsense.
set -u
. "$(dirname "$0")/lib.sh"

help_everywhere() {
    local command
    pf 0 help
    for command in probe run receive migrate list status set switch plot cancel help version; do
        has out "  $command "
    done
    for command in probe run receive migrate list status set switch plot cancel help version; do
        pf 0 "$command" --help
        has out "Usage: pageferry $command"
    done
    pf 0 help probe
    has out "Usage: pageferry probe"
    pf 0 --help
    has out "Commands:"
    pf 0 version
    has out "pageferry "
    pf 0 --version
    pf 0 migrate --version
    for command in run receive migrate; do
        pf 0 "$command" --help
        has out "--peer-timeout=SECONDS"
        has out "PAGEFERRY_PEER_TIMEOUT"
    done
}

usage_errors() {
    pf 2
    pf 2 frobnicate
    has err "frobnicate"
    lines err 1
    pf 2 help frobnicate
    pf 2 status
    pf 2 status a b
    pf 2 status a --bogus
    pf 2 status a --timeout soon
    pf 2 migrate heat
    pf 2 migrate heat tcp://h:1 more
    pf 2 migrate heat tcp://h:1 --detach --record "$work/record"
    has err "--record needs the migration's end"
    pf 2 migrate heat tcp://h:1 --record "$work/missing/record"
    has err "missing/record can't be written"
    pf 2 set heat
    has err "pageferry set NAME bandwidth=100M"
    pf 2 set heat bandwidth
    has err "\"bandwidth\" is no change"
    pf 2 set heat =5
    pf 2 set
    pf 2 switch
    pf 2 switch a b
    pf 2 migrate heat tcp://h:1 --bandwidth 5
    has err "option bandwidth can't be \"5\": give auto, or a size from 64K"
    pf 2 migrate heat tcp://h:1 --mode sideways
    has err "precopy or postcopy or hybrid or auto"
    pf 2 migrate heat "not an address"
    has err "not an address"
    lines err 1
    pf 2 migrate heat tcp://h:1 --slots 0
    has err "option slots can't be \"0\""
    pf 2 run -- true
    has err "--name"
    pf 2 run --name x
    has err "program is missing"
    pf 2 run --name a/b -- true
    has err "a/b"
    pf 2 run --name x --wait never -- true
    has err "spin or sleep"
    pf 2 receive --name x
    pf 2 receive tcp:/x --name x -- true
    has err "tcp:/x"
    pf 2 receive carrier+pigeon://h:1 --name x -- true
    has err "no transport answers"
    ! grep -qE "inproc|fault" "$work/err" || fail "a transport is offered that is for tests"
    lines err 1
    PAGEFERRY_STAGES=many pf 2 run --name x -- true
    has err "PAGEFERRY_STAGES"
    lines err 1
}

run_sets_the_environment() {
    PAGEFERRY_INCOMING=stale pf 0 run --name heat --slots 9 --peer-timeout=2.5 -- env
    has out "PAGEFERRY_NAME=heat"
    has out "PAGEFERRY_SLOTS=9"
    has out "PAGEFERRY_PEER_TIMEOUT=2.500"
    lacks out "PAGEFERRY_INCOMING"
    lacks out "PAGEFERRY_STAGES"
    pf 5 run --name heat sh -c 'exit 5' --slots none
    pf 127 run --name heat -- /no/such/program
    has err "/no/such/program"
    pf 126 run --name heat -- /dev/null
    job taken status
    pf 1 run --name taken -- echo ran
    has err "taken by a live job"
    lacks out ran
    stop_jobs
}

# Any transport of this build will do.
receive_sets_the_environment() {
    local scheme
    for scheme in tcp ofi+tcp inproc; do
        timeout 60 "$PAGEFERRY" receive "$scheme://127.0.0.1:0" --name x -- true \
            2>/dev/null && break
        scheme=
    done
    if [ -z "$scheme" ]; then
        echo "receive: not tested, this build has no transport"
        return
    fi
    pf 0 receive "$scheme://127.0.0.1:0" --once --name heat --wait sleep -- env
    has out "PAGEFERRY_NAME=heat"
    has out "PAGEFERRY_INCOMING=$scheme://127.0.0.1:0"
    has out "PAGEFERRY_ONCE=1"
    has out "PAGEFERRY_WAIT=sleep"
    PAGEFERRY_ONCE=1 pf 0 receive "$scheme://127.0.0.1:0" --name heat -- env
    lacks out "PAGEFERRY_ONCE"
}

status_of_a_job() {
    pf 1 status nobody
    has err "there is no job \"nobody\""
    lines err 1
    pf 1 status nobody --json
    has out '"event":"error"'
    pf 1 status a/b
    job fake status
    pf 0 status fake
    has out "1.0 GiB"
    has out "postcopy"
    has out "2 CPUs"
    lines err 0
    pf 0 status fake --json
    has out '"remaining_bytes":536870912'
    lines out 1
    grep -qF '{"command":"status"}' "$work/fake.log" || fail "the request for status"
    stop_jobs
    pf 1 status fake
}

migrate_a_job() {
    job fake migrate
    pf 0 migrate fake tcp://127.0.0.1:7471 --slots 32
    has out "fake: postcopy   0%  0 B of 1.0 GiB  1.2 GB/s  1234 faults  p50 17 us p99 43 us"
    has out "fake: complete: 1.0 GiB in 430 ms, downtime 3.1 ms, 2.4 GB/s"
    has out "2345 faults, service p50 17 us, p99 43 us, p99.9 99 us"
    has out "262000 pages with data, 144 zero pages"
    lines err 0
    grep -qF '"uri":"tcp:\/\/127.0.0.1:7471","options":{"slots":"32"}' "$work/fake.log" ||
        fail "the request to migrate: $(cat "$work/fake.log")"
    PAGEFERRY_WAIT="sleep" pf 0 migrate fake tcp://127.0.0.1:7471 --json
    has out '"downtime_us":3100'
    lines out 1
    grep -qF '"options":{"wait":"sleep"}' "$work/fake.log" || fail "options of the environment"
    stop_jobs

    job fake lost
    pf 75 migrate fake tcp://127.0.0.1:7471
    has err "pageferry: the link broke"
    lines err 1
    pf 75 migrate fake tcp://127.0.0.1:7471 --json
    lines out 1
    has out '"exit":75'
    stop_jobs

    job fake underway
    pf 0 migrate fake tcp://127.0.0.1:7471 --detach
    has out "under way"
    stop_jobs
}

# Rounds: in progress, in the summary, as a table, and each record in a file.
rounds_of_a_job() {
    job fake precopy
    pf 0 migrate fake tcp://127.0.0.1:7471 --bandwidth 100M --downtime 20 --mode precopy \
        --max-rounds 5 --compress lz4 --xbzrle on --pin stage --throttle auto --record "$work/record"
    has out "fake: precopy  round 1  1.0 GiB left  1.2 GB/s  dirty 80.0 MB/s  downtime 9.0 ms  ETA 1.5 s  throttled 20%"
    has out "fake: 2 rounds of pre-copy, 1.0 GiB, tracked by pagemap-scan"
    grep -qF '"options":{"mode":"precopy","downtime":"20","bandwidth":"100M","max-rounds":"5","pin":"stage","compress":"lz4","xbzrle":"on","throttle":"auto"}' \
        "$work/fake.log" || fail "options of pre-copy: $(cat "$work/fake.log")"
    grep -oE '"event":"[a-z]*"' "$work/record" | cut -d'"' -f4 | xargs >"$work/out"
    has out "progress round progress done"
    pf 0 migrate fake tcp://127.0.0.1:7471 --json --progress
    lines out 4
    pf 0 migrate fake tcp://127.0.0.1:7471 --json
    lines out 1
    stop_jobs
    [ ! -w /dev/full ] || {
        job fake precopy
        pf 0 migrate fake tcp://127.0.0.1:7471 --record /dev/full
        has err "/dev/full is not whole"
        stop_jobs
    }

    job fake rounds
    pf 0 status fake
    has out "tracker                 soft-dirty"
    has out "eta_ms                  1.5 s"
    has out " round     to send       sent         in       left       link    dirtied   downtime  taken"
    has out "     1     1.0 GiB    1.0 MiB     880 ms    4.0 MiB   1.2 GB/s  80.0 MB/s     9.0 ms   20 %"
    has out "     2*    1.0 GiB"
    has out "     -           -          -"
    has out "     *  the job stood still"
    stop_jobs
    job fake status
    pf 0 status fake
    lacks out "round"
    stop_jobs
}

steer_a_job() {
    job fake busy
    pf 0 set fake bandwidth=auto throttle-max=50 note=a=b
    has out "fake: bandwidth is auto, throttle-max is 50, note is a=b from now on"
    grep -qF '{"command":"set","options":{"bandwidth":"auto","throttle-max":"50","note":"a=b"}}' \
        "$work/fake.log" || fail "the request to set: $(cat "$work/fake.log")"
    pf 0 set fake downtime=5 --json
    lines out 1
    pf 0 switch fake
    has out "goes to post-copy"
    grep -qF '{"command":"switch"}' "$work/fake.log" || fail "the request to switch"
    stop_jobs
    job fake idle
    pf 0 set fake slots=9
    has out "fake: slots is 9 for the next migration"
    stop_jobs
    job fake refusal
    pf 1 set fake slots=9
    has err "option slots can't change"
    lines out 0
    pf 1 switch fake
    stop_jobs
}

# The bar is drawn on a terminal only, in one line, and wiped before the summary.
progress_bar() {
    job fake migrate
    last="pageferry migrate on a terminal"
    timeout 60 script -qec "stty cols 120; $PAGEFERRY migrate fake tcp://127.0.0.1:7471" /dev/null \
        >"$work/out" </dev/null || fail "$last: exit status $?"
    has out "[......"
    has out "[#####"
    has out " 50%"
    has out $'\r\033[K'
    has out "fake: complete"
    stop_jobs
}

cancel_a_job() {
    job fake cancel
    pf 0 cancel fake
    has out "cancelled"
    grep -qF '{"command":"cancel"}' "$work/fake.log" || fail "the request to cancel"
    stop_jobs
    pf 1 cancel fake
}

# A job that sends nonsense ends the conversation with a sentence, never the command with a signal.
nonsense() {
    local behaviour
    for behaviour in text binary array trailing bad-utf8 empty-lines long deep half hang-up; do
        job fake "$behaviour"
        pf 3 status fake
        has err "pageferry: job \"fake\""
        lines err 1
        pf 0 list
        has out silent
        stop_jobs
    done
    job fake hang-up
    pf 3 migrate fake tcp://h:1
    lines err 1
    pf 3 cancel fake --json
    has out '"event":"error"'
    stop_jobs
    job fake hang
    pf 3 status fake --timeout 0.2
    has err "does not answer"
    pf 3 migrate fake tcp://h:1 --timeout 0.2
    pf 0 list --timeout 0.2
    has out silent
    stop_jobs
    job fake odd-exit
    pf 1 cancel fake
    stop_jobs
    job fake no-reason
    pf 1 cancel fake
    has err "no reason"
    stop_jobs
}

# Keys that are unknown, missing or of another type are no error.
tolerance() {
    job fake news
    pf 0 status fake
    has out 4711
    stop_jobs
    job fake odd-types
    pf 0 status fake
    has out "fake"
    has out "faults                  2"
    lacks out total_bytes
    lacks out remaining_bytes
    stop_jobs
    job fake escapes
    pf 0 status fake
    has out "a?[31m?b"
    stop_jobs
}

list_of_jobs() {
    pf 0 list
    lines out 1
    pf 0 list --json
    has out "[]"
    job one status
    job two hang-up
    pf 0 list
    has out "REMAINING"
    grep -qE '^one +4711 +source +postcopy +1.0 GiB +512 MiB$' "$work/out" || fail "$last: row of one"
    grep -qE '^two .* silent' "$work/out" || fail "$last: row of two"
    lines out 3
    pf 0 list --json
    has out '"name":"one"'
    has out '"name":"two"'
    pf 0 list --names
    lines out 2
    stop_jobs

    # A killed job leaves its socket; so may others, which are not touched.
    job dead status
    kill -KILL "$job_pid"
    stop_jobs 2>/dev/null
    touch "$PAGEFERRY_RUNTIME_DIR/notes.sock" "$PAGEFERRY_RUNTIME_DIR/other"
    [ -S "$PAGEFERRY_RUNTIME_DIR/dead.sock" ] || fail "a killed job's socket should remain"
    pf 0 list
    lines out 1
    [ ! -e "$PAGEFERRY_RUNTIME_DIR/dead.sock" ] || fail "list should remove a dead job's socket"
    [ -e "$PAGEFERRY_RUNTIME_DIR/other" ] || fail "list should leave other files alone"
    rm -f "$PAGEFERRY_RUNTIME_DIR"/*

    chmod 777 "$PAGEFERRY_RUNTIME_DIR"
    pf 1 list
    has err "chmod 700"
    chmod 700 "$PAGEFERRY_RUNTIME_DIR"
}

probe_the_host() {
    local got=0
    timeout 60 "$PAGEFERRY" probe >"$work/out" 2>"$work/err" || got=$?
    last="pageferry probe"
    [ "$got" = 0 ] || [ "$got" = 1 ] || fail "$last: exit status $got"
    has out "kernel "
    has out "userfaultfd "
    has out "memlock "
    has out "placement "
    ! grep -vE '^[^ ]+ +(yes|no ) +[^ ]' "$work/out" || fail "$last: odd lines"
    pf "$got" probe --json
    lines out 1
    has out '"checks":{"kernel":{"ok":true'
}

# Somebody without rights is told what would give them.
probe_as_somebody() {
    if [ "$(id -u)" != 0 ] || ! command -v setpriv >/dev/null; then
        echo "probe as an ordinary user: not tested, needs root and setpriv"
        return
    fi
    if [ "$(cat /proc/sys/vm/unprivileged_userfaultfd)" = 1 ]; then
        echo "probe as an ordinary user: not tested, vm.unprivileged_userfaultfd is 1 here"
        return
    fi
    # The build tree may be closed to others.
    cp "$PAGEFERRY" "$work/pageferry"
    chmod 755 "$work" "$work/pageferry"
    last="pageferry probe as an ordinary user"
    local got=0
    (ulimit -l 64 && exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all \
        timeout 60 "$work/pageferry" probe) >"$work/out" 2>"$work/err" || got=$?
    [ "$got" = 1 ] || fail "$last: exit status $got"
    has out "60-pageferry-userfaultfd.rules"
    has out "60-pageferry-memlock.conf"
    has out "CAP_SYS_PTRACE"
}

help_everywhere
usage_errors
run_sets_the_environment
receive_sets_the_environment
status_of_a_job
migrate_a_job
rounds_of_a_job
steer_a_job
progress_bar
cancel_a_job
nonsense
tolerance
list_of_jobs
probe_the_host
probe_as_somebody
finish
