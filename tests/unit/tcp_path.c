/* SPDX-License-Identifier: BSD-2-Clause */
/* A stream of the tcp back end knows whether it leaves the host, and fills no buffers if it
 * doesn't. */
#include "tests/suite.h"
#include "transport/tcp/address.h"
#include "transport/tcp/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static struct pf_tcp_address address(const char *text, unsigned port)
{
    struct pf_tcp_address address = {.len = sizeof address.v4, .any = {.sa_family = AF_INET}};
    if (inet_pton(AF_INET, text, &address.v4.sin_addr) != 1) {
        address.len = sizeof address.v6;
        address.any.sa_family = AF_INET6;
        CU_ASSERT_EQUAL(inet_pton(AF_INET6, text, &address.v6.sin6_addr), 1);
    }
    pf_tcp_set_port(&address, port);
    return address;
}

static bool same_host(const char *own, const char *peer)
{
    struct pf_tcp_address a = address(own, 1), b = address(peer, 2);
    return pf_tcp_address_same_host(&a, &b);
}

static void knows_the_own_host(void)
{
    CU_ASSERT_TRUE(same_host("10.0.0.7", "10.0.0.7"));
    CU_ASSERT_TRUE(same_host("127.0.0.1", "127.0.0.3"));
    CU_ASSERT_TRUE(same_host("::1", "::1"));
    CU_ASSERT_TRUE(same_host("::ffff:127.0.0.1", "::ffff:127.0.0.2"));
    CU_ASSERT_TRUE(same_host("fe80::7", "fe80::7"));
}

static void knows_other_hosts(void)
{
    CU_ASSERT_FALSE(same_host("10.0.0.7", "10.0.0.8"));
    CU_ASSERT_FALSE(same_host("10.0.0.7", "127.0.0.1"));
    CU_ASSERT_FALSE(same_host("fe80::7", "fe80::8"));
    CU_ASSERT_FALSE(same_host("::ffff:10.0.0.7", "::ffff:10.0.0.8"));
}

static int send_buffer(int fd)
{
    int bytes = 0;
    socklen_t length = sizeof bytes;
    CU_ASSERT_EQUAL(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &length), 0);
    return bytes;
}

/* A set size is one that the kernel's tuning leaves alone, however much is waiting. */
static void bounds_what_is_under_way(void)
{
    struct pf_tcp_address at = address("127.0.0.1", 0);
    int listener = pf_tcp_socket(AF_INET), fd = pf_tcp_socket(AF_INET);
    CU_ASSERT_EQUAL(bind(listener, &at.any, at.len), 0);
    CU_ASSERT_EQUAL(listen(listener, 1), 0);
    CU_ASSERT_EQUAL(getsockname(listener, &at.any, &at.len), 0);
    int before = send_buffer(fd);
    CU_ASSERT_TRUE(connect(fd, &at.any, at.len) == 0 || errno == EINPROGRESS);
    struct pollfd connected = {.fd = fd, .events = POLLOUT};
    CU_ASSERT_EQUAL(poll(&connected, 1, -1), 1);
    pf_tcp_socket_tune_path(fd);
    CU_ASSERT_NOT_EQUAL(send_buffer(fd), before);
    int bound = send_buffer(fd);
    static char bytes[1 << 16];
    while (send(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        continue;
    CU_ASSERT_EQUAL(send_buffer(fd), bound);
    close(fd);
    close(listener);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"knows_the_own_host", knows_the_own_host},
        {"knows_other_hosts", knows_other_hosts},
        {"bounds_what_is_under_way", bounds_what_is_under_way},
        {NULL, NULL},
    };
    return pf_suite_run("tcp_path", tests, argc > 1 ? argv[1] : NULL);
}
