/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bytes: a job whose memory is what a file holds, and which writes to it as fast as it is told to.
 *
 * Made to be compared with: bench/compare-qemu gives the same bytes to a virtual machine. It holds
 * until its standard input ends, at the source also after it has left, so that who measures finds
 * the process as the migration left it. Then every byte is checked: write number n puts n into a
 * page's first word, page after page or scattered, so what is lost or late shows.
 */
#include "pageferry.h"

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096 };
#define SECOND UINT64_C(1000000000)
/* What a longer wait kept from being written is not made up for: it was no late tick. */
#define LATEST (SECOND / 5)

/* What travels with the job. */
struct done {
    uint64_t writes;
    uint64_t ns; /* in which it was to write: not between the two sides */
};

struct bytes {
    const char *file; /* its bytes, mapped */
    size_t length;    /* whole pages */
    size_t dirty;     /* pages that are written to, the first ones */
    size_t stride;    /* from one of them to the next */
    uint64_t rate;    /* pages a second */
    bool random;
    char *region;
    struct done done;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* Write number n, counted from 1. */
static size_t page_of(const struct bytes *bytes, uint64_t n)
{
    return (size_t)((n - 1) % bytes->dirty * bytes->stride % bytes->dirty);
}

static size_t common_divisor(size_t a, size_t b)
{
    return b == 0 ? a : common_divisor(b, a % b);
}

/* A stride without a common divisor visits every page once in a round. */
static size_t scattered(size_t pages)
{
    size_t stride = pages * 618 / 1000 + 1;
    while (common_divisor(pages, stride) != 1)
        stride++;
    return stride;
}

/* Up to when writes have been counted, and up to when made; on this side. */
struct pace {
    uint64_t seen, written;
};

static void write_due(struct bytes *bytes, struct pace *pace)
{
    uint64_t now = now_ns();
    bytes->done.ns += now - pace->seen;
    pace->seen = now;
    if (now - pace->written > LATEST)
        pace->written = now - LATEST;
    uint64_t due = (now - pace->written) * bytes->rate / SECOND;
    for (uint64_t i = 0; i < due; i++) {
        uint64_t n = ++bytes->done.writes;
        memcpy(bytes->region + page_of(bytes, n) * PAGE, &n, sizeof n);
    }
    pace->written += due * SECOND / bytes->rate;
}

/* A millisecond, or until the standard input ends: then true. */
static bool told_to_end(int timeout_ms)
{
    char byte;
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&input, 1, timeout_ms) == 1 && read(STDIN_FILENO, &byte, 1) == 0;
}

/* FERRY_MOVED when the job has left. */
static int hold(struct bytes *bytes, struct ferry_job *job)
{
    uint64_t now = now_ns();
    struct pace pace = {now, now};
    do {
        if (ferry_job_safepoint(job) == FERRY_MOVED) {
            while (!told_to_end(-1))
                continue;
            return FERRY_MOVED;
        }
        if (bytes->rate > 0)
            write_due(bytes, &pace);
    } while (!told_to_end(1));
    return FERRY_CONTINUE;
}

/* What page holds by now: the file's bytes, but for the latest write to it, if there was one. */
static bool right(const struct bytes *bytes, size_t page, uint64_t latest)
{
    const char *is = bytes->region + page * PAGE, *was = bytes->file + page * PAGE;
    if (latest == 0)
        return memcmp(is, was, PAGE) == 0;
    return memcmp(is, &latest, sizeof latest) == 0 &&
           memcmp(is + sizeof latest, was + sizeof latest, PAGE - sizeof latest) == 0;
}

static size_t wrong_pages(const struct bytes *bytes)
{
    size_t pages = bytes->length / PAGE, wrong = 0;
    uint64_t *latest = calloc(pages, sizeof *latest);
    if (!latest)
        return pages;
    uint64_t writes = bytes->done.writes;
    for (uint64_t n = writes > bytes->dirty ? writes - bytes->dirty + 1 : 1; n <= writes; n++)
        latest[page_of(bytes, n)] = n;
    for (size_t page = 0; page < pages; page++)
        wrong += !right(bytes, page, latest[page]);
    free(latest);
    return wrong;
}

static int run(struct bytes *bytes, struct ferry_job *job)
{
    bytes->region = ferry_job_alloc(job, "bytes", bytes->length, FERRY_PAGE_DEFAULT, FERRY_ANON);
    if (!bytes->region || ferry_job_state(job, &bytes->done, sizeof bytes->done) < 0)
        return 1;
    int how = ferry_job_start(job);
    if (how < 0)
        return 1;
    if (how == FERRY_FRESH) {
        memcpy(bytes->region, bytes->file, bytes->length);
        puts("bytes: ready");
        fflush(stdout);
    }
    if (hold(bytes, job) == FERRY_MOVED)
        return 0;
    size_t wrong = wrong_pages(bytes);
    printf("bytes: %zu pages, %zu wrong, %" PRIu64 " writes in %" PRIu64 " us\n",
           bytes->length / PAGE, wrong, bytes->done.writes, bytes->done.ns / 1000);
    return wrong > 0;
}

static bool map_file(struct bytes *bytes, const char *path)
{
    struct stat about;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about) < 0 || about.st_size < PAGE) {
        fprintf(stderr, "bytes: %s is no file of at least a page\n", path);
        if (fd >= 0)
            close(fd);
        return false;
    }
    bytes->length = (size_t)about.st_size / PAGE * PAGE;
    void *map = mmap(NULL, bytes->length, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    bytes->file = map;
    return map != MAP_FAILED;
}

static int usage(const char *program)
{
    fprintf(stderr,
            "usage: %s --file FILE [--rate PAGES] [--dirty MIB] [--random]   (PAGES: written a "
            "second, of the first MIB)\n",
            program);
    return 2;
}

static bool parse(struct bytes *bytes, const char **path, int argc, char **argv)
{
    static const struct option options[] = {
        {"file", required_argument, NULL, 'f'},
        {"rate", required_argument, NULL, 'r'},
        {"dirty", required_argument, NULL, 'd'},
        {"random", no_argument, NULL, 'R'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'f')
            *path = optarg;
        else if (option == 'r')
            bytes->rate = strtoull(optarg, NULL, 10);
        else if (option == 'd')
            bytes->dirty = strtoull(optarg, NULL, 10) * ((1 << 20) / PAGE);
        else if (option == 'R')
            bytes->random = true;
        else
            return false;
    }
    return *path && optind == argc;
}

int main(int argc, char **argv)
{
    struct bytes bytes = {.stride = 1};
    const char *path = NULL;
    if (!parse(&bytes, &path, argc, argv))
        return usage(argv[0]);
    if (!map_file(&bytes, path))
        return 1;
    if (bytes.dirty == 0 || bytes.dirty > bytes.length / PAGE)
        bytes.dirty = bytes.length / PAGE;
    if (bytes.random)
        bytes.stride = scattered(bytes.dirty);

    struct ferry_job *job;
    if (ferry_job_open(&job, NULL) < 0)
        return 1;
    int status = run(&bytes, job);
    fflush(stdout);
    return ferry_job_close(job) < 0 ? 1 : status;
}
