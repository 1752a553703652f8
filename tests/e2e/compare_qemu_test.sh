#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# bench/compare-qemu migrates the same bytes by QEMU and by pageferry, checks that they arrived, and says
# what it promises to say. How fast anything is does not matter here.
set -u
. "$(dirname "$0")/lib.sh"

for needed in qemu-system-x86_64 python3; do
    command -v $needed >/dev/null || { echo "skipped: $needed is missing"; exit 77; }
done
[ -f "$BUILD_DIR/bench/qemu/guest.elf" ] || { echo "skipped: the guest is a program for x86-64"; exit 77; }

# compare STATUS OPTIONS...: its exit status must be STATUS.
compare() {
    local wanted=$1 got=0
    shift
    last="compare-qemu $*"
    timeout -k 5 200 "$SOURCE_DIR/bench/compare-qemu" --build "$BUILD_DIR" "$@" \
        >"$work/out" 2>"$work/err" </dev/null || got=$?
    [ "$got" = "$wanted" ] || fail "$last: exit status $got instead of $wanted"
}

# positive WAY KEY: the run's record of that way has a positive figure.
positive() {
    grep -F ' run"' "$work/out" | grep -F "\"way\":\"$1\"" |
        grep -Eq "\"$2\":0*[0-9.]*[1-9]" || fail "$last: no $2 of $1"
}

compare 0 --quick --json
for way in "QEMU 1 channel" "QEMU multifd 2" "QEMU multifd 4" "pageferry 1 rail" "pageferry 2 rails"; do
    for key in total_s GBps cpu_s_per_GB sent_bytes; do
        positive "$way" $key
    done
done
for way in "QEMU defaults" "QEMU limit 20 ms" "pageferry hybrid" "pageferry pre-copy"; do
    positive "$way" total_s
    positive "$way" dirty_pages_per_s
done
[ "$(grep -c '"bench":"qemu ratio"' "$work/out")" -ge 4 ] || fail "$last: ratios are missing"

# The same runs as tables, from their record.
cp "$work/out" "$work/record"
compare 0 --summary "$work/record"
has out "| QEMU multifd 4 |"
has out "| throughput ÷ QEMU's one channel |"

compare 0 --quick --only "1 rail"
has out "| pageferry 1 rail |"
lacks out "QEMU"

compare 1 --quick --only "1 rail" --option nosuch=1
has err "nosuch"
compare 2 --quick --rate 1500
has err "--rate"
finish
