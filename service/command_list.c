/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/clock.h"
#include "core/job/job_socket.h"
#include "core/runtime_dir.h"
#include "service/ask.h"
#include "service/command.h"
#include "service/control.h"
#include "service/human.h"

#include <argp.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct list_args {
    unsigned timeout_ms;
    bool json;
    bool names;
};

/* A job that was found; all are asked first and heard then, so that silent ones cost no sum. */
struct job {
    char name[PF_JOB_NAME_MAX + 1];
    struct pf_control control;
    struct json_object *json; /* NULL: it did not answer */
    struct pf_record record;
};

struct jobs {
    struct job **at;
    size_t count;
};

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct list_args *args = state->input;
    switch (key) {
    case 'j':
        args->json = true;
        return 0;
    case 'n':
        args->names = true;
        return 0;
    case 't':
        if (!pf_parse_timeout(text, &args->timeout_ms))
            argp_error(state, "--timeout can't be \"%.40s\": give seconds", text);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option rows[] = {
    {"json", 'j', NULL, 0, "Print an array of records as one line of JSON", 0},
    {"names", 'n', NULL, 0, "Print only the names, without asking the jobs for their state", 0},
    {"timeout", 't', "SECONDS", 0, "How long to wait for all answers (default 2)", 0},
    {0},
};

static const struct argp argp = {
    .options = rows,
    .parser = parse,
    .doc = "List the jobs of this host that are yours. What dead jobs left behind is removed.",
};

static void add_job(struct jobs *jobs, const char *name, struct pf_control *control)
{
    struct job **grown = realloc(jobs->at, (jobs->count + 1) * sizeof(struct job *));
    if (grown)
        jobs->at = grown;
    struct job *job = grown ? calloc(1, sizeof *job) : NULL;
    if (!job) {
        pf_control_close(control);
        return;
    }
    snprintf(job->name, sizeof job->name, "%s", name);
    job->control = *control;
    job->control.name = job->name;
    jobs->at[jobs->count++] = job;
}

static void free_jobs(struct jobs *jobs)
{
    for (size_t i = 0; i < jobs->count; i++) {
        pf_control_close(&jobs->at[i]->control);
        json_object_put(jobs->at[i]->json);
        free(jobs->at[i]);
    }
    free(jobs->at);
}

/* "heat.sock" is job heat's; everything else in the directory is not ours to judge. */
static bool name_of_entry(const char *entry, char name[PF_JOB_NAME_MAX + 1])
{
    size_t length = strlen(entry);
    size_t suffix = strlen(PF_JOB_SOCKET_SUFFIX);
    if (length <= suffix || length - suffix > PF_JOB_NAME_MAX ||
        strcmp(entry + length - suffix, PF_JOB_SOCKET_SUFFIX) != 0)
        return false;
    memcpy(name, entry, length - suffix);
    name[length - suffix] = '\0';
    return pf_job_name_check(name, NULL) == 0;
}

static void look_at(struct jobs *jobs, const char *entry, const struct list_args *args)
{
    char name[PF_JOB_NAME_MAX + 1];
    struct pf_control control;
    if (!name_of_entry(entry, name))
        return;
    int error = pf_control_open(&control, name, args->timeout_ms, NULL);
    if (error == -ECONNREFUSED)
        pf_job_socket_remove_stale(name);
    else if (error == 0 || error == -ETIMEDOUT)
        add_job(jobs, name, &control);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct job *const *)a)->name, (*(struct job *const *)b)->name);
}

static int scan(struct jobs *jobs, const struct list_args *args, struct pf_why *why)
{
    char path[PATH_MAX];
    int error = pf_runtime_dir(path, sizeof path, why);
    if (!error)
        error = pf_runtime_dir_check(path, why);
    if (error)
        return error == -ENOENT ? 0 : error;
    DIR *directory = opendir(path);
    if (!directory)
        return pf_why(why, -errno, "can't read the directory %.100s: %s", path, strerror(errno));
    for (struct dirent *entry; (entry = readdir(directory));)
        look_at(jobs, entry->d_name, args);
    closedir(directory);
    if (jobs->count > 1)
        qsort(jobs->at, jobs->count, sizeof(struct job *), by_name);
    return 0;
}

static void hear(struct job *job, uint64_t deadline)
{
    uint64_t now = pf_now_ns();
    unsigned left = now < deadline ? (unsigned)((deadline - now) / 1000000) : 0;
    if (job->control.fd < 0 || pf_control_receive(&job->control, left, &job->json, NULL) != 0)
        return;
    pf_record_parse(job->json, &job->record);
    if (job->record.event == PF_EVENT_STATUS)
        return;
    json_object_put(job->json);
    job->json = NULL;
}

static void ask_all(struct jobs *jobs, unsigned timeout_ms)
{
    struct json_object *request = pf_request("status");
    for (size_t i = 0; i < jobs->count; i++)
        if (jobs->at[i]->control.fd >= 0)
            pf_control_send(&jobs->at[i]->control, request, NULL);
    json_object_put(request);
    uint64_t deadline = pf_now_ns() + timeout_ms * UINT64_C(1000000);
    for (size_t i = 0; i < jobs->count; i++)
        hear(jobs->at[i], deadline);
}

static void print_json(const struct jobs *jobs)
{
    struct json_object *array = json_object_new_array();
    for (size_t i = 0; i < jobs->count; i++) {
        struct job *job = jobs->at[i];
        struct json_object *item = job->json;
        if (item) {
            json_object_get(item);
        } else {
            item = pf_record_error("the job does not answer", ETIMEDOUT, PF_EXIT_UNKNOWN);
        }
        json_object_object_add(item, "name", json_object_new_string(job->name));
        json_object_array_add(array, item);
    }
    pf_print_json(array);
    json_object_put(array);
}

static const char *word(const char *text)
{
    return text[0] ? text : "-";
}

static void print_job(const struct job *job, int width)
{
    char total[32] = "-";
    char remaining[32] = "-";
    char pid[24] = "-";
    const struct pf_record *record = &job->record;
    if (!job->json) {
        printf("%-*s  %8s  %-12s %-12s %10s %10s\n", width, job->name, pid, "-", "silent", total,
               remaining);
        return;
    }
    if (record->total_bytes >= 0)
        pf_human_bytes(record->total_bytes, total, sizeof total);
    if (record->remaining_bytes >= 0)
        pf_human_bytes(record->remaining_bytes, remaining, sizeof remaining);
    if (record->pid >= 0)
        snprintf(pid, sizeof pid, "%" PRId64, record->pid);
    printf("%-*s  %8s  %-12s %-12s %10s %10s\n", width, job->name, pid, word(record->role),
           word(record->state), total, remaining);
}

static void print_table(const struct jobs *jobs)
{
    int width = 4;
    for (size_t i = 0; i < jobs->count; i++)
        if ((int)strlen(jobs->at[i]->name) > width)
            width = (int)strlen(jobs->at[i]->name);
    printf("%-*s  %8s  %-12s %-12s %10s %10s\n", width, "NAME", "PID", "ROLE", "STATE", "TOTAL",
           "REMAINING");
    for (size_t i = 0; i < jobs->count; i++)
        print_job(jobs->at[i], width);
}

int pf_command_list(int argc, char **argv)
{
    struct list_args args = {.timeout_ms = 2000};
    struct jobs jobs = {NULL, 0};
    struct pf_why why;
    argp_parse(&argp, argc, argv, 0, NULL, &args);
    int error = scan(&jobs, &args, &why);
    if (!error && args.names) {
        for (size_t i = 0; i < jobs.count; i++)
            puts(jobs.at[i]->name);
    } else if (!error) {
        ask_all(&jobs, args.timeout_ms);
        args.json ? print_json(&jobs) : print_table(&jobs);
    }
    free_jobs(&jobs);
    return error ? pf_complain(PF_EXIT_FAILED, "%s", why.text) : PF_EXIT_OK;
}
