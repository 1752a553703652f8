/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/move.h"

#include "base/clock.h"
#include "bench/touch.h"
#include "core/job/job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { NAP_US = 1000, SAFEPOINT_NAP_US = 100, WORDS = PF_TOUCH_PAGE / sizeof(uint64_t) };

#define MOVE_NS 100000000000ull /* longest wait for a migration that makes no end */

static const char region_name[] = "bench";

static int say_why(struct ferry_job *job, int error, struct pf_why *why)
{
    const char *sentence = job ? ferry_job_why(job) : "";
    return pf_why(why, error, "%s", sentence[0] ? sentence : ferry_strerror(error));
}

double pf_cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static const char *mode_name(unsigned mode)
{
    static const char *const names[] = {[PF_MODE_PRECOPY] = "precopy",
                                        [PF_MODE_POSTCOPY] = "postcopy",
                                        [PF_MODE_HYBRID] = "hybrid",
                                        [PF_MODE_AUTO] = "auto"};
    return names[mode];
}

static int open_job(struct ferry_job **job, const struct pf_bench *bench, bool background,
                    struct pf_why *why)
{
    *job = NULL;
    int error = ferry_job_open(job, NULL);
    if (error)
        *job = NULL;
    if (!error)
        error = ferry_job_set(*job, "mode", "postcopy");
    if (!error)
        error = ferry_job_set(*job, "background", background ? "on" : "off");
    if (!error)
        error = ferry_job_set(*job, "prefetch", bench->prefetch ? "on" : "off");
    if (!error)
        error =
            ferry_job_set(*job, "fetch", bench->engine.fetch == PF_FETCH_READ ? "read" : "write");
    if (!error)
        error = ferry_job_set(*job, "mode", mode_name(bench->engine.mode));
    if (!error)
        error = ferry_job_set(*job, "wait", bench->engine.wait == PF_WAIT_SPIN ? "spin" : "sleep");
    return error ? say_why(*job, error, why) : 0;
}

/* ---- the source
 * ----------------------------------------------------------------------------------------- */

uint64_t pf_moved_word(uint64_t seed, size_t page)
{
    return pf_mix(seed + page) | 1;
}

/* Words that neither look zero nor compress; cheap, as much memory is filled. */
static void fill(uint64_t *words, size_t pages, uint64_t seed)
{
    for (size_t page = 0; page < pages; page++) {
        uint64_t word = pf_moved_word(seed, page);
        for (size_t i = 0; i < WORDS; i++) {
            words[page * WORDS + i] = word;
            word = word * 6364136223846793005ull + 1442695040888963407ull;
        }
    }
}

/*
 * The job's work since its start: the second word of random pages. They may be on their way
 * meanwhile, which is meant.
 */
__attribute__((no_sanitize_thread)) static void
dirty(uint64_t *words, const struct pf_peer_command *command, uint64_t since_ns, uint64_t *written)
{
    uint64_t due = (uint64_t)((double)since_ns * (double)command->dirty_rate / 1e9);
    size_t pages = command->dirty_bytes / PF_TOUCH_PAGE;
    for (; pages > 0 && *written < due; ++*written)
        words[pf_mix(*written) % pages * WORDS + 1] = *written;
}

static int work_until_moved(struct ferry_job *job, void *memory,
                            const struct pf_peer_command *command, struct pf_why *why)
{
    uint64_t start = pf_now_ns(), since = 0, written = 0;
    while (ferry_job_safepoint(job) != FERRY_MOVED) {
        if (ferry_job_why(job)[0])
            return say_why(job, -EIO, why);
        since = pf_now_ns() - start;
        if (since > MOVE_NS)
            return pf_why(why, -ETIMEDOUT, "the job was not moved within %d s",
                          (int)(MOVE_NS / 1000000000));
        dirty(memory, command, since, &written);
        usleep(SAFEPOINT_NAP_US);
    }
    return 0;
}

static void note_left(struct ferry_job *job, struct pf_left *left)
{
    ferry_job_status(job, &left->status);
    pthread_mutex_lock(&job->lock);
    if (job->rounds.rounds > 0 && job->rounds.rounds <= PF_ROUND_LOG_MAX)
        left->first = job->rounds.list[0];
    pthread_mutex_unlock(&job->lock);
}

static int move(struct ferry_job *job, const struct pf_bench *bench,
                const struct pf_peer_command *command, struct pf_left *left, struct pf_why *why)
{
    void *memory =
        ferry_job_alloc(job, region_name, command->bytes, bench->page_size, bench->flags);
    if (!memory)
        return say_why(job, -errno, why);
    if (bench->thp)
        madvise(memory, command->bytes, MADV_HUGEPAGE);
    fill(memory, command->bytes / PF_TOUCH_PAGE, command->seed);
    int how = ferry_job_start(job);
    if (how != FERRY_FRESH)
        return say_why(job, how < 0 ? how : -EPROTO, why);
    double cpu_s = pf_cpu_seconds();
    int error = ferry_job_migrate(job, command->uri);
    if (error)
        return say_why(job, error, why);
    error = work_until_moved(job, memory, command, why);
    left->cpu_s = pf_cpu_seconds() - cpu_s;
    note_left(job, left);
    return error;
}

int pf_move_away(const struct pf_bench *bench, const struct pf_peer_command *command,
                 struct pf_left *left, struct pf_why *why)
{
    struct ferry_job *job;
    struct pf_bench own = *bench;
    own.engine.fetch = command->fetch;
    own.engine.mode = command->mode;
    int error = open_job(&job, &own, command->background, why);
    if (!error)
        error = move(job, bench, command, left, why);
    if (job)
        ferry_job_close(job);
    return error;
}

/* ---- the destination
 * ------------------------------------------------------------------------------------ */

static bool is_made(const struct pf_moved *moved)
{
    return !moved->prealloc || pf_count_get(&moved->job->counters.made_bytes) >= moved->bytes;
}

static int send_off(struct pf_moved *moved)
{
    while (!is_made(moved) && !atomic_load(&moved->started))
        usleep(NAP_US);
    int error = pf_peer_tell(moved->peer, &moved->command, &moved->peer_why);
    return error ? error : pf_peer_answer(moved->peer, &moved->peer_why);
}

static void *watch(void *arg)
{
    struct pf_moved *moved = arg;
    moved->peer_status = send_off(moved);
    if (moved->peer_status)
        ferry_job_cancel(moved->job);
    return NULL;
}

/*
 * The job listens: its address goes to the peer, whose answer is waited for from here on. Called
 * by the engine; what it leaves behind is looked at after ferry_job_start().
 */
static void ready(void *ctx, const char *uri)
{
    struct pf_moved *moved = ctx;
    if (moved->command.uri[0])
        return; /* it listens again after a failure: that has been told */
    moved->cpu_before_s = pf_cpu_seconds();
    strncpy(moved->command.uri, uri, sizeof moved->command.uri - 1);
    moved->watching = pthread_create(&moved->watcher, NULL, watch, moved) == 0;
    if (!moved->watching)
        ferry_job_cancel(moved->job);
}

static int stop_watching(struct pf_moved *moved, struct pf_why *why)
{
    if (moved->watching)
        pthread_join(moved->watcher, NULL);
    moved->watching = false;
    if (moved->peer_status)
        *why = moved->peer_why;
    return moved->peer_status;
}

static int start(struct pf_moved *moved, struct pf_why *why)
{
    int how = ferry_job_start(moved->job);
    moved->began_ns = pf_now_ns();
    atomic_store(&moved->started, true);
    if (how == FERRY_ARRIVED)
        return 0;
    say_why(moved->job, how, why);
    int error = stop_watching(moved, why);
    return error ? error : how;
}

int pf_move_by(struct pf_moved *moved, const struct pf_bench *bench, struct pf_peer *peer,
               const struct pf_move *how, struct pf_why *why)
{
    uint64_t seed = pf_mix(pf_now_ns());
    *moved = (struct pf_moved){
        .bytes = how->bytes,
        .page_size = bench->page_size == FERRY_PAGE_DEFAULT ? PF_TOUCH_PAGE : bench->page_size,
        .seed = seed,
        .peer = peer,
        .prealloc = how->prealloc,
        .command = {PF_PEER_MOVE, .bytes = how->bytes, .seed = seed, .background = how->background,
                    .mode = how->mode, .dirty_rate = how->dirty_rate,
                    .dirty_bytes = how->dirty_bytes, .fetch = bench->engine.fetch},
    };
    int error = open_job(&moved->job, bench, how->background, why);
    if (!error && how->prealloc)
        error = ferry_job_set(moved->job, "prealloc", "on");
    if (error)
        return error;
    char *memory =
        ferry_job_alloc(moved->job, region_name, how->bytes, bench->page_size, bench->flags);
    moved->memory = memory;
    if (!memory)
        return say_why(moved->job, -errno, why);
    if (how->touched)
        memset(memory, 1, how->bytes);
    error = ferry_job_receive(moved->job, bench->uri, ready, moved);
    return error ? say_why(moved->job, error, why) : start(moved, why);
}

int pf_move_here(struct pf_moved *moved, const struct pf_bench *bench, struct pf_peer *peer,
                 size_t bytes, bool background, struct pf_why *why)
{
    struct pf_move how = {.bytes = bytes, .background = background, .mode = PF_MODE_POSTCOPY};
    return pf_move_by(moved, bench, peer, &how, why);
}

int pf_moved_wrong(size_t page, struct pf_why *why)
{
    return pf_why(why, -EIO, "page %zu of the region arrived with wrong data", page);
}

static int check(const struct pf_moved *moved, struct pf_why *why)
{
    for (size_t page = 0; page < moved->bytes / PF_TOUCH_PAGE; page++) {
        const char *at = moved->memory + page * PF_TOUCH_PAGE;
        if (*(const uint64_t *)at != pf_moved_word(moved->seed, page))
            return pf_moved_wrong(page, why);
    }
    return 0;
}

int pf_moved_complete(struct pf_moved *moved, struct ferry_status *status, struct pf_why *why)
{
    uint64_t start = pf_now_ns();
    ferry_job_status(moved->job, status);
    while (!status->complete) {
        if (pf_now_ns() - start > MOVE_NS)
            return pf_why(why, -ETIMEDOUT, "the job's memory did not arrive within %d s",
                          (int)(MOVE_NS / 1000000000));
        usleep(NAP_US);
        ferry_job_status(moved->job, status);
    }
    int error = stop_watching(moved, why);
    moved->cpu_s = pf_cpu_seconds() - moved->cpu_before_s;
    return error ? error : check(moved, why);
}

void pf_moved_close(struct pf_moved *moved)
{
    struct pf_why ignored;
    if (moved->job && moved->watching)
        ferry_job_cancel(moved->job);
    stop_watching(moved, &ignored);
    if (moved->job)
        ferry_job_close(moved->job);
    moved->job = NULL;
}
