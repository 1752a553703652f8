#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Another project finds the installed library by pkg-config and by CMake, shared and static, from a
# place that is not the one it was built for.
set -u
. "$(dirname "$0")/lib.sh"

if [ ! -e "$SOURCE_DIR/include/pageferry.h" ]; then
    echo "skipped: there is no public header"
    exit 77
fi

# The words of a step, which must succeed.
step() {
    "$@" >"$work/out" 2>"$work/err" || { fail "$*"; finish; }
}

step cmake --install "$BUILD_DIR" --prefix "$work/first"
mv "$work/first" "$work/installed"
export PKG_CONFIG_PATH
PKG_CONFIG_PATH=$(dirname "$(find "$work/installed" -name pageferry.pc)")
libdir=$(dirname "$PKG_CONFIG_PATH")

for file in bin/pageferry include/pageferry.h share/man/man1/pageferry.1 \
    share/bash-completion/completions/pageferry \
    share/doc/pageferry/examples/60-pageferry-userfaultfd.rules \
    share/doc/pageferry/examples/60-pageferry-memlock.conf; do
    [ -e "$work/installed/$file" ] || fail "$file was not installed"
done
[ "$(find "$work/installed/include" -type f | wc -l)" = 1 ] || fail "more than one public header"

mkdir "$work/consumer"
cat >"$work/consumer/main.c" <<'C'
#include <pageferry.h>
#include <stdio.h>
int main(void)
{
    return puts(ferry_strerror(-2)) < 0;
}
C
cat >"$work/consumer/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(consumer C)
find_package(pageferry REQUIRED COMPONENTS static)
add_executable(shared main.c)
target_link_libraries(shared PRIVATE pageferry::pageferry)
add_executable(static main.c)
target_link_libraries(static PRIVATE pageferry::static)
CMAKE

# shellcheck disable=SC2046 # pkg-config prints words
step cc "$work/consumer/main.c" -o "$work/by-pkg-config" -Wl,-rpath,"$libdir" \
    $(pkg-config --cflags --libs pageferry)
step "$work/by-pkg-config"
step cmake -S "$work/consumer" -B "$work/consumer/build" -DCMAKE_PREFIX_PATH="$work/installed"
step cmake --build "$work/consumer/build"
step "$work/consumer/build/shared"
step "$work/consumer/build/static"
step env LD_LIBRARY_PATH="$libdir" "$work/installed/bin/pageferry" version

# Nothing but the public interface is visible.
nm -D --defined-only "$libdir/libpageferry.so" | awk '{print $3}' | grep -v '^ferry_' >"$work/out"
[ ! -s "$work/out" ] || fail "symbols that are not ferry_* are exported"
finish
