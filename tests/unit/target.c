/* SPDX-License-Identifier: BSD-2-Clause */
/* How addresses lead to pages, and how targets come and go while the fault thread runs. */
#include "core/arrival/targets.h"

#include "tests/suite.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { PAGE = 4096 };

static struct pf_uffd no_uffd = {.fd = -1};

static struct pf_target shown(unsigned room)
{
    struct pf_target target;
    CU_ASSERT_EQUAL_FATAL(pf_target_init(&target, &no_uffd, true, room), 0);
    return target;
}

static int show(struct pf_target *target, uint64_t page, uint64_t pages, unsigned region,
                uint64_t offset)
{
    return pf_target_show(target,
                          &(struct pf_view){page * PAGE, pages * PAGE, region, offset * PAGE});
}

static void finds_what_it_shows(void)
{
    struct pf_target target = shown(3);
    CU_ASSERT_EQUAL(show(&target, 100, 10, 0, 0), 0);
    CU_ASSERT_EQUAL(show(&target, 50, 10, 0, 10), 0);
    CU_ASSERT_EQUAL(show(&target, 60, 5, 1, 0), 0);
    CU_ASSERT_EQUAL(show(&target, 70, 5, 1, 0), -ENOSPC);
    for (int again = 0; again < 2; again++) {
        CU_ASSERT_PTR_NULL(pf_target_find(&target, 50 * PAGE - 1));
        CU_ASSERT_EQUAL(pf_target_find(&target, 50 * PAGE)->offset, 10 * PAGE);
        CU_ASSERT_EQUAL(pf_target_find(&target, 60 * PAGE - 1)->region, 0);
        CU_ASSERT_EQUAL(pf_target_find(&target, 60 * PAGE)->region, 1);
        CU_ASSERT_PTR_NULL(pf_target_find(&target, 65 * PAGE));
        CU_ASSERT_EQUAL(pf_target_find(&target, 110 * PAGE - 1)->offset, 0);
        CU_ASSERT_PTR_NULL(pf_target_find(&target, 110 * PAGE));
    }
    CU_ASSERT_EQUAL(pf_target_shows(&target, 0, 3 * PAGE)->addr, 100 * PAGE);
    CU_ASSERT_EQUAL(pf_target_shows(&target, 0, 19 * PAGE)->addr, 50 * PAGE);
    CU_ASSERT_PTR_NULL(pf_target_shows(&target, 0, 20 * PAGE));
    CU_ASSERT_PTR_NULL(pf_target_shows(&target, 2, 0));
    pf_target_free(&target);
}

static void shows_no_address_twice(void)
{
    struct pf_target target = shown(8);
    CU_ASSERT_EQUAL(show(&target, 10, 10, 0, 0), 0);
    CU_ASSERT_EQUAL(show(&target, 19, 5, 1, 0), -EEXIST);
    CU_ASSERT_EQUAL(show(&target, 5, 6, 1, 0), -EEXIST);
    CU_ASSERT_EQUAL(show(&target, 5, 50, 1, 0), -EEXIST);
    CU_ASSERT_EQUAL(show(&target, 12, 2, 1, 0), -EEXIST);
    CU_ASSERT_EQUAL(show(&target, 20, 5, 1, 0), 0);
    CU_ASSERT_EQUAL(show(&target, 5, 5, 1, 0), 0);
    CU_ASSERT_EQUAL(target.count, 3);
    pf_target_free(&target);
}

/* ---- memory that changes --------------------------------------------------------------------- */

/* Page by page over an address range: which page of its region each shows, -1 nothing, -2 zeros. */
static void assert_shown(struct pf_target *target, uint64_t first, const int *pages, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t addr = (first + i) * PAGE;
        const struct pf_view *view = pf_target_find(target, addr);
        int page = !view ? -1
                   : view->region == PF_VIEW_VACATED
                       ? -2
                       : (int)((view->offset + addr - view->addr) / PAGE);
        CU_ASSERT_EQUAL(page, pages[i]);
    }
}

static void what_is_unmapped_shows_nothing(void)
{
    struct pf_target target = shown(8);
    show(&target, 10, 6, 0, 0);
    show(&target, 16, 2, 1, 7);
    CU_ASSERT_EQUAL(pf_target_cut(&target, 12 * PAGE, 14 * PAGE), 0); /* out of the middle */
    assert_shown(&target, 9, (int[]){-1, 0, 1, -1, -1, 4, 5, 7, 8, -1}, 10);
    CU_ASSERT_EQUAL(pf_target_cut(&target, 15 * PAGE, 17 * PAGE), 0); /* over a border */
    assert_shown(&target, 9, (int[]){-1, 0, 1, -1, -1, 4, -1, -1, 8, -1}, 10);
    CU_ASSERT_EQUAL(pf_target_cut(&target, 12 * PAGE, 14 * PAGE), 0); /* nothing */
    CU_ASSERT_EQUAL(pf_target_cut(&target, 0, 100 * PAGE), 0);
    CU_ASSERT_EQUAL(target.count, 0);
    pf_target_free(&target);
}

static void too_many_pieces_are_told(void)
{
    struct pf_target target = shown(2);
    show(&target, 10, 6, 0, 0);
    show(&target, 20, 6, 0, 6);
    CU_ASSERT_EQUAL(pf_target_cut(&target, 12 * PAGE, 13 * PAGE), -ENOSPC);
    CU_ASSERT_EQUAL(pf_target_move(&target, 20 * PAGE, 40 * PAGE, 6 * PAGE), -ENOSPC);
    CU_ASSERT_EQUAL(pf_target_cut(&target, 10 * PAGE, 16 * PAGE), 0);
    CU_ASSERT_EQUAL(pf_target_move(&target, 20 * PAGE, 40 * PAGE, 6 * PAGE), 0);
    pf_target_free(&target);
}

static void what_is_moved_is_shown_elsewhere(void)
{
    struct pf_target target = shown(16);
    show(&target, 10, 4, 0, 0);
    show(&target, 14, 4, 1, 20);
    /* Upwards, a piece of each; something was mapped where it goes. */
    show(&target, 30, 4, 2, 40);
    CU_ASSERT_EQUAL(pf_target_move(&target, 12 * PAGE, 31 * PAGE, 4 * PAGE), 0);
    assert_shown(&target, 10, (int[]){0, 1, -2, -2, -2, -2, 22, 23}, 8);
    assert_shown(&target, 30, (int[]){40, 2, 3, 20, 21, -1}, 6);
    /* Downwards, and what was vacated is unmapped then. */
    CU_ASSERT_EQUAL(pf_target_move(&target, 31 * PAGE, 2 * PAGE, 4 * PAGE), 0);
    assert_shown(&target, 1, (int[]){-1, 2, 3, 20, 21, -1}, 6);
    CU_ASSERT_EQUAL(pf_target_cut(&target, 31 * PAGE, 35 * PAGE), 0);
    assert_shown(&target, 30, (int[]){40, -1, -1, -1, -1}, 5);
    struct pf_target copy = shown(16);
    CU_ASSERT_EQUAL(pf_target_copy(&copy, &target), 0);
    assert_shown(&copy, 1, (int[]){-1, 2, 3, 20, 21, -1}, 6);
    pf_target_free(&copy);
    pf_target_free(&target);
}

/* ---- coming and going ------------------------------------------------------------------------ */

struct crowd {
    struct pf_gate gate;
    struct pf_targets targets;
    atomic_bool stop;
};

static void *serve(void *arg)
{
    struct crowd *crowd = arg;
    while (!atomic_load(&crowd->stop)) {
        struct pollfd polled = {.fd = crowd->targets.command_fd, .events = POLLIN};
        poll(&polled, 1, 100);
        pf_targets_obey(&crowd->targets);
    }
    return NULL;
}

static void await(struct crowd *crowd, struct pf_target *target, int state)
{
    struct pollfd polled = {.fd = crowd->targets.told_fd, .events = POLLIN};
    uint64_t count;
    while (atomic_load(&target->state) != state) {
        CU_ASSERT_FATAL(poll(&polled, 1, 30000) == 1);
        CU_ASSERT_EQUAL(read(polled.fd, &count, sizeof count), sizeof count);
    }
}

static void come_and_go_by_commands(void)
{
    struct crowd crowd = {.stop = false};
    struct pf_uffd ends[2] = {{.fd = eventfd(1, 0)}, {.fd = eventfd(0, 0)}};
    struct pf_target targets[2];
    struct pf_target *ready[4];
    pthread_t thread;
    CU_ASSERT_EQUAL_FATAL(pf_targets_open(&crowd.targets, &crowd.gate, NULL), 0);
    crowd.targets.told_fd = eventfd(0, 0);
    pthread_create(&thread, NULL, serve, &crowd);
    for (int i = 0; i < 2; i++) {
        pf_target_init(&targets[i], &ends[i], false, 1);
        CU_ASSERT_EQUAL(pf_targets_post(&crowd.targets, &targets[i], true), 0);
        await(&crowd, &targets[i], PF_TARGET_SERVED);
    }
    CU_ASSERT_EQUAL(pf_targets_post(&crowd.targets, &targets[1], false), 0);
    await(&crowd, &targets[1], PF_TARGET_IDLE);
    atomic_store(&crowd.stop, true);
    pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(pf_targets_ready(&crowd.targets, ready, 4), 1);
    CU_ASSERT_PTR_EQUAL(ready[0], &targets[0]);
    pf_targets_fail(&crowd.targets, &targets[0], -ESRCH);
    await(&crowd, &targets[0], PF_TARGET_FAILED);
    CU_ASSERT_EQUAL(targets[0].status, -ESRCH);
    CU_ASSERT_EQUAL(crowd.targets.count, 0);
    close(crowd.targets.told_fd);
    pf_targets_close(&crowd.targets);
    for (int i = 0; i < 2; i++) {
        pf_target_free(&targets[i]);
        close(ends[i].fd);
    }
}

/* What can't be watched is given back with the reason, and a full ring says so. */
static void what_can_not_be_served_comes_back(void)
{
    struct crowd crowd = {.stop = false};
    struct pf_target target;
    CU_ASSERT_EQUAL_FATAL(pf_targets_open(&crowd.targets, &crowd.gate, NULL), 0);
    pf_target_init(&target, &no_uffd, false, 1);
    for (int i = 0; i < PF_TARGET_COMMANDS; i++)
        CU_ASSERT_EQUAL(pf_targets_post(&crowd.targets, &target, true), 0);
    CU_ASSERT_EQUAL(pf_targets_post(&crowd.targets, &target, true), -EAGAIN);
    CU_ASSERT_EQUAL(pf_targets_obey(&crowd.targets), PF_TARGET_COMMANDS);
    CU_ASSERT_EQUAL(pf_targets_obey(&crowd.targets), 0);
    CU_ASSERT_EQUAL(atomic_load(&target.state), PF_TARGET_FAILED);
    CU_ASSERT_EQUAL(target.status, -EBADF);
    pf_targets_close(&crowd.targets);
    pf_target_free(&target);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"finds_what_it_shows", finds_what_it_shows},
        {"shows_no_address_twice", shows_no_address_twice},
        {"what_is_unmapped_shows_nothing", what_is_unmapped_shows_nothing},
        {"too_many_pieces_are_told", too_many_pieces_are_told},
        {"what_is_moved_is_shown_elsewhere", what_is_moved_is_shown_elsewhere},
        {"come_and_go_by_commands", come_and_go_by_commands},
        {"what_can_not_be_served_comes_back", what_can_not_be_served_comes_back},
        {NULL, NULL},
    };
    return pf_suite_run("target", tests, argc > 1 ? argv[1] : NULL);
}
