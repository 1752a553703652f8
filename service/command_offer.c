/* SPDX-License-Identifier: BSD-2-Clause */
#include "adapters/firecracker.h"
#include "core/job/job.h"
#include "service/command.h"
#include "service/human.h"
#include "service/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

struct offer {
    struct pf_launch launch;
    const char *file;
    const char *region;
    size_t page_size;
};

static size_t page_size(const char *text)
{
    static const struct {
        const char *name;
        size_t bytes;
    } sizes[] = {{"4K", PF_PAGE_SIZE}, {"2M", FERRY_PAGE_2M}, {"1G", FERRY_PAGE_1G}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (strcasecmp(sizes[i].name, text) == 0)
            return sizes[i].bytes;
    return 0;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct offer *offer = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &offer->launch.engine;
        return 0;
    case 'n':
        offer->launch.name = text;
        return 0;
    case 'r':
        offer->region = text;
        return 0;
    case 'p':
        offer->page_size = page_size(text);
        if (!offer->page_size)
            argp_error(state, "--page-size can't be \"%.40s\": 4K, 2M and 1G are known", text);
        return 0;
    case ARGP_KEY_ARG:
        if (offer->file)
            argp_error(state, "one file can be offered, not more");
        offer->file = text;
        return 0;
    case ARGP_KEY_END:
        if (!offer->file)
            argp_error(state, "the file is missing: a snapshot's memory file, say");
        if (!offer->launch.name)
            argp_error(state, "--name is missing: the job needs a name to be found by");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option rows[] = {
    {"name", 'n', "NAME", 0, "The job's name on this host (PAGEFERRY_NAME)", 0},
    {"page-size", 'p', "4K|2M|1G", 0, "The client's host page size (default 4K)", 0},
    {"region", 'r', "NAME", 0, "The name of the region (default memory)", 0},
    {0},
};

/* ---- the file -------------------------------------------------------------------------------- */

static int read_part(int fd, char *memory, off_t from, off_t to)
{
    while (from < to) {
        ssize_t got = pread(fd, memory + from, (size_t)(to - from), from);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -ENODATA;
        from += got;
    }
    return 0;
}

/* Holes are left untouched: never-touched pages cost nothing to move, and read zeros. */
static int read_data(int fd, char *memory, off_t size)
{
    off_t at = 0;
    for (;;) {
        off_t from = lseek(fd, at, SEEK_DATA);
        if (from < 0)
            return errno == ENXIO ? 0 : -errno;
        off_t to = lseek(fd, from, SEEK_HOLE);
        if (to < 0)
            return -errno;
        if (to > size)
            to = size; /* it has grown meanwhile */
        int error = from < to ? read_part(fd, memory, from, to) : 0;
        if (error || to == size)
            return error;
        at = to;
    }
}

/* 0 and a region that holds the file; or an exit status, after a complaint. */
static int load(struct ferry_job *job, const struct offer *offer)
{
    struct stat st = {.st_size = 0};
    int status = 0;
    int fd = open(offer->file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        status = pf_complain(PF_EXIT_FAILED, "can't open %s: %s", offer->file, strerror(errno));
    else if (!S_ISREG(st.st_mode) || st.st_size == 0)
        status = pf_complain(PF_EXIT_FAILED, "%s is no file with something in it", offer->file);
    if (!status) {
        char *memory =
            ferry_job_alloc(job, offer->region, (size_t)st.st_size, offer->page_size, FERRY_ANON);
        int error = memory ? read_data(fd, memory, st.st_size) : 0;
        if (!memory)
            status = PF_EXIT_FAILED; /* the reason was logged */
        else if (error)
            status =
                pf_complain(PF_EXIT_FAILED, "can't read %s: %s", offer->file, strerror(-error));
    }
    if (fd >= 0)
        close(fd);
    return status;
}

/* ---- the job --------------------------------------------------------------------------------- */

/* One long safe point: nothing is computed here. */
static void stay_until_moved(struct ferry_job *job)
{
    do
        job->hold = 1;
    while (ferry_job_safepoint(job) != FERRY_MOVED);
}

static int offer_file(const struct offer *offer)
{
    struct ferry_job *job;
    char size[32];
    if (ferry_job_open(&job, NULL) < 0)
        return PF_EXIT_FAILED;
    int status = load(job, offer);
    if (!status && ferry_job_start(job) < 0)
        status = PF_EXIT_FAILED;
    if (!status) {
        pf_human_bytes((int64_t)pf_regions_bytes(&job->regions), size, sizeof size);
        printf("offering %s as region \"%s\" of %s: pageferry migrate %s URI\n", offer->file,
               offer->region, size, offer->launch.name);
        fflush(stdout);
        stay_until_moved(job);
    }
    return ferry_job_close(job) < 0 ? PF_EXIT_FAILED : status;
}

int pf_command_offer(int argc, char **argv)
{
    struct offer offer = {.region = PF_FIRECRACKER_REGION, .page_size = FERRY_PAGE_DEFAULT};
    struct pf_why why;
    if (pf_engine_args_init(&offer.launch.engine, &why) != 0)
        return pf_complain(PF_EXIT_USAGE, "%s", why.text);
    const struct argp argp = {
        .options = rows,
        .parser = parse,
        .args_doc = "FILE",
        .doc = "Be the source of a file's content: a job of one region that can be moved to a "
               "client, as a snapshot's memory file to the micro-VM that is restored from it. "
               "Holes of the file are zeros. Ends when it has been moved.",
        .children = offer.launch.engine.child,
    };
    argp_parse(&argp, argc, argv, 0, NULL, &offer);
    int status = pf_launch_prepare(&offer.launch);
    return status ? status : offer_file(&offer);
}
