/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * e2e_cancel URI [TESTNAME]: migrations with rounds that are given up while one transport operation
 * of the source after the other is held up: while windows are asked for, while they are closed, in
 * the middle of stages, in the pause. The job goes on, nobody watches its memory; nothing is left
 * at the destination; and the same job leaves at the next try.
 */
#include "core/encode/squeeze.h"
#include "core/job/job.h"
#include "core/memory/pagemap.h"
#include "core/session/session.h"
#include "tests/e2e/rules.h"
#include "transport/fault/fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { PAGES = 24, TEXT_PAGES = 8, STEPS = 3, TRIES = 400, OPERATIONS_MAX = 500 };
enum { STRIDE = RULES_SANITIZED ? 9 : 2 };

/* Whichever comes: the operation that is held up, or the pause. */
struct play {
    bool at_pause;
};

struct scene {
    struct rig_side *side;
    const struct play *play;
    struct grid grid;
    char *text;
    atomic_bool over;
    bool fired;
};

/* ---- giving up ------------------------------------------------------------------------------- */

/* Half of what the first round sent goes once more; in a hybrid it follows the job. */
static int after_a_round(void *ctx, enum ferry_event event, char *reason, size_t size)
{
    struct scene *scene = ctx;
    struct ferry_job *job = scene->side->job;
    volatile char *at = (char *)scene->grid.words;
    (void)reason;
    (void)size;
    if (event != FERRY_EVENT_ROUND || pf_count_get(&job->counters.round) != 1)
        return 0;
    for (size_t page = 0; page < PAGES / 2; page++)
        at[page * RIG_PAGE] = at[page * RIG_PAGE];
    if (job->options.mode == PF_MODE_HYBRID)
        ferry_job_switch(job);
    return 0;
}

/* Has it come? With the job's lock held, so that the session stays; its device is open by then. */
static bool has_come(const struct scene *scene)
{
    const struct ferry_job *job = scene->side->job;
    if (scene->play->at_pause)
        return job->paused;
    return job->session && atomic_load(&job->phase) > PF_PHASE_CONNECTING &&
           pf_fault_fired(job->session->rails[0].device);
}

static void *give_up(void *arg)
{
    struct scene *scene = arg;
    struct ferry_job *job = scene->side->job;
    while (!scene->fired && !atomic_load(&scene->over)) {
        pthread_mutex_lock(&job->lock);
        scene->fired = has_come(scene);
        pthread_mutex_unlock(&job->lock);
        if (!scene->fired)
            usleep(100);
    }
    if (scene->fired)
        ferry_job_cancel(job);
    return NULL;
}

/* ---- what is left of it at the source -------------------------------------------------------- */

/* Pages whose next write would be watched. */
static size_t watched_pages(const struct scene *scene)
{
    struct pf_pageset set;
    const struct pf_region *region = &scene->side->job->regions.list[0];
    const struct pf_scan_query query = {.inverted = PF_SCAN_WRITTEN, .all = PF_SCAN_WRITTEN};
    int fd = pf_pagemap_open(NULL);
    if (fd < 0 || pf_pageset_init(&set, PAGES))
        return SIZE_MAX;
    int error = pf_pagemap_scan(fd, region, (struct pf_run){0, PAGES}, &query, &set);
    size_t pages = error == -ENOTTY ? 0 : error ? SIZE_MAX : atomic_load(&set.count);
    pf_pageset_free(&set);
    close(fd);
    return pages;
}

/* Mappings that a userfaultfd is registered for: for missing pages, writes, or minor faults. */
static size_t registered_mappings(const char *pid)
{
    char path[64];
    char line[512];
    size_t count = 0;
    snprintf(path, sizeof path, "/proc/%s/smaps", pid);
    FILE *maps = fopen(path, "re");
    while (maps && fgets(line, sizeof line, maps))
        count += strncmp(line, "VmFlags:", 8) == 0 &&
                 (strstr(line, " um") || strstr(line, " uw") || strstr(line, " ui"));
    if (!maps)
        return SIZE_MAX;
    fclose(maps);
    return count;
}

static void go_on(struct scene *scene)
{
    struct rig_side *side = scene->side;
    char word;
    rig_say(side, "why %s", ferry_job_why(side->job));
    rig_say(side, "watched %zu", watched_pages(scene));
    rig_say(side, "registered %zu", registered_mappings("self"));
    for (; scene->grid.step < STEPS; scene->grid.step++)
        grid_step(&scene->grid);
    /* The parent looks at the destination. */
    rig_say(side, "ready");
    if (read(STDIN_FILENO, &word, 1) != 1)
        _exit(95);
}

static int leave(struct scene *scene)
{
    struct rig_side *side = scene->side;
    pthread_t thread;
    grid_fill(&scene->grid);
    memset(scene->text, 't', TEXT_PAGES * RIG_PAGE);
    if (pthread_create(&thread, NULL, give_up, scene) != 0)
        return 93;
    int how = rig_move(side, side->uri);
    atomic_store(&scene->over, true);
    pthread_join(thread, NULL);
    rig_say(side, "came %d", scene->fired);
    rig_say(side, "stayed %d", how == FERRY_CONTINUE);
    if (how == FERRY_CONTINUE)
        go_on(scene);
    for (int i = 0; how != FERRY_MOVED && i < TRIES; i++) {
        how = rig_move(side, side->uri);
        if (how != FERRY_MOVED)
            usleep(20000);
    }
    return how == FERRY_MOVED ? rig_close(side) : 1;
}

static int cancelling_job(struct rig_side *side)
{
    struct scene scene = {.side = side, .play = side->ctx, .grid = {.pages = PAGES}};
    rig_open(side);
    scene.grid.words = ferry_job_alloc(side->job, "grid", PAGES * RIG_PAGE, 0, FERRY_ANON);
    scene.text = ferry_job_alloc(side->job, "text", TEXT_PAGES * RIG_PAGE, 0, FERRY_ANON);
    if (!scene.grid.words || !scene.text ||
        ferry_job_state(side->job, &scene.grid.step, sizeof(long)) < 0 ||
        ferry_job_notify(side->job, after_a_round, &scene) < 0)
        return 96;
    rig_say(side, "at %llu", (unsigned long long)(uintptr_t)scene.grid.words);
    int how = rig_start(side);
    if (how == FERRY_FRESH)
        return leave(&scene);
    if (how != FERRY_ARRIVED)
        return 3;
    for (; scene.grid.step < STEPS; scene.grid.step++)
        grid_step(&scene.grid);
    for (size_t i = 0; i < TEXT_PAGES * RIG_PAGE; i++)
        scene.grid.words[0] += scene.text[i] != 't';
    rig_say(side, "answer %llu", (unsigned long long)grid_sum(&scene.grid));
    return rig_close(side);
}

/* ---- what is left of it at the destination --------------------------------------------------- */

/* Threads of a session: all of the engine's but the one that waits for the next, and the agent. */
static size_t session_threads(const char *pid)
{
    char path[300];
    char name[32] = "";
    size_t count = 0;
    snprintf(path, sizeof path, "/proc/%s/task", pid);
    DIR *threads = opendir(path);
    struct dirent *entry;
    while (threads && (entry = readdir(threads))) { /* NOLINT(concurrency-mt-unsafe) */
        snprintf(path, sizeof path, "/proc/%s/task/%.20s/comm", pid, entry->d_name);
        FILE *file = fopen(path, "re");
        if (file && fgets(name, sizeof name, file))
            count += strncmp(name, "pf-", 3) == 0 && strcmp(name, "pf-control\n") != 0 &&
                     strcmp(name, "pf-agent\n") != 0;
        if (file)
            fclose(file);
    }
    if (threads)
        closedir(threads);
    return threads ? count : SIZE_MAX;
}

static unsigned long status_kib(const char *pid, const char *key)
{
    char path[64];
    char line[128];
    unsigned long kib = 0;
    snprintf(path, sizeof path, "/proc/%s/status", pid);
    FILE *status = fopen(path, "re");
    while (status && fgets(line, sizeof line, status))
        if (strncmp(line, key, strlen(key)) == 0)
            kib = strtoul(line + strlen(key), NULL, 10);
    if (status)
        fclose(status);
    return kib;
}

/* Of the region that begins there, by /proc/PID/pagemap. */
static size_t pages_in_memory(const char *pid, uint64_t address)
{
    char path[64];
    uint64_t entries[PAGES] = {0};
    size_t count = 0;
    snprintf(path, sizeof path, "/proc/%s/pagemap", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || pread(fd, entries, sizeof entries, (off_t)(address / RIG_PAGE * 8)) < 0)
        count = SIZE_MAX;
    for (size_t i = 0; i < PAGES && count <= PAGES; i++)
        count += (entries[i] & (PF_ENTRY_PRESENT | PF_ENTRY_SWAPPED)) != 0;
    if (fd >= 0)
        close(fd);
    return count;
}

/* What there is of a session, told apart by digits: 0 if nothing. */
static size_t remains(const struct rig_process *destination)
{
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)destination->pid);
    size_t pages = pages_in_memory(pid, rig_number(destination, "at"));
    return session_threads(pid) + 100 * registered_mappings(pid) +
           10000 * (status_kib(pid, "VmPin:") + status_kib(pid, "VmLck:")) + 100000000 * pages;
}

/* It may hear of it a moment after the source has ended its part. */
static void expect_clean(const struct rig_process *destination)
{
    size_t left = 1;
    for (int i = 0; i < RIG_DEADLINE_S * 100 && left; i++) {
        left = remains(destination);
        if (left)
            usleep(10000);
    }
    if (left)
        fprintf(stderr, "\nleft at the destination: %zu\n", left);
    CU_ASSERT_EQUAL(left, 0);
}

/* ---- the tests ------------------------------------------------------------------------------- */

static void begin(struct rig_run *run, const struct play *play, const char *const *options,
                  unsigned at, int words[2])
{
    char listen[RIG_URI];
    CU_ASSERT_EQUAL_FATAL(pipe(words), 0);
    int standard = dup(STDIN_FILENO);
    dup2(words[0], STDIN_FILENO);
    rig_fault_uri(listen, rig_target(), 0, "delay&pins=1");
    rig_begin(run, &(struct rig_setup){.body = cancelling_job,
                                       .ctx = play,
                                       .source_options = options,
                                       .listen = listen,
                                       .source_at = at,
                                       .kind = "delay&ms=30",
                                       .persistent = true});
    dup2(standard, STDIN_FILENO);
    close(standard);
}

/* Was it given up? It must be one or the other. *came: what it was to be given up at. */
static bool one_run(const struct play *play, const char *const *options, unsigned at, bool *came)
{
    struct rig_run run;
    int words[2];
    begin(&run, play, options, at, words);
    bool said = rig_await(&run.source, "stayed");
    bool stayed = said && rig_number(&run.source, "stayed") == 1;
    *came = rig_number(&run.source, "came") == 1;
    CU_ASSERT_TRUE(said);
    if (stayed) {
        CU_ASSERT_TRUE(*came && rig_await(&run.source, "ready"));
        CU_ASSERT_TRUE(rig_mentions(&run.source, "cancelled"));
        CU_ASSERT_EQUAL(rig_number(&run.source, "watched"), 0);
        CU_ASSERT_EQUAL(rig_number(&run.source, "registered"), 0);
        expect_clean(&run.destination);
        CU_ASSERT_EQUAL(write(words[1], "!", 1), 1);
    }
    rig_assert_moved(&run, grid_expected(PAGES, STEPS));
    if (CU_get_number_of_failures() > run.failures_before)
        fprintf(stderr, "\n(given up at operation %u)\n", at);
    close(words[0]);
    close(words[1]);
    return stayed;
}

static void at_every_operation(const char *const *options)
{
    static const struct play play = {.at_pause = false};
    unsigned stayed = 0;
    bool came = true;
    unsigned at = 1;
    for (; came && at < OPERATIONS_MAX; at += STRIDE)
        stayed += one_run(&play, options, at, &came);
    CU_ASSERT_FALSE(came); /* the last one went through undisturbed */
    CU_ASSERT(stayed > at / STRIDE / 2);
    printf("%u of %u ... ", stayed, at / STRIDE);
}

#define FEW_OPERATIONS "slots", "3", "stages", "2", "stage-size", "16K", "mode"

static void while_windows_come_and_go(void)
{
    static const char *const options[] = {FEW_OPERATIONS, "hybrid", "pin", "chunk", NULL};
    at_every_operation(options);
}

static void amid_encoded_stages(void)
{
    static const char *const options[] = {FEW_OPERATIONS, "precopy", "xbzrle", "on",
                                          "compress",     "lz4",     NULL};
    if (pf_squeeze_built() & 1u << PF_COMPRESS_LZ4)
        at_every_operation(options);
}

/* The job stands, and what it wrote last is being collected: it may be too late once or twice. */
static void at_the_last_collect(void)
{
    static const char *const options[] = {FEW_OPERATIONS, "precopy", NULL};
    static const struct play play = {.at_pause = true};
    bool came = false;
    bool stayed = false;
    for (int i = 0; i < 20 && !stayed; i++)
        stayed = one_run(&play, options, 1000000, &came);
    CU_ASSERT_TRUE(stayed);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"while_windows_come_and_go", while_windows_come_and_go},
        {"amid_encoded_stages", amid_encoded_stages},
        {"at_the_last_collect", at_the_last_collect},
        {NULL, NULL},
    };
    if (argc < 2 || !rig_choose(argv[1])) {
        fprintf(stderr, "usage: %s URI [TESTNAME], for example %s tcp://127.0.0.1:0\n", argv[0],
                argv[0]);
        return argc < 2 ? 2 : PF_TEST_SKIPPED;
    }
    return pf_suite_run(argv[1], tests, argc > 2 ? argv[2] : NULL);
}
