# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# What a command finds in its environment, in the VM and natively alike.
: "${here:?}" "${source:?}" "${build:?}"

# export_environment DEVICE ADDRESS HOST
export_environment() {
    export PATH=$build:$here/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    export SOURCE=$source BUILD=$build
    export RDMA_DEVICE=$1 RDMA_ADDRESS=$2 SOFTROCE_HOST=$3
}
