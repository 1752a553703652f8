/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/tcp/tcp.h"

#include "transport/tcp/device.h"
#include "transport/tcp/dial.h"
#include "transport/tcp/endpoint.h"
#include "transport/tcp/lane.h"
#include "transport/tcp/listener.h"
#include "transport/tcp/post.h"

const struct pf_transport pf_tcp_transport = {
    .scheme = "tcp",
    .doc = "RDMA semantics in software over TCP streams; works on any network",
    .query = pf_tcp_query,
    .device_open = pf_tcp_device_open,
    .device_close = pf_tcp_device_close,
    .mr_reg = pf_tcp_mr_reg,
    .mr_dereg = pf_tcp_mr_dereg,
    .rkey_pack = pf_tcp_rkey_pack,
    .rkey_unpack = pf_tcp_rkey_unpack,
    .lane_open = pf_tcp_lane_open,
    .lane_close = pf_tcp_lane_close,
    .progress = pf_tcp_progress,
    .lane_fd = pf_tcp_lane_fd,
    .lane_arm = pf_tcp_lane_arm,
    .listen = pf_tcp_listen,
    .listener_uri = pf_tcp_listener_uri,
    .listener_close = pf_tcp_listener_close,
    .connect = pf_tcp_connect,
    .accept = pf_tcp_accept,
    .reject = pf_tcp_reject,
    .shutdown = pf_tcp_shutdown,
    .endpoint_close = pf_tcp_endpoint_close,
    .send = pf_tcp_send,
    .recv = pf_tcp_recv,
    .write = pf_tcp_write,
    .write_imm = pf_tcp_write_imm,
    .read = pf_tcp_read,
    .flush = pf_tcp_flush,
};
