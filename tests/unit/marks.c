/* SPDX-License-Identifier: BSD-2-Clause */
/* What a program says of its own writes: ferry_job_dirty(), ferry_job_send_late(). */
#include "core/job/job.h"
#include "tests/suite.h"

#include <errno.h>

enum { PAGES = 8 };
#define PAGE ((size_t)PF_PAGE_SIZE)

static struct ferry_job *set_up(char **first, char **second)
{
    struct ferry_job *job;
    CU_ASSERT_EQUAL_FATAL(ferry_job_open(&job, NULL), 0);
    *first = ferry_job_alloc(job, "first", PAGES * PAGE, 0, FERRY_ANON);
    *second = ferry_job_alloc(job, "second", PAGES * PAGE, 0, FERRY_SHARED);
    CU_ASSERT_FATAL(*first && *second);
    return job;
}

/* Every page that the range has a part of, and no other. */
static void marks_whole_pages(void)
{
    char *first;
    char *second;
    struct ferry_job *job = set_up(&first, &second);
    CU_ASSERT_EQUAL_FATAL(ferry_job_start(job), FERRY_FRESH);
    CU_ASSERT_EQUAL(ferry_job_dirty(job, second + 2 * PAGE - 1, PAGE + 2), 0);
    CU_ASSERT_EQUAL(pf_pageset_count(&job->marked[0]), 0);
    CU_ASSERT_EQUAL(pf_pageset_count(&job->marked[1]), 3);
    CU_ASSERT_TRUE(pf_pageset_has(&job->marked[1], 1));
    CU_ASSERT_TRUE(pf_pageset_has(&job->marked[1], 3));
    CU_ASSERT_EQUAL(ferry_job_dirty(job, first + PAGES * PAGE - 1, 1), 0);
    CU_ASSERT_TRUE(pf_pageset_has(&job->marked[0], PAGES - 1));
    ferry_job_close(job);
}

static void refuses_what_is_no_region(void)
{
    char *first;
    char *second;
    int elsewhere;
    struct ferry_job *job = set_up(&first, &second);
    CU_ASSERT_EQUAL(ferry_job_dirty(job, first, PAGE), 0); /* nothing is known yet */
    CU_ASSERT_EQUAL_FATAL(ferry_job_start(job), FERRY_FRESH);
    CU_ASSERT_EQUAL(ferry_job_dirty(job, &elsewhere, sizeof elsewhere), -EINVAL);
    CU_ASSERT_EQUAL(ferry_job_dirty(job, first, 0), -EINVAL);
    ferry_job_close(job);
}

static void a_region_can_be_sent_late(void)
{
    char *first;
    char *second;
    struct ferry_job *job = set_up(&first, &second);
    CU_ASSERT_EQUAL(ferry_job_send_late(job, "third"), -ENOENT);
    CU_ASSERT_EQUAL(ferry_job_send_late(job, "second"), 0);
    CU_ASSERT_FALSE(pf_region_late(&job->regions.list[0]));
    CU_ASSERT_TRUE(pf_region_late(&job->regions.list[1]));
    CU_ASSERT_EQUAL_FATAL(ferry_job_start(job), FERRY_FRESH);
    CU_ASSERT_EQUAL(ferry_job_send_late(job, "first"), -EBUSY);
    ferry_job_close(job);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"marks_whole_pages", marks_whole_pages},
        {"refuses_what_is_no_region", refuses_what_is_no_region},
        {"a_region_can_be_sent_late", a_region_can_be_sent_late},
        {NULL, NULL},
    };
    return pf_suite_run("marks", tests, argc > 1 ? argv[1] : NULL);
}
