/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/ask.h"

#include "service/command.h"
#include "service/control.h"

#include <stdio.h>
#include <stdlib.h>

static void parse_named(const struct pf_question *question, struct json_object *json,
                        struct pf_record *record)
{
    pf_record_parse(json, record);
    if (!record->name[0])
        snprintf(record->name, sizeof record->name, "%s", question->name);
}

static bool is_final(const struct pf_question *question, const struct pf_record *record)
{
    if (record->event == PF_EVENT_PROGRESS)
        return question->detach;
    if (record->event == PF_EVENT_ROUND)
        return false;
    return record->event != PF_EVENT_OTHER;
}

static int await(struct pf_control *control, const struct pf_question *question,
                 struct json_object **final, struct pf_why *why)
{
    for (;;) {
        struct pf_record record;
        int error = pf_control_receive(control, question->silence_ms, final, why);
        if (error)
            return error;
        parse_named(question, *final, &record);
        bool told = record.event == PF_EVENT_PROGRESS || record.event == PF_EVENT_ROUND;
        if (told && question->progress)
            question->progress(question->ctx, &record, *final);
        if (is_final(question, &record))
            return 0;
        json_object_put(*final);
    }
}

/* *status: what it means for the exit status if this fails. */
static int converse(const struct pf_question *question, struct json_object **final, int *status,
                    struct pf_why *why)
{
    struct pf_control control;
    *status = PF_EXIT_FAILED;
    int error = pf_control_open(&control, question->name, question->silence_ms, why);
    if (error)
        return error;
    error = pf_control_send(&control, question->request, why);
    if (!error) {
        /* From here on the job may have begun what it was asked. */
        *status = PF_EXIT_UNKNOWN;
        error = await(&control, question, final, why);
    }
    pf_control_close(&control);
    return error;
}

struct json_object *pf_ask(const struct pf_question *question, struct pf_record *record)
{
    struct json_object *final;
    struct pf_why why;
    int status;
    int error = converse(question, &final, &status, &why);
    if (error)
        final = pf_record_error(why.text, -error, status);
    parse_named(question, final, record);
    return final;
}

struct json_object *pf_request(const char *command)
{
    struct json_object *request = json_object_new_object();
    json_object_object_add(request, "command", json_object_new_string(command));
    return request;
}

void pf_print_json(struct json_object *json)
{
    puts(json_object_to_json_string_ext(json,
                                        JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

int pf_conclude(struct json_object *final, const struct pf_record *record, bool json)
{
    if (json)
        pf_print_json(final);
    if (record->event == PF_EVENT_ERROR)
        pf_complain(0, "%s", record->message[0] ? record->message : "the job gave no reason");
    json_object_put(final);
    return pf_record_exit(record);
}

bool pf_parse_timeout(const char *text, unsigned *ms)
{
    char *end;
    double seconds = strtod(text, &end);
    if (end == text || *end != '\0' || !(seconds >= 0.01 && seconds <= 86400))
        return false;
    *ms = (unsigned)(seconds * 1000);
    return true;
}
