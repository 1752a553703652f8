/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/local.h"

#include "bench/touch.h"
#include "core/memory/locked.h"
#include "core/memory/uffd.h"
#include "core/session/idle.h"
#include "numa/topology.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BATCH = 16, RUN_BYTES = 64 << 10, COPY_BYTES = 128 << 20 };

/* Fresh memory under a userfaultfd, and warm memory to fill it from. */
struct local {
    struct pf_uffd uffd;
    char *memory, *warm;
    size_t bytes, warm_bytes;
    pthread_t thread;
    bool started;
    atomic_bool stop;
    atomic_int status;
    int stop_fd;
    struct pf_idle idle;
    unsigned slot, slots;
};

static void close_local(struct local *local)
{
    if (local->started) {
        atomic_store(&local->stop, true);
        ssize_t written = write(local->stop_fd, &(uint64_t){1}, sizeof(uint64_t));
        (void)written;
        pthread_join(local->thread, NULL);
    }
    if (local->stop_fd >= 0)
        close(local->stop_fd);
    pf_uffd_close(&local->uffd);
    if (local->memory)
        munmap(local->memory, local->bytes);
    if (local->warm)
        munmap(local->warm, local->warm_bytes);
}

static int open_local(struct local *local, size_t bytes, size_t warm_bytes, struct pf_why *why)
{
    bool zeropage;
    *local = (struct local){
        .uffd = {.fd = -1},
        .bytes = bytes,
        .warm_bytes = warm_bytes,
        .stop_fd = -1,
    };
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED)
        local->memory = memory;
    local->warm = pf_map_locked(warm_bytes, PF_NODE_UNKNOWN);
    if (memory == MAP_FAILED || !local->warm) {
        pf_why(why, -ENOMEM, "no memory for local faults");
        return -ENOMEM;
    }
    memset(local->warm, 1, warm_bytes);
    int error = pf_uffd_open(&local->uffd, 0, why);
    if (error)
        return error;
    error = pf_uffd_register(&local->uffd, local->memory, bytes, false, &zeropage);
    return error
               ? pf_why(why, error, "cannot register memory with userfaultfd: %s", strerror(-error))
               : 0;
}

/* ---- faults
 * ----------------------------------------------------------------------------------------- */

static int place(struct local *local, uint64_t address)
{
    size_t done;
    char *page =
        local->memory + (address - (uintptr_t)local->memory) / PF_TOUCH_PAGE * PF_TOUCH_PAGE;
    const char *slot = local->warm + (size_t)(local->slot++ % local->slots) * PF_TOUCH_PAGE;
    int result = pf_uffd_copy(&local->uffd, page, slot, PF_TOUCH_PAGE, &done);
    return result == PF_PLACED_ALL ? 0 : -EIO;
}

/* The number of faults served, or -errno. */
static int serve(struct local *local)
{
    struct uffd_msg messages[BATCH];
    ssize_t got = read(local->uffd.fd, messages, sizeof messages);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    int count = (int)((size_t)got / sizeof messages[0]);
    for (int i = 0; i < count; i++) {
        int error = place(local, messages[i].arg.pagefault.address);
        if (error)
            return error;
    }
    return count;
}

static void *serve_faults(void *arg)
{
    struct local *local = arg;
    while (!atomic_load_explicit(&local->stop, memory_order_relaxed)) {
        int served = serve(local);
        if (served < 0) {
            atomic_store(&local->status, served);
            /* Whoever waits for a page goes on, and sees the status. */
            pf_uffd_unregister(&local->uffd, local->memory, local->bytes);
            break;
        }
        if (served > 0)
            pf_busy(&local->idle);
        else
            pf_idle(&local->idle, -1);
    }
    return NULL;
}

static int start_serving(struct local *local, const struct pf_options *options, struct pf_why *why)
{
    sigset_t all;
    sigset_t before;
    local->slots = options->slots;
    local->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (local->stop_fd < 0)
        return pf_why(why, -errno, "cannot make an eventfd: %s", strerror(errno));
    local->idle = (struct pf_idle){
        .fds = {local->uffd.fd, local->stop_fd},
        .fd_count = 2,
        .spin_ns = options->wait == PF_WAIT_SPIN ? options->spin_us * 1000ull : 0,
    };
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&local->thread, NULL, serve_faults, local);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    local->started = error == 0;
    return error ? pf_why(why, -error, "cannot start a thread: %s", strerror(error)) : 0;
}

static int touch_all(struct local *local, struct pf_samples *samples, size_t most,
                     uint64_t budget_ns, struct pf_why *why)
{
    uint64_t ns;
    size_t *order = pf_touch_order(most, budget_ns);
    if (!order)
        return pf_why(why, -ENOMEM, "no memory for local faults");
    uint64_t start = pf_now_ns();
    for (size_t i = 0; i < most && pf_now_ns() - start < budget_ns; i++) {
        pf_touch(local->memory + order[i] * PF_TOUCH_PAGE, &ns);
        pf_samples_add(samples, ns);
    }
    free(order);
    int status = atomic_load(&local->status);
    return status ? pf_why(why, status, "a local fault could not be served: %s", strerror(-status))
                  : 0;
}

int pf_local_faults(const struct pf_options *options, struct pf_samples *samples, size_t most,
                    uint64_t budget_ns, struct pf_why *why)
{
    struct local local;
    int error =
        open_local(&local, most * PF_TOUCH_PAGE, (size_t)options->slots * PF_TOUCH_PAGE, why);
    if (!error)
        error = start_serving(&local, options, why);
    if (!error)
        error = touch_all(&local, samples, most, budget_ns, why);
    close_local(&local);
    return error;
}

/* ---- runs
 * ------------------------------------------------------------------------------------------- */

static int copy_runs(struct local *local, uint64_t budget_ns, double *rate)
{
    size_t at = 0;
    size_t done;
    uint64_t start = pf_now_ns();
    uint64_t ns = 0;
    while (at < local->bytes && ns < budget_ns) {
        int result = pf_uffd_copy(&local->uffd, local->memory + at,
                                  local->warm + at % local->warm_bytes, RUN_BYTES, &done);
        if (result != PF_PLACED_ALL)
            return -EIO;
        at += RUN_BYTES;
        ns = pf_now_ns() - start;
    }
    *rate = (double)at / (double)ns;
    return 0;
}

int pf_local_copy_rate(const struct pf_options *options, uint64_t budget_ns, double *rate,
                       struct pf_why *why)
{
    struct local local;
    size_t ring = options->stages * pf_options_stage_size(options, 4096) / RUN_BYTES * RUN_BYTES;
    int error = open_local(&local, COPY_BYTES, ring > 0 ? ring : RUN_BYTES, why);
    if (!error) {
        error = copy_runs(&local, budget_ns, rate);
        if (error)
            pf_why(why, error, "UFFDIO_COPY of 64 KiB runs failed");
    }
    close_local(&local);
    return error;
}
