/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/backends.h"
#include "service/probe.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void pf_probe_tcp(struct pf_probe *probe)
{
    if (!pf_transport_find(pf_backends, "tcp")) {
        pf_probe_not_built(probe, "tcp", "use a build that has it");
        return;
    }
    struct sockaddr_in loopback = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&loopback, sizeof loopback) == 0 &&
        listen(fd, 1) == 0) {
        pf_probe_yes(probe, "tcp", "sockets work");
        probe->transport = true;
    } else {
        pf_probe_no(probe, "tcp", "can't listen on a TCP socket: %s", strerror(errno));
    }
    if (fd >= 0)
        close(fd);
}
