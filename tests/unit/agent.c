/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A job's control socket: `set`, `switch` and the records of rounds. What a session would do to the
 * job is done by hand here, so that each moment of a migration can be had.
 */
#include "core/job/job.h"
#include "service/ask.h"
#include "service/control.h"
#include "tests/suite.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* A job that runs here, and a client of it. */
struct stand {
    struct ferry_job *job;
    struct pf_control control;
};

static void open_stand(struct stand *stand)
{
    struct pf_why why;
    CU_ASSERT_EQUAL_FATAL(ferry_job_open(&stand->job, "agent"), 0);
    CU_ASSERT_PTR_NOT_NULL(ferry_job_alloc(stand->job, "r", 4096, 4096, FERRY_ANON));
    CU_ASSERT_EQUAL_FATAL(pf_control_open(&stand->control, "agent", 1000, &why), 0);
}

static void start_stand(struct stand *stand)
{
    open_stand(stand);
    CU_ASSERT_EQUAL(ferry_job_start(stand->job), FERRY_FRESH);
}

static void close_stand(struct stand *stand)
{
    pf_control_close(&stand->control);
    pthread_mutex_lock(&stand->job->lock);
    stand->job->migrating = false;
    pthread_mutex_unlock(&stand->job->lock);
    ferry_job_close(stand->job);
}

/* As if a session ran; its knobs are filled as one does that. */
static void begin_migration(struct ferry_job *job, enum pf_phase phase)
{
    pthread_mutex_lock(&job->lock);
    pf_knobs_fill(&job->knobs, &job->options);
    job->migrating = true;
    pthread_mutex_unlock(&job->lock);
    pf_job_set_phase(job, phase);
}

static void become_destination(struct ferry_job *job)
{
    pthread_mutex_lock(&job->lock);
    job->destination = true;
    pthread_mutex_unlock(&job->lock);
}

static struct json_object *receive(struct stand *stand)
{
    struct json_object *record = NULL;
    struct pf_why why = {""};
    CU_ASSERT_EQUAL(pf_control_receive(&stand->control, 20000, &record, &why), 0);
    return record;
}

static const char *text_of(struct json_object *record, const char *key)
{
    struct json_object *value = NULL;
    json_object_object_get_ex(record, key, &value);
    return value ? json_object_get_string(value) : "";
}

/* The answer to one line: "done", or what the error says. The code of an error is in *code. */
static void ask(struct stand *stand, const char *line, char out[400], int *code)
{
    struct json_object *request = json_tokener_parse(line);
    struct pf_why why;
    CU_ASSERT_EQUAL(pf_control_send(&stand->control, request, &why), 0);
    json_object_put(request);
    struct json_object *record = receive(stand);
    bool error = strcmp(text_of(record, "event"), "error") == 0;
    snprintf(out, 400, "%s", text_of(record, error ? "message" : "event"));
    *code = error ? atoi(text_of(record, "code")) : 0;
    json_object_put(record);
}

static void answers(struct stand *stand, const char *line, int code, const char *words)
{
    char out[400];
    int got;
    ask(stand, line, out, &got);
    CU_ASSERT_EQUAL(got, code);
    CU_ASSERT_PTR_NOT_NULL(strstr(out, words));
    if (got != code || !strstr(out, words))
        printf("\n    %s: %d %s\n", line, got, out);
}

#define SET(options) "{\"command\":\"set\",\"options\":{" options "}}"

/* ---- set ------------------------------------------------------------------------------------- */

static void sets_anything_for_the_next_migration(void)
{
    struct stand stand;
    start_stand(&stand);
    answers(&stand, SET("\"slots\":\"9\",\"bandwidth\":\"100M\""), 0, "done");
    CU_ASSERT_EQUAL(stand.job->options.slots, 9);
    CU_ASSERT_EQUAL(stand.job->options.bandwidth, 100 << 20);
    close_stand(&stand);
}

static void sets_knobs_of_a_migration(void)
{
    struct stand stand;
    start_stand(&stand);
    begin_migration(stand.job, PF_PHASE_PRECOPY);
    answers(&stand, SET("\"bandwidth\":\"1M\",\"downtime\":\"20\",\"throttle\":\"auto\""), 0,
            "done");
    CU_ASSERT_EQUAL(pf_knob(&stand.job->knobs.bandwidth), 1 << 20);
    CU_ASSERT_EQUAL(pf_knob(&stand.job->knobs.downtime), 20);
    CU_ASSERT_EQUAL(pf_knob(&stand.job->knobs.throttle), PF_THROTTLE_AUTO);
    answers(&stand, SET("\"bandwidth\":\"auto\""), 0, "done");
    CU_ASSERT_EQUAL(pf_knob(&stand.job->knobs.bandwidth), 0);
    CU_ASSERT_EQUAL(pf_knob(&stand.job->knobs.downtime), 20);
    /* What is asked for stays for the next. */
    CU_ASSERT_EQUAL(stand.job->options.downtime, 20);
    close_stand(&stand);
}

/* One bad value, and nothing has changed: wherever it stands among good ones. */
static void sets_all_or_nothing(void)
{
    static const struct {
        const char *options;
        int code;
        const char *words;
    } bad[] = {
        {"\"downtime\":\"20\",\"bandwidth\":\"fast\"", EINVAL, "bandwidth can't be \"fast\""},
        {"\"bandwidth\":\"0\",\"downtime\":\"20\"", EINVAL, "bandwidth can't be \"0\""},
        {"\"bandwidth\":\"1K\"", ERANGE, "from 64K"},
        {"\"downtime\":\"-1\"", EINVAL, "a whole number from 1"},
        {"\"downtime\":\"20\",\"max-rounds\":\"\"", EINVAL, "max-rounds can't be \"\""},
        {"\"xbzrle-cache\":\"0\",\"downtime\":\"20\"", ERANGE, "xbzrle-cache can't be \"0\""},
        {"\"downtime\":\"20\",\"mode\":\"sideways\"", EINVAL, "precopy or postcopy or hybrid"},
        {"\"downtime\":\"20\",\"speed\":\"9\"", ENOENT, "there is no option \"speed\""},
        {"\"downtime\":\"20\",\"bandwidth\":null", EINVAL, "bandwidth has no value"},
        {"\"downtime\":\"20\",\"slots\":\"9\"", EBUSY, "these can: mode, downtime, bandwidth"},
        {"\"downtime\":\"20\",\"throttle-initial\":\"60\",\"throttle-max\":\"50\"", EINVAL,
         "throttle-initial is 60 percent"},
        {"\"throttle-max\":\"10\"", EINVAL, "throttle-max only 10"},
    };
    struct stand stand;
    start_stand(&stand);
    begin_migration(stand.job, PF_PHASE_PRECOPY);
    struct pf_options before = stand.job->options;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char line[256];
        snprintf(line, sizeof line, "{\"command\":\"set\",\"options\":{%s}}", bad[i].options);
        answers(&stand, line, bad[i].code, bad[i].words);
        CU_ASSERT_EQUAL(memcmp(&before, &stand.job->options, sizeof before), 0);
        CU_ASSERT_EQUAL(pf_knob(&stand.job->knobs.downtime), 300);
        CU_ASSERT_EQUAL(pf_knob(&stand.job->knobs.bandwidth), 0);
    }
    answers(&stand, "{\"command\":\"set\",\"options\":[]}", EINVAL, "no object");
    close_stand(&stand);
}

static void sets_only_where_that_means_something(void)
{
    struct stand stand;
    open_stand(&stand);
    answers(&stand, SET("\"downtime\":\"20\""), EBUSY, "has not started");
    CU_ASSERT_EQUAL(ferry_job_start(stand.job), FERRY_FRESH);
    become_destination(stand.job);
    begin_migration(stand.job, PF_PHASE_POSTCOPY);
    answers(&stand, SET("\"downtime\":\"20\""), EBUSY, "arriving here");
    CU_ASSERT_EQUAL(stand.job->options.downtime, 300);
    close_stand(&stand);
}

/* What a migration would begin with is looked at as a whole. */
static void contradictions_do_not_begin(void)
{
    struct stand stand;
    open_stand(&stand);
    CU_ASSERT_EQUAL(ferry_job_set(stand.job, "throttle-initial", "60"), 0);
    CU_ASSERT_EQUAL(ferry_job_set(stand.job, "throttle-max", "50"), 0);
    CU_ASSERT_EQUAL(ferry_job_start(stand.job), FERRY_FRESH);
    CU_ASSERT_EQUAL(ferry_job_migrate(stand.job, "tcp://127.0.0.1:1"), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(ferry_job_why(stand.job), "throttle-max only 50"));
    CU_ASSERT_EQUAL(ferry_job_change(stand.job, "throttle-max", "70"), 0);
    CU_ASSERT_EQUAL(ferry_job_change(stand.job, "throttle-max", "much"), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(ferry_job_why(stand.job), "much"));
    CU_ASSERT_EQUAL(ferry_job_change(stand.job, NULL, "70"), -EINVAL);
    CU_ASSERT_EQUAL(stand.job->options.throttle_max, 70);
    close_stand(&stand);
}

/* ---- switch ---------------------------------------------------------------------------------- */

static void switches_once_there_is_something_to_switch(void)
{
    static const char line[] = "{\"command\":\"switch\"}";
    struct stand stand;
    start_stand(&stand);
    answers(&stand, line, ESRCH, "no migration is under way");
    begin_migration(stand.job, PF_PHASE_PRECOPY);
    CU_ASSERT_FALSE(atomic_load(&stand.job->switch_now));
    answers(&stand, line, 0, "done");
    CU_ASSERT_TRUE(atomic_load(&stand.job->switch_now));
    atomic_store(&stand.job->switch_now, false);

    pf_job_set_phase(stand.job, PF_PHASE_DISCARD);
    answers(&stand, line, EALREADY, "being switched");
    pf_job_set_phase(stand.job, PF_PHASE_POSTCOPY);
    answers(&stand, line, EALREADY, "post-copy has begun");
    pf_job_set_phase(stand.job, PF_PHASE_ADVISE);
    pthread_mutex_lock(&stand.job->lock);
    stand.job->options.fetch = PF_FETCH_READ;
    pthread_mutex_unlock(&stand.job->lock);
    answers(&stand, line, ENOTSUP, "--fetch read");
    become_destination(stand.job);
    answers(&stand, line, EINVAL, "arriving here");
    CU_ASSERT_EQUAL(ferry_job_switch(stand.job), -EINVAL);
    CU_ASSERT_FALSE(atomic_load(&stand.job->switch_now));
    close_stand(&stand);
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static void end_rounds(struct ferry_job *job, unsigned first, unsigned last)
{
    for (unsigned i = first; i <= last; i++)
        pf_job_end_round(job, &(struct pf_round_record){.number = i, .sent_bytes = i * 4096ull});
}

static int count_rounds(void *ctx, enum ferry_event event, char *reason, size_t size)
{
    (void)reason;
    (void)size;
    *(unsigned *)ctx += event == FERRY_EVENT_ROUND;
    return 0;
}

static void status_has_the_last_rounds(void)
{
    struct stand stand;
    struct json_object *rounds = NULL;
    unsigned told = 0;
    struct pf_why why;
    open_stand(&stand);
    CU_ASSERT_EQUAL(ferry_job_notify(stand.job, count_rounds, &told), 0);
    ferry_job_start(stand.job);
    end_rounds(stand.job, 1, PF_ROUND_LOG_MAX + 10);
    CU_ASSERT_EQUAL(told, PF_ROUND_LOG_MAX + 10);
    struct json_object *request = pf_request("status");
    pf_job_note(stand.job, PF_NOTE_TRACKER, "pagemap-%s", "scan");
    CU_ASSERT_EQUAL(pf_control_send(&stand.control, request, &why), 0);
    json_object_put(request);
    struct json_object *record = receive(&stand);
    CU_ASSERT_STRING_EQUAL(text_of(record, "tracker"), "pagemap-scan");
    CU_ASSERT_TRUE_FATAL(json_object_object_get_ex(record, "rounds", &rounds));
    size_t count = json_object_array_length(rounds);
    CU_ASSERT_EQUAL(count, 64);
    struct json_object *last = json_object_array_get_idx(rounds, count - 1);
    CU_ASSERT_STRING_EQUAL(text_of(last, "number"), "266");
    CU_ASSERT_STRING_EQUAL(text_of(last, "sent_bytes"), "1089536");
    json_object_put(record);
    close_stand(&stand);
}

/* Waits from 1 us to a second in each of 256 threads, and rounds of large figures: it is all read.
 */
static void longest_record_gets_through(void)
{
    struct stand stand;
    struct json_object *rows = NULL;
    struct pf_why why;
    start_stand(&stand);
    struct pf_blocked *blocked = &stand.job->blocked;
    for (unsigned i = 0; i < PF_BLOCKED_ROWS; i++) {
        atomic_store(&blocked->rows[i].tid, 4000000 + i);
        atomic_store(&blocked->rows[i].faults, 1000000000);
        atomic_store(&blocked->rows[i].total_ns, 1000000000000);
        for (unsigned cell = 0; cell < 20; cell++)
            atomic_store(&blocked->rows[i].cells[cell], 1000000);
    }
    atomic_store(&blocked->count, PF_BLOCKED_THREADS);
    const uint64_t much = UINT64_C(1) << 40;
    struct pf_round_record round = {
        0,    true, much, much, much, much, much,
        much, much, much, much, much, 99,   "as long as such words get"};
    for (round.number = 1; round.number <= 64; round.number++)
        pf_job_end_round(stand.job, &round);
    struct json_object *request = pf_request("status");
    CU_ASSERT_EQUAL(pf_control_send(&stand.control, request, &why), 0);
    json_object_put(request);
    struct json_object *record = receive(&stand);
    CU_ASSERT_TRUE_FATAL(json_object_object_get_ex(record, "threads", &rows));
    CU_ASSERT_EQUAL(json_object_array_length(rows), PF_BLOCKED_ROWS);
    json_object_put(record);
    close_stand(&stand);
}

/* Who waits for a migration hears of each of its rounds, once; others do not. */
/* Somebody who takes connections, and says nothing: a migration there lasts until it's cancelled.
 */
static int listen_in_silence(char uri[64])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&address, size), 0);
    CU_ASSERT_EQUAL_FATAL(listen(fd, 1), 0);
    CU_ASSERT_EQUAL_FATAL(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    snprintf(uri, 64, "tcp://127.0.0.1:%u", ntohs(address.sin_port));
    return fd;
}

static void watchers_hear_each_round_once(void)
{
    struct stand stand;
    struct pf_why why;
    char uri[64];
    int silent = listen_in_silence(uri);
    start_stand(&stand);
    struct json_object *request = pf_request("migrate");
    json_object_object_add(request, "uri", json_object_new_string(uri));
    CU_ASSERT_EQUAL(pf_control_send(&stand.control, request, &why), 0);
    json_object_put(request);
    struct json_object *record = receive(&stand);
    CU_ASSERT_STRING_EQUAL(text_of(record, "event"), "progress");
    end_rounds(stand.job, 1, 3);
    unsigned heard = 0;
    bool ended = false;
    while (!ended && record) {
        json_object_put(record);
        record = receive(&stand);
        if (record && strcmp(text_of(record, "event"), "round") == 0)
            CU_ASSERT_EQUAL(atoi(text_of(record, "number")), (int)++heard);
        if (heard == 3)
            ferry_job_cancel(stand.job);
        ended = record && strcmp(text_of(record, "event"), "error") == 0;
    }
    CU_ASSERT_EQUAL(heard, 3);
    json_object_put(record);
    close_stand(&stand);
    close(silent);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"sets anything for the next migration", sets_anything_for_the_next_migration},
        {"sets knobs of a migration", sets_knobs_of_a_migration},
        {"sets all or nothing", sets_all_or_nothing},
        {"sets only where that means something", sets_only_where_that_means_something},
        {"contradictions do not begin", contradictions_do_not_begin},
        {"switches once there is something to switch", switches_once_there_is_something_to_switch},
        {"status has the last rounds", status_has_the_last_rounds},
        {"longest record gets through", longest_record_gets_through},
        {"watchers hear each round once", watchers_hear_each_round_once},
        {NULL, NULL},
    };
    char directory[] = "/tmp/pf-agent-XXXXXX";
    if (!mkdtemp(directory) || setenv("PAGEFERRY_RUNTIME_DIR", directory, 1) != 0)
        return 1;
    int status = pf_suite_run("agent", tests, argc > 1 ? argv[1] : NULL);
    rmdir(directory);
    return status;
}
