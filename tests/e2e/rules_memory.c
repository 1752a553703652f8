/* SPDX-License-Identifier: BSD-2-Clause */
/* What regions are made of: huge pages, memfds, both; placed by copy and in place. */
#include "tests/e2e/rules.h"
#include "tests/huge.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Only what is touched comes. */
static const char *const on_demand[] = {"background", "off", "prefetch", "off", NULL};

#define HUGE ((size_t)FERRY_PAGE_2M)

struct kind {
    const char *name;
    size_t page_size;
    unsigned flags;
    size_t pages;
    const char *place, *stage_size;
};

static const struct kind kinds[] = {
    {"4k shared, copied", 4096, FERRY_SHARED, 128, "copy", "auto"},
    {"4k shared, in place", 4096, FERRY_SHARED, 128, "auto", "auto"},
    {"2m", HUGE, FERRY_ANON, 4, "auto", "auto"},
    {"2m in parts", HUGE, FERRY_ANON, 4, "auto", "64K"},
    {"2m shared, copied", HUGE, FERRY_SHARED, 4, "copy", "auto"},
    {"2m shared, in parts", HUGE, FERRY_SHARED, 4, "copy", "256K"},
    {"2m shared, in place", HUGE, FERRY_SHARED, 4, "auto", "16K"},
};

/* The pool has what both sides need; else says why not. */
static bool can_have(const struct kind *kind)
{
    if (kind->page_size != HUGE || huge_2m(2 * (long)kind->pages))
        return true;
    printf("skipped (%s): no huge pages to be had ... ", kind->name);
    return false;
}

static char *alloc(struct rig_side *side, const struct kind *kind)
{
    char *region = ferry_job_alloc(side->job, "region", kind->pages * kind->page_size,
                                   kind->page_size, kind->flags);
    if (!region)
        _exit(96);
    return region;
}

static void open_as(struct rig_side *side, const struct kind *kind)
{
    rig_open(side);
    if (ferry_job_set(side->job, "place", kind->place) < 0 ||
        ferry_job_set(side->job, "stage-size", kind->stage_size) < 0)
        _exit(95);
}

static void run_kinds(rig_body body, const char *const *source_options)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct rig_run run;
        if (!can_have(&kinds[i]))
            continue;
        rig_run(&run, &(struct rig_setup){
                          .body = body, .ctx = &kinds[i], .source_options = source_options});
        rig_assert_moved(&run, 0);
    }
}

/* ---- one writer ------------------------------------------------------------------------------ */

enum { WRITERS = 4 };

struct writer {
    pthread_t thread;
    const struct kind *kind;
    char *region;
    size_t first;
    size_t wrong;
};

static void fill_page(const struct kind *kind, char *region, size_t page, char value)
{
    memset(region + page * kind->page_size, value, kind->page_size);
}

static size_t wrong_bytes(const struct kind *kind, const char *region, size_t page, char value)
{
    size_t wrong = 0;
    for (size_t i = 0; i < kind->page_size; i += 64)
        wrong += region[page * kind->page_size + i] != value;
    return wrong;
}

static char old_value(size_t page)
{
    return (char)(page % 100 + 1);
}

static char new_value(size_t page)
{
    return (char)(page % 100 + 101);
}

/* Each page is the job's own as soon as it is here: nothing may write it once more. */
static void *overwrite(void *arg)
{
    struct writer *writer = arg;
    for (size_t page = writer->first; page < writer->kind->pages; page += WRITERS) {
        writer->wrong += wrong_bytes(writer->kind, writer->region, page, old_value(page));
        fill_page(writer->kind, writer->region, page, new_value(page));
    }
    return NULL;
}

static int overwriting_job(struct rig_side *side)
{
    const struct kind *kind = side->ctx;
    struct writer writers[WRITERS];
    size_t wrong = 0;
    open_as(side, kind);
    char *region = alloc(side, kind);
    if (rig_start(side) == FERRY_FRESH) {
        for (size_t page = 0; page < kind->pages; page++)
            fill_page(kind, region, page, old_value(page));
        return rig_move(side, side->uri) == FERRY_MOVED ? rig_close(side) : 1;
    }
    for (size_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.kind = kind, .region = region, .first = i};
        pthread_create(&writers[i].thread, NULL, overwrite, &writers[i]);
    }
    for (size_t i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        wrong += writers[i].wrong;
    }
    grid_await_complete(side);
    for (size_t page = 0; page < kind->pages; page++)
        wrong += wrong_bytes(kind, region, page, new_value(page));
    rig_say(side, "answer %zu", wrong);
    return rig_close(side);
}

static void page_has_one_writer(void)
{
    run_kinds(overwriting_job, NULL);
}

/* ---- counting -------------------------------------------------------------------------------- */

/* A page with data, a zero page, a page that was never used, and so on; on demand. */
static int counting_job(struct rig_side *side)
{
    const struct kind *kind = side->ctx;
    struct ferry_status status;
    size_t wrong = 0;
    open_as(side, kind);
    char *region = alloc(side, kind);
    if (rig_start(side) == FERRY_FRESH) {
        for (size_t page = 0; page < kind->pages; page += 3) {
            fill_page(kind, region, page, old_value(page));
            if (page + 1 < kind->pages)
                *(volatile char *)(region + (page + 1) * kind->page_size) = 0;
        }
        return rig_move(side, side->uri) == FERRY_MOVED ? rig_close(side) : 1;
    }
    for (size_t page = 0; page < kind->pages; page++) {
        char due = '\0';
        if (page % 3 == 0)
            due = old_value(page);
        wrong += wrong_bytes(kind, region, page, due);
    }
    grid_await_complete(side);
    ferry_job_status(side->job, &status);
    wrong += status.total_bytes != kind->pages * kind->page_size;
    wrong += status.remaining_bytes != 0;
    /* Who pulls has read a page before it knows that it is all zero, and may place it as it is. */
    const char *fetch = getenv("PAGEFERRY_FETCH");
    bool pulled = fetch && strcmp(fetch, "read") == 0;
    wrong += !pulled && status.normal_pages != (kind->pages + 2) / 3;
    wrong += status.received_bytes != (kind->pages - kind->pages / 3) * kind->page_size;
    rig_say(side, "counted %llu pages, %llu bytes", (unsigned long long)status.normal_pages,
            (unsigned long long)status.received_bytes);
    rig_say(side, "answer %zu", wrong);
    return rig_close(side);
}

static void zeros_and_holes_arrive_and_all_is_counted(void)
{
    run_kinds(counting_job, on_demand);
    run_kinds(overwriting_job, on_demand);
}

/* ---- the program's own memory ---------------------------------------------------------------- */

static const size_t odd = 1234;

/* Huge pages of the program's own; what is before and behind the whole ones goes with the state. */
static int protecting_job(struct rig_side *side)
{
    size_t wrong = 0;
    rig_open(side);
    char *memory = mmap(NULL, 4 * HUGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | 21 << MAP_HUGE_SHIFT, -1, 0);
    if (memory == MAP_FAILED ||
        ferry_job_protect(side->job, "own", memory + odd, 4 * HUGE - 2 * odd) < 0)
        return 96;
    if (rig_start(side) == FERRY_FRESH) {
        memset(memory, 'd', 4 * HUGE);
        return rig_move(side, side->uri) == FERRY_MOVED ? rig_close(side) : 1;
    }
    for (size_t i = odd; i < 4 * HUGE - odd; i++)
        wrong += memory[i] != 'd';
    struct ferry_status status;
    ferry_job_status(side->job, &status);
    wrong += status.total_bytes != 2 * HUGE;
    rig_say(side, "answer %zu", wrong);
    return rig_close(side);
}

static void protected_huge_pages_move(void)
{
    struct rig_run run;
    if (!huge_2m(8)) {
        printf("skipped: no huge pages to be had ... ");
        return;
    }
    rig_run(&run, &(struct rig_setup){.body = protecting_job});
    rig_assert_moved(&run, 0);
}

enum { FILE_PAGES = 64 };

/* A memfd of the program's own: the region is the second half of the file. */
static int file_job(struct rig_side *side)
{
    const bool *shrinks = side->ctx;
    const size_t bytes = FILE_PAGES * RIG_PAGE;
    size_t wrong = 0;
    int fd = memfd_create("own", 0); /* no seals: it can shrink */
    rig_open(side);
    if (ftruncate(fd, (off_t)(2 * bytes)) < 0)
        return 94;
    char *memory = mmap(NULL, 2 * bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    memset(memory, side->destination ? 's' : 'b', bytes);
    if (ferry_job_protect_fd(side->job, "own", memory + bytes, bytes, fd, bytes) < 0)
        return 96;
    bool fresh = rig_start(side) == FERRY_FRESH;
    /* Written past the mapping: the page is in the file and not mapped here. */
    char line[100];
    memset(line, 'd', sizeof line);
    if (fresh && pwrite(fd, line, sizeof line, (off_t)(bytes + 7 * RIG_PAGE)) != sizeof line)
        return 93;
    if (fresh && *shrinks && ftruncate(fd, (off_t)bytes) < 0)
        return 92;
    if (fresh && rig_move(side, side->uri) == FERRY_MOVED)
        return rig_close(side);
    if (fresh) {
        rig_say(side, "why %s", ferry_job_why(side->job));
    } else {
        for (size_t i = 0; i < bytes; i++) {
            bool data = i >= 7 * RIG_PAGE && i < 7 * RIG_PAGE + sizeof line;
            wrong += memory[bytes + i] != (data ? 'd' : 0);
            wrong += memory[i] != 's'; /* what is no region is left alone */
        }
    }
    rig_say(side, "answer %zu", wrong);
    return rig_close(side);
}

static void memfd_of_the_programs_own_moves(void)
{
    static const bool shrinks = false;
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = file_job, .ctx = &shrinks});
    rig_assert_moved(&run, 0);
}

static void shrunken_memfd_is_named_and_the_job_stays(void)
{
    static const bool shrinks = true;
    struct rig_run run;
    rig_begin(&run, &(struct rig_setup){.body = file_job, .ctx = &shrinks});
    rig_finish(&run.source);
    rig_kill(&run.destination);
    CU_ASSERT(rig_mentions(&run.source, "region \"own\": its memfd has 262144 bytes"));
    CU_ASSERT_EQUAL(rig_number(&run.source, "answer"), 0);
    rig_explain(&run);
}

/* ---- given back ------------------------------------------------------------------------------ */

/* MADV_DONTNEED on shared memory takes pages out of the mapping; what they hold stays, or comes. */
static int zapping_job(struct rig_side *side)
{
    const struct kind *kind = side->ctx;
    size_t wrong = 0;
    open_as(side, kind);
    char *region = alloc(side, kind);
    if (rig_start(side) == FERRY_FRESH) {
        for (size_t page = 0; page < kind->pages; page++)
            fill_page(kind, region, page, old_value(page));
        return rig_move(side, side->uri) == FERRY_MOVED ? rig_close(side) : 1;
    }
    wrong += wrong_bytes(kind, region, 0, old_value(0));
    fill_page(kind, region, 0, new_value(0));
    wrong += madvise(region, kind->pages * kind->page_size, MADV_DONTNEED) != 0;
    wrong += wrong_bytes(kind, region, 0, new_value(0));
    for (size_t page = 1; page < kind->pages; page++)
        wrong += wrong_bytes(kind, region, page, old_value(page));
    rig_say(side, "answer %zu", wrong);
    return rig_close(side);
}

static void shared_pages_are_not_given_back_by_zapping(void)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct rig_run run;
        if (!(kinds[i].flags & FERRY_SHARED) || !can_have(&kinds[i]))
            continue;
        rig_run(&run, &(struct rig_setup){
                          .body = zapping_job, .ctx = &kinds[i], .source_options = on_demand});
        rig_assert_moved(&run, 0);
    }
}

/* ---- transparent huge pages ------------------------------------------------------------------ */

/* The flags of a mapping, from /proc/self/smaps: " hg", " nh". */
static bool has_flag(const void *addr, const char *flag)
{
    char line[512];
    unsigned long start;
    unsigned long end;
    bool inside = false;
    bool has = false;
    FILE *smaps = fopen("/proc/self/smaps", "re");
    while (smaps && fgets(line, sizeof line, smaps)) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            inside = (uintptr_t)addr >= start && (uintptr_t)addr < end;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            has = strstr(line, flag) != NULL;
    }
    if (smaps)
        fclose(smaps);
    return has;
}

static int thp_job(struct rig_side *side)
{
    rig_open(side);
    char *wanted = ferry_job_alloc(side->job, "wanted", 4 * HUGE, 0, FERRY_ANON);
    char *unwanted = ferry_job_alloc(side->job, "unwanted", 4 * HUGE, 0, FERRY_ANON);
    if (madvise(wanted, 4 * HUGE, MADV_HUGEPAGE) || madvise(unwanted, 4 * HUGE, MADV_NOHUGEPAGE))
        rig_say(side, "unadvisable");
    if (rig_start(side) == FERRY_FRESH) {
        wanted[0] = unwanted[0] = 1;
        return rig_move(side, side->uri) == FERRY_MOVED ? rig_close(side) : 1;
    }
    rig_say(side, "during %d %d", has_flag(wanted, " nh"), has_flag(unwanted, " nh"));
    size_t wrong = wanted[0] != 1 || unwanted[0] != 1;
    for (size_t i = 0; i < 4 * HUGE; i += RIG_PAGE)
        wrong += wanted[i] + unwanted[i] != (i ? 0 : 2);
    grid_await_complete(side);
    rig_say(side, "after %d %d", has_flag(wanted, " hg"), has_flag(unwanted, " nh"));
    rig_say(side, "answer %zu", wrong);
    return rig_close(side);
}

static void transparent_huge_pages_are_off_meanwhile(void)
{
    struct rig_run run;
    rig_run(&run, &(struct rig_setup){.body = thp_job, .source_options = on_demand});
    if (rig_said(&run.destination, "unadvisable")) {
        printf("skipped: a kernel without transparent huge pages ... ");
        return;
    }
    CU_ASSERT_STRING_EQUAL(rig_said(&run.destination, "during"), "1 1");
    CU_ASSERT_STRING_EQUAL(rig_said(&run.destination, "after"), "1 1");
    rig_assert_moved(&run, 0);
}

/* ---- 1 GiB ----------------------------------------------------------------------------------- */

static void pages_of_1g_move_where_there_are_two(void)
{
    static const struct kind gigantic = {"1g", FERRY_PAGE_1G, FERRY_ANON, 1, "auto", "auto"};
    struct rig_run run;
    if (huge_free(1 << 20) < 2 || RULES_SANITIZED) {
        printf("skipped: %ld free pages of 1 GiB, 2 needed ... ", huge_free(1 << 20));
        return;
    }
    rig_run(&run, &(struct rig_setup){.body = overwriting_job, .ctx = &gigantic});
    rig_assert_moved(&run, 0);
}

const struct pf_test rules_memory[] = {
    {"page_has_one_writer", page_has_one_writer},
    {"zeros_and_holes_arrive_and_all_is_counted", zeros_and_holes_arrive_and_all_is_counted},
    {"protected_huge_pages_move", protected_huge_pages_move},
    {"memfd_of_the_programs_own_moves", memfd_of_the_programs_own_moves},
    {"shrunken_memfd_is_named_and_the_job_stays", shrunken_memfd_is_named_and_the_job_stays},
    {"shared_pages_are_not_given_back_by_zapping", shared_pages_are_not_given_back_by_zapping},
    {"transparent_huge_pages_are_off_meanwhile", transparent_huge_pages_are_off_meanwhile},
    {"pages_of_1g_move_where_there_are_two", pages_of_1g_move_where_there_are_two},
    {NULL, NULL},
};
