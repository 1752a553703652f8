/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --release-ram: the source's memory goes back to its host while the rest is still to come. The
 * destination touches the first chunk and then waits, so that how far the source has got does not
 * depend on who is faster.
 */
#include "tests/e2e/rules.h"

#include "core/memory/region.h"

#include <stdlib.h>
#include <unistd.h>

enum {
    CHUNK_PAGES = PF_CHUNK_BYTES / PF_PAGE_SIZE,
    PAGES = CHUNK_PAGES + 64,
    SLACK = CHUNK_PAGES / 2, /* for mappings that the kernel has joined with the region's */
};

/*
 * Nothing comes but what is touched. Also where the rules are tried with --fetch read: it excludes
 * --release-ram.
 */
static const char *const releasing[] = {"release-ram", "on",    "background", "off", "prefetch",
                                        "off",         "fetch", "write",      NULL};
static const char *const keeping[] = {"background", "off",   "prefetch", "off",
                                      "fetch",      "write", NULL};
static const char *const quick[] = {"progress-ms", "10", NULL};

static size_t wrong_pages(const uint64_t *words, size_t first, size_t end)
{
    size_t wrong = 0;
    for (size_t page = first; page < end; page++)
        wrong += words[page * (RIG_PAGE / sizeof *words)] != page * 1000003u + 1;
    return wrong;
}

size_t rules_resident_pages(pid_t pid, uint64_t address)
{
    char path[64];
    char line[512];
    unsigned long long from = 0;
    unsigned long long to = 0;
    unsigned long long kib = 0;
    bool found = false;
    snprintf(path, sizeof path, "/proc/%d/smaps", (int)pid);
    FILE *maps = fopen(path, "re");
    while (maps && !found && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%llx-%llx ", &from, &to) == 2)
            continue;
        found = address >= from && address < to && sscanf(line, "Rss: %llu kB", &kib) == 1;
    }
    if (maps)
        fclose(maps);
    return found ? kib / 4 : SIZE_MAX;
}

/* The region is where the parent can see it; what is left of it after the move. */
static int leave(struct rig_side *side, uint64_t *words)
{
    for (size_t page = 0; page < PAGES; page++)
        words[page * (RIG_PAGE / sizeof *words)] = page * 1000003u + 1;
    rig_say(side, "at %llu", (unsigned long long)(uintptr_t)words);
    rig_say(side, "before %zu", rules_resident_pages(getpid(), (uintptr_t)words));
    if (rig_move(side, side->uri) != FERRY_MOVED)
        return 1;
    rig_say(side, "after %zu", rules_resident_pages(getpid(), (uintptr_t)words));
    return rig_close(side);
}

static int release_job(struct rig_side *side)
{
    char word;
    rig_open(side);
    uint64_t *words = ferry_job_alloc(side->job, "region", PAGES * RIG_PAGE, 0, 0);
    if (rig_start(side) == FERRY_FRESH)
        return leave(side, words);
    size_t wrong = wrong_pages(words, 0, CHUNK_PAGES);
    rig_say(side, "touched");
    if (read(STDIN_FILENO, &word, 1) != 1)
        return 95;
    wrong += wrong_pages(words, CHUNK_PAGES, PAGES);
    rig_say(side, "answer %zu", wrong);
    return rig_close(side);
}

static bool await_fall(struct rig_process *source, size_t below)
{
    for (int i = 0; i < RIG_DEADLINE_S * 100; i++) {
        if (rules_resident_pages(source->pid, rig_number(source, "at")) < below)
            return true;
        usleep(10000);
    }
    return false;
}

/* Start it; `words` is what the destination waits on. */
static void begin(struct rig_run *run, const char *const *options, int words[2])
{
    CU_ASSERT_EQUAL_FATAL(pipe(words), 0);
    int standard = dup(STDIN_FILENO);
    dup2(words[0], STDIN_FILENO);
    rig_begin(run, &(struct rig_setup){.body = release_job,
                                       .source_options = options,
                                       .destination_options = quick});
    dup2(standard, STDIN_FILENO);
    close(standard);
}

static void end(struct rig_run *run, int words[2])
{
    CU_ASSERT_EQUAL(write(words[1], "!", 1), 1);
    rig_end(run);
    close(words[0]);
    close(words[1]);
}

static void source_shrinks_while_pages_are_still_to_come(void)
{
    struct rig_run run;
    int words[2];
    begin(&run, releasing, words);
    CU_ASSERT_TRUE(rig_await(&run.destination, "touched") && rig_await(&run.source, "before"));
    size_t before = rig_number(&run.source, "before");
    /* The first chunk is gone but for some slack; the second has not even been asked for. */
    CU_ASSERT_TRUE(await_fall(&run.source, before - CHUNK_PAGES + SLACK));
    end(&run, words);
    CU_ASSERT(rig_number(&run.source, "after") < before - PAGES + SLACK);
    rig_assert_moved(&run, 0);
}

static void source_keeps_everything_unless_told_otherwise(void)
{
    struct rig_run run;
    int words[2];
    begin(&run, keeping, words);
    CU_ASSERT_TRUE(rig_await(&run.destination, "touched") && rig_await(&run.source, "before"));
    usleep(100000); /* ten times the destination's progress */
    CU_ASSERT(rules_resident_pages(run.source.pid, rig_number(&run.source, "at")) >= PAGES);
    end(&run, words);
    CU_ASSERT(rig_number(&run.source, "after") >= PAGES);
    rig_assert_moved(&run, 0);
}

/* All pages by the background stream, and memory going away behind it. */
static int stream_job(struct rig_side *side)
{
    rig_open(side);
    uint64_t *words = ferry_job_alloc(side->job, "region", PAGES * RIG_PAGE, 0, 0);
    if (rig_start(side) == FERRY_FRESH)
        return leave(side, words);
    grid_await_complete(side);
    rig_say(side, "answer %zu", wrong_pages(words, 0, PAGES));
    return rig_close(side);
}

static void stream_is_released_too(void)
{
    static const char *const options[] = {"release-ram", "on", "fetch", "write", NULL};
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){
                      .body = stream_job, .source_options = options, .destination_options = quick});
    CU_ASSERT(rig_number(&run.source, "after") < rig_number(&run.source, "before") - PAGES + SLACK);
    rig_assert_moved(&run, 0);
}

static void not_where_the_destination_reads(void)
{
    static const char *const options[] = {"release-ram", "on", "fetch", "read", NULL};
    static const struct grid_play play = {.pages = 64, .steps = 10, .move_at = 5};
    struct rig_run run;
    rig_begin(&run, &(struct rig_setup){.body = grid_job, .ctx = &play, .source_options = options});
    rig_finish(&run.source);
    CU_ASSERT_EQUAL(rig_number(&run.source, "answer"), grid_expected(64, 10));
    CU_ASSERT_TRUE(rig_mentions(&run.source, "--release-ram on does not go with --fetch read"));
    rig_kill(&run.destination); /* nobody came to it */
}

const struct pf_test rules_release[] = {
    {"source_shrinks_while_pages_are_still_to_come", source_shrinks_while_pages_are_still_to_come},
    {"source_keeps_everything_unless_told_otherwise",
     source_keeps_everything_unless_told_otherwise},
    {"stream_is_released_too", stream_is_released_too},
    {"not_where_the_destination_reads", not_where_the_destination_reads},
    {NULL, NULL},
};
