/* SPDX-License-Identifier: BSD-2-Clause */
/* The JSON records that a job's control socket answers with; docs/control.md lists the keys. */
#ifndef PF_CORE_JOB_JOB_RECORD_H
#define PF_CORE_JOB_JOB_RECORD_H

#include <json-c/json.h>

struct ferry_job;
struct pf_round_record;

/* event: "status", "progress" or "done". The caller owns the record. */
struct json_object *pf_job_status_record(struct ferry_job *job, const char *event);

/* A "round" record: one round of pre-copy. */
struct json_object *pf_job_round_record(const struct pf_round_record *round);

struct json_object *pf_job_error_record(int error, int exit_status, const char *message);

#endif
