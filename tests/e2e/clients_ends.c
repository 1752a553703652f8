/* SPDX-License-Identifier: BSD-2-Clause */
/* A client whose memory is the job's; and what a client sees when we die. */
#include "core/clients/clients.h"
#include "core/job/job.h"
#include "tests/e2e/clients_stand.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a client whose memory is the job's ------------------------------------------------------ */

/* What `pageferry receive --client generic` does. */
static int host(struct rig_side *side)
{
    const struct stand *stand = side->ctx;
    char path[64];
    stand_open_job(side);
    snprintf(path, sizeof path, "%s/home", stand->directory);
    struct pf_clients_attr attr = {
        .job = side->job,
        .path = path,
        .kind = &pf_client_generic,
        .home = true,
        .patience_ms = PF_CLIENT_PATIENCE_MS,
    };
    if (pf_clients_open(&side->job->clients, &attr, NULL) < 0)
        return 91;
    rig_say(side, "waiting");
    pf_clients_await_home(side->job->clients);
    int how = rig_start(side);
    rig_say(side, "here");
    return rig_close(side) || how < 0;
}

static int private_source(struct rig_side *side)
{
    rig_open(side);
    char *memory =
        ferry_job_alloc(side->job, "shared", STAND_PAGES * RIG_PAGE, FERRY_PAGE_DEFAULT, 0);
    for (size_t i = 0; i < STAND_PAGES; i++)
        memset(memory + i * RIG_PAGE, stand_content(i), RIG_PAGE);
    rig_start(side);
    return rig_move(side, side->uri) == FERRY_MOVED ? rig_close(side) : 1;
}

static size_t pages_not_zero(const char *memory, size_t first, size_t pages)
{
    size_t wrong = 0;
    for (size_t i = first; i < first + pages; i++)
        wrong += *(const volatile char *)(memory + i * RIG_PAGE) != 0;
    return wrong;
}

/* Given back by the child alone: 8 to 15. By the parent alone: 16 to 23. By both: 24 to 31. */
static int forked_child(const struct stand *stand, char *memory)
{
    madvise(memory + 8 * RIG_PAGE, 8 * RIG_PAGE, MADV_DONTNEED);
    madvise(memory + 24 * RIG_PAGE, 8 * RIG_PAGE, MADV_DONTNEED);
    return (int)(stand_wrong_pages(stand, memory, 0, 8) + pages_not_zero(memory, 8, 8) +
                 stand_wrong_pages(stand, memory, 16, 8) + pages_not_zero(memory, 24, 8) +
                 stand_wrong_pages(stand, memory, 32, STAND_PAGES - 32));
}

static int home(struct rig_side *side)
{
    const struct stand *stand = side->ctx;
    char path[64];
    snprintf(path, sizeof path, "%s/home", stand->directory);
    char *memory = mmap(NULL, STAND_PAGES * RIG_PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct ferry_client *client = NULL;
    struct ferry_mapping mappings[] = {
        {memory + 40 * RIG_PAGE, 24 * RIG_PAGE, "shared", 40 * RIG_PAGE, FERRY_PAGE_DEFAULT},
        {memory, 40 * RIG_PAGE, "shared", 0, FERRY_PAGE_DEFAULT},
    };
    int error = ferry_client_open(&client, path, mappings, 2, -1);
    rig_say(side, "joined %d", error);
    if (error)
        return 93;
    stand_await_word(stand->client_words);
    size_t wrong = stand_wrong_pages(stand, memory, 0, 4);
    pid_t child = fork();
    if (child == 0)
        _exit(forked_child(stand, memory));
    madvise(memory + 16 * RIG_PAGE, 16 * RIG_PAGE, MADV_DONTNEED);
    wrong += stand_wrong_pages(stand, memory, 4, 12);
    wrong += pages_not_zero(memory, 16, 16);
    wrong += stand_wrong_pages(stand, memory, 32, STAND_PAGES - 32);
    int status = 1;
    waitpid(child, &status, 0);
    rig_say(side, "child %d", status);
    rig_say(side, "wrong %zu", wrong);
    return stand_leave(client);
}

static void start_host(struct stand *stand)
{
    struct rig_side side = {.body = host, .ctx = stand, .destination = true};
    stand->run.failures_before = CU_get_number_of_failures();
    snprintf(side.uri, sizeof side.uri, "%s", rig_target());
    rig_launch(&stand->run.destination, &side);
    CU_ASSERT_TRUE_FATAL(rig_await(&stand->run.destination, "waiting"));
}

static void start_private_source(struct stand *stand)
{
    struct rig_side side = {.body = private_source, .ctx = stand, .options = stand_on_demand};
    CU_ASSERT_TRUE_FATAL(rig_await(&stand->run.destination, "uri"));
    snprintf(side.uri, sizeof side.uri, "%s", rig_said(&stand->run.destination, "uri"));
    rig_launch(&stand->run.source, &side);
}

/* Parent and child have memory of their own from the fork on: each gets every page it is due. */
static void forked_home_is_served_twice(void)
{
    struct stand stand;
    stand_set_up(&stand, RIG_PAGE);
    start_host(&stand);
    struct rig_process *client = stand_add_client(&stand, home);
    CU_ASSERT_TRUE(rig_await(client, "joined"));
    start_private_source(&stand);
    CU_ASSERT_TRUE(rig_await(&stand.run.destination, "here"));
    stand_give_words(stand.client_words, 1);
    CU_ASSERT_TRUE(rig_await(client, "wrong"));
    CU_ASSERT_EQUAL(rig_number(client, "child"), 0);
    stand_assert_read_right(client);
    rig_end(&stand.run);
    CU_ASSERT_EQUAL(stand.run.destination.status, 0);
    CU_ASSERT_EQUAL(stand.run.source.status, 0);
    rig_explain(&stand.run);
    stand_clear_away(&stand);
}

/* ---- our death ------------------------------------------------------------------------------- */

struct toucher {
    const volatile char *at;
    atomic_int tid;
    atomic_bool done;
};

static void *touch(void *arg)
{
    struct toucher *toucher = arg;
    atomic_store(&toucher->tid, gettid());
    (void)*toucher->at;
    atomic_store(&toucher->done, true);
    return NULL;
}

/* The kernel says -1 of a thread that sleeps in it without having made a system call. */
static bool waits_for_a_page(const struct toucher *toucher)
{
    char path[64];
    int call = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", atomic_load(&toucher->tid));
    FILE *file = fopen(path, "re");
    bool sleeps = file && fscanf(file, "%d", &call) == 1 && call == -1;
    if (file)
        fclose(file);
    return sleeps && !atomic_load(&toucher->done);
}

static int bereaved(struct rig_side *side)
{
    const struct stand *stand = side->ctx;
    char *memory = stand_map(stand);
    struct toucher toucher = {.at = memory + 5 * RIG_PAGE};
    struct ferry_client *client = stand_join(side, memory);
    pthread_t thread;
    pthread_create(&thread, NULL, touch, &toucher);
    while (!waits_for_a_page(&toucher))
        usleep(1000);
    rig_say(side, "touching");
    rig_say(side, "wait %d", ferry_client_wait(client, RIG_DEADLINE_S * 1000));
    stand_await_word(stand->client_words); /* whatever the other had is closed by now */
    rig_say(side, "blocked %d", waits_for_a_page(&toucher));
    ferry_client_close(client);
    rig_say(side, "still %d", waits_for_a_page(&toucher));
    _exit(0);
}

/* Before the job has come, and in the middle of its arrival, while the source is stopped. */
static void die(bool arriving)
{
    struct stand stand;
    stand_set_up(&stand, RIG_PAGE);
    stand_start_destination(&stand, NULL);
    if (arriving) {
        stand_start_source(&stand);
        CU_ASSERT_TRUE(rig_await(&stand.run.destination, "here"));
        kill(stand.run.source.pid, SIGSTOP);
        CU_ASSERT_EQUAL(waitpid(stand.run.source.pid, NULL, WUNTRACED), stand.run.source.pid);
    }
    struct rig_process *client = stand_add_client(&stand, bereaved);
    CU_ASSERT_TRUE(rig_await(client, "touching"));
    rig_kill(&stand.run.destination);
    if (arriving)
        rig_kill(&stand.run.source);
    stand_give_words(stand.client_words, 1);
    rig_finish(client);
    CU_ASSERT_EQUAL((int)rig_number(client, "wait"), -ECONNRESET);
    CU_ASSERT_EQUAL(rig_number(client, "blocked"), 1);
    CU_ASSERT_EQUAL(rig_number(client, "still"), 1);
    char path[64];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", stand.directory, i ? "shared.sock" : "shared.clients");
        unlink(path);
    }
    stand_clear_away(&stand);
}

static void our_death_blocks_clients_and_feeds_no_zeros(void)
{
    die(false);
    die(true);
}

const struct pf_test clients_ends[] = {
    {"forked_home_is_served_twice", forked_home_is_served_twice},
    {"our_death_blocks_clients_and_feeds_no_zeros", our_death_blocks_clients_and_feeds_no_zeros},
    {NULL, NULL},
};
