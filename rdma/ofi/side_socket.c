/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The side connection's sockets: TCP to the URI's host and port where the provider reaches other
 * hosts, else a Unix socket in the abstract name space, whose name is made of host and port.
 * An abstract name has no permissions: a connection from another user is turned away.
 */
#include "rdma/ofi/internal.h"

#include "base/log.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 128, PORT_ATTEMPTS = 64, FIRST_PORT = 1024 };

static int failed(int fd, const struct pf_uri *uri, const char *what, struct pf_why *why)
{
    int error = -errno;
    if (fd >= 0)
        close(fd);
    return pf_why(why, error, "%s %s://%s:%s: %s", what, uri->scheme, uri->host, uri->port,
                  strerror(-error));
}

static socklen_t local_address(const struct pf_uri *uri, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int used = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "pageferry/%s/%s:%s",
                        uri->scheme, uri->host, uri->port);
    if (used < 0 || (size_t)used >= sizeof address->sun_path - 1)
        return 0;
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)used);
}

static int name_too_long(const struct pf_uri *uri, struct pf_why *why)
{
    return pf_why(why, -EINVAL, "%s://%s: the name is too long, take one of up to 64 characters",
                  uri->scheme, uri->host);
}

static uint64_t random_number(void)
{
    uint64_t number = 0;
    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
        number = (uint64_t)getpid();
    return number;
}

static int bind_local(int fd, const struct pf_uri *uri, struct pf_why *why)
{
    struct sockaddr_un address;
    socklen_t length = local_address(uri, &address);
    if (!length)
        return name_too_long(uri, why);
    return bind(fd, (struct sockaddr *)&address, length) ? -errno : 0;
}

/* Without a port any free number will do, without a name a fresh one. */
static int bind_any_local(int fd, struct pf_uri *uri, struct pf_why *why)
{
    bool any = !uri->port[0] || strcmp(uri->port, "0") == 0;
    if (!uri->host[0])
        snprintf(uri->host, sizeof uri->host, "%ld-%08llx", (long)getpid(),
                 (unsigned long long)(random_number() & 0xffffffffu));
    int error = -EADDRINUSE;
    for (int i = 0; i < (any ? PORT_ATTEMPTS : 1) && error == -EADDRINUSE; i++) {
        if (any)
            snprintf(uri->port, sizeof uri->port, "%u",
                     FIRST_PORT + (unsigned)(random_number() % (65536 - FIRST_PORT)));
        error = bind_local(fd, uri, why);
    }
    errno = -error;
    return error;
}

static int listen_local(struct pf_uri *uri, struct pf_why *why)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind_any_local(fd, uri, why) || listen(fd, BACKLOG))
        return failed(fd, uri, "listening on", why);
    return fd;
}

static int listen_remote(struct pf_uri *uri, struct pf_why *why)
{
    struct sockaddr_storage address = {0};
    socklen_t length = 0;
    int on = 1;
    int error = pf_ofi_address_socket(uri, true, (struct sockaddr *)&address, &length, why);
    if (error)
        return error;
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return failed(fd, uri, "listening on", why);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, length) || listen(fd, BACKLOG) ||
        getsockname(fd, (struct sockaddr *)&address, &length))
        return failed(fd, uri, "listening on", why);
    error = pf_ofi_address_uri(&address, uri);
    if (error) {
        errno = -error;
        return failed(fd, uri, "listening on", why);
    }
    return fd;
}

/* A descriptor; host and port of the URI are filled in. */
int pf_ofi_side_socket_listen(const struct pf_ofi_device *device, struct pf_uri *uri,
                              struct pf_why *why)
{
    return device->local ? listen_local(uri, why) : listen_remote(uri, why);
}

static int connect_local(const struct pf_uri *uri, struct pf_why *why)
{
    struct sockaddr_un address;
    socklen_t length = local_address(uri, &address);
    if (!length)
        return name_too_long(uri, why);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, length))
        return failed(fd, uri, "connecting to", why);
    return fd;
}

static int connect_remote(const struct pf_uri *uri, bool *connecting, struct pf_why *why)
{
    struct sockaddr_storage address = {0};
    socklen_t length = 0;
    int on = 1;
    int error = pf_ofi_address_socket(uri, false, (struct sockaddr *)&address, &length, why);
    if (error)
        return error;
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return failed(fd, uri, "connecting to", why);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    *connecting = connect(fd, (struct sockaddr *)&address, length) != 0;
    if (*connecting && errno != EINPROGRESS)
        return failed(fd, uri, "connecting to", why);
    return fd;
}

/* A descriptor, or -errno: -ECONNREFUSED and its like mean that nobody is there. */
int pf_ofi_side_socket_connect(const struct pf_ofi_device *device, const struct pf_uri *uri,
                               bool *connecting, struct pf_why *why)
{
    *connecting = false;
    if (!uri->host[0] || !uri->port[0])
        return pf_why(why, -EINVAL, "%s://%s: connecting needs a host and a port", uri->scheme,
                      uri->host);
    return device->local ? connect_local(uri, why) : connect_remote(uri, connecting, why);
}

static bool same_user(int fd)
{
    struct ucred peer;
    socklen_t length = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

/* The next connection, -EAGAIN when there is none. */
int pf_ofi_side_socket_accept(const struct pf_ofi_device *device, int listening)
{
    int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return -errno;
    if (device->local && !same_user(fd)) {
        pf_info("a connection over shared memory from another user was turned away");
        close(fd);
        return -EPERM;
    }
    return fd;
}
