# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# The host's tools, and Debian packages that are unpacked without being installed.
: "${exit_skipped:?}"

# What must exist, and the package that brings it.
readonly host_tools="
qemu-system-x86_64            qemu-system-x86
/usr/bin/busybox              busybox-static
/etc/libibverbs.d/rxe.driver  ibverbs-providers
ibv_devinfo                   ibverbs-utils
rping                         rdmacm-utils
ib_write_bw                   perftest
rdma                          iproute2
modprobe                      kmod
xz                            xz-utils
setpriv                       util-linux
"

missing_packages() {
    local tool package
    while read -r tool package; do
        [[ -z $tool ]] || command -v "$tool" >/dev/null || [[ -e $tool ]] || echo "$package"
    done <<<"$host_tools"
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o APT::Sandbox::User=root "$@"
}

# Exits with exit_skipped where the packages can't be had: the only reason for ctest to skip.
install_host_tools() {
    local packages=()
    mapfile -t packages < <(missing_packages | sort -u)
    ((${#packages[@]})) || return 0
    if ((EUID != 0)); then
        say "not installed: ${packages[*]}; as root: apt-get install ${packages[*]}"
        exit "$exit_skipped"
    fi
    say "installing ${packages[*]}"
    if ! { apt_get install --no-install-recommends "${packages[@]}" ||
        { apt_get update && apt_get install --no-install-recommends "${packages[@]}"; }; } >&2; then
        say "can't install ${packages[*]}: see apt-get's message above"
        exit "$exit_skipped"
    fi
}

# download_package PACKAGE DIR: leave PACKAGE's .deb in the empty DIR. The lists of a fresh
# container are empty or name versions that the mirror no longer has, hence the second attempt.
download_package() {
    (cd "$2" && apt_get download "$1") >/dev/null 2>&1 && return 0
    ((EUID != 0)) || apt_get update >&2
    (cd "$2" && apt_get download "$1") >&2 ||
        die "can't download $1: check the network and /etc/apt/sources.list, then: apt-get update"
}

# newest_kernel_package SERIES: the image that the metapackage of SERIES (6.1, 6.12) stands for.
newest_kernel_package() {
    apt-cache depends "linux-image-$1-amd64" linux-image-amd64 2>/dev/null |
        grep -o "linux-image-${1//./\\.}\.[0-9][^ ]*-amd64" | grep -v unsigned | sort -V | tail -n 1
}
