/* SPDX-License-Identifier: BSD-2-Clause */
/* Clients that map the memory of the job, and what becomes of their mappings. */
#include "tests/e2e/clients_stand.h"
#include "tests/huge.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Both ways of placing a page: in the file by RDMA and then mapped, or copied. */
static const char *const by_continue[] = {"place", "continue", NULL};
static const char *const by_copy[] = {"place", "copy", NULL};

static void waiting_client_is_served(size_t page_size, const char *const *options)
{
    struct stand stand;
    stand_set_up(&stand, page_size);
    stand_start_destination(&stand, options);
    struct rig_process *client = stand_add_client(&stand, stand_reader);
    CU_ASSERT_TRUE(rig_await(client, "joined"));
    stand_start_source(&stand);
    CU_ASSERT_TRUE(rig_await(client, "wrong"));
    stand_give_words(stand.words, 2);
    stand_assert_read_right(client);
    stand_take_down(&stand);
}

static void client_that_waits_is_served_when_the_job_comes(void)
{
    waiting_client_is_served(RIG_PAGE, by_continue);
    waiting_client_is_served(RIG_PAGE, by_copy);
}

/* The source's pages and those of the job and its client: twice the region. */
static void huge_pages_are_watched(void)
{
    if (!huge_2m(4 * STAND_HUGE_PAGES)) {
        printf("skipped: no huge pages to be had ... ");
        return;
    }
    waiting_client_is_served(FERRY_PAGE_2M, by_continue);
    waiting_client_is_served(FERRY_PAGE_2M, by_copy);
}

static void client_that_comes_late_is_served(void)
{
    struct stand stand;
    stand_set_up(&stand, RIG_PAGE);
    stand_start_destination(&stand, NULL);
    stand_start_source(&stand);
    CU_ASSERT_TRUE(rig_await(&stand.run.destination, "here"));
    struct rig_process *client = stand_add_client(&stand, stand_reader);
    CU_ASSERT_TRUE(rig_await(client, "wrong"));
    stand_give_words(stand.words, 2);
    stand_assert_read_right(client);
    stand_take_down(&stand);
}

/* Holes of the file are zeros by then, and nobody has to say so. */
static void client_that_comes_after_the_end_is_let_go(void)
{
    struct stand stand;
    stand_set_up(&stand, RIG_PAGE);
    stand.lingers = true;
    stand_start_destination(&stand, NULL);
    stand_start_source(&stand);
    stand_give_words(stand.words, 2);
    CU_ASSERT_TRUE(rig_await(&stand.run.destination, "complete"));
    CU_ASSERT_EQUAL(
        fallocate(stand.memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 7 * RIG_PAGE, RIG_PAGE),
        0);
    struct rig_process *client = stand_add_client(&stand, stand_reader);
    CU_ASSERT_TRUE(rig_await(client, "wrong"));
    rig_finish(client);
    CU_ASSERT_EQUAL(client->status, 0);
    CU_ASSERT_EQUAL(rig_number(client, "wrong"), 1); /* the hole */
    stand_give_words(stand.words, 1);
    stand_take_down(&stand);
}

/* Both wait for one page while the source is stopped: it is asked for once, and both go on. */
static void page_placed_once_wakes_both(void)
{
    struct stand stand;
    stand_set_up(&stand, RIG_PAGE);
    stand.tells_duplicates = true;
    stand_start_destination(&stand, NULL);
    struct rig_process *client = stand_add_client(&stand, stand_late_reader);
    CU_ASSERT_TRUE(rig_await(client, "joined"));
    stand_start_source(&stand);
    CU_ASSERT_TRUE(rig_await(&stand.run.destination, "here"));
    kill(stand.run.source.pid, SIGSTOP);
    CU_ASSERT_EQUAL(waitpid(stand.run.source.pid, NULL, WUNTRACED), stand.run.source.pid);
    stand_give_words(stand.words, 1);
    stand_give_words(stand.client_words, 1);
    CU_ASSERT_TRUE(rig_await(&stand.run.destination, "duplicates"));
    CU_ASSERT_EQUAL(rig_number(&stand.run.destination, "duplicates"), 1);
    kill(stand.run.source.pid, SIGCONT);
    CU_ASSERT_TRUE(rig_await(&stand.run.destination, "touched"));
    CU_ASSERT_TRUE(rig_await(client, "wrong"));
    stand_give_words(stand.words, 1);
    stand_assert_read_right(client);
    stand_take_down(&stand);
}

/* One dies in the middle, one of them between two faults: the rest never notices. */
static void killed_client_harms_nobody(void)
{
    struct stand stand;
    stand_set_up(&stand, RIG_PAGE);
    stand_start_destination(&stand, NULL);
    for (int i = 0; i < 3; i++)
        CU_ASSERT_TRUE(rig_await(stand_add_client(&stand, stand_late_reader), "joined"));
    struct rig_process *waiting = stand_add_client(&stand, stand_reader);
    CU_ASSERT_TRUE(rig_await(waiting, "joined"));
    rig_kill(waiting); /* it waits for its first page */
    stand_start_source(&stand);
    CU_ASSERT_TRUE(rig_await(&stand.run.destination, "here"));
    rig_kill(&stand.clients[0]);
    stand_give_words(stand.client_words, 2);
    stand_give_words(stand.words, 2);
    for (unsigned i = 1; i < 3; i++)
        stand_assert_read_right(&stand.clients[i]);
    stand_take_down(&stand);
}

/* ---- memory that changes --------------------------------------------------------------------- */

/* Unmaps a piece, moves another, lets a child read; what is left reads right. */
static int mover(struct rig_side *side)
{
    const struct stand *stand = side->ctx;
    char *memory = stand_map(stand);
    struct ferry_client *client = stand_join(side, memory);
    stand_await_word(stand->client_words);
    munmap(memory + 8 * RIG_PAGE, 8 * RIG_PAGE);
    char *elsewhere = mmap(NULL, 16 * RIG_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *moved = mremap(memory + 16 * RIG_PAGE, 16 * RIG_PAGE, 16 * RIG_PAGE,
                         MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere);
    size_t wrong = moved != elsewhere;
    madvise(memory, 4 * RIG_PAGE, MADV_DONTNEED); /* nothing of the file is lost by that */
    pid_t child = fork();
    if (child == 0)
        _exit((int)stand_wrong_pages(stand, memory, 40, 8) +
              (int)stand_wrong_pages(stand, moved - 16 * RIG_PAGE, 24, 8));
    int status = 1;
    waitpid(child, &status, 0);
    wrong += status != 0;
    wrong += stand_wrong_pages(stand, memory, 0, 8);
    wrong += stand_wrong_pages(stand, moved - 16 * RIG_PAGE, 16, 16);
    wrong += stand_wrong_pages(stand, memory, 32, STAND_PAGES - 32);
    rig_say(side, "wrong %zu", wrong);
    return stand_leave(client);
}

static void unmap_remap_and_fork_are_followed(void)
{
    struct stand stand;
    stand_set_up(&stand, RIG_PAGE);
    stand_start_destination(&stand, NULL);
    struct rig_process *client = stand_add_client(&stand, mover);
    CU_ASSERT_TRUE(rig_await(client, "joined"));
    stand_start_source(&stand);
    CU_ASSERT_TRUE(rig_await(&stand.run.destination, "here"));
    stand_give_words(stand.client_words, 1);
    CU_ASSERT_TRUE(rig_await(client, "wrong"));
    stand_give_words(stand.words, 2);
    stand_assert_read_right(client);
    stand_take_down(&stand);
}

/* The same while no job has come: nobody's munmap() or fork() may wait for one. */
static void changes_are_followed_while_waiting(void)
{
    struct stand stand;
    stand_set_up(&stand, RIG_PAGE);
    stand_start_destination(&stand, NULL);
    struct rig_process *client = stand_add_client(&stand, mover);
    CU_ASSERT_TRUE(rig_await(client, "joined"));
    stand_give_words(stand.client_words, 1);
    stand_start_source(&stand);
    CU_ASSERT_TRUE(rig_await(client, "wrong"));
    stand_give_words(stand.words, 2);
    stand_assert_read_right(client);
    stand_take_down(&stand);
}

const struct pf_test clients_watch[] = {
    {"client_that_waits_is_served_when_the_job_comes",
     client_that_waits_is_served_when_the_job_comes},
    {"huge_pages_are_watched", huge_pages_are_watched},
    {"client_that_comes_late_is_served", client_that_comes_late_is_served},
    {"client_that_comes_after_the_end_is_let_go", client_that_comes_after_the_end_is_let_go},
    {"page_placed_once_wakes_both", page_placed_once_wakes_both},
    {"killed_client_harms_nobody", killed_client_harms_nobody},
    {"unmap_remap_and_fork_are_followed", unmap_remap_and_fork_are_followed},
    {"changes_are_followed_while_waiting", changes_are_followed_while_waiting},
    {NULL, NULL},
};
