#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The man page is well-formed and names every command, option, variable and record key there is.
set -u
. "$(dirname "$0")/lib.sh"
page=$SOURCE_DIR/docs/man/pageferry.1

if ! command -v mandoc >/dev/null; then
    echo "skipped: mandoc is not installed"
    exit 77
fi
mandoc -Tlint -W warning "$page" >"$work/out" || fail "mandoc -Tlint"

# Overstrikes are bold and underlined; without them it is plain text.
mandoc -Tutf8 "$page" 2>/dev/null | sed 's/.\x08//g' >"$work/text"
named() {
    grep -qF -- "$1" "$work/text" || fail "pageferry.1 does not name $1"
}

for command in $("$PAGEFERRY" help | sed -n 's/^  \([a-z]\{1,\}\) .*/\1/p'); do
    named "pageferry $command"
    # --usage and --version are argp's, for every command.
    for option in $("$PAGEFERRY" "$command" --help | grep -oE -- '--[a-z][a-z-]*' | sort -u |
        grep -vxE -- '--(usage|version)'); do
        named "$option"
    done
done
for variable in $("$PAGEFERRY" migrate --help | grep -oE 'PAGEFERRY_[A-Z_]+' | sort -u); do
    named "$variable"
done
for key in $(sed -nE 's/^ *(TEXT|NUMBER|PRECOPY|SHORTER|PART)\(([a-z0-9_]+).*/\2/p' "$SOURCE_DIR/service/record.c" \
    "$SOURCE_DIR/service/rounds.c" | grep -vE "^(member|key)$"); do
    named "$key"
done
for status in $(sed -nE 's/.*PF_EXIT_[A-Z]+ = ([0-9]+),.*/\1/p' "$SOURCE_DIR/core/exit_status.h"); do
    grep -qE "^ +$status( |\$|,)" "$work/text" || grep -qE "^ +126, $status" "$work/text" ||
        fail "pageferry.1 does not explain the exit status $status"
done
finish
