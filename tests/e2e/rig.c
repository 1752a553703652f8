/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/e2e/rig.h"

#include "base/clock.h"
#include "core/backends.h"
#include "core/job/job.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* CUnit's tests take no argument: the target of the whole run is kept here, set once by main. */
static const char *target = "tcp://127.0.0.1:0";

bool rig_choose(const char *uri)
{
    target = uri;
    return pf_transport_find(pf_backends, uri) != NULL;
}

const char *rig_target(void)
{
    return target;
}

void rig_fault_uri(char out[RIG_URI], const char *uri, unsigned at, const char *kind)
{
    snprintf(out, RIG_URI, "fault+%s%cat=%u&do=%s", uri, strchr(uri, '?') ? '&' : '?', at, kind);
}

void rig_fault_rail(char out[RIG_URI], const char *uris, unsigned rail, unsigned at,
                    const char *kind)
{
    struct pf_uri_list list;
    char broken[RIG_URI];
    CU_ASSERT_EQUAL_FATAL(pf_uri_list_parse(uris, &list, NULL), 0);
    rig_fault_uri(broken, list.uris[rail], at, kind);
    snprintf(list.uris[rail], sizeof list.uris[rail], "%s", broken);
    CU_ASSERT_EQUAL_FATAL(pf_uri_list_format(&list, out, RIG_URI), 0);
}

/* ---- the bodies' side ------------------------------------------------------------------------ */

void rig_say(struct rig_side *side, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    line[length++] = '\n';
    ssize_t written = write(side->out, line, (size_t)length);
    (void)written;
}

static void clean_environment(const struct rig_side *side)
{
    unsetenv("PAGEFERRY_NAME");
    unsetenv("PAGEFERRY_INCOMING");
    setenv("PAGEFERRY_ONCE", side->persistent ? "0" : "1", 1);
}

void rig_open(struct rig_side *side)
{
    clean_environment(side);
    if (ferry_job_open(&side->job, NULL) < 0)
        _exit(99);
    /* Most of these tests are about post-copy. */
    if (ferry_job_set(side->job, "mode", "postcopy") < 0)
        _exit(98);
    for (const char *const *option = side->options; option && *option; option += 2)
        if (ferry_job_set(side->job, option[0], option[1]) < 0)
            _exit(98);
}

/* The source connects without the faults that the destination listens with. */
static void announce(void *ctx, const char *uri)
{
    struct rig_side *side = ctx;
    struct pf_uri_list list;
    char plain[PF_URI_LIST_MAX];
    if (pf_uri_list_parse(uri, &list, NULL) != 0)
        _exit(95);
    for (unsigned i = 0; i < list.count; i++) {
        char *one = list.uris[i];
        if (strncmp(one, "fault+", 6) == 0)
            memmove(one, one + 6, strlen(one + 6) + 1);
        char *query = strstr(one, "at=");
        if (query)
            query[-1] = '\0';
    }
    pf_uri_list_format(&list, plain, sizeof plain);
    rig_say(side, "uri %s", plain);
}

int rig_start(struct rig_side *side)
{
    if (side->destination && ferry_job_receive(side->job, side->uri, announce, side) < 0)
        _exit(97);
    int how = ferry_job_start(side->job);
    rig_say(side, "started %d", how);
    return how;
}

static bool migration_ended(struct ferry_job *job)
{
    pthread_mutex_lock(&job->lock);
    bool ended = job->outcome.ended;
    pthread_mutex_unlock(&job->lock);
    return ended;
}

bool rig_moving(struct rig_side *side)
{
    struct ferry_job *job = side->job;
    pthread_mutex_lock(&job->lock);
    bool moving = job->migrating;
    pthread_mutex_unlock(&job->lock);
    return moving;
}

int rig_move(struct rig_side *side, const char *uri)
{
    int error = ferry_job_migrate(side->job, uri);
    while (!error) {
        int how = ferry_job_safepoint(side->job);
        if (how == FERRY_MOVED || migration_ended(side->job))
            return how;
        usleep(500);
    }
    return error;
}

int rig_close(struct rig_side *side)
{
    return ferry_job_close(side->job) < 0 ? 1 : 0;
}

size_t rig_resident_pages(void)
{
    char line[256];
    size_t kib = 0;
    FILE *rollup = fopen("/proc/self/smaps_rollup", "re");
    while (rollup && fgets(line, sizeof line, rollup))
        if (sscanf(line, "Anonymous: %zu kB", &kib) == 1)
            break;
    if (rollup)
        fclose(rollup);
    return kib * 1024 / RIG_PAGE;
}

/* ---- processes ------------------------------------------------------------------------------- */

static void run_body(struct rig_side *side, int out)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(out, STDERR_FILENO);
    side->out = out;
    exit(side->body(side));
}

void rig_launch(struct rig_process *process, struct rig_side *side)
{
    int ends[2];
    memset(process, 0, sizeof *process);
    CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC), 0);
    fflush(NULL);
    process->pid = fork();
    CU_ASSERT_FATAL(process->pid >= 0);
    if (process->pid == 0) {
        close(ends[0]);
        run_body(side, ends[1]);
    }
    close(ends[1]);
    process->out = ends[0];
}

/* Read once. False at the end of what it says. */
static bool hear(struct rig_process *process, uint64_t deadline)
{
    uint64_t now = pf_now_ns();
    struct pollfd polled = {.fd = process->out, .events = POLLIN};
    char spill[512];
    if (now >= deadline || poll(&polled, 1, (int)((deadline - now) / 1000000) + 1) == 0) {
        process->late = true;
        kill(process->pid, SIGKILL);
        return false;
    }
    size_t room = RIG_TEXT - 1 - process->used;
    ssize_t got = read(process->out, room ? process->text + process->used : spill,
                       room ? room : sizeof spill);
    if (got > 0 && room)
        process->used += (size_t)got;
    process->text[process->used] = '\0';
    return got > 0;
}

static uint64_t deadline(void)
{
    return pf_now_ns() + RIG_DEADLINE_S * 1000000000ull;
}

bool rig_await_times(struct rig_process *process, const char *key, unsigned times)
{
    uint64_t until = deadline();
    while (rig_times_said(process, key) < times)
        if (!hear(process, until))
            return rig_times_said(process, key) >= times;
    return true;
}

bool rig_await_failures(struct rig_process *process, unsigned times)
{
    return rig_await_times(
        process, "pageferry: error: a migration to here failed, waiting for another:", times);
}

bool rig_await_either(struct rig_process *process, const char *key, const char *other)
{
    uint64_t until = deadline();
    while (!rig_said(process, key) && !rig_said(process, other))
        if (!hear(process, until))
            return rig_said(process, key) || rig_said(process, other);
    return true;
}

bool rig_await(struct rig_process *process, const char *key)
{
    return rig_await_either(process, key, key);
}

void rig_finish(struct rig_process *process)
{
    uint64_t until = deadline();
    int status;
    if (process->ended || process->pid <= 0)
        return;
    while (hear(process, until))
        ;
    waitpid(process->pid, &status, 0);
    process->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    process->ended = true;
    close(process->out);
}

void rig_kill(struct rig_process *process)
{
    if (!process->ended)
        kill(process->pid, SIGKILL);
    rig_finish(process);
}

/* The next whole line that begins with the key and a space (or is the key), from `at` on. */
static const char *next_line(const char *at, const char *key)
{
    size_t length = strlen(key);
    while (*at) {
        const char *end = strchr(at, '\n');
        if (!end)
            return NULL;
        if (strncmp(at, key, length) == 0 && (at[length] == ' ' || at[length] == '\n'))
            return at;
        at = end + 1;
    }
    return NULL;
}

const char *rig_said(const struct rig_process *process, const char *key)
{
    static char value[512];
    const char *found = NULL;
    for (const char *at = process->text; (at = next_line(at, key)); at++)
        found = at;
    if (!found)
        return NULL;
    found += strlen(key);
    found += *found == ' ';
    snprintf(value, sizeof value, "%.*s", (int)strcspn(found, "\n"), found);
    return value;
}

unsigned rig_times_said(const struct rig_process *process, const char *key)
{
    unsigned times = 0;
    for (const char *at = process->text; (at = next_line(at, key)); at++)
        times++;
    return times;
}

uint64_t rig_number(const struct rig_process *process, const char *key)
{
    const char *said = rig_said(process, key);
    return said ? strtoull(said, NULL, 0) : UINT64_MAX;
}

bool rig_mentions(const struct rig_process *process, const char *words)
{
    return strstr(process->text, words) != NULL;
}

/* ---- one move -------------------------------------------------------------------------------- */

void rig_begin(struct rig_run *run, const struct rig_setup *setup)
{
    struct rig_side side = {
        .body = setup->body,
        .ctx = setup->ctx,
        .options = setup->destination_options,
        .destination = true,
        .persistent = setup->persistent,
    };
    memset(run, 0, sizeof *run);
    run->failures_before = CU_get_number_of_failures();
    snprintf(side.uri, sizeof side.uri, "%s", setup->listen ? setup->listen : rig_target());
    rig_launch(&run->destination, &side);
    if (!rig_await(&run->destination, "uri"))
        return;
    const char *uri = rig_said(&run->destination, "uri");
    side.destination = false;
    side.options = setup->source_options;
    if (setup->source_at)
        rig_fault_rail(side.uri, uri, setup->source_rail, setup->source_at, setup->kind);
    else
        snprintf(side.uri, sizeof side.uri, "%s", uri);
    rig_launch(&run->source, &side);
}

void rig_end(struct rig_run *run)
{
    rig_finish(&run->source);
    rig_finish(&run->destination);
}

void rig_run(struct rig_run *run, const struct rig_setup *setup)
{
    rig_begin(run, setup);
    rig_end(run);
}

void rig_explain(const struct rig_run *run)
{
    if (CU_get_number_of_failures() == run->failures_before)
        return;
    fprintf(stderr, "\n--- source ended with %d%s:\n%s--- destination ended with %d%s:\n%s---\n",
            run->source.status, run->source.late ? " (killed)" : "", run->source.text,
            run->destination.status, run->destination.late ? " (killed)" : "",
            run->destination.text);
}

static void assert_answers(const struct rig_process *process, uint64_t answer)
{
    CU_ASSERT_EQUAL(process->status, 0);
    CU_ASSERT_EQUAL(rig_times_said(process, "answer"), 1);
    CU_ASSERT_EQUAL(rig_number(process, "answer"), answer);
}

void rig_assert_moved(struct rig_run *run, uint64_t answer)
{
    rig_end(run);
    assert_answers(&run->destination, answer);
    CU_ASSERT_EQUAL(run->source.status, 0);
    CU_ASSERT_EQUAL(rig_times_said(&run->source, "answer"), 0);
    rig_explain(run);
}

void rig_assert_stayed(struct rig_run *run, uint64_t answer)
{
    rig_end(run);
    assert_answers(&run->source, answer);
    CU_ASSERT_EQUAL(rig_times_said(&run->destination, "answer"), 0);
    rig_explain(run);
}
