/* SPDX-License-Identifier: BSD-2-Clause */
#include "rdma/verbs/verbs.h"

#include "rdma/verbs/objects.h"

const struct pf_transport pf_verbs_transport = {
    .scheme = "verbs",
    .doc = "RDMA by libibverbs and librdmacm: InfiniBand, RoCE, soft-RoCE",
    .query = pf_verbs_query,
    .device_open = pf_verbs_device_open,
    .device_close = pf_verbs_device_close,
    .mr_reg = pf_verbs_mr_reg,
    .mr_dereg = pf_verbs_mr_dereg,
    .rkey_pack = pf_verbs_rkey_pack,
    .rkey_unpack = pf_verbs_rkey_unpack,
    .lane_open = pf_verbs_lane_open,
    .lane_close = pf_verbs_lane_close,
    .progress = pf_verbs_progress,
    .lane_fd = pf_verbs_lane_fd,
    .lane_arm = pf_verbs_lane_arm,
    .listen = pf_verbs_listen,
    .listener_uri = pf_verbs_listener_uri,
    .listener_close = pf_verbs_listener_close,
    .connect = pf_verbs_connect,
    .accept = pf_verbs_accept,
    .reject = pf_verbs_reject,
    .shutdown = pf_verbs_shutdown,
    .endpoint_close = pf_verbs_endpoint_close,
    .send = pf_verbs_send,
    .recv = pf_verbs_recv,
    .write = pf_verbs_write,
    .write_imm = pf_verbs_write_imm,
    .read = pf_verbs_read,
    .flush = pf_verbs_flush,
};
