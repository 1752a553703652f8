/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writes that no tracker sees: what ferry_job_dirty() and FERRY_SEND_LATE are for. That they are
 * missed without a mark is asserted, too.
 */
#include "core/memory/backing.h"
#include "tests/unit/tracker_rig.h"

#include <fcntl.h>
#include <liburing.h>
#include <sys/mman.h>
#include <unistd.h>

static void marks_are_taken_once(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    write_page(stand, 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    pf_pageset_add(&stand->marked, 9);
    CU_ASSERT_TRUE(COLLECTS(stand, 9));
    CU_ASSERT_TRUE(COLLECTS(stand));
    take_down(stand);
}

/* What no tracker can see, and the mark that tells it. */
static void only_marks_tell_of_other_ways(void)
{
    struct stand *stand = set_up(FERRY_SHARED);
    char *second = pf_backing_map_again(stand->region);
    write_page(stand, 1);
    write_page(stand, 2);
    CU_ASSERT_TRUE(COLLECTS(stand, 1, 2));
    second[PAGE] = 7;
    CU_ASSERT_EQUAL(pwrite(stand->region->fd, "x", 1, 2 * PAGE), 1);
    CU_ASSERT_TRUE(COLLECTS(stand));
    CU_ASSERT_EQUAL(stand->base[PAGE], 7);
    CU_ASSERT_EQUAL(stand->base[2 * PAGE], 'x');
    pf_pageset_add_run(&stand->marked, (struct pf_run){1, 2});
    CU_ASSERT_TRUE(COLLECTS(stand, 1, 2));
    munmap(second, stand->region->bytes);
    take_down(stand);
}

/* ---- other pages ----------------------------------------------------------------------------- */

static bool renewed_exactly(struct stand *stand, struct pf_run run)
{
    bool right = stand->renewed.first == run.first && stand->renewed.pages == run.pages;
    stand->renewed = (struct pf_run){0, 0};
    return right;
}

/* Who has pinned the pages has others now. */
static void marks_tell_of_other_pages(void)
{
    struct stand *stand = set_up(FERRY_SHARED);
    pf_pageset_add_run(&stand->marked, (struct pf_run){3, 2});
    CU_ASSERT_TRUE(COLLECTS(stand, 3, 4));
    CU_ASSERT_TRUE(renewed_exactly(stand, (struct pf_run){3, 2}));
    CU_ASSERT_TRUE(COLLECTS(stand));
    CU_ASSERT_TRUE(renewed_exactly(stand, (struct pf_run){0, 0}));
    take_down(stand);
}

/* There what is written by a device is the page that was pinned. */
static void private_pages_stay_the_same(void)
{
    struct stand *stand = set_up(FERRY_ANON);
    pf_pageset_add(&stand->marked, 3);
    CU_ASSERT_TRUE(COLLECTS(stand, 3));
    CU_ASSERT_TRUE(renewed_exactly(stand, (struct pf_run){0, 0}));
    take_down(stand);
}

static void holes_tell_of_other_pages(void)
{
    struct stand *stand = set_up(FERRY_SHARED);
    for (size_t page = 0; page < PAGES; page++)
        write_page(stand, page);
    collect(stand);
    CU_ASSERT_EQUAL(fallocate(stand->region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              (off_t)(5 * PAGE), (off_t)(2 * PAGE)),
                    0);
    CU_ASSERT_TRUE(COLLECTS(stand, 5, 6));
    CU_ASSERT_TRUE(renewed_exactly(stand, (struct pf_run){5, 2}));
    take_down(stand);
}

/* ---- devices --------------------------------------------------------------------------------- */

/* Let the kernel write into a page that is registered with it, and so pinned. */
static void read_into(struct io_uring *ring, char *page, const char *text)
{
    struct io_uring_cqe *done;
    int ends[2];
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    CU_ASSERT_EQUAL(write(ends[1], text, strlen(text)), (ssize_t)strlen(text));
    struct io_uring_sqe *wanted = io_uring_get_sqe(ring);
    io_uring_prep_read_fixed(wanted, ends[0], page, (unsigned)strlen(text), 0, 0);
    CU_ASSERT_EQUAL(io_uring_submit_and_wait(ring, 1), 1);
    CU_ASSERT_EQUAL_FATAL(io_uring_peek_cqe(ring, &done), 0);
    CU_ASSERT_EQUAL(done->res, (int)strlen(text));
    io_uring_cqe_seen(ring, done);
    close(ends[0]);
    close(ends[1]);
}

/* The page tables don't know that a device has written. */
static void only_marks_tell_of_devices_in(unsigned flags)
{
    struct stand *stand = set_up(flags);
    struct io_uring ring;
    char *page = stand->base + PAGE;
    int error = io_uring_queue_init(4, &ring, 0);
    if (error) {
        printf("skipped: no io_uring (%s) ", strerror(-error));
        take_down(stand);
        return;
    }
    struct iovec buffer = {page, PAGE};
    CU_ASSERT_EQUAL(io_uring_register_buffers(&ring, &buffer, 1), 0);
    collect(stand);
    CU_ASSERT_TRUE(pf_pageset_has(&stand->dirty, 1));
    read_into(&ring, page, "device");
    CU_ASSERT_EQUAL(memcmp(page, "device", 6), 0);
    collect(stand);
    /* Soft-dirty bits of pinned private pages are never cleared. */
    CU_ASSERT_EQUAL(pf_pageset_has(&stand->dirty, 1),
                    kind == PF_TRACK_SOFT_DIRTY && flags == FERRY_ANON);
    pf_pageset_add(&stand->marked, 1);
    CU_ASSERT_TRUE(COLLECTS(stand, 1));
    io_uring_queue_exit(&ring);
    take_down(stand);
}

static void only_marks_tell_of_devices(void)
{
    only_marks_tell_of_devices_in(FERRY_ANON);
    only_marks_tell_of_devices_in(FERRY_SHARED);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"marks_are_taken_once", marks_are_taken_once},
        {"only_marks_tell_of_other_ways", only_marks_tell_of_other_ways},
        {"marks_tell_of_other_pages", marks_tell_of_other_pages},
        {"private_pages_stay_the_same", private_pages_stay_the_same},
        {"holes_tell_of_other_pages", holes_tell_of_other_pages},
        {"only_marks_tell_of_devices", only_marks_tell_of_devices},
        {NULL, NULL},
    };
    return rig_run(tests, argc, argv);
}
