# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# One or two VMs under QEMU's software emulation. A run's files (pipes, sockets, consoles, the
# directory shared with the guest) live in $run_dir; uses say.sh and kernel.sh.
: "${here:?}" "${source:?}" "${build:?}" "${directory:?}" "${mode:?}" "${hosts:?}"
: "${memory:?}" "${time_limit:?}" "${exit_timeout:?}"

vm_pids=()
reader_pids=()
drain_pids=()

# Whatever ends run ends its VMs: the trap, or, if run is killed outright, the signal that the
# kernel sends a child whose parent died.
stop_vms() {
    local pid
    for pid in "${vm_pids[@]}" "${reader_pids[@]}" "${drain_pids[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    wait
    rm -rf "$run_dir"
    [[ $mode != shell ]] || stty sane
}

new_run() {
    run_dir=$(mktemp -d /tmp/softroce.XXXXXX)
    trap stop_vms EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    mkdir -p "$run_dir/share/jobs"
}

# The variables of the caller that a command inside sees too.
passed_variables() {
    local name
    for name in $(compgen -e); do
        case $name in
        PAGEFERRY_* | SUITE_SECONDS | FI_* | RDMAV_* | IBV_* | MLX5_*) declare -p "$name" ;;
        esac
    done
}

# write_command ARGS...: what the guest runs, and what it needs to know about the host.
write_command() {
    local share=$run_dir/share
    {
        passed_variables
        printf 'exec'
        printf ' %q' "$@"
        printf '\n'
    } >"$share/command"
    printf '%s=%q\n' here "$here" source "$source" build "$build" directory "$directory" \
        modules "${kernel_dir:?}/lib/modules" mode "$mode" terminal "${TERM-dumb}" \
        terminal_size "$(stty size 2>/dev/null || echo 24 80)" >"$share/settings"
    printf 'exec %q\n' "$here/guest/boot" >"$share/start"
}

# read_port NAME FD: copy what the guest writes to its port NAME to our descriptor. If that is closed
# (as by `| head`) the rest is dropped: without a reader the guest would block for ever.
read_port() {
    mkfifo "$run_dir/$1"
    { cat || cat >/dev/null; } <"$run_dir/$1" >&"$2" &
    reader_pids+=($!)
}

# A reader whose writer never came still waits in open(): opening the pipe both ways frees it.
finish_readers() {
    local name
    for name in stdout stderr; do
        : <>"$run_dir/$name"
    done
    wait "${reader_pids[@]}" || true
    reader_pids=()
}

# The virtual cable: nothing at its other end for one host, host 1 listening for host 2 otherwise.
network_options() {
    local stream=stream,id=n0,addr.type=unix,addr.path=$run_dir/cable
    case $hosts$1 in
    11) options+=(-netdev "hubport,id=n0,hubid=0") ;;
    21) options+=(-netdev "$stream,server=on") ;;
    22) options+=(-netdev "$stream,server=off") ;;
    esac
    options+=(-device "virtio-net-pci,netdev=n0,host_mtu=9000,mac=52:54:00:77:00:0$1")
}

# A port of the guest that QEMU writes to a pipe of ours.
port_option() {
    options+=(-chardev "file,id=$1,path=$2" -device "virtserialport,chardev=$1,name=$1")
}

# What the guest writes to its port "monitor" comes out of the pipe that QEMU reads monitor
# commands from: that is how a test inside cuts its own cable.
monitor_options() {
    local pipe=$run_dir/monitor$1
    mkfifo "$pipe.in" "$pipe.out"
    cat "$pipe.out" >/dev/null &
    drain_pids+=($!)
    options+=(-chardev "pipe,id=commands,path=$pipe" -mon "chardev=commands,mode=readline")
    port_option monitor "$pipe.in"
}

share_options() {
    options+=(
        -fsdev "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"
        -device "virtio-9p-pci,fsdev=root,mount_tag=root"
        -fsdev "local,id=share,path=$run_dir/share,security_model=none"
        -device "virtio-9p-pci,fsdev=share,mount_tag=share")
}

launch() {
    exec setpriv --pdeathsig TERM timeout --foreground -k 2 "$time_limit" \
        setpriv --pdeathsig KILL qemu-system-x86_64 "$@"
}

# start_vm NUMBER: host 1 is a and has the command's output, host 2 is b.
start_vm() {
    local number=$1 letter options=()
    letter=$(cut -c "$number" <<<ab)
    # Told that string instructions are fast, the guest would copy by them: here that is byte by byte.
    options=(-accel "tcg,thread=multi" -cpu "max,-erms,-fsrm" -m "$memory" -smp "$cpus"
        -nodefaults -no-user-config -display none -no-reboot -serial "file:$run_dir/console$number"
        -kernel "$kernel_dir/vmlinuz" -initrd "$kernel_dir/initramfs.gz"
        -append "console=ttyS0 quiet panic=-1 mitigations=off init_on_alloc=0 softroce.host=$letter"
        -device virtio-serial-pci)
    network_options "$number"
    monitor_options "$number"
    share_options
    if [[ $letter == a ]]; then
        port_option stdout "$run_dir/stdout"
        port_option stderr "$run_dir/stderr"
    fi
    if [[ $letter$mode == ashell ]]; then
        options+=(-chardev "stdio,id=shell,signal=off" -device "virtconsole,chardev=shell")
        launch "${options[@]}" <&0 2>"$run_dir/qemu$number" &
    else
        launch "${options[@]}" </dev/null >"$run_dir/qemu$number" 2>&1 &
    fi
    vm_pids+=($!)
}

wait_for_cable() {
    local tries
    for ((tries = 0; tries < 200; tries++)); do
        [[ ! -S $run_dir/cable ]] || return 0
        sleep 0.05
    done
    show_vm 1
    die "host a's QEMU offered no cable after 10 s"
}

show_vm() {
    tail -n 20 "$run_dir/qemu$1" "$run_dir/console$1" 2>/dev/null | tr -d '\r' >&2
}

# A host b that ended by itself is why host a waited.
show_dead_host_b() {
    ((hosts == 2)) && ! kill -0 "${vm_pids[1]}" 2>/dev/null || return 0
    show_vm 2
    say "host b's VM ended early; above, the end of its console"
}

# run_in_vm COMMAND...: returns its exit status; its output went to ours while it ran.
run_in_vm() {
    local ended=0
    new_run
    write_command "$@"
    read_port stdout 1
    read_port stderr 2
    start_vm 1
    if ((hosts == 2)); then
        wait_for_cable
        start_vm 2
    fi
    wait "${vm_pids[0]}" || ended=$?
    finish_readers
    if [[ -e $run_dir/share/status ]]; then
        return "$(<"$run_dir/share/status")"
    elif ((ended == exit_timeout)); then
        show_dead_host_b
        say "the time limit of $time_limit s has passed (--timeout)"
        return "$exit_timeout"
    fi
    show_vm 1
    die "the VM ended without a result (QEMU's exit status $ended); above, the end of its console"
}
