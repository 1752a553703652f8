/* SPDX-License-Identifier: BSD-2-Clause */
/* What the public API tells of the latest migration. */
#include "core/job/job.h"

#include <string.h>

int ferry_job_status(struct ferry_job *job, struct ferry_status *status)
{
    const struct pf_counters *counters = &job->counters;
    *status = (struct ferry_status){
        .total_bytes = pf_count_get(&counters->total_bytes),
        .remaining_bytes = pf_count_get(&counters->remaining_bytes),
        .sent_bytes = pf_count_get(&counters->sent_bytes),
        .received_bytes = pf_count_get(&counters->received_bytes),
        .faults = pf_count_get(&counters->faults),
        .requests = pf_count_get(&counters->requests),
        .duplicates = pf_count_get(&counters->duplicates),
        .zero_pages = pf_count_get(&counters->zero_pages),
        .normal_pages = pf_count_get(&counters->normal_pages),
        .service_p50_us = (double)pf_count_get(&counters->service_p50_ns) / 1000,
        .service_p99_us = (double)pf_count_get(&counters->service_p99_ns) / 1000,
        .service_p999_us = (double)pf_count_get(&counters->service_p999_ns) / 1000,
        .read_p50_us = (double)pf_count_get(&counters->read_p50_ns) / 1000,
        .request_p50_us = (double)pf_count_get(&counters->request_p50_ns) / 1000,
        .answer_p50_us = (double)pf_count_get(&counters->answer_p50_ns) / 1000,
        .place_p50_us = (double)pf_count_get(&counters->place_p50_ns) / 1000,
        .downtime_us = pf_count_get(&counters->downtime_us),
        .total_us = pf_count_get(&counters->total_us),
        .prefetched_pages = pf_count_get(&counters->prefetched_pages),
        .prefetch_useful_pages = pf_count_get(&counters->prefetch_useful_pages),
        .prefetch_useless_pages = pf_count_get(&counters->prefetch_useless_pages),
        .round = pf_count_get(&counters->round),
        .precopy_bytes = pf_count_get(&counters->precopy_bytes),
        .dirty_bytes_per_s = pf_count_get(&counters->dirty_bytes_per_s),
        .bandwidth_bytes_per_s = pf_count_get(&counters->bandwidth_bytes_per_s),
        .expected_downtime_us = pf_count_get(&counters->expected_downtime_us),
        .eta_ms = pf_count_get(&counters->eta_ms),
        .throttle_percent = pf_count_get(&counters->throttle_percent),
        .pause_us = pf_count_get(&counters->pause_us),
        .scan_us = pf_count_get(&counters->scan_us),
        .discard_us = pf_count_get(&counters->discard_us),
        .rest_us = pf_count_get(&counters->rest_us),
        .listen_us = pf_count_get(&counters->listen_us),
        .state_us = pf_count_get(&counters->state_us),
        .resume_us = pf_count_get(&counters->resume_us),
    };
    pthread_mutex_lock(&job->lock);
    status->complete = job->outcome.ended && job->outcome.error == 0;
    pthread_mutex_unlock(&job->lock);
    return 0;
}

const char *ferry_job_why(struct ferry_job *job)
{
    pthread_mutex_lock(&job->lock);
    memcpy(job->why_shown, job->why.text, sizeof job->why_shown);
    pthread_mutex_unlock(&job->lock);
    return job->why_shown;
}
