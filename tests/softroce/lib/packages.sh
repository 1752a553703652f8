# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# The host's tools, and Debian packages that are unpacked without being installed.
# What must exist, and the package that brings it: everywhere, and for the VM.
readonly host_tools="
/etc/libibverbs.d/rxe.driver  ibverbs-providers
ibv_devinfo                   ibverbs-utils
rping                         rdmacm-utils
ib_write_bw                   perftest
rdma                          iproute2
"
readonly vm_tools="
qemu-system-x86_64            qemu-system-x86
/usr/bin/busybox              busybox-static
modprobe                      kmod
xz                            xz-utils
setpriv                       util-linux
"

# missing_packages TOOLS: TOOLS is one of the two lists, or both.
missing_packages() {
    local tool package
    while read -r tool package; do
        [[ -z $tool ]] || command -v "$tool" >/dev/null || [[ -e $tool ]] || echo "$package"
    done <<<"$1"
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 "$@"
}

# install_tools TOOLS STATUS: exits with STATUS where the packages can't be had.
install_tools() {
    local status=$2 packages=()
    mapfile -t packages < <(missing_packages "$1" | sort -u)
    ((${#packages[@]})) || return 0
    if ((EUID != 0)); then
        say "not installed: ${packages[*]}; as root: apt-get install ${packages[*]}"
        exit "$status"
    fi
    say "installing ${packages[*]}"
    if ! { apt_get install --no-install-recommends "${packages[@]}" ||
        { apt_get update && apt_get install --no-install-recommends "${packages[@]}"; }; } >&2; then
        say "can't install ${packages[*]}: see apt-get's message above"
        exit "$status"
    fi
}

install_host_tools() {
    install_tools "$host_tools" "$1"
}

install_vm_tools() {
    install_tools "$vm_tools" "$1"
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
