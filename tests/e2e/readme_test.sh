#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The README's program, as it stands there, moved in mid-run: it must print what an unmoved run prints.
set -u
. "$(dirname "$0")/lib.sh"

last='the program in README.md'
block=$work/block.c
awk '/^```c$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$SOURCE_DIR/README.md" >"$block"
{
    cat <<'BEFORE'
#include <pageferry.h>
#include <stdio.h>

static const size_t bytes = 4 << 20;
static const long steps = 4000;

static void initialise(double *grid)
{
    for (size_t i = 0; i < bytes / sizeof *grid; i++)
        grid[i] = (double)(i % 1000);
}

static void stencil(double *grid)
{
    for (size_t i = 1; i < bytes / sizeof *grid; i++)
        grid[i] = 0.5 * (grid[i] + grid[i - 1]) + 1.0;
}

static void print(const double *grid)
{
    double sum = 0;
    for (size_t i = 0; i < bytes / sizeof *grid; i++)
        sum += grid[i];
    printf("answer %.17g\n", sum);
}

int main(void)
{
BEFORE
    grep -v '^#include' "$block"
    printf '    return 0;\n}\n'
} >"$work/program.c"
cc -O2 -Wall -Werror -I "$SOURCE_DIR/include" -o "$work/program" "$work/program.c" \
    -L "$BUILD_DIR" -lpageferry -Wl,-rpath,"$BUILD_DIR" >"$work/out" 2>"$work/err" ||
    { fail "$last does not compile"; finish; }
"$(dirname "$0")/migrate.sh" tcp://127.0.0.1:0 "$work/program" >"$work/out" 2>"$work/err" ||
    fail "$last: exit status $?"
has out "answer "
finish
