/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/tcp/socket.h"

#include "transport/tcp/address.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/* Idle seconds, seconds between probes, probes: a silent host is noticed after 5 + 5 * 3 s. */
enum { KEEP_IDLE = 5, KEEP_INTERVAL = 3, KEEP_COUNT = 5 };

int pf_tcp_socket(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    return fd < 0 ? -errno : fd;
}

static void set(int fd, int level, int option, int value)
{
    (void)setsockopt(fd, level, option, &value, sizeof value);
}

/*
 * The buffers' sizes are left to the kernel: a size set here would be cut to net.core.rmem_max and
 * switch its tuning off, which on long paths reaches several times that.
 */
void pf_tcp_socket_tune(int fd)
{
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEP_INTERVAL);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEP_COUNT);
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, PF_TCP_SILENCE_MS);
}

/*
 * Between two processes of one host there is no path to fill. What is under way is copied into the
 * kernel's memory and out again, and left alone grows to more than the caches close to a core
 * hold: a fifth more CPU time for the same bytes.
 */
void pf_tcp_socket_tune_path(int fd)
{
    enum { LOCAL_BYTES = 256 << 10 };
    struct pf_tcp_address own = {.len = sizeof own.v6}, peer = {.len = sizeof peer.v6};
    if (getsockname(fd, &own.any, &own.len) == 0 && getpeername(fd, &peer.any, &peer.len) == 0 &&
        pf_tcp_address_same_host(&own, &peer))
        set(fd, SOL_SOCKET, SO_SNDBUF, LOCAL_BYTES);
}

int pf_tcp_stream_status(int error)
{
    switch (error) {
    case EPIPE:
    case ECONNRESET:
    case ECONNABORTED:
        return -ECONNRESET;
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return -ETIMEDOUT;
    default:
        return -EIO;
    }
}
