# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# What run prints about itself goes to stderr: stdout belongs to the command inside.

: "${exit_tool:?}"

say() {
    printf 'softroce: %s\n' "$*" >&2
}

die() {
    say "$@"
    exit "$exit_tool"
}
