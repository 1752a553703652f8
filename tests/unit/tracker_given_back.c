/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that the job gives back while it is tracked, and pages that lose their mapping. */
#include "tests/unit/tracker_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

static void what_is_given_back_is_dirty_in(unsigned flags, int advice)
{
    struct stand *stand = set_up(flags);
    write_page(stand, 1);
    write_page(stand, 2);
    CU_ASSERT_TRUE(COLLECTS(stand, 1, 2));
    CU_ASSERT_EQUAL(madvise(stand->base + PAGE, PAGE, advice), 0);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    CU_ASSERT_EQUAL(stand->replaced.first, 1);
    CU_ASSERT_EQUAL(stand->replaced.pages, 1);
    CU_ASSERT_EQUAL(stand->base[PAGE], 0);
    write_page(stand, 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    take_down(stand);
}

static void what_is_given_back_is_dirty(void)
{
    what_is_given_back_is_dirty_in(FERRY_ANON, MADV_DONTNEED);
    what_is_given_back_is_dirty_in(FERRY_SHARED, MADV_REMOVE);
}

/* As a madvise() whose event was read long before, or the kernel when it is short of memory. */
static void vanish(struct stand *stand, size_t page)
{
    char *at = stand->base + page * PAGE;
    CU_ASSERT_EQUAL(pf_uffd_unregister(&stand->tracker->uffd, at, PAGE), 0);
    CU_ASSERT_EQUAL(madvise(at, PAGE, MADV_DONTNEED), 0);
    CU_ASSERT_EQUAL(pf_uffd_register_writes(&stand->tracker->uffd, at, PAGE), 0);
}

/* A page may go at any time after its event was read. */
static void what_goes_late_is_dirty(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    write_page(stand, 1);
    write_page(stand, 2);
    CU_ASSERT_EQUAL(madvise(stand->base + PAGE, PAGE, MADV_DONTNEED), 0);
    write_page(stand, 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 1, 2));
    vanish(stand, 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    CU_ASSERT_TRUE(COLLECTS(stand));
    take_down(stand);
}

/*
 * It comes and goes between two looks, and was read meanwhile: only who read it knows that there is
 * something to be said.
 */
static void what_was_read_before_it_went_is_dirty(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    struct pf_pageset read;
    struct pf_pageset *sent[] = {&read};
    CU_ASSERT_EQUAL_FATAL(pf_pageset_init(&read, pf_region_pages(stand->region)), 0);
    stand->tracker->attr.sent = sent;
    write_page(stand, 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    CU_ASSERT_EQUAL(madvise(stand->base + PAGE, PAGE, MADV_DONTNEED), 0);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    write_page(stand, 1);
    pf_pageset_add(&read, 1);
    vanish(stand, 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    pf_pageset_remove(&read, 1);
    CU_ASSERT_TRUE(COLLECTS(stand));
    take_down(stand);
    pf_pageset_free(&read);
}

/* The tracker's own, and then the job writes at once. */
static const struct pf_tracker_ops *real;
static char *written_then;

static int take_and_write(struct pf_tracker *tracker, unsigned region, struct pf_run run, bool full,
                          struct pf_pageset *dirty)
{
    int error = real->take(tracker, region, run, full, dirty);
    /* As the thread would, which waits for us. */
    CU_ASSERT_EQUAL(pf_uffd_protect(&tracker->uffd, written_then, PAGE, false), 0);
    (*(volatile char *)written_then)++;
    return error;
}

/* It had content at the last look although it was not watched any more. */
static void what_is_written_and_goes_late_is_dirty(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    write_page(stand, 1);
    CU_ASSERT_EQUAL(madvise(stand->base + PAGE, PAGE, MADV_DONTNEED), 0);
    write_page(stand, 1);
    struct pf_tracker_ops ops = *stand->tracker->ops;
    ops.take = take_and_write;
    written_then = stand->base + PAGE;
    real = stand->tracker->ops;
    stand->tracker->ops = &ops;
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    stand->tracker->ops = real;
    vanish(stand, 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    CU_ASSERT_TRUE(COLLECTS(stand));
    take_down(stand);
}

/* And may be read before anybody looks: the kernel protects the new page as the old one was. */
static void what_goes_late_and_is_read_is_dirty(void)
{
    struct stand *stand = set_up(FERRY_SHARED);
    write_page(stand, 1);
    CU_ASSERT_EQUAL(madvise(stand->base + PAGE, PAGE, MADV_DONTNEED), 0);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    CU_ASSERT_EQUAL(
        fallocate(stand->region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, PAGE), 0);
    CU_ASSERT_EQUAL(*(volatile char *)(stand->base + PAGE), 0);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    take_down(stand);
}

/* A written page of a file that lost its mapping: when it was swapped out, say. */
static void what_is_not_mapped_any_more_is_found(void)
{
    struct stand *stand = set_up(FERRY_SHARED);
    write_page(stand, 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    write_page(stand, 1);
    vanish(stand, 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    CU_ASSERT_EQUAL(stand->base[PAGE], 2); /* as who sends it does */
    CU_ASSERT_TRUE(COLLECTS(stand));
    take_down(stand);
}

static void what_was_never_mapped_is_found(void)
{
    struct stand *stand = set_up(FERRY_SHARED);
    CU_ASSERT_EQUAL(pwrite(stand->region->fd, "x", 1, 5 * PAGE), 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 5));
    CU_ASSERT_EQUAL(stand->base[5 * PAGE], 'x');
    CU_ASSERT_TRUE(COLLECTS(stand));
    write_page(stand, 5);
    CU_ASSERT_TRUE(COLLECTS(stand, 5));
    take_down(stand);
}

static void a_punched_hole_is_found(void)
{
    struct stand *stand = set_up(FERRY_SHARED);
    write_page(stand, 5);
    CU_ASSERT_TRUE(COLLECTS(stand, 5));
    CU_ASSERT_EQUAL(
        fallocate(stand->region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * PAGE, PAGE),
        0);
    CU_ASSERT_TRUE(COLLECTS(stand, 5));
    CU_ASSERT_TRUE(COLLECTS(stand));
    take_down(stand);
}

static void unmapping_is_an_error(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    struct pf_why why = {""};
    write_page(stand, 1);
    collect(stand);
    munmap(stand->base + PAGE, PAGE);
    CU_ASSERT_EQUAL(
        pf_tracker_collect(stand->tracker, 0, (struct pf_run){4, 1}, &stand->dirty, &why), -EFAULT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "\"region\" was unmapped"));
    CU_ASSERT_EQUAL(stand->replaced.first, 1);
    take_down(stand);
}

static void moving_is_an_error(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    struct pf_why why = {""};
    void *moved = mremap(stand->base, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
    CU_ASSERT_EQUAL(
        pf_tracker_collect(stand->tracker, 0, (struct pf_run){4, 1}, &stand->dirty, &why), -EFAULT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "\"region\" was"));
    take_down(stand);
    munmap(moved, 2 * PAGE);
}

/* ---- all the time ---------------------------------------------------------------------------- */

struct giver {
    pthread_t thread;
    char *page;
    atomic_bool stop;
};

/* On one CPU with who collects: it runs when that one waits, and until it waits itself. */
static void share_one_cpu(void)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
}

static void *give_back_all_the_time(void *arg)
{
    struct giver *giver = arg;
    while (!atomic_load(&giver->stop))
        madvise(giver->page, PAGE, MADV_DONTNEED);
    return NULL;
}

/* Nothing can be protected while an event is in the way, and here nearly always one is. */
static void who_gives_back_all_the_time_holds_nobody_up(void)
{
    enum { TIMES = 20, LAST = 9 };
    struct stand *stand = set_up(FERRY_ANON);
    struct giver giver = {.page = stand->base};
    cpu_set_t before;
    sched_getaffinity(0, sizeof before, &before);
    share_one_cpu();
    CU_ASSERT_EQUAL_FATAL(pthread_create(&giver.thread, NULL, give_back_all_the_time, &giver), 0);
    for (unsigned i = 0; i < TIMES; i++) {
        for (size_t page = 1; page <= LAST; page += 2)
            write_page(stand, page);
        collect(stand);
        for (size_t page = 1; page <= LAST; page += 2)
            CU_ASSERT_TRUE(pf_pageset_has(&stand->dirty, page));
    }
    atomic_store(&giver.stop, true);
    pthread_join(giver.thread, NULL);
    sched_setaffinity(0, sizeof before, &before);
    collect(stand);
    collect(stand);
    CU_ASSERT_TRUE(COLLECTS(stand));
    take_down(stand);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"what_is_given_back_is_dirty", what_is_given_back_is_dirty},
        {"what_goes_late_is_dirty", what_goes_late_is_dirty},
        {"what_was_read_before_it_went_is_dirty", what_was_read_before_it_went_is_dirty},
        {"what_is_written_and_goes_late_is_dirty", what_is_written_and_goes_late_is_dirty},
        {"what_goes_late_and_is_read_is_dirty", what_goes_late_and_is_read_is_dirty},
        {"what_is_not_mapped_any_more_is_found", what_is_not_mapped_any_more_is_found},
        {"what_was_never_mapped_is_found", what_was_never_mapped_is_found},
        {"a_punched_hole_is_found", a_punched_hole_is_found},
        {"unmapping_is_an_error", unmapping_is_an_error},
        {"moving_is_an_error", moving_is_an_error},
        {"who_gives_back_all_the_time_holds_nobody_up",
         who_gives_back_all_the_time_holds_nobody_up},
        {NULL, NULL},
    };
    return rig_run(tests, argc, argv);
}
