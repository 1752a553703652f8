/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Other processes that map the destination's shared memory while its pages arrive. Pages come only
 * when they are touched (no background), so who reads right was served.
 */
#include "core/clients.h"
#include "core/job.h"
#include "tests/e2e/grid.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGES = 64, CLIENTS = 4 };

/* Both ways of placing a page: in the file by RDMA and then mapped, or copied. */
static const char *const by_continue[] = {"place", "continue", NULL};
static const char *const by_copy[] = {"place", "copy", NULL};

static const char *const on_demand[] = {"background", "off", "prefetch", "off", NULL};

/* One stand: a job with a shared region, and clients. Processes get it by fork. */
struct stand {
    char directory[32], name[16];
    int memfd;
    bool lingers; /* the job stays after its last page, until it has one word more */
    int words[2], client_words[2]; /* a byte in it lets the job, or one client, go on */
    struct rig_run run;
    struct rig_process clients[CLIENTS];
    unsigned count;
};

static unsigned char content(size_t page)
{
    return (unsigned char)(page * 7 + 3);
}

static char *map_shared(const struct stand *stand)
{
    char *memory =
        mmap(NULL, PAGES * RIG_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, stand->memfd, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void await_word(const int words[2])
{
    char word;
    if (read(words[0], &word, 1) != 1)
        _exit(95);
}

static void give_words(const int words[2], unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        CU_ASSERT_EQUAL(write(words[1], "!", 1), 1);
}

static size_t wrong_pages(const char *memory, size_t first, size_t pages)
{
    size_t wrong = 0;
    for (size_t i = first; i < first + pages; i++)
        wrong += *(const volatile unsigned char *)(memory + i * RIG_PAGE) != content(i);
    return wrong;
}

/* ---- the job --------------------------------------------------------------------------------- */

static int source(struct rig_side *side)
{
    rig_open(side);
    char *memory =
        ferry_job_alloc(side->job, "shared", PAGES * RIG_PAGE, FERRY_PAGE_DEFAULT, FERRY_SHARED);
    if (!memory)
        return 96;
    for (size_t i = 0; i < PAGES; i++)
        memset(memory + i * RIG_PAGE, content(i), RIG_PAGE);
    rig_start(side);
    return rig_move(side, side->uri) == FERRY_MOVED ? rig_close(side) : 1;
}

static void open_named(struct rig_side *side)
{
    const struct stand *stand = side->ctx;
    unsetenv("PAGEFERRY_INCOMING");
    setenv("PAGEFERRY_ONCE", "1", 1);
    if (ferry_job_open(&side->job, stand->name) < 0)
        exit(99);
    for (const char *const *option = side->options; option && *option; option += 2)
        if (ferry_job_set(side->job, option[0], option[1]) < 0)
            exit(98);
}

/* Touches one page when it is told to, the rest when it is told again. */
static int destination(struct rig_side *side)
{
    const struct stand *stand = side->ctx;
    char *memory = map_shared(stand);
    open_named(side);
    if (ferry_job_protect_fd(side->job, "shared", memory, PAGES * RIG_PAGE, stand->memfd, 0) < 0)
        return 96;
    if (rig_start(side) != FERRY_ARRIVED)
        return 94;
    rig_say(side, "here");
    await_word(stand->words);
    size_t wrong = wrong_pages(memory, 0, 1);
    rig_say(side, "touched");
    await_word(stand->words);
    wrong += wrong_pages(memory, 0, PAGES);
    struct ferry_status status;
    ferry_job_status(side->job, &status);
    rig_say(side, "requests %llu", (unsigned long long)status.requests);
    rig_say(side, "answer %zu", wrong);
    if (stand->lingers) {
        grid_await_complete(side);
        rig_say(side, "complete");
        await_word(stand->words);
    }
    return rig_close(side);
}

static int job(struct rig_side *side)
{
    return side->destination ? destination(side) : source(side);
}

static void set_up(struct stand *stand)
{
    memset(stand, 0, sizeof *stand);
    strcpy(stand->directory, "/tmp/pf-clients-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(stand->directory));
    setenv("PAGEFERRY_RUNTIME_DIR", stand->directory, 1);
    strcpy(stand->name, "shared");
    stand->memfd = memfd_create("shared", 0);
    CU_ASSERT_EQUAL_FATAL(ftruncate(stand->memfd, PAGES * RIG_PAGE), 0);
    CU_ASSERT_EQUAL_FATAL(pipe(stand->words), 0);
    CU_ASSERT_EQUAL_FATAL(pipe(stand->client_words), 0);
}

static void start_destination(struct stand *stand, const char *const *options)
{
    struct rig_side side = {.body = job, .ctx = stand, .destination = true, .options = options};
    stand->run.failures_before = CU_get_number_of_failures();
    snprintf(side.uri, sizeof side.uri, "%s", rig_target());
    rig_launch(&stand->run.destination, &side);
    CU_ASSERT_TRUE_FATAL(rig_await(&stand->run.destination, "uri"));
}

static void start_source(struct stand *stand)
{
    struct rig_side side = {.body = job, .ctx = stand, .options = on_demand};
    snprintf(side.uri, sizeof side.uri, "%s", rig_said(&stand->run.destination, "uri"));
    rig_launch(&stand->run.source, &side);
}

static struct rig_process *add_client(struct stand *stand, rig_body body)
{
    struct rig_side side = {.body = body, .ctx = stand};
    struct rig_process *client = &stand->clients[stand->count++];
    rig_launch(client, &side);
    return client;
}

static void clear_away(struct stand *stand)
{
    close(stand->memfd);
    close(stand->words[0]);
    close(stand->words[1]);
    close(stand->client_words[0]);
    close(stand->client_words[1]);
    CU_ASSERT_EQUAL(rmdir(stand->directory), 0);
    unsetenv("PAGEFERRY_RUNTIME_DIR");
}

static void take_down(struct stand *stand)
{
    rig_assert_moved(&stand->run, 0);
    /* Nothing was asked for twice. */
    CU_ASSERT_EQUAL(rig_number(&stand->run.destination, "requests"), PAGES);
    for (unsigned i = 0; i < stand->count; i++) {
        rig_finish(&stand->clients[i]);
        if (CU_get_number_of_failures() > stand->run.failures_before)
            fprintf(stderr, "--- client ended with %d:\n%s", stand->clients[i].status,
                    stand->clients[i].text);
    }
    clear_away(stand);
}

/* ---- clients --------------------------------------------------------------------------------- */

static struct ferry_client *join(struct rig_side *side, char *memory)
{
    const struct stand *stand = side->ctx;
    struct ferry_client *client = NULL;
    struct ferry_mapping mapping = {memory, PAGES * RIG_PAGE, "shared", 0, FERRY_PAGE_DEFAULT};
    int error = ferry_client_open(&client, stand->name, &mapping, 1, -1);
    rig_say(side, "joined %d", error);
    if (error)
        exit(93);
    return client;
}

static int leave_complete(struct ferry_client *client)
{
    int error = ferry_client_wait(client, RIG_DEADLINE_S * 1000);
    ferry_client_close(client);
    return error ? 92 : 0;
}

/* Reads everything at once: before the job is here, too. */
static int reader(struct rig_side *side)
{
    char *memory = map_shared(side->ctx);
    struct ferry_client *client = join(side, memory);
    rig_say(side, "wrong %zu", wrong_pages(memory, 0, PAGES));
    return leave_complete(client);
}

/* Reads page 0 when it is told to, then the rest. */
static int late_reader(struct rig_side *side)
{
    const struct stand *stand = side->ctx;
    char *memory = map_shared(stand);
    struct ferry_client *client = join(side, memory);
    await_word(stand->client_words);
    rig_say(side, "wrong %zu", wrong_pages(memory, 0, PAGES));
    return leave_complete(client);
}

static void assert_read_right(struct rig_process *client)
{
    rig_finish(client);
    CU_ASSERT_EQUAL(client->status, 0);
    CU_ASSERT_EQUAL(rig_number(client, "wrong"), 0);
}

static void waiting_client_is_served(const char *const *options)
{
    struct stand stand;
    set_up(&stand);
    start_destination(&stand, options);
    struct rig_process *client = add_client(&stand, reader);
    CU_ASSERT_TRUE(rig_await(client, "joined"));
    start_source(&stand);
    CU_ASSERT_TRUE(rig_await(client, "wrong"));
    give_words(stand.words, 2);
    assert_read_right(client);
    take_down(&stand);
}

static void client_that_waits_is_served_when_the_job_comes(void)
{
    waiting_client_is_served(by_continue);
    waiting_client_is_served(by_copy);
}

static void client_that_comes_late_is_served(void)
{
    struct stand stand;
    set_up(&stand);
    start_destination(&stand, NULL);
    start_source(&stand);
    CU_ASSERT_TRUE(rig_await(&stand.run.destination, "here"));
    struct rig_process *client = add_client(&stand, reader);
    CU_ASSERT_TRUE(rig_await(client, "wrong"));
    give_words(stand.words, 2);
    assert_read_right(client);
    take_down(&stand);
}

/* Holes of the file are zeros by then, and nobody has to say so. */
static void client_that_comes_after_the_end_is_let_go(void)
{
    struct stand stand;
    set_up(&stand);
    stand.lingers = true;
    start_destination(&stand, NULL);
    start_source(&stand);
    give_words(stand.words, 2);
    CU_ASSERT_TRUE(rig_await(&stand.run.destination, "complete"));
    CU_ASSERT_EQUAL(
        fallocate(stand.memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 7 * RIG_PAGE, RIG_PAGE),
        0);
    struct rig_process *client = add_client(&stand, reader);
    CU_ASSERT_TRUE(rig_await(client, "wrong"));
    rig_finish(client);
    CU_ASSERT_EQUAL(client->status, 0);
    CU_ASSERT_EQUAL(rig_number(client, "wrong"), 1); /* the hole */
    give_words(stand.words, 1);
    take_down(&stand);
}

/* Both wait for one page while the source is stopped: it is asked for once, and both go on. */
static void page_placed_once_wakes_both(void)
{
    struct stand stand;
    set_up(&stand);
    start_destination(&stand, NULL);
    struct rig_process *client = add_client(&stand, late_reader);
    CU_ASSERT_TRUE(rig_await(client, "joined"));
    start_source(&stand);
    CU_ASSERT_TRUE(rig_await(&stand.run.destination, "here"));
    kill(stand.run.source.pid, SIGSTOP);
    CU_ASSERT_EQUAL(waitpid(stand.run.source.pid, NULL, WUNTRACED), stand.run.source.pid);
    give_words(stand.words, 1);
    give_words(stand.client_words, 1);
    usleep(50000); /* most likely both wait now; if not, the test only shows less */
    kill(stand.run.source.pid, SIGCONT);
    CU_ASSERT_TRUE(rig_await(&stand.run.destination, "touched"));
    CU_ASSERT_TRUE(rig_await(client, "wrong"));
    give_words(stand.words, 1);
    assert_read_right(client);
    take_down(&stand);
}

/* One dies in the middle, one of them between two faults: the rest never notices. */
static void killed_client_harms_nobody(void)
{
    struct stand stand;
    set_up(&stand);
    start_destination(&stand, NULL);
    for (int i = 0; i < 3; i++)
        CU_ASSERT_TRUE(rig_await(add_client(&stand, late_reader), "joined"));
    struct rig_process *waiting = add_client(&stand, reader);
    CU_ASSERT_TRUE(rig_await(waiting, "joined"));
    rig_kill(waiting); /* it waits for its first page */
    start_source(&stand);
    CU_ASSERT_TRUE(rig_await(&stand.run.destination, "here"));
    rig_kill(&stand.clients[0]);
    give_words(stand.client_words, 2);
    give_words(stand.words, 2);
    for (unsigned i = 1; i < 3; i++)
        assert_read_right(&stand.clients[i]);
    take_down(&stand);
}

/* ---- memory that changes --------------------------------------------------------------------- */

/* Unmaps a piece, moves another, lets a child read; what is left reads right. */
static int mover(struct rig_side *side)
{
    const struct stand *stand = side->ctx;
    char *memory = map_shared(stand);
    struct ferry_client *client = join(side, memory);
    await_word(stand->client_words);
    munmap(memory + 8 * RIG_PAGE, 8 * RIG_PAGE);
    char *elsewhere = mmap(NULL, 16 * RIG_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *moved = mremap(memory + 16 * RIG_PAGE, 16 * RIG_PAGE, 16 * RIG_PAGE,
                         MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere);
    size_t wrong = moved != elsewhere;
    madvise(memory, 4 * RIG_PAGE, MADV_DONTNEED); /* nothing of the file is lost by that */
    pid_t child = fork();
    if (child == 0)
        _exit((int)wrong_pages(memory, 40, 8) + (int)wrong_pages(moved - 16 * RIG_PAGE, 24, 8));
    int status = 1;
    waitpid(child, &status, 0);
    wrong += status != 0;
    wrong += wrong_pages(memory, 0, 8);
    wrong += wrong_pages(moved - 16 * RIG_PAGE, 16, 16);
    wrong += wrong_pages(memory, 32, PAGES - 32);
    rig_say(side, "wrong %zu", wrong);
    return leave_complete(client);
}

static void unmap_remap_and_fork_are_followed(void)
{
    struct stand stand;
    set_up(&stand);
    start_destination(&stand, NULL);
    struct rig_process *client = add_client(&stand, mover);
    CU_ASSERT_TRUE(rig_await(client, "joined"));
    start_source(&stand);
    CU_ASSERT_TRUE(rig_await(&stand.run.destination, "here"));
    give_words(stand.client_words, 1);
    CU_ASSERT_TRUE(rig_await(client, "wrong"));
    give_words(stand.words, 2);
    assert_read_right(client);
    take_down(&stand);
}

/* The same while no job has come: nobody's munmap() or fork() may wait for one. */
static void changes_are_followed_while_waiting(void)
{
    struct stand stand;
    set_up(&stand);
    start_destination(&stand, NULL);
    struct rig_process *client = add_client(&stand, mover);
    CU_ASSERT_TRUE(rig_await(client, "joined"));
    give_words(stand.client_words, 1);
    start_source(&stand);
    CU_ASSERT_TRUE(rig_await(client, "wrong"));
    give_words(stand.words, 2);
    assert_read_right(client);
    take_down(&stand);
}

/* ---- a client whose memory is the job's ------------------------------------------------------ */

/* What `pageferry receive --client generic` does. */
static int host(struct rig_side *side)
{
    const struct stand *stand = side->ctx;
    char path[64];
    open_named(side);
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
    char *memory = ferry_job_alloc(side->job, "shared", PAGES * RIG_PAGE, FERRY_PAGE_DEFAULT, 0);
    for (size_t i = 0; i < PAGES; i++)
        memset(memory + i * RIG_PAGE, content(i), RIG_PAGE);
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
static int forked_child(char *memory)
{
    madvise(memory + 8 * RIG_PAGE, 8 * RIG_PAGE, MADV_DONTNEED);
    madvise(memory + 24 * RIG_PAGE, 8 * RIG_PAGE, MADV_DONTNEED);
    return (int)(wrong_pages(memory, 0, 8) + pages_not_zero(memory, 8, 8) +
                 wrong_pages(memory, 16, 8) + pages_not_zero(memory, 24, 8) +
                 wrong_pages(memory, 32, PAGES - 32));
}

static int home(struct rig_side *side)
{
    const struct stand *stand = side->ctx;
    char path[64];
    snprintf(path, sizeof path, "%s/home", stand->directory);
    char *memory =
        mmap(NULL, PAGES * RIG_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct ferry_client *client = NULL;
    struct ferry_mapping mappings[] = {
        {memory + 40 * RIG_PAGE, 24 * RIG_PAGE, "shared", 40 * RIG_PAGE, FERRY_PAGE_DEFAULT},
        {memory, 40 * RIG_PAGE, "shared", 0, FERRY_PAGE_DEFAULT},
    };
    int error = ferry_client_open(&client, path, mappings, 2, -1);
    rig_say(side, "joined %d", error);
    if (error)
        return 93;
    await_word(stand->client_words);
    size_t wrong = wrong_pages(memory, 0, 4);
    pid_t child = fork();
    if (child == 0)
        _exit(forked_child(memory));
    madvise(memory + 16 * RIG_PAGE, 16 * RIG_PAGE, MADV_DONTNEED);
    wrong += wrong_pages(memory, 4, 12);
    wrong += pages_not_zero(memory, 16, 16);
    wrong += wrong_pages(memory, 32, PAGES - 32);
    int status = 1;
    waitpid(child, &status, 0);
    rig_say(side, "child %d", status);
    rig_say(side, "wrong %zu", wrong);
    return leave_complete(client);
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
    struct rig_side side = {.body = private_source, .ctx = stand, .options = on_demand};
    CU_ASSERT_TRUE_FATAL(rig_await(&stand->run.destination, "uri"));
    snprintf(side.uri, sizeof side.uri, "%s", rig_said(&stand->run.destination, "uri"));
    rig_launch(&stand->run.source, &side);
}

/* Parent and child have memory of their own from the fork on: each gets every page it is due. */
static void forked_home_is_served_twice(void)
{
    struct stand stand;
    set_up(&stand);
    start_host(&stand);
    struct rig_process *client = add_client(&stand, home);
    CU_ASSERT_TRUE(rig_await(client, "joined"));
    start_private_source(&stand);
    CU_ASSERT_TRUE(rig_await(&stand.run.destination, "here"));
    give_words(stand.client_words, 1);
    CU_ASSERT_TRUE(rig_await(client, "wrong"));
    CU_ASSERT_EQUAL(rig_number(client, "child"), 0);
    assert_read_right(client);
    rig_end(&stand.run);
    CU_ASSERT_EQUAL(stand.run.destination.status, 0);
    CU_ASSERT_EQUAL(stand.run.source.status, 0);
    rig_explain(&stand.run);
    clear_away(&stand);
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

static bool waits_for_a_page(int tid)
{
    char path[64];
    char name[64] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/wchan", tid);
    FILE *file = fopen(path, "re");
    if (file && !fgets(name, sizeof name, file))
        name[0] = '\0';
    if (file)
        fclose(file);
    return strstr(name, "userfault") != NULL || strcmp(name, "0") == 0;
}

static int bereaved(struct rig_side *side)
{
    char *memory = map_shared(side->ctx);
    struct toucher toucher = {.at = memory + 5 * RIG_PAGE};
    struct ferry_client *client = join(side, memory);
    pthread_t thread;
    pthread_create(&thread, NULL, touch, &toucher);
    while (!atomic_load(&toucher.tid))
        usleep(1000);
    usleep(20000);
    rig_say(side, "touching");
    rig_say(side, "wait %d", ferry_client_wait(client, RIG_DEADLINE_S * 1000));
    usleep(100000); /* were it let go, it would be through by now */
    rig_say(side, "blocked %d",
            !atomic_load(&toucher.done) && waits_for_a_page(atomic_load(&toucher.tid)));
    ferry_client_close(client);
    usleep(100000);
    rig_say(side, "still %d", !atomic_load(&toucher.done));
    _exit(0);
}

/* Before the job has come, and in the middle of its arrival, while the source is stopped. */
static void die(bool arriving)
{
    struct stand stand;
    set_up(&stand);
    start_destination(&stand, NULL);
    if (arriving) {
        start_source(&stand);
        CU_ASSERT_TRUE(rig_await(&stand.run.destination, "here"));
        kill(stand.run.source.pid, SIGSTOP);
        CU_ASSERT_EQUAL(waitpid(stand.run.source.pid, NULL, WUNTRACED), stand.run.source.pid);
    }
    struct rig_process *client = add_client(&stand, bereaved);
    CU_ASSERT_TRUE(rig_await(client, "touching"));
    rig_kill(&stand.run.destination);
    if (arriving)
        rig_kill(&stand.run.source);
    rig_finish(client);
    CU_ASSERT_EQUAL((int)rig_number(client, "wait"), -ECONNRESET);
    CU_ASSERT_EQUAL(rig_number(client, "blocked"), 1);
    CU_ASSERT_EQUAL(rig_number(client, "still"), 1);
    char path[64];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", stand.directory, i ? "shared.sock" : "shared.clients");
        unlink(path);
    }
    clear_away(&stand);
}

static void our_death_blocks_clients_and_feeds_no_zeros(void)
{
    die(false);
    die(true);
}

/* e2e_clients [URI [TESTNAME]] */
int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"client_that_waits_is_served_when_the_job_comes",
         client_that_waits_is_served_when_the_job_comes},
        {"client_that_comes_late_is_served", client_that_comes_late_is_served},
        {"client_that_comes_after_the_end_is_let_go", client_that_comes_after_the_end_is_let_go},
        {"page_placed_once_wakes_both", page_placed_once_wakes_both},
        {"killed_client_harms_nobody", killed_client_harms_nobody},
        {"unmap_remap_and_fork_are_followed", unmap_remap_and_fork_are_followed},
        {"changes_are_followed_while_waiting", changes_are_followed_while_waiting},
        {"forked_home_is_served_twice", forked_home_is_served_twice},
        {"our_death_blocks_clients_and_feeds_no_zeros",
         our_death_blocks_clients_and_feeds_no_zeros},
        {NULL, NULL},
    };
    struct pf_uffd uffd;
    struct pf_why why = {""};
    if (pf_uffd_open(&uffd, 0, &why)) {
        printf("skipped: %s\n", why.text);
        return PF_TEST_SKIPPED;
    }
    pf_uffd_close(&uffd);
    if (argc > 1 && !rig_choose(argv[1])) {
        printf("skipped: no back end of this build answers \"%s\"\n", argv[1]);
        return PF_TEST_SKIPPED;
    }
    return pf_suite_run("clients", tests, argc > 2 ? argv[2] : NULL);
}
