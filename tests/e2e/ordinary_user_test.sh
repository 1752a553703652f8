#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Without root: refused with the remedies where /dev/userfaultfd can't be opened; and with the rights
# that the udev rule gives (a group and mode 0660) a job is moved from start to end. Runs in a mount
# namespace of its own, so that the real device's rights stay as they are.
set -u
. "$(dirname "$0")/lib.sh"

if [ "$(id -u)" != 0 ]; then
    echo "skipped: needs root to become an ordinary user in a mount namespace"
    exit 77
fi
if [ ! -c /dev/userfaultfd ]; then
    echo "skipped: this kernel has no /dev/userfaultfd (Linux 6.1)"
    exit 77
fi
if [ -z "${IN_NAMESPACE:-}" ]; then
    IN_NAMESPACE=yes exec unshare -m --propagation private "$0"
fi

user=65534
group=65533
chmod 755 "$work"
mkdir "$work/home"
chown $user "$work/home"

device=$work/userfaultfd
mknod "$device" c "$(stat -c %Hr /dev/userfaultfd)" "$(stat -c %Lr /dev/userfaultfd)"
chown "0:$group" "$device"
mount --bind "$device" /dev/userfaultfd || { echo "skipped: cannot bind over the device"; exit 77; }

# as GROUPS COMMAND...: run as the ordinary user, with nothing that root has.
as() {
    local groups=$1
    shift
    setpriv --reuid=$user --regid=$user --groups="$groups" --inh-caps=-all --bounding-set=-all \
        env HOME="$work/home" PAGEFERRY_RUNTIME_DIR="$work/home/run" PAGEFERRY="$PAGEFERRY" \
        OMP_NUM_THREADS=1 "$@"
}
# An ordinary user must be able to reach the build, wherever the checkout is.
if ! as "$user" test -x "$PAGEFERRY"; then
    echo "skipped: an ordinary user cannot reach $PAGEFERRY"
    exit 77
fi
unprivileged=/proc/sys/vm/unprivileged_userfaultfd
if [ "$(cat $unprivileged)" != 0 ]; then
    echo "skipped: vm.unprivileged_userfaultfd lets everybody open one"
    exit 77
fi

last='receive without rights'
chmod 600 "$device"
status=0
as "$user" timeout 60 "$PAGEFERRY" receive tcp://127.0.0.1:0 --once --name refused -- \
    "$BUILD_DIR/jobs/heat" --mib 1 >"$work/out" 2>"$work/err" || status=$?
[ $status = 1 ] || fail "$last: exit status $status"
has err "60-pageferry-userfaultfd.rules"
has err "vm.unprivileged_userfaultfd=1"
lacks out "checksum"

last='probe without rights'
as "$user" timeout 60 "$PAGEFERRY" probe >"$work/out" 2>"$work/err" && fail "$last: exit status 0"
has out "60-pageferry-userfaultfd.rules"

last='a migration with the rights of the udev rule'
chmod 660 "$device"
as "$user,$group" "$(dirname "$0")/migrate.sh" tcp://127.0.0.1:0 "$BUILD_DIR/jobs/heat" \
    --mib 4 --steps 4000 >"$work/out" 2>"$work/err" || fail "$last: exit status $?"
has out "checksum"

finish
