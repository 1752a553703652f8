/* SPDX-License-Identifier: BSD-2-Clause */
/* What the program says of writes that no tracker sees. */
#include "core/job/job.h"

#include <errno.h>
#include <stdlib.h>

int pf_job_make_marks(struct ferry_job *job, struct pf_why *why)
{
    unsigned count = job->regions.count;
    struct pf_pageset *marked = calloc(count ? count : 1, sizeof *marked);
    int error = marked ? 0 : pf_why(why, -ENOMEM, "no memory for the page sets");
    for (unsigned i = 0; !error && i < count; i++)
        if (pf_pageset_init(&marked[i], pf_region_pages(&job->regions.list[i])))
            error = pf_why(why, -ENOMEM, "region \"%s\": no memory for its page set",
                           job->regions.list[i].name);
    /* From here on they are taken apart by whoever closes the job. */
    atomic_store_explicit(&job->marked, marked, memory_order_release);
    return error;
}

void pf_job_free_marks(struct ferry_job *job)
{
    struct pf_pageset *marked = atomic_exchange(&job->marked, NULL);
    for (unsigned i = 0; marked && i < job->regions.count; i++)
        pf_pageset_free(&marked[i]);
    free(marked);
}

int ferry_job_dirty(struct ferry_job *job, const void *addr, size_t bytes)
{
    struct pf_pageset *marked = atomic_load_explicit(&job->marked, memory_order_acquire);
    uint64_t start = (uintptr_t)addr;
    bool touched = false;
    for (unsigned i = 0; marked && i < job->regions.count; i++) {
        struct pf_run run = pf_region_within(&job->regions.list[i], start, start + bytes);
        if (run.pages)
            pf_pageset_add_run(&marked[i], run);
        touched = touched || run.pages;
    }
    return touched || !marked ? 0 : -EINVAL;
}

int ferry_job_send_late(struct ferry_job *job, const char *name)
{
    if (job->started)
        return -EBUSY;
    int region = name ? pf_regions_named(&job->regions, name) : -1;
    if (region < 0)
        return -ENOENT;
    job->regions.list[region].flags |= FERRY_SEND_LATE;
    return 0;
}
