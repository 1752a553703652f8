/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/e2e/clients_stand.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

const char *const stand_on_demand[] = {"background", "off", "prefetch", "off", NULL};

unsigned char stand_content(size_t page)
{
    return (unsigned char)(page * 7 + 3);
}

char *stand_map(const struct stand *stand)
{
    char *memory = mmap(NULL, stand->pages * stand->page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
                        stand->memfd, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void stand_await_word(const int words[2])
{
    char word;
    if (read(words[0], &word, 1) != 1)
        _exit(95);
}

void stand_give_words(const int words[2], unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        CU_ASSERT_EQUAL(write(words[1], "!", 1), 1);
}

size_t stand_wrong_pages(const struct stand *stand, const char *memory, size_t first, size_t pages)
{
    size_t wrong = 0;
    for (size_t i = first; i < first + pages; i++)
        wrong +=
            *(const volatile unsigned char *)(memory + i * stand->page_size) != stand_content(i);
    return wrong;
}

/* ---- the job --------------------------------------------------------------------------------- */

static int source(struct rig_side *side)
{
    const struct stand *stand = side->ctx;
    rig_open(side);
    char *memory = ferry_job_alloc(side->job, "shared", stand->pages * stand->page_size,
                                   stand->page_size, FERRY_SHARED);
    if (!memory)
        return 96;
    for (size_t i = 0; i < stand->pages; i++)
        memset(memory + i * stand->page_size, stand_content(i), stand->page_size);
    rig_start(side);
    return rig_move(side, side->uri) == FERRY_MOVED ? rig_close(side) : 1;
}

void stand_open_job(struct rig_side *side)
{
    const struct stand *stand = side->ctx;
    unsetenv("PAGEFERRY_INCOMING");
    setenv("PAGEFERRY_ONCE", "1", 1);
    if (ferry_job_open(&side->job, stand->name) < 0)
        exit(99);
    if (ferry_job_set(side->job, "mode", "postcopy") < 0)
        exit(98);
    for (const char *const *option = side->options; option && *option; option += 2)
        if (ferry_job_set(side->job, option[0], option[1]) < 0)
            exit(98);
}

/* A fault on a page that was asked for before: who asked waits, too. */
static void *tell_duplicates(void *arg)
{
    struct rig_side *side = arg;
    struct ferry_status status;
    do {
        usleep(1000);
        ferry_job_status(side->job, &status);
    } while (status.duplicates == 0);
    rig_say(side, "duplicates %llu", (unsigned long long)status.duplicates);
    return NULL;
}

/* Touches one page when it is told to, the rest when it is told again. */
static int destination(struct rig_side *side)
{
    const struct stand *stand = side->ctx;
    pthread_t teller;
    char *memory = stand_map(stand);
    stand_open_job(side);
    if (ferry_job_protect_fd(side->job, "shared", memory, stand->pages * stand->page_size,
                             stand->memfd, 0) < 0)
        return 96;
    if (rig_start(side) != FERRY_ARRIVED)
        return 94;
    rig_say(side, "here");
    if (stand->tells_duplicates && pthread_create(&teller, NULL, tell_duplicates, side))
        return 92;
    stand_await_word(stand->words);
    size_t wrong = stand_wrong_pages(stand, memory, 0, 1);
    if (stand->tells_duplicates)
        pthread_join(teller, NULL);
    rig_say(side, "touched");
    stand_await_word(stand->words);
    wrong += stand_wrong_pages(stand, memory, 0, stand->pages);
    struct ferry_status status;
    ferry_job_status(side->job, &status);
    rig_say(side, "requests %llu", (unsigned long long)status.requests);
    rig_say(side, "answer %zu", wrong);
    if (stand->lingers) {
        grid_await_complete(side);
        rig_say(side, "complete");
        stand_await_word(stand->words);
    }
    return rig_close(side);
}

static int job(struct rig_side *side)
{
    return side->destination ? destination(side) : source(side);
}

void stand_set_up(struct stand *stand, size_t page_size)
{
    memset(stand, 0, sizeof *stand);
    stand->page_size = page_size;
    stand->pages = page_size > RIG_PAGE ? STAND_HUGE_PAGES : STAND_PAGES;
    strcpy(stand->directory, "/tmp/pf-clients-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(stand->directory));
    setenv("PAGEFERRY_RUNTIME_DIR", stand->directory, 1);
    strcpy(stand->name, "shared");
    stand->memfd = memfd_create("shared", page_size > RIG_PAGE ? MFD_HUGETLB : 0);
    CU_ASSERT_EQUAL_FATAL(ftruncate(stand->memfd, stand->pages * stand->page_size), 0);
    CU_ASSERT_EQUAL_FATAL(pipe(stand->words), 0);
    CU_ASSERT_EQUAL_FATAL(pipe(stand->client_words), 0);
}

void stand_start_destination(struct stand *stand, const char *const *options)
{
    struct rig_side side = {.body = job, .ctx = stand, .destination = true, .options = options};
    stand->run.failures_before = CU_get_number_of_failures();
    snprintf(side.uri, sizeof side.uri, "%s", rig_target());
    rig_launch(&stand->run.destination, &side);
    CU_ASSERT_TRUE_FATAL(rig_await(&stand->run.destination, "uri"));
}

void stand_start_source(struct stand *stand)
{
    struct rig_side side = {.body = job, .ctx = stand, .options = stand_on_demand};
    snprintf(side.uri, sizeof side.uri, "%s", rig_said(&stand->run.destination, "uri"));
    rig_launch(&stand->run.source, &side);
}

struct rig_process *stand_add_client(struct stand *stand, rig_body body)
{
    struct rig_side side = {.body = body, .ctx = stand};
    struct rig_process *client = &stand->clients[stand->count++];
    rig_launch(client, &side);
    return client;
}

void stand_clear_away(struct stand *stand)
{
    close(stand->memfd);
    close(stand->words[0]);
    close(stand->words[1]);
    close(stand->client_words[0]);
    close(stand->client_words[1]);
    CU_ASSERT_EQUAL(rmdir(stand->directory), 0);
    unsetenv("PAGEFERRY_RUNTIME_DIR");
}

void stand_take_down(struct stand *stand)
{
    rig_assert_moved(&stand->run, 0);
    /* Nothing was asked for twice. */
    CU_ASSERT_EQUAL(rig_number(&stand->run.destination, "requests"), stand->pages);
    for (unsigned i = 0; i < stand->count; i++) {
        rig_finish(&stand->clients[i]);
        if (CU_get_number_of_failures() > stand->run.failures_before)
            fprintf(stderr, "--- client ended with %d:\n%s", stand->clients[i].status,
                    stand->clients[i].text);
    }
    stand_clear_away(stand);
}

/* ---- clients --------------------------------------------------------------------------------- */

struct ferry_client *stand_join(struct rig_side *side, char *memory)
{
    const struct stand *stand = side->ctx;
    struct ferry_client *client = NULL;
    struct ferry_mapping mapping = {memory, stand->pages * stand->page_size, "shared", 0,
                                    stand->page_size};
    int error = ferry_client_open(&client, stand->name, &mapping, 1, -1);
    rig_say(side, "joined %d", error);
    if (error)
        exit(93);
    return client;
}

int stand_leave(struct ferry_client *client)
{
    int error = ferry_client_wait(client, RIG_DEADLINE_S * 1000);
    ferry_client_close(client);
    return error ? 92 : 0;
}

/* Reads everything at once: before the job is here, too. */
int stand_reader(struct rig_side *side)
{
    const struct stand *stand = side->ctx;
    char *memory = stand_map(stand);
    struct ferry_client *client = stand_join(side, memory);
    rig_say(side, "wrong %zu", stand_wrong_pages(stand, memory, 0, stand->pages));
    return stand_leave(client);
}

/* Reads page 0 when it is told to, then the rest. */
int stand_late_reader(struct rig_side *side)
{
    const struct stand *stand = side->ctx;
    char *memory = stand_map(stand);
    struct ferry_client *client = stand_join(side, memory);
    stand_await_word(stand->client_words);
    rig_say(side, "wrong %zu", stand_wrong_pages(stand, memory, 0, stand->pages));
    return stand_leave(client);
}

void stand_assert_read_right(struct rig_process *client)
{
    rig_finish(client);
    CU_ASSERT_EQUAL(client->status, 0);
    CU_ASSERT_EQUAL(rig_number(client, "wrong"), 0);
}
