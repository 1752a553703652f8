# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# A Debian kernel, its modules and an initramfs that hands over to the host's root over 9p.
# All of it is kept in $cache/SERIES and made once; uses packages.sh.
: "${here:?}" "${cache:?}"

# Loaded before the root is there. rxe's checksums come from crc32_generic, which nothing depends on.
readonly boot_modules=(virtio_pci virtio_net virtio_console 9p 9pnet_virtio overlay
    crc32_generic rdma_rxe rdma_cm rdma_ucm ib_uverbs ib_umad)

kernel_release() {
    basename "$1"/lib/modules/*
}

unpack_kernel() {
    local series=$1 dir=$2 package
    package=$(newest_kernel_package "$series") || true
    if [[ -z $package ]]; then
        ((EUID != 0)) || apt_get update >&2
        package=$(newest_kernel_package "$series") ||
            die "apt knows no linux-image-$series-amd64: check /etc/apt/sources.list, then: apt-get update"
    fi
    say "unpacking $package (once, into ${dir%.new.*})"
    mkdir "$dir/deb"
    download_package "$package" "$dir/deb"
    dpkg -x "$dir"/deb/*.deb "$dir/deb/root"
    mkdir "$dir/lib"
    if [[ -d $dir/deb/root/usr/lib/modules ]]; then
        mv "$dir/deb/root/usr/lib/modules" "$dir/lib/modules"
    else
        mv "$dir/deb/root/lib/modules" "$dir/lib/modules"
    fi
    mv "$dir"/deb/root/boot/vmlinuz-* "$dir/vmlinuz"
    rm -r "$dir/deb"
    depmod -b "$dir" "$(kernel_release "$dir")"
}

# The modules' files in an order in which they can be loaded. Built-in ones have none.
module_files() {
    modprobe -d "$1" -S "$(kernel_release "$1")" -a --show-depends "${boot_modules[@]}" |
        awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

copy_module() {
    case $1 in
    *.xz) xz -dc "$1" >"$2" ;;
    *.zst) zstd -qdc "$1" >"$2" ;;
    *) cp "$1" "$2" ;;
    esac
}

pack_initramfs() {
    local dir=$1 root=$1/initramfs file name tool
    mkdir -p "$root"/{bin,dev,proc,sys,modules,lower,upper,root}
    cp /usr/bin/busybox "$root/bin/busybox"
    for tool in sh mount mkdir insmod switch_root; do
        ln -s busybox "$root/bin/$tool"
    done
    cp "$here/guest/init" "$root/init"
    module_files "$dir" >"$dir/files"
    while read -r file; do
        name=$(basename "$file")
        name=${name%%.ko*}.ko
        copy_module "$file" "$root/modules/$name"
        echo "$name" >>"$root/modules/order"
    done <"$dir/files"
    (cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$dir/initramfs.gz.new"
    mv "$dir/initramfs.gz.new" "$dir/initramfs.gz"
    rm -r "$root" "$dir/files"
}

# prepare_kernel SERIES: sets kernel_dir. Runs that start together wait for the one that builds;
# the lock is let go when the subshell ends.
prepare_kernel() {
    local series=$1 new
    kernel_dir=$cache/$series
    if ! mkdir -p "$cache" || [[ ! -w $cache ]]; then
        die "can't write $cache: run from a clone of your own"
    fi
    (
        flock 9
        if [[ ! -e $kernel_dir/vmlinuz ]]; then
            new=$(mktemp -d "$kernel_dir.new.XXXXXX")
            trap 'rm -rf "$new"' EXIT
            unpack_kernel "$series" "$new"
            chmod 755 "$new"
            mv "$new" "$kernel_dir"
        fi
        if [[ ! $kernel_dir/initramfs.gz -nt $here/guest/init ||
            ! $kernel_dir/initramfs.gz -nt $here/lib/kernel.sh ]]; then
            rm -rf "$kernel_dir/initramfs"
            pack_initramfs "$kernel_dir"
        fi
    ) 9>"$cache/lock"
}
