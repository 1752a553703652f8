#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Records of a real migration, on both sides, and what `pageferry plot` draws of them; and what it
# says of files that are no such records.
set -u
. "$(dirname "$0")/lib.sh"

# More steps than anyone waits for: the destination can be asked after its arrival.
move_heat() {
    local heat=("$BUILD_DIR/jobs/heat" --mib 16 --steps 100000000)
    OMP_NUM_THREADS=1 "$PAGEFERRY" receive tcp://127.0.0.1:0 --once --name there \
        --stage-size 16K -- \
        "${heat[@]}" >"$work/there.out" 2>&1 &
    pids+=($!)
    await there state waiting
    OMP_NUM_THREADS=1 "$PAGEFERRY" run --name here --hold-at 20 -- "${heat[@]}" >"$work/here.out" 2>&1 &
    pids+=($!)
    await here state running
    # Half-way through post-copy it stands still for a while: some progress is reported then.
    pf 0 migrate here "fault+$(field there uri)?at=600&do=delay&ms=300" --mode postcopy \
        --json --progress --progress-ms 10
    cp "$work/out" "$work/records"
    tail -n 1 "$work/out" >"$work/last"
    await there state running
    "$PAGEFERRY" status there --json >"$work/status"
}

# sum FILE KEY: of the numbers of that key in all rows.
sum() {
    grep -oE "\"$2\":[0-9]+" "$work/$1" | cut -d: -f2 | paste -sd+ | bc
}

# The rows of all threads, and the buckets, are the faults; the same on both sides.
check_records() {
    local file faults
    for file in last status; do
        faults=$(grep -oE '"faults":[0-9]+' "$work/$file" | head -n 1 | cut -d: -f2)
        [ "$faults" -gt 0 ] || fail "$file: no faults"
        [ "$(sum "$file" faults)" = $((2 * faults)) ] || fail "$file: the threads' faults"
        # Once in the threads' own, once in those of all.
        [ "$(grep -oE '\[[0-9.]+,[0-9.]+,[0-9]+\]' "$work/$file" | tr -d ']' | cut -d, -f3 |
            paste -sd+ | bc)" = $((2 * faults)) ] || fail "$file: the waits in buckets"
        grep -qE '"threads":\[\{"tid":[0-9]+,"name":"heat"' "$work/$file" || fail "$file: no thread"
    done
    [ "$(grep -oE '"threads.*' "$work/last")" = "$(grep -oE '"threads.*' "$work/status")" ] ||
        fail "the two sides tell of different waits"
    grep -q '"threads"' <(head -n 1 "$work/records") && fail "a record of progress with threads"
    grep -q '"elapsed_us":' <(head -n 1 "$work/records") || fail "a record of progress without time"
    grep -q '"elapsed_us":' "$work/last" && fail "time goes on after the end"
}

# shows FILE TEXT: the picture is well-formed and has a label.
shows() {
    xmllint --noout "$work/$1" || fail "$1 is not well-formed"
    grep -qF -- "$2" "$work/$1" || fail "$1 lacks \"$2\""
}

check_pictures() {
    pf 0 plot "$work/records" -o "$work/all.svg"
    shows all.svg "Migration of here over fault+tcp"
    shows all.svg "How long a fault blocked its thread"
    shows all.svg "half within"
    shows all.svg "How long each thread was blocked"
    shows all.svg "faults, longest"
    shows all.svg "Memory at the destination"
    shows all.svg "runs at the destination"
    pf 0 plot "$work/status" -o "$work/status.svg"
    shows status.svg "Migration of there over tcp"
    ! grep -q "Memory at the destination" "$work/status.svg" || fail "one record has no time axis"
    "$PAGEFERRY" plot - -o "$work/recipe.gp" <"$work/last" || fail "records on standard input"
    gnuplot "$work/recipe.gp" >"$work/recipe.svg" || fail "the recipe by itself"
    shows recipe.svg "half within"
}

# Rounds as `migrate --record` has them: when each ended, and again in the last record.
rounds_drawn() {
    local number round rounds=''
    : >"$work/rounds.json"
    for number in 1 2 3; do
        round="\"number\":$number,\"paused\":false,\"began_us\":${number}00000,\"duration_us\":90000"
        round+=",\"dirty_bytes\":9000000,\"sent_bytes\":9000000,\"remaining_bytes\":400000"
        round+=",\"bandwidth_bytes_per_s\":1250000000,\"dirty_bytes_per_s\":80000000,\"throttle_percent\":30"
        rounds+="${rounds:+,}{$round}"
        printf '%s\n' "{\"event\":\"progress\",\"state\":\"precopy\",\"elapsed_us\":${number}50000,\"remaining_bytes\":4500000}" \
            "{\"event\":\"round\",$round}" >>"$work/rounds.json"
    done
    printf '{"event":"done","name":"r","transport":"tcp","state":"complete","round":3,"precopy_bytes":27000000,"total_us":500000,"remaining_bytes":0,"sent_bytes":29097152,"received_bytes":9000000,"rounds":[%s]}\n' \
        "$rounds" | tee "$work/rounds-last.json" >>"$work/rounds.json"
    for number in rounds rounds-last; do
        pf 0 plot "$work/$number.json" -o "$work/$number.svg"
        shows "$number.svg" "25.7 MiB sent in 3 rounds, 2.0 MiB after them"
        shows "$number.svg" "round by round  (3 in all)"
        shows "$number.svg" "the link carries, in the end 1.2 GB/s"
        shows "$number.svg" "the job writes, in the end 80.0 MB/s"
        shows "$number.svg" "slowed down by up to 30 %"
        shows "$number.svg" "Memory left to send"
    done
    pf 0 plot "$work/rounds.json" -o "$work/rounds.gp"
    [ "$(sed -n '/^\$rates/,/^EOD/p' "$work/rounds.gp" | wc -l)" = 8 ] || fail "a round drawn twice"
    [ "$(sed -n '/^\$left/,/^EOD/p' "$work/rounds.gp" | wc -l)" = 6 ] || fail "what was left"
}

# complains WORDS TEXT...: a file of that text is refused, and no picture is left.
complains() {
    local words=$1
    shift
    printf '%s\n' "$@" >"$work/bad.json"
    pf 1 plot "$work/bad.json" -o "$work/bad.svg"
    has err "$words"
    lines err 1
    [ ! -e "$work/bad.svg" ] || fail "a picture of $*"
}

bad_records() {
    complains "is empty" ""
    complains "record 1 is not JSON" "garbage"
    complains "record 2 is not JSON: it ends too early" '{"event":"progress"}' '{"event":"done",'
    complains "record 1 is no JSON object" '[1,2]'
    complains "no \"event\" that a job reports" '{"result":1}'
    complains "tells of no fault" '{"event":"round","number":-1}' \
        '{"event":"done","rounds":[{"number":1},{"number":0,"began_us":1,"duration_us":1},7]}'
    complains "tells of no fault" '{"event":"status","latency":{"buckets":[[0,1,5]]},"threads":[]}'
    local good='[[1,2,5],[2,3,1]' thread='{"blocked_us":3}' row
    for row in '["x"]' 7 '[3,4]' '[4,3,1]' '[3,4,0]' '[3,"4",1]' null; do
        complains 'record 2: row 3 of "buckets" is not [from, to, count]' '{"event":"progress"}' \
            '{"event":"status","latency":{"buckets":'"$good,$row"']},"threads":['"$thread"']}'
    done
    for row in 7 '"x"' '{}' '{"blocked_us":"3"}' null; do
        complains 'record 1: row 2 of "threads" has no number' \
            '{"event":"status","latency":{"buckets":'"$good"']},"threads":['"$thread,$row"']}'
    done
    complains 'row 1 of "buckets"' '{"event":"status","latency":{"buckets":"none"}}'
    complains 'row 1 of "threads"' '{"event":"status","threads":3}'
    complains "the migration failed: no such host" '{"event":"error","message":"no such host"}'
    pf 1 plot "$work/missing.json" -o "$work/x.svg"
    has err "missing.json can't be read: No such file or directory"
    pf 1 plot "$work" -o "$work/x.svg"
    has err "can't be read"
    pf 1 plot "$work/last" -o "$work/missing/x.svg"
    has err "can't be written"
    pf 2 plot "$work/last" -o "$work/x.jpg"
    has err "pictures are FILE.svg"
    pf 2 plot "$work/last"
    has err "give a file with records"
}

# What a job calls itself must not become commands of gnuplot's, nor of a shell's.
names_stay_names() {
    cat >"$work/evil.json" <<'END'
{"event":"done","name":"a'; system 'touch EVIL","transport":"`touch EVIL`\n!touch EVIL",
 "threads":[{"tid":1,"name":"'\n!touch EVIL\n`touch EVIL`","faults":1,"blocked_us":1,"max_us":1}],
 "latency":{"buckets":[[1,2,3]]}}
END
    (cd "$work" && pf 0 plot evil.json -o evil.svg)
    shows evil.svg "How long each thread"
    [ ! -e "$work/EVIL" ] || fail "a name was obeyed"
}

without_gnuplot() {
    mkdir "$work/empty"
    PATH=$work/empty "$PAGEFERRY" plot "$work/last" -o "$work/none.svg" 2>"$work/err"
    [ $? = 1 ] || fail "plot without gnuplot does not end with 1"
    has err "Debian: gnuplot-nox"
    [ ! -e "$work/none.svg" ] || fail "an empty picture is left"
    PATH=$work/empty "$PAGEFERRY" plot "$work/last" -o "$work/none.gp" || fail "the recipe alone"
    grep -q '^plot' "$work/none.gp" || fail "a recipe without a plot"
}

move_heat
check_records
bad_records
without_gnuplot
if ! command -v gnuplot >/dev/null || ! command -v xmllint >/dev/null; then
    echo "skipped: gnuplot or xmllint is not installed"
    [ "$failures" = 0 ] && exit 77
    finish
fi
check_pictures
rounds_drawn
names_stay_names
finish
