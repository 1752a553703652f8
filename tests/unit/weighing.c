/* SPDX-License-Identifier: BSD-2-Clause */
/* --fewer-bytes auto: when it is decided what to do with pages. */
#include "core/source/weighing.h"

#include "base/clock.h"
#include "core/source/source.h"
#include "tests/suite.h"

#include <stdlib.h>

static const uint64_t second_ns = 1000000000;

/* A link that has been busy for a second, and no pages that could be looked at. */
static struct pf_source *set_up(void)
{
    struct pf_source *source = calloc(1, sizeof *source);
    struct ferry_job *job = calloc(1, sizeof *job);
    struct pf_why why = {""};
    pthread_mutex_init(&job->lock, NULL);
    job->knobs.fewer_bytes = PF_FEWER_BYTES_AUTO;
    job->knobs.compress_threads = 1;
    job->knobs.compress_level = 1;
    source->job = job;
    CU_ASSERT_EQUAL_FATAL(pf_encoder_open(&source->encoder, &job->knobs, &job->counters, &why), 0);
    source->weighing.began_ns = source->weighing.since_ns = pf_now_ns() - second_ns;
    pf_count(&job->counters.sent_bytes, 64 << 20);
    return source;
}

static void take_down(struct pf_source *source)
{
    pf_encoder_close(&source->encoder);
    pthread_mutex_destroy(&source->job->lock);
    free(source->job);
    free(source);
}

static void decided_when_the_link_is_known(void)
{
    struct pf_source *source = set_up();
    CU_ASSERT_TRUE(atomic_load(&source->encoder.undecided));
    CU_ASSERT_EQUAL(pf_source_weigh(source, false), 0);
    CU_ASSERT_FALSE(atomic_load(&source->encoder.undecided));
    take_down(source);
}

/* Compressing a few pages to see what that is worth takes longer than it could save then. */
static void not_while_the_job_stands_and_waits(void)
{
    struct pf_source *source = set_up();
    source->paused_ns = pf_now_ns();
    CU_ASSERT_EQUAL(pf_source_weigh(source, false), 0);
    CU_ASSERT_TRUE(atomic_load(&source->encoder.undecided));
    take_down(source);
}

int main(void)
{
    static const struct pf_test tests[] = {
        {"decided_when_the_link_is_known", decided_when_the_link_is_known},
        {"not_while_the_job_stands_and_waits", not_while_the_job_stands_and_waits},
        {NULL, NULL},
    };
    return pf_suite_run("weighing", tests, NULL);
}
