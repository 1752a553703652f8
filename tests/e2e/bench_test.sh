#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# `pageferry bench` says what it promises to say. How fast anything is does not matter here.
set -u
. "$(dirname "$0")/lib.sh"

# The value of a key in the JSON line; empty if there is none.
value() {
    sed -n 's/.*"'"$1"'":\([^,}]*\).*/\1/p' "$work/out"
}

# Each key holds a positive finite number.
numbers() {
    local key
    for key in "$@"; do
        value "$key" | grep -Eqx '[0-9]+\.[0-9]+' && value "$key" | grep -q '[1-9]' ||
            fail "$last: $key is \"$(value "$key")\""
    done
}

described() {
    lines out 1
    lines err 0
    [ "$(value transport)" = '"tcp"' ] || fail "$last: transport is $(value transport)"
    [ "$(value wait)" = "\"$1\"" ] || fail "$last: wait is $(value wait), not $1"
    [ "$(value kernel)" = "\"$(uname -r)\"" ] || fail "$last: kernel is $(value kernel)"
    [ "$(value host)" = "\"$(uname -n)\"" ] || fail "$last: host is $(value host)"
    [ -n "$(value version)" ] || fail "$last: no version"
}

# near A B: two figures are the same, up to their rounding.
near() {
    awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > 0 && (a - b) ^ 2 < (0.01 * a) ^ 2) }' ||
        fail "$last: $1 is not $2"
}

raw() {
    pf 0 bench raw --transport tcp --quick --json "$@"
    numbers rtt_p50_us rtt_p99_us rtt_p999_us write_4k_GBps write_64k_GBps write_1m_GBps
}

fault() {
    pf 0 bench fault --transport tcp --quick --json "$@"
    numbers fault_p50_us fault_p99_us fault_p999_us loaded_p50_us loaded_p99_us service_p50_us \
        read_p50_us request_p50_us answer_p50_us place_p50_us local_p50_us local_p99_us \
        raw_p50_us raw_p99_us ratio_p50
    near "$(value ratio_p50)" "$(awk -v f="$(value fault_p50_us)" -v l="$(value local_p50_us)" \
        -v r="$(value raw_p50_us)" 'BEGIN { print f / (l + r) }')"
}

shared() {
    pf 0 bench fault --transport tcp --quick --json --shared --place "$1"
    described spin
    numbers fault_p50_us service_p50_us ratio_p50
    pf 0 bench bulk --transport tcp --quick --json --shared --place "$1"
    described spin
    numbers bulk_GBps raw_GBps raw_ratio
}

# Where there are huge pages for both ends.
huge() {
    local free
    free=$(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages 2>/dev/null || echo 0)
    [ "$free" -ge 16 ] || return 0
    pf 0 bench fault --transport tcp --quick --json --size 8 --pages 2m --shared
    described spin
    numbers fault_p50_us service_p50_us place_p50_us
}

place() {
    pf 0 bench place --json
    lines out 1
    lines err 0
    numbers copy_4k_us continue_4k_us ratio_4k copy_anonymous_4k_us
}

scan() {
    pf 0 bench scan --quick --json
    lines out 1
    lines err 0
    numbers memcpy_GBps memcpy_cache_GBps read_GBps read_cache_GBps plain_GBps plain_cache_GBps \
        ratio cache_ratio memcpy_ratio first_line_ns
}

xbzrle() {
    local words
    pf 0 bench xbzrle --quick --size 1 --json
    lines out 1
    lines err 0
    numbers memcpy_GBps encode_0_GBps
    for words in 1 5 50 200; do
        numbers encode_${words}_GBps decode_${words}_GBps size_$words
    done
}

compress() {
    local library content
    pf 0 bench compress --quick --size 1 --json
    lines out 1
    lines err 0
    for library in zstd lz4; do
        [ -n "$(value ${library}_1_text_ratio)" ] || continue # not built in
        for content in text numbers; do
            numbers ${library}_1_${content}_GBps ${library}_1_${content}_pool_GBps \
                ${library}_1_${content}_back_GBps ${library}_1_${content}_ratio
        done
        numbers ${library}_1_noise_GBps
        near 1 "$(value ${library}_1_noise_ratio)"
    done
}

# Where the kernel tracks writes by itself there is something to compare with.
dirty() {
    local tracker
    pf 0 bench dirty --quick --size 4 --json
    lines out 1
    lines err 0
    numbers plain_write_ns
    for tracker in pagemap_scan soft_dirty write_protect; do
        [ -n "$(value ${tracker}_write_ns)" ] || continue
        numbers ${tracker}_0_ms ${tracker}_1_ms ${tracker}_10_ms ${tracker}_100_ms
    done
    [ -z "$(value bare_write_ns)" ] || numbers bare_0_ms bare_100_ms ratio_0 ratio_1 ratio_10 ratio_100
}

precopy() {
    pf 0 bench precopy --transport tcp --quick --size 4 --json
    described spin
    numbers raw_GBps first_GBps ratio total_ms total_ratio source_cpu_s_per_GB \
        destination_cpu_s_per_GB prealloc_first_GBps prealloc_ratio prealloc_total_ms \
        prealloc_total_ratio prealloc_source_cpu_s_per_GB prealloc_destination_cpu_s_per_GB
}

downtime() {
    local mode size
    pf 0 bench downtime --transport tcp --quick --size 4 --json
    described spin
    for mode in hybrid precopy postcopy; do
        for size in 1 4 16 32; do
            numbers ${mode}_x${size}_downtime_us ${mode}_x${size}_scan_us ${mode}_x${size}_total_ms
        done
        numbers ${mode}_growth
    done
}

crowd() {
    pf 0 bench fault --transport tcp --quick --json --threads 16 --size 1
    described spin
    numbers threads throughput_ratio fairness faults_per_s mean_us worst_p50_us worst_p99_us \
        few_faults_per_s few_mean_us few_worst_p99_us
    near "$(value threads)" 16
}

bulk() {
    pf 0 bench bulk --transport tcp --quick --json "$@"
    numbers bulk_GBps raw_GBps copy_GBps ratio
}

prefetch() {
    local way
    pf 0 bench prefetch --transport tcp --quick --size 4 --json "$@"
    for way in sequential strided heat gups; do
        numbers ${way}_faults_off ${way}_faults_on ${way}_requests_off ${way}_requests_on \
            ${way}_page_off_us ${way}_page_on_us ${way}_fault_ratio
    done
    numbers lookup_p50_off_us lookup_p50_on_us lookup_p99_off_us lookup_p99_on_us
    # Faults are counted, not timed: a job that reads on faults less.
    awk -v off="$(value sequential_faults_off)" -v on="$(value sequential_faults_on)" \
        'BEGIN { exit !(on < off) }' || fail "$last: no fewer faults with neighbours sent"
}

fetch() {
    pf 0 bench fetch --transport tcp --quick --size 4 --json "$@"
    numbers write_p50_us write_p99_us write_service_p50_us write_answer_p50_us \
        read_p50_us read_p99_us read_service_p50_us read_answer_p50_us ratio_p50
}

# The environment of a job is not the measurement's.
stray_environment() {
    PAGEFERRY_NAME=stray PAGEFERRY_INCOMING=tcp://127.0.0.1:1 PAGEFERRY_WAIT=sleep \
        pf 0 bench bulk --transport tcp --quick --json
    described sleep
}

for_people() {
    pf 0 bench raw --transport tcp://127.0.0.1 --quick
    has out "tcp://127.0.0.1, wait spin"
    has out "round trip, p50"
    has out " us"
    has out " GB/s"
    lines err 0
}

bad_input() {
    pf 2 bench
    pf 2 bench raw
    has err "--transport is missing"
    pf 2 bench --transport tcp
    pf 2 bench speed --transport tcp
    has err "speed"
    pf 2 bench raw bulk --transport tcp
    pf 2 bench raw --transport nosuch
    has err "nosuch"
    lines err 1
    pf 2 bench raw --transport inproc
    has err "one process"
    pf 2 bench fault --transport tcp --size 0
    pf 2 bench fault --transport tcp --seconds never
    pf 2 bench fault --transport tcp --threads 65
    pf 2 bench bulk --transport tcp --pages 3k
    has err "3k"
    pf 2 bench raw --transport tcp --pages 2m
    has err "--pages"
    pf 2 bench bulk --transport tcp --threads 8
    has err "--threads"
    pf 2 bench fault --transport tcp --wait never
    has err "spin or sleep"
}

# A failure of either end is reported, and nothing hangs or stays behind.
failures_of_the_ends() {
    pf 1 bench raw --transport tcp://192.0.2.1:0 --quick
    has err "192.0.2.1"
    local bench child waited=0
    "$PAGEFERRY" bench bulk --transport tcp --seconds 60 >"$work/out" 2>"$work/err" &
    bench=$!
    until child=$(pgrep -P "$bench") || [ "$waited" -ge 200 ]; do
        sleep 0.05
        waited=$((waited + 1))
    done
    kill -KILL "$child" || fail "the measurement has no other end"
    wait "$bench" && fail "the measurement came to an end without its other end"
    grep -q . "$work/err" || fail "the other end's death was not reported"
    "$PAGEFERRY" bench bulk --transport tcp --seconds 60 >"$work/out" 2>"$work/err" &
    bench=$!
    waited=0
    until child=$(pgrep -P "$bench") || [ "$waited" -ge 200 ]; do
        sleep 0.05
        waited=$((waited + 1))
    done
    kill -KILL "$bench"
    wait "$bench"
    waited=0
    while kill -0 "$child" && [ "$waited" -lt 200 ]; do
        sleep 0.05
        waited=$((waited + 1))
    done 2>/dev/null
    kill -0 "$child" 2>/dev/null && fail "the other end outlived the measurement"
}

# By itself, while no other test uses the pool.
if [ "${1:-}" = huge ]; then
    huge
    place
    finish
fi

for wait in spin sleep; do
    raw --wait $wait
    described $wait
    fault --wait $wait
    described $wait
    bulk --wait $wait
    described $wait
    prefetch --wait $wait
    described $wait
    fetch --wait $wait
    described $wait
done
crowd
shared copy
shared continue
scan
xbzrle
compress
dirty
precopy
downtime
stray_environment
for_people
bad_input
failures_of_the_ends
finish
