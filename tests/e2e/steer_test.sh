#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Steering migrations that run: `set`, `switch`, `cancel` in the middle of a round, and what status
# and the run record tell of it. The job waits at a safe point, and the limit on bytes a second is
# so low that a round would take minutes: what ends sooner was ended by the command.
set -u
. "$(dirname "$0")/lib.sh"

heat=("$BUILD_DIR/jobs/heat" --mib 16 --steps 40)
export OMP_NUM_THREADS=1
# begin OPTION...: a migration of "here" to "there", in its first round.
begin() {
    "$PAGEFERRY" receive tcp://127.0.0.1:0 --name there -- "${heat[@]}" >"$work/there.out" 2>"$work/there.err" &
    pids=($!)
    await there state waiting
    "$PAGEFERRY" run --name here --hold-at 20 -- "${heat[@]}" >"$work/here.out" 2>"$work/here.err" &
    pids+=($!)
    await here state running
    "$PAGEFERRY" migrate here "$(field there uri)" --bandwidth 64K --record "$work/record" "$@" \
        >"$work/migrate.out" 2>&1 &
    pids+=($!)
    await here state precopy
}

# end STATUS: how the migration ends, and then the jobs.
end() {
    local got=0
    wait "${pids[2]}" || got=$?
    [ "$got" = "$1" ] || fail "migrate ended with $got instead of $1: $(cat "$work/migrate.out")"
    wait "${pids[@]}"
    pids=()
}

moved_right() {
    end 0
    [ ! -s "$work/here.out" ] || fail "the source says something: $(cat "$work/here.out")"
    cmp "$work/unmoved.out" "$work/there.out" || fail "another answer"
}

# number KEY: of the last record.
number() {
    tail -n 1 "$work/record" | grep -oE "\"$1\":[0-9]+" | head -n 1 | cut -d: -f2
}

# Each part of the downtime is told, and they do not overlap.
parts_of_the_downtime() {
    local part sum=0
    for part in scan rest discard state listen resume; do
        sum=$((sum + $(number ${part}_us)))
    done
    [ "$(number rest_us)" -gt 0 ] || fail "no time for the round after the pause"
    [ "$sum" -le "$(number downtime_us)" ] || fail "parts of $sum us: $(tail -n 1 "$work/record")"
}

# What both sides say of themselves meanwhile, and in the end.
status_in_rounds() {
    await there state precopy
    await there round 1
    # Also in the first round, by what it has sent so far.
    local tries=0
    until [ "$(field here eta_ms)" -gt 0 ] && [ "$(field here bandwidth_bytes_per_s)" -gt 0 ]; do
        [ $((tries += 1)) -lt 600 ] || { fail "no estimate of the first round"; break; }
        sleep 0.1
    done
}
nothing_expected() {
    local key
    for key in eta_ms expected_downtime_us remaining_bytes; do
        [ "$(number $key)" = 0 ] || fail "$key in the end: $(number $key)"
    done
}

set_ends_the_wait() {
    begin --mode precopy
    status_in_rounds
    pf 1 set here bandwidth=fast downtime=20
    has err "option bandwidth can't be \"fast\""
    pf 1 set here downtime=20 slots=9
    has err "these can: mode, downtime, bandwidth, max-rounds, pin, fewer-bytes, compress"
    pf 1 set here throttle-initial=60 throttle-max=50
    has err "change both"
    [ "$(field here downtime)" = 300 ] || fail "a refused change was made"
    [ "$(field here bandwidth)" = 64K ] || fail "the limit is not the one that was given"
    pf 1 set there bandwidth=auto
    has err "change options at its source"
    pf 1 set here fewer-bytes=auto compress=zstd
    has err "set fewer-bytes=manual as well"
    pf 0 set here xbzrle=on pin=stage
    has out "xbzrle is on, pin is stage from now on"
    pf 0 set here bandwidth=auto downtime=20
    has out "bandwidth is auto, downtime is 20 from now on"
    moved_right
    grep -qF '"downtime":"20"' <(tail -n 1 "$work/record") || fail "the record lacks the change"
    grep -qF '"xbzrle":"on"' <(tail -n 1 "$work/record") || fail "the record lacks an earlier change"
    grep -q '"event":"round".*"number":1' "$work/record" || fail "no round in the record"
    grep -qE '"rounds":\[\{"number":1' <(tail -n 1 "$work/record") || fail "no rounds at the end"
    grep -qE '"reason":"[a-z]' "$work/record" || fail "no reason for what came next"
    grep -qE '"tracker":"[a-z-]+"' "$work/record" || fail "no tracker in the record"
    parts_of_the_downtime
    nothing_expected
    # Pre-copy alone: the last round is the one in which the job stood still.
    grep -qF '"paused":true' <(tail -n 1 "$work/record") || fail "no round while the job stood still"
}

switch_in_mid_round() {
    begin --mode precopy
    pf 1 switch there
    pf 0 switch here
    has out "goes to post-copy"
    # What is not asked for at the destination is still limited; the job may have left by now.
    "$PAGEFERRY" set here bandwidth=auto >"$work/out" 2>"$work/err"
    moved_right
    ! grep -qF '"paused":true' "$work/record" || fail "a last round in spite of the switch"
    [ "$(number precopy_bytes)" -lt $((8 << 20)) ] || fail "the round was not given up"
}

# Options of a migration that is refused are not set.
refused_migrate() {
    [ "$(field here bandwidth)" = 64K ] || fail "the options of a migration that began don't stay"
    pf 1 migrate here nowhere --bandwidth 1M --max-rounds 7
    has err "nowhere"
    pf 1 migrate here "$(field there uri)" --bandwidth 1M --throttle-initial 60 --throttle-max 50
    has err "change both"
    [ "$(field here bandwidth)" = 64K ] || fail "a refused migration has set its options"
    [ "$(field here max-rounds)" = 30 ] || fail "a refused migration has set its options"
}

cancel_in_mid_round() {
    begin --mode precopy --progress-ms 10
    pf 0 cancel here
    wait "${pids[2]}"
    [ $? = 1 ] || fail "a cancelled migration did not end with 1"
    await here state running
    await there state waiting
    [ "$(field here failure)" = "the migration was cancelled" ] || fail "no reason in the status"
    [ "$(field here remaining_bytes)" = 0 ] || fail "something is left of a cancelled migration"
    pf 1 switch here
    has err "no migration is under way"
    refused_migrate
    pf 0 status here
    has out "running"
    pf 0 migrate here "$(field there uri)" --bandwidth auto --mode precopy --fewer-bytes auto --json
    has out '"fewer_bytes":"'
    wait "${pids[@]}" 2>/dev/null
    cmp "$work/unmoved.out" "$work/there.out" || fail "another answer after a cancel"
}

"${heat[@]}" >"$work/unmoved.out" || fail "heat by itself"
set_ends_the_wait
switch_in_mid_round
cancel_in_mid_round
finish
