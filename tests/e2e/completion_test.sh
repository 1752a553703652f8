#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The bash completion, called as bash calls it.
set -u
. "$(dirname "$0")/lib.sh"
. "$SOURCE_DIR/service/completion/pageferry"

# completes WORDS... : WANTED...: the last word is the one being completed; the answers, in any
# order, are exactly those wanted.
completes() {
    COMP_WORDS=("$PAGEFERRY")
    while [ "$1" != : ]; do
        COMP_WORDS+=("$1")
        shift
    done
    shift
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _pageferry
    local got wanted
    got=$(printf '%s\n' "${COMPREPLY[@]}" | sort | xargs)
    wanted=$(printf '%s\n' "$@" | sort | xargs)
    [ "$got" = "$wanted" ] || fail "completion of \"${COMP_WORDS[*]:1}\": \"$got\" instead of \"$wanted\""
}

job heat status
job heat2 hang
job gups status
completes mig : migrate
completes re : receive
completes --v : --version
completes migrate "" : gups heat heat2
completes migrate he : heat heat2
completes migrate --wait sleep he : heat heat2
completes migrate --json --wait = sleep he : heat heat2
completes migrate --wait sleep heat "" : ""
completes status g : gups
completes cancel zz : ""
completes migrate heat "" : ""
completes migrate --det : --detach
completes migrate heat --peer : --peer-timeout=
completes run --sp : --spin-us=
completes list --n : --names
completes run --wait "" : spin sleep
completes run --wait = sl : sleep
completes run --background = "" : on off
completes receive --placement a : auto
completes run --slots 1 : ""
completes bench "" : bulk compress dirty downtime fault fetch place precopy prefetch raw scan xbzrle
completes bench raw "" : ""
completes bench --wait sleep b : bulk
completes swi : switch
completes switch g : gups
completes set g : gups
completes set heat band : bandwidth=
completes set heat thr : throttle= throttle-initial= throttle-max= throttle-step=
completes set heat mode = : auto hybrid postcopy precopy
completes set heat mode = hy : hybrid
completes set heat mode = hybrid down : downtime=
completes set heat bandwidth = : auto
completes set heat downtime = 5 : ""
completes set --js : --json
completes help can : cancel
touch "$work/record.json"
completes plot "$work/rec" : "$work/record.json"
completes plot --out : --output=
touch "$work/program"
completes run --name x -- "$work/prog" : "$work/program"
finish
