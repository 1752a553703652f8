#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# migrate.sh URI PROGRAM ARGUMENT...: run PROGRAM unmoved; then start it, move it in mid-run to a
# destination that listens at URI, and compare what the two runs printed. PAGEFERRY is the command;
# ON_DESTINATION ("on b") is put before what runs on another host. The job waits at safe point
# HOLD_AT for its migration, so that it can't end before; LIVE=1 lets it run on. HUGE_2M is how many
# huge pages have to be free; without them the test is skipped. The mode is post-copy unless
# PAGEFERRY_MODE says another.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: PAGEFERRY=COMMAND $0 URI PROGRAM [ARGUMENT...]" >&2
    exit 2
fi
uri=$1
shift
: "${PAGEFERRY:?is not set to the pageferry command}"

work=$(mktemp -d /tmp/pf-migrate-XXXXXX)
# Not below $work: another host has no such directory.
export PAGEFERRY_RUNTIME_DIR=$work-run
export PAGEFERRY_MODE=${PAGEFERRY_MODE:-postcopy}
source_pid='' destination_pid=''
pool=/sys/kernel/mm/hugepages/hugepages-2048kB raised=0
hold=(--hold-at "${HOLD_AT:-100}")
[ -z "${LIVE:-}" ] || hold=()
read -ra on_destination <<<"${ON_DESTINATION:-}"

clean_up() {
    local pid
    for pid in $source_pid $destination_pid; do
        kill "$pid" 2>/dev/null || true
    done
    rm -rf "$work" "$PAGEFERRY_RUNTIME_DIR"
    [ "$raised" -le 0 ] || echo $(($(cat $pool/nr_hugepages) - raised)) >$pool/nr_hugepages
}
trap clean_up EXIT

fail() {
    echo "FAILED: $*" >&2
    tail -n 20 "$work"/*.out "$work"/*.err >&2
    exit 1
}

# Huge pages for the two sides: from the pool, which is made larger meanwhile where that is allowed.
if [ -n "${HUGE_2M:-}" ]; then
    left() { echo $(($(cat $pool/free_hugepages) - $(cat $pool/resv_hugepages))); }
    if [ "$(left)" -lt "$HUGE_2M" ]; then
        before=$(cat $pool/nr_hugepages)
        echo $(($(cat $pool/nr_hugepages) + HUGE_2M - $(left))) >$pool/nr_hugepages || true
        raised=$(($(cat $pool/nr_hugepages) - before))
    fi 2>"$work/pool.err"
    if [ "$(left)" -lt "$HUGE_2M" ]; then
        echo "skipped: $HUGE_2M huge pages of 2 MiB are needed, $(left) are free"
        exit 77
    fi
fi

# field NAME KEY: a value of the job's status.
field() {
    local on=()
    [ "$1" != destination ] || on=("${on_destination[@]}")
    "${on[@]}" "$PAGEFERRY" status "$1" --json 2>"$work/status.err" | sed -n "s/.*\"$2\": *\"\([^\"]*\)\".*/\1/p"
}

await_state() {
    local tries=0
    until [ "$(field "$1" state)" = "$2" ]; do
        kill -0 "$3" 2>/dev/null || fail "$1 ended before it was $2"
        [ $((tries += 1)) -lt 600 ] || fail "$1 was not $2 after a minute"
        sleep 0.1
    done
}

"$@" >"$work/unmoved.out" 2>"$work/unmoved.err" || fail "the unmoved run failed"

"${on_destination[@]}" "$PAGEFERRY" receive "$uri" --once --name destination -- "$@" \
    >"$work/destination.out" 2>"$work/destination.err" &
destination_pid=$!
await_state destination waiting "$destination_pid"
"$PAGEFERRY" run --name source "${hold[@]}" -- "$@" >"$work/source.out" 2>"$work/source.err" &
source_pid=$!
await_state source running "$source_pid"
"$PAGEFERRY" migrate source "$(field destination uri)" --json \
    >"$work/migrate.out" 2>"$work/migrate.err" || fail "the migration failed"

wait "$source_pid" || fail "the source ended with status $?"
source_pid=''
wait "$destination_pid" || fail "the destination ended with status $?"
destination_pid=''
[ ! -s "$work/source.out" ] || fail "the source printed an answer though the job had left"
cmp "$work/unmoved.out" "$work/destination.out" || fail "the moved run printed something else"
cat "$work/destination.out"
cat "$work/migrate.out"
