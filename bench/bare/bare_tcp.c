/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Plain TCP sockets over loopback, two processes, nothing in between: what the tcp back end is
 * held against. A 64-byte request answered by 4 KiB, one outstanding; and one-way transfers in
 * pieces of 4 KiB, 64 KiB and 1 MiB. Both ends spin with sched_yield().
 */
#include "base/clock.h"

#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    REQUEST_BYTES = 64,
    ANSWER_BYTES = 4096,
    WARM_UP = 1000,
    REPEATS = 3, /* of each transfer; the median counts */
    REGION_BYTES = 64 << 20,
};

struct options {
    unsigned rounds; /* requests that are timed */
    size_t bytes;    /* of one transfer */
};

struct end {
    int fd;
    char *region; /* where transfers come from and go to, from its start to its end and again */
};

static const size_t piece_sizes[] = {4096, 65536, 1 << 20};
static const char *const piece_names[] = {"write_4k_GBps", "write_64k_GBps", "write_1m_GBps"};
enum { PIECES = sizeof piece_sizes / sizeof piece_sizes[0] };

static void die(const char *doing)
{
    fprintf(stderr, "bare_tcp: %s: %s\n", doing, strerror(errno));
    exit(1);
}

static void send_all(int fd, const char *from, size_t len)
{
    while (len > 0) {
        ssize_t sent = send(fd, from, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            die("sending");
        if (sent < 0) {
            sched_yield();
            continue;
        }
        from += sent;
        len -= (size_t)sent;
    }
}

static void recv_all(int fd, char *to, size_t len)
{
    while (len > 0) {
        ssize_t got = recv(fd, to, len, MSG_DONTWAIT);
        if (got == 0) {
            errno = ECONNRESET;
            die("receiving");
        }
        if (got < 0 && errno != EAGAIN)
            die("receiving");
        if (got < 0) {
            sched_yield();
            continue;
        }
        to += got;
        len -= (size_t)got;
    }
}

static int compare_times(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void answer_requests(struct end *end, unsigned rounds)
{
    char request[REQUEST_BYTES];
    for (unsigned i = 0; i < rounds + WARM_UP; i++) {
        recv_all(end->fd, request, sizeof request);
        send_all(end->fd, end->region, ANSWER_BYTES);
    }
}

static void measure_requests(struct end *end, unsigned rounds)
{
    char request[REQUEST_BYTES] = {0};
    uint64_t *times = calloc(rounds, sizeof *times);
    if (!times)
        die("allocating the times");
    for (unsigned i = 0; i < rounds + WARM_UP; i++) {
        uint64_t start = pf_now_ns();
        send_all(end->fd, request, sizeof request);
        recv_all(end->fd, end->region, ANSWER_BYTES);
        if (i >= WARM_UP)
            times[i - WARM_UP] = pf_now_ns() - start;
    }
    qsort(times, rounds, sizeof *times, compare_times);
    size_t p50 = rounds / 2, p99 = (size_t)rounds * 99 / 100, p999 = (size_t)rounds * 999 / 1000;
    printf("{\"rtt_p50_us\": %.3f, \"rtt_p99_us\": %.3f, \"rtt_p999_us\": %.3f",
           (double)times[p50] / 1e3, (double)times[p99] / 1e3, (double)times[p999] / 1e3);
    free(times);
}

/* Pieces at ascending offsets of the region, then one byte back: everything has arrived. */
static void transfer_in(struct end *end, size_t piece, size_t bytes)
{
    for (size_t done = 0; done < bytes; done += piece)
        recv_all(end->fd, end->region + done % REGION_BYTES, piece);
    send_all(end->fd, "", 1);
}

static uint64_t transfer_out(struct end *end, size_t piece, size_t bytes)
{
    char arrived;
    uint64_t start = pf_now_ns();
    for (size_t done = 0; done < bytes; done += piece)
        send_all(end->fd, end->region + done % REGION_BYTES, piece);
    recv_all(end->fd, &arrived, 1);
    return pf_now_ns() - start;
}

static void serve(struct end *end, const struct options *options)
{
    answer_requests(end, options->rounds);
    for (unsigned i = 0; i < PIECES * REPEATS; i++)
        transfer_in(end, piece_sizes[i / REPEATS], options->bytes);
}

static void measure(struct end *end, const struct options *options)
{
    measure_requests(end, options->rounds);
    for (unsigned i = 0; i < PIECES; i++) {
        uint64_t times[REPEATS];
        for (unsigned k = 0; k < REPEATS; k++)
            times[k] = transfer_out(end, piece_sizes[i], options->bytes);
        qsort(times, REPEATS, sizeof times[0], compare_times);
        uint64_t median = times[REPEATS / 2];
        printf(", \"%s\": %.3f", piece_names[i], (double)options->bytes / (double)median);
    }
    printf("}\n");
}

static char *make_region(void)
{
    char *region = aligned_alloc(4096, REGION_BYTES);
    if (!region)
        die("allocating the region");
    memset(region, 1, REGION_BYTES);
    return region;
}

static void no_delay(int fd)
{
    int on = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on))
        die("setting TCP_NODELAY");
}

static int listen_on_loopback(struct sockaddr_in *address)
{
    socklen_t len = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    *address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || bind(fd, (struct sockaddr *)address, len) || listen(fd, 1) ||
        getsockname(fd, (struct sockaddr *)address, &len))
        die("listening on the loopback");
    return fd;
}

static void be_server(int listener, const struct options *options)
{
    struct end end = {.fd = accept(listener, NULL, NULL), .region = make_region()};
    if (end.fd < 0)
        die("accepting");
    no_delay(end.fd);
    serve(&end, options);
    exit(0);
}

static int run(const struct options *options)
{
    struct sockaddr_in address;
    int listener = listen_on_loopback(&address);
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        die("forking");
    if (child == 0)
        be_server(listener, options);
    close(listener);
    struct end end = {.fd = socket(AF_INET, SOCK_STREAM, 0), .region = make_region()};
    if (end.fd < 0 || connect(end.fd, (struct sockaddr *)&address, sizeof address))
        die("connecting");
    no_delay(end.fd);
    measure(&end, options);
    free(end.region);
    close(end.fd);
    int status;
    if (waitpid(child, &status, 0) != child)
        die("waiting for the other end");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static void usage(FILE *out)
{
    fprintf(out, "usage: bare_tcp [--rounds N] [--mbytes N]\n"
                 "Measures plain TCP sockets over loopback and prints one JSON object.\n"
                 "  --rounds N  requests to time (default 50000)\n"
                 "  --mbytes N  MiB in each transfer (default 1024)\n");
}

static bool parse_count(const char *text, unsigned long most, unsigned long *value)
{
    char *end;
    *value = strtoul(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && *value >= 1 && *value <= most;
}

int main(int argc, char **argv)
{
    static const struct option known[] = {
        {"rounds", required_argument, NULL, 'r'},
        {"mbytes", required_argument, NULL, 'm'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    unsigned long rounds = 50000, mbytes = 1024;
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 'h') {
            usage(stdout);
            return 0;
        }
        if ((option == 'r' && parse_count(optarg, 100000000, &rounds)) ||
            (option == 'm' && parse_count(optarg, 1 << 20, &mbytes)))
            continue;
        usage(stderr);
        return 2;
    }
    if (optind < argc) {
        usage(stderr);
        return 2;
    }
    return run(&(struct options){.rounds = (unsigned)rounds, .bytes = mbytes << 20});
}
