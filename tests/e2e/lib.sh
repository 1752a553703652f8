# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# What the shell tests share: sourced, with PAGEFERRY the command and FAKE_JOB the stand-in.

failures=0
work=$(mktemp -d /tmp/pf-e2e-XXXXXX)
export PAGEFERRY_RUNTIME_DIR=$work/run
jobs_fds=()
pids=() # real jobs: those that are left are ended with the test
touch "$work/out" "$work/err"

clean_up() {
    local pid
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null
    done
    stop_jobs
    rm -rf "$work"
}
trap clean_up EXIT

fail() {
    echo "FAILED: $*" >&2
    sed 's/^/    out: /' "$work/out" >&2
    sed 's/^/    err: /' "$work/err" >&2
    failures=$((failures + 1))
}

# pf STATUS ARGUMENT...: run the command; its exit status must be STATUS. Output goes to
# $work/out and $work/err.
pf() {
    local wanted=$1 got=0
    shift
    timeout 60 "$PAGEFERRY" "$@" >"$work/out" 2>"$work/err" </dev/null || got=$?
    last="pageferry $*"
    [ "$got" = "$wanted" ] || fail "$last: exit status $got instead of $wanted"
}

# has FILE TEXT / lacks FILE TEXT: FILE is out or err.
has() {
    grep -qF -- "$2" "$work/$1" || fail "$last: std$1 lacks \"$2\""
}
lacks() {
    ! grep -qF -- "$2" "$work/$1" || fail "$last: std$1 has \"$2\""
}
lines() {
    [ "$(wc -l <"$work/$1")" = "$2" ] || fail "$last: std$1 has not $2 lines"
}

# job NAME BEHAVIOUR: start a fake job and wait until it listens. Its requests go to
# $work/NAME.log. It ends when the descriptor of its standard input is closed.
job() {
    local fifo=$work/$1.in fd
    rm -f "$fifo"
    mkfifo "$fifo"
    # The log of an earlier job of that name says "ready" already.
    : >"$work/$1.log"
    "$FAKE_JOB" "$1" "$2" <"$fifo" >"$work/$1.log" &
    job_pid=$!
    exec {fd}>"$fifo"
    jobs_fds+=("$fd")
    until grep -q ready "$work/$1.log"; do
        kill -0 "$job_pid" || { fail "fake job $1 $2 did not start"; return; }
        sleep 0.02
    done
}

stop_jobs() {
    local fd
    for fd in "${jobs_fds[@]}"; do
        exec {fd}>&-
    done
    jobs_fds=()
    wait
}

# field NAME KEY: a value of a real job's status. await NAME KEY VALUE: until it is that.
field() {
    "$PAGEFERRY" status "$1" --json 2>/dev/null | grep -oE "\"$2\":(\"[^\"]*\"|[0-9]+)" | head -n 1 |
        cut -d: -f2- | tr -d '"'
}
await() {
    local tries=0
    until [ "$(field "$1" "$2")" = "$3" ]; do
        [ $((tries += 1)) -lt 600 ] || { fail "$2 of $1 is not $3 after a minute"; exit 1; }
        sleep 0.1
    done
}

finish() {
    [ "$failures" = 0 ] || { echo "$failures failures" >&2; exit 1; }
    exit 0
}
