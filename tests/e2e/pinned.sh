#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# pinned.sh URI: how much memory a source has pinned at most while 128 MiB leave over URI, without
# and with --release-ram. Pinned memory must return to the host while the rest is still leaving.
set -euo pipefail
uri=$1
: "${PAGEFERRY:?is not set to the pageferry command}" "${HEAT:?is not set to the job}"
work=$(mktemp -d /tmp/pf-pinned-XXXXXX)
export PAGEFERRY_RUNTIME_DIR=$work OMP_NUM_THREADS=1
source_pid='' destination_pid=''

clean_up() {
    local pid
    for pid in $source_pid $destination_pid; do
        kill "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap clean_up EXIT

# field NAME KEY
field() {
    "$PAGEFERRY" status "$1" --json 2>/dev/null | sed -n "s/.*\"$2\": *\"\([^\"]*\)\".*/\1/p"
}
await_state() {
    local tries=0
    until [ "$(field "$1" state)" = "$2" ]; do
        [ $((tries += 1)) -lt 600 ] || { echo "FAILED: $1 is not $2" >&2; exit 1; }
        sleep 0.1
    done
}

# most_pinned on|off: the most KiB that were seen pinned.
most_pinned() {
    local most=0 now line heat=("$HEAT" --mib 128 --steps 1)
    "$PAGEFERRY" receive "$uri" --once --name destination --progress-ms 10 -- "${heat[@]}" \
        >"$work/destination.out" 2>&1 &
    destination_pid=$!
    await_state destination waiting
    "$PAGEFERRY" run --name source --hold-at 1 -- "${heat[@]}" >"$work/source.out" 2>&1 &
    source_pid=$!
    await_state source running
    "$PAGEFERRY" migrate source "$(field destination uri)" --mode postcopy --release-ram "$1" --progress-ms 10 \
        --json >"$work/json" &
    while kill -0 $! 2>/dev/null; do
        while read -r line now _; do
            [ "$line" != VmPin: ] || [ "$now" -le "$most" ] || most=$now
        done <"/proc/$source_pid/status" || break
    done 2>/dev/null
    wait "$source_pid" "$destination_pid"
    source_pid='' destination_pid=''
    grep -q '"event":"done"' "$work/json" || { cat "$work"/*.out "$work/json" >&2; exit 1; }
    echo "$most"
}

off=$(most_pinned off)
on=$(most_pinned on)
echo "most pinned memory of the source: $off KiB, with --release-ram $on KiB"
[ "$off" -ge 120000 ] || { echo "FAILED: the memory was not pinned at all" >&2; exit 1; }
[ "$on" -le $((off * 3 / 4)) ] || { echo "FAILED: pinned memory does not return" >&2; exit 1; }
