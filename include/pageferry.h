/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pageferry: move the memory of a running job to another host while the job keeps running.
 *
 * Concepts
 *
 *   job          what is moved: named regions of memory, small pieces of state, and safe points at
 *                which it can be stopped. One job per process.
 *   region       one named contiguous range of memory. It is moved page by page.
 *   safe point   a place in the program where no thread touches a region: between two time steps,
 *                say. The job can be moved at any safe point and at no other place.
 *   source       the process that the job leaves; destination: the process that it goes to. Both
 *                run the same program, started with `pageferry run` and `pageferry receive`.
 *
 * A program declares its memory, starts, and calls the safe point in its loop:
 *
 *     struct ferry_job *job;
 *     long step = 0;
 *     if (ferry_job_open(&job, NULL) < 0)
 *         return 1;
 *     double *grid = ferry_job_alloc(job, "grid", bytes, FERRY_PAGE_DEFAULT, FERRY_ANON);
 *     ferry_job_state(job, &step, sizeof step);
 *     int how = ferry_job_start(job);
 *     if (!grid || how < 0)
 *         return 1;
 *     if (how == FERRY_FRESH)
 *         initialise(grid);
 *     for (; step < steps; step++) {
 *         if (ferry_job_safepoint(job) == FERRY_MOVED)
 *             break;
 *         stencil(grid);
 *     }
 *     if (step == steps)
 *         print(grid);
 *     ferry_job_close(job);
 *
 * The state must say at a safe point what is done already: with the safe point after the stencil
 * and before step++ the destination would do that step twice.
 *
 * At the destination ferry_job_start() waits until a job arrives, fills in the state and returns
 * FERRY_ARRIVED: the loop goes on where it was, and each page comes when it is first touched,
 * or in the background.
 *
 * Errors are negative errno values; ferry_strerror() names them and ferry_job_why() has the whole
 * sentence. Unless a function says otherwise it is called by one thread at a time.
 *
 * Environment: PAGEFERRY_NAME names the job and opens its control socket (for `pageferry migrate`,
 * `status`, `cancel`); PAGEFERRY_INCOMING=URI makes it a destination that listens there; every
 * engine option has a variable too: --peer-timeout is PAGEFERRY_PEER_TIMEOUT.
 */
#ifndef PAGEFERRY_H
#define PAGEFERRY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FERRY_API __attribute__((visibility("default")))

struct ferry_job;

/* The page size of a region. Huge pages come from the machine's pool and are reserved there. */
enum {
    FERRY_PAGE_DEFAULT = 0, /* 4 KiB */
    FERRY_PAGE_2M = 1 << 21,
    FERRY_PAGE_1G = 1 << 30,
};

/* What a region is made of, and how it is to be mapped. */
enum {
    FERRY_ANON = 0,            /* private anonymous memory */
    FERRY_FIXED_ADDR = 1 << 0, /* at the same address on both sides, for memory with pointers */
    FERRY_SHARED = 1 << 1,     /* a memfd, mapped shared */
    FERRY_SEND_LATE = 1 << 2,  /* sent after the job has paused, as ferry_job_send_late() says */
};

/* What ferry_job_start() found. */
enum {
    FERRY_FRESH = 0,   /* nothing has been computed yet: initialise the regions */
    FERRY_ARRIVED = 1, /* the job came from elsewhere: regions and state are its own */
};

/* What a safe point answers. */
enum {
    FERRY_CONTINUE = 0, /* go on */
    FERRY_MOVED = 1,    /* the job runs elsewhere now and has all its memory: close and end */
};

/*
 * Exit statuses with which the library itself ends the process, when the link broke while the
 * destination was running without all of its memory. Neither side can go on with a right answer,
 * and a process that can't must not: blocked threads would read zeros.
 */
enum {
    FERRY_EXIT_SOURCE_LOST = 75,      /* at the source: the destination may be running the job */
    FERRY_EXIT_DESTINATION_LOST = 76, /* at the destination: pages are missing for good */
};

/* What a notifier is told about; see ferry_job_notify(). */
enum ferry_event {
    FERRY_EVENT_PROBE,  /* a job may arrive, or leave: object now if that can't be */
    FERRY_EVENT_LISTEN, /* destination: regions are empty now, pages come on demand from here */
    FERRY_EVENT_END,    /* the migration has ended, well or not */
    FERRY_EVENT_ROUND,  /* source: a round of pre-copy has ended, ferry_job_status() has its figures
                         */
};

/*
 * Open this process's job. name: NULL takes PAGEFERRY_NAME; without either the job can be moved
 * only by ferry_job_migrate(). -EINVAL bad name or option variable, -EADDRINUSE a job of that name
 * is alive, -EBUSY this process has a job open, -ENOMEM. On failure the sentence goes to the log.
 */
FERRY_API int ferry_job_open(struct ferry_job **job, const char *name);

/*
 * Set an engine option before ferry_job_start(), by the name it has on the command line
 * ("stages", "16"). -ENOENT no such option, -EINVAL bad value.
 */
FERRY_API int ferry_job_set(struct ferry_job *job, const char *option, const char *value);

/*
 * Allocate a region of zeroed memory, page-aligned, freed by ferry_job_close(). bytes is rounded up
 * to whole pages of page_size. Names are 1 to 63 bytes and unique in the job; both sides allocate
 * the same ones. NULL with errno: EINVAL, EEXIST (the name, or with FERRY_FIXED_ADDR the address,
 * is taken), ENOMEM (also: too few free huge pages), ENOTSUP (no such huge pages here), EBUSY (the
 * job has started).
 */
FERRY_API void *ferry_job_alloc(struct ferry_job *job, const char *name, size_t bytes,
                                size_t page_size, unsigned flags);

/*
 * Make private anonymous memory of the program's own a region, huge pages too. Its inner whole
 * pages are moved as pages; the edges before and after them travel with the state. Stays the
 * program's to free, after ferry_job_close(). -EINVAL, -EEXIST, -EBUSY as above.
 */
FERRY_API int ferry_job_protect(struct ferry_job *job, const char *name, void *addr, size_t bytes);

/*
 * Make a shared mapping of the program's own memfd (or of a file on tmpfs or hugetlbfs) a region:
 * bytes at addr are the file's from offset on. All three are multiples of the page size. The
 * descriptor is duplicated. The file is sealed against shrinking where it allows seals: it must not
 * get shorter while it is a region. At the destination it is emptied before anything arrives, and
 * until the arrival is complete nobody may punch holes into it (MADV_REMOVE, fallocate).
 * -EINVAL, -EEXIST, -EBUSY as above.
 */
FERRY_API int ferry_job_protect_fd(struct ferry_job *job, const char *name, void *addr,
                                   size_t bytes, int fd, uint64_t offset);

/*
 * Name a small piece of state that is copied at the switch: counters, seeds, the step number. Both
 * sides declare the same pieces in the same order. At most 64 MiB in all.
 */
FERRY_API int ferry_job_state(struct ferry_job *job, void *addr, size_t bytes);

/*
 * Ask to be told of events. The function may object to FERRY_EVENT_PROBE by returning a negative
 * errno and a reason in words; the migration is then refused. Called by an engine thread.
 */
typedef int (*ferry_notify_fn)(void *ctx, enum ferry_event event, char *reason, size_t size);
FERRY_API int ferry_job_notify(struct ferry_job *job, ferry_notify_fn notify, void *ctx);

/*
 * Send a region after the job has paused only, as FERRY_SEND_LATE does for one that is allocated.
 * In pre-copy memory is sent while the job runs, and what is written meanwhile is sent again: but
 * only writes by this process's own threads at the region's own addresses are noticed. For memory
 * that is also written in other ways (see ferry_job_dirty()) this is the simple remedy. Before
 * ferry_job_start(); the source's word counts. -ENOENT no such region, -EBUSY.
 */
FERRY_API int ferry_job_send_late(struct ferry_job *job, const char *name);

/*
 * All memory is declared: begin. FERRY_FRESH at once when the job starts here. When the job is to
 * arrive (PAGEFERRY_INCOMING, or ferry_job_receive()) it waits for it and returns FERRY_ARRIVED
 * with state filled in and regions on their way; whatever the program had written to them is gone.
 * No other thread writes to a region meanwhile: what it wrote might stay.
 * -errno: nothing runs here. A migration failed (only when told to try once; else it waits for
 * another), this host can't be a destination, nothing could be listened on, or -ECANCELED.
 */
FERRY_API int ferry_job_start(struct ferry_job *job);

/*
 * Make this process a destination, as PAGEFERRY_INCOMING does, before ferry_job_start(). The
 * function `ready` (may be NULL) is called with the URI that peers can connect to once it listens.
 * A list of URIs, separated by commas, is as many rails: one bulk stream for each NIC.
 */
FERRY_API int ferry_job_receive(struct ferry_job *job, const char *uri,
                                void (*ready)(void *ctx, const char *uri), void *ctx);

/*
 * A safe point: no other thread touches a region until it returns. Costs one atomic load when
 * nobody wants to move the job. FERRY_CONTINUE or FERRY_MOVED; a migration that fails before the
 * destination runs is reported to who asked for it, and the job goes on here: FERRY_CONTINUE.
 */
FERRY_API int ferry_job_safepoint(struct ferry_job *job);

/*
 * Say that memory was written in a way that nobody can notice: by a device into pinned pages
 * (buffers registered with io_uring or RDMA, say), through another mapping of a shared region's
 * file, by write(2) to that file or a hole punched into it by fallocate(2). Call it after the
 * write, and before the next safe point. The pages that the range has a part of are sent (again).
 * Any thread, at any time; costs a few atomic operations. 0, or -EINVAL: no region is touched.
 * Before ferry_job_start() it has nothing to do: 0.
 */
FERRY_API int ferry_job_dirty(struct ferry_job *job, const void *addr, size_t bytes);

/*
 * Ask for the job to be moved to a destination that listens at uri; returns at once, and the move
 * happens at a following safe point. Of several rails: the whole list, in its order. -EBUSY a
 * migration is under way, or the job's own arrival has not completed; -EINVAL bad URI. May be
 * called from any thread.
 */
FERRY_API int ferry_job_migrate(struct ferry_job *job, const char *uri);

/* Give up a migration that has not reached the switch. -EALREADY: too late, -ESRCH: none. */
FERRY_API int ferry_job_cancel(struct ferry_job *job);

/*
 * Go to post-copy now, whatever --mode says: no further round of pre-copy begins, the one that is
 * under way is given up, and what is left follows the job. Returns at once. -ESRCH no migration is
 * under way; -EALREADY the job is being switched, or runs at the destination; -EINVAL this is the
 * destination; -ENOTSUP with --fetch read there are no rounds. ferry_job_why() has the sentence.
 * May be called from any thread.
 */
FERRY_API int ferry_job_switch(struct ferry_job *job);

/*
 * Change an engine option after ferry_job_start(), by the name it has on the command line. It stays
 * for later migrations. On one that is under way no others can be changed (-EBUSY) than bandwidth,
 * and as long as there are rounds of pre-copy: at once downtime, max-rounds, mode, throttle,
 * throttle-initial, throttle-step, throttle-max; from the next round on pin, fewer-bytes, compress,
 * compress-level, compress-threads, xbzrle, xbzrle-cache. -ENOENT no such option; -EINVAL, -ERANGE
 * a bad value; -ENOTSUP a compression that one of the sides does not know; -EBUSY also: before the
 * start, and while the job arrives. Nothing has changed then, and ferry_job_why() has the sentence.
 * May be called from any thread.
 */
FERRY_API int ferry_job_change(struct ferry_job *job, const char *option, const char *value);

/* Counters of the latest migration, sending or receiving. Times are microseconds. */
struct ferry_status {
    uint64_t total_bytes;     /* length of all regions */
    uint64_t remaining_bytes; /* not yet at the destination */
    uint64_t sent_bytes;      /* page data put on the wire (source) */
    uint64_t received_bytes;  /* page data placed (destination) */
    uint64_t faults;          /* page faults read from the kernel (destination) */
    uint64_t requests;        /* pages asked for over the urgent lane */
    uint64_t duplicates;      /* faults on a page that was asked for already */
    uint64_t zero_pages;      /* pages that travelled as a mark only */
    uint64_t normal_pages;    /* pages that travelled whole */
    /* Pages sent unasked behind an answer; of these, those that later requests went past, and those
     * that none did, as far as it is known yet: all of them in the end. */
    uint64_t prefetched_pages, prefetch_useful_pages, prefetch_useless_pages;
    double service_p50_us, service_p99_us, service_p999_us;          /* fault read to page placed */
    double read_p50_us, request_p50_us, answer_p50_us, place_p50_us; /* its parts */
    uint64_t downtime_us; /* pause at the source to the destination's word that it runs */
    uint64_t total_us;    /* migration asked for to complete */
    int complete;         /* the migration has ended well */
    /* Pre-copy, at the source. */
    uint64_t round;                 /* that is under way, or the last; 0: there was none */
    uint64_t precopy_bytes;         /* page data sent in rounds */
    uint64_t dirty_bytes_per_s;     /* how fast the job writes */
    uint64_t bandwidth_bytes_per_s; /* how fast pages go over */
    uint64_t expected_downtime_us;  /* were the job paused now; 0: nobody can tell */
    uint64_t eta_ms;                /* until the job has moved; 0: nobody can tell */
    uint64_t throttle_percent;      /* of its time that is taken from the job */
    /*
     * At the source: waiting for the safe point, while the job ran; then the parts of the downtime,
     * as pageferry(1) explains them in section JSON.
     */
    uint64_t pause_us;
    uint64_t scan_us, rest_us, discard_us, state_us, listen_us, resume_us;
};

/* May be called from any thread. */
FERRY_API int ferry_job_status(struct ferry_job *job, struct ferry_status *status);

/* The latest failure in a sentence; "" if there was none. Valid until the next call of it. */
FERRY_API const char *ferry_job_why(struct ferry_job *job);

/*
 * End the job: waits until an arrival that is under way has completed, gives up a migration that
 * has not paused the job, and frees allocated regions. 0, or -errno of the arrival.
 */
FERRY_API int ferry_job_close(struct ferry_job *job);

/*
 * Clients: other processes that map a job's shared memory (a device back end of a virtual machine,
 * say) while its pages are still arriving. They touch pages that are not there, too; so they hand
 * a userfaultfd over to the job, whose fault thread serves them beside its own process. The
 * protocol beneath is described in docs/clients.md, for programs without this library.
 */
struct ferry_client;

struct ferry_mapping {
    void *addr;         /* in this process */
    size_t bytes;       /* whole pages */
    const char *region; /* of the job: what is mapped there, */
    uint64_t offset;    /* and from where on, in bytes */
    size_t page_size;   /* FERRY_PAGE_DEFAULT: 4 KiB */
};

/*
 * Let a job that arrives on this host serve the page faults of these mappings. where: the job's
 * name, or a socket's path (with a slash). uffd: -1 makes a userfaultfd; or one of the caller's,
 * which stays his. Mappings are registered with it here, before anything of them was touched.
 * Wait for an answer of the job: half a minute at most. Keep the userfaultfd open until
 * ferry_client_wait() says 0: should the job die then, touched pages block instead of being zero.
 * -ECONNREFUSED, -ENOENT no such job expects clients; -EINVAL it refuses the mappings, or they
 * can't be registered; -EPERM no userfaultfd may be made; other -errno. The sentence is logged.
 */
FERRY_API int ferry_client_open(struct ferry_client **client, const char *where,
                                const struct ferry_mapping *mappings, unsigned count, int uffd);

/*
 * Wait until every page is there and the mappings are plain memory again; -1 waits without end.
 * 0; -ETIMEDOUT; -ECONNRESET the job is gone: missing pages will never come.
 */
FERRY_API int ferry_client_wait(struct ferry_client *client, int timeout_ms);

/*
 * Stop being a client. Unmap first, or wait until it is complete: a missing page that is touched
 * after this blocks for ever.
 */
FERRY_API void ferry_client_close(struct ferry_client *client);

/* A sentence for a negative errno value as this library uses it. Static memory. */
FERRY_API const char *ferry_strerror(int error);

/* "0.1.0" */
FERRY_API const char *ferry_version(void);

#ifdef __cplusplus
}
#endif

#endif
