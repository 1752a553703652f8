/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/receive_client.h"

#include "adapters/firecracker.h"
#include "core/job/job.h"
#include "service/command.h"
#include "service/human.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

const struct pf_client_kind *pf_client_kind(const char *name)
{
    const struct pf_client_kind *const kinds[] = {&pf_client_firecracker, &pf_client_generic};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    return NULL;
}

static void announce(void *ctx, const char *uri)
{
    (void)ctx;
    printf("receiving at %s\n", uri);
    fflush(stdout);
}

static int await_client(struct ferry_job *job, const struct pf_client_kind *kind,
                        const char *socket)
{
    struct pf_why why = {""};
    struct pf_clients_attr attr = {
        .job = job,
        .path = socket,
        .kind = kind,
        .home = true,
        .patience_ms = PF_CLIENT_PATIENCE_MS,
    };
    int error = pf_clients_open(&job->clients, &attr, &why);
    if (error)
        return pf_complain(PF_EXIT_FAILED, "%s", why.text);
    printf("waiting for a %s client at %s\n", kind->name, socket);
    fflush(stdout);
    pf_clients_await_home(job->clients);
    char size[32];
    pf_human_bytes((int64_t)pf_regions_bytes(&job->regions), size, sizeof size);
    printf("the client has %s of memory\n", size);
    fflush(stdout);
    return 0;
}

int pf_receive_client(struct pf_launch *launch, const struct pf_client_kind *kind,
                      const char *socket)
{
    struct ferry_job *job;
    char name[PF_JOB_NAME_MAX];
    snprintf(name, sizeof name, "%s-%d", kind->name, (int)getpid());
    if (!launch->name)
        launch->name = name;
    int status = pf_launch_prepare(launch);
    if (status)
        return status;
    unsetenv("PAGEFERRY_INCOMING"); /* it is listened there once the client is known */
    if (ferry_job_open(&job, NULL) < 0)
        return PF_EXIT_FAILED;
    /* Sentences of what goes wrong were logged by these. */
    if (ferry_job_receive(job, launch->uri, announce, NULL) < 0)
        status = PF_EXIT_FAILED;
    if (!status)
        status = await_client(job, kind, socket);
    if (!status && ferry_job_start(job) < 0)
        status = PF_EXIT_FAILED;
    if (ferry_job_close(job) < 0 && !status)
        status = PF_EXIT_FAILED;
    if (!status)
        printf("all memory is here: the client needs nobody to serve its faults any more\n");
    return status;
}
