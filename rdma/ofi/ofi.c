/* SPDX-License-Identifier: BSD-2-Clause */
#include "rdma/ofi/ofi.h"

#include "rdma/ofi/internal.h"

const struct pf_transport pf_ofi_transport = {
    .scheme = "ofi+",
    .doc = "libfabric: ofi+tcp, ofi+shm, ofi+verbs, ofi+efa, ... (ofi+PROVIDER://HOST:PORT)",
    .query = pf_ofi_query,
    .device_open = pf_ofi_device_open,
    .device_close = pf_ofi_device_close,
    .mr_reg = pf_ofi_mr_reg,
    .mr_dereg = pf_ofi_mr_dereg,
    .rkey_pack = pf_ofi_rkey_pack,
    .rkey_unpack = pf_ofi_rkey_unpack,
    .lane_open = pf_ofi_lane_open,
    .lane_close = pf_ofi_lane_close,
    .progress = pf_ofi_progress,
    .lane_fd = pf_ofi_lane_fd,
    .lane_arm = pf_ofi_lane_arm,
    .listen = pf_ofi_listen,
    .listener_uri = pf_ofi_listener_uri,
    .listener_close = pf_ofi_listener_close,
    .connect = pf_ofi_connect,
    .accept = pf_ofi_accept,
    .reject = pf_ofi_reject,
    .shutdown = pf_ofi_shutdown,
    .endpoint_close = pf_ofi_endpoint_close,
    .send = pf_ofi_send,
    .recv = pf_ofi_recv,
    .write = pf_ofi_write,
    .write_imm = pf_ofi_write_imm,
    .read = pf_ofi_read,
    .flush = pf_ofi_flush,
};
