/* SPDX-License-Identifier: BSD-2-Clause */
/* Who connects to a destination: one source at a time, with its three connections. */
#include "base/log.h"
#include "core/destination/destination.h"

#include <string.h>

static void refuse(struct pf_request *request, int code, const char *text)
{
    uint8_t data[PF_PRIVATE_DATA_MAX];
    size_t length = strlen(text);
    if (length > sizeof data - 2)
        length = sizeof data - 2;
    struct pf_wire wire = pf_wire_over(data, sizeof data);
    pf_put_u16(&wire, (uint16_t)-code);
    pf_put_bytes(&wire, text, length);
    pf_reject(request, data, length + 2);
}

static int accept_port(struct pf_destination *destination, struct pf_request *request,
                       struct pf_port *port, const struct pf_endpoint_attr *attr)
{
    return pf_accept(request, port->lane, attr, NULL, 0, &port->endpoint,
                     &destination->session.why);
}

static int accept_control(struct pf_destination *destination, struct pf_request *request,
                          const struct pf_greeting *greeting)
{
    struct pf_session *session = &destination->session;
    struct pf_endpoint_attr attr =
        pf_port_attr(&session->control, PF_CHANNEL_SENDS, PF_CHANNEL_RECEIVES, PF_CHANNEL_MESSAGE);
    destination->greeted = true;
    session->id = greeting->session;
    int error = accept_port(destination, request, &session->control, &attr);
    return error ? error : pf_channel_attach(&session->channel, session->control.endpoint);
}

static int accept_urgent(struct pf_destination *destination, struct pf_request *request)
{
    struct pf_port *port = &destination->session.urgent;
    const struct pf_requests *requests = &destination->faults.requests;
    bool pull = destination->session.pull;
    struct pf_endpoint_attr attr =
        pf_port_attr(port, requests->count + pull, pull ? 1 : requests->receive_count, 32);
    int error = accept_port(destination, request, port, &attr);
    return error || pull ? error : pf_requests_post_receives(&destination->faults.requests);
}

static int accept_bulk(struct pf_destination *destination, struct pf_request *request,
                       unsigned rail)
{
    struct pf_port *port = &destination->session.rails[rail].bulk;
    struct pf_placer *placer = &destination->placers[rail];
    struct pf_endpoint_attr attr = pf_port_attr(port, placer->stages, placer->receive_count, 32);
    bool pull = destination->session.pull;
    if (pull)
        attr = pf_port_attr(port, destination->pullers[rail].count + 1, 1, 32);
    int error = accept_port(destination, request, port, &attr);
    return error || pull ? error : pf_placer_post_receives(placer);
}

static const char *objection(const struct pf_door *door, const struct pf_greeting *greeting,
                             int *code)
{
    const struct pf_destination *destination = door->destination;
    const struct pf_session *session = &destination->session;
    *code = -EPROTO;
    if (greeting->version != PF_PROTOCOL_VERSION) {
        *code = -EPROTONOSUPPORT;
        return "another version of the protocol";
    }
    if (greeting->rail != door->rail)
        return "this address is of another rail";
    *code = -EBUSY;
    if (greeting->role == PF_ROLE_CONTROL)
        return destination->greeted ? "busy with another source" : NULL;
    *code = -EPERM;
    if (!destination->lanes_ready || greeting->session != session->id)
        return "no such session";
    /* A lane whose rail broke has no endpoint any more, but a thread that drives it. */
    if (!session->lanes_driven)
        return "the lanes have been connected";
    if (greeting->rail >= session->rail_count)
        return "no such rail";
    if (greeting->role == PF_ROLE_URGENT ? session->urgent.endpoint != NULL
                                         : session->rails[greeting->rail].bulk.endpoint != NULL)
        return "this lane is connected already";
    return NULL;
}

static void take_in(struct pf_destination *destination, struct pf_request *request,
                    const struct pf_greeting *greeting)
{
    int error = greeting->role == PF_ROLE_CONTROL ? accept_control(destination, request, greeting)
                : greeting->role == PF_ROLE_URGENT
                    ? accept_urgent(destination, request)
                    : accept_bulk(destination, request, greeting->rail);
    if (error) {
        atomic_store(&destination->session.control.status, error);
        if (!destination->session.why.text[0])
            pf_why(&destination->session.why, error, "a connection could not be accepted: %s",
                   ferry_strerror(error));
    }
}

static void on_request(void *ctx, struct pf_request *request, const void *data, size_t len)
{
    const struct pf_door *door = ctx;
    struct pf_destination *destination = door->destination;
    struct pf_greeting greeting;
    int code = -EPROTO;
    if (pf_greeting_unpack(data, len, &greeting)) {
        refuse(request, code, "not a pageferry source");
        return;
    }
    const char *reason = objection(door, &greeting, &code);
    if (reason && code == -EBUSY && destination->ending && !destination->waiting) {
        destination->waiting = request;
        destination->waiting_greeting = greeting;
    } else if (reason) {
        refuse(request, code, reason);
    } else {
        take_in(destination, request, &greeting);
    }
}

void pf_destination_take_waiting(struct pf_destination *destination)
{
    struct pf_request *request = destination->waiting;
    destination->waiting = NULL;
    if (request)
        take_in(destination, request, &destination->waiting_greeting);
}

static int listen_at(struct pf_destination *destination, unsigned index)
{
    static const struct pf_listener_events events = {.request = on_request};
    struct pf_session *session = &destination->session;
    struct pf_rail *rail = &session->rails[index];
    struct pf_door *door = &destination->doors[index];
    struct pf_lane *lane = index == 0 ? session->control.lane : rail->door.lane;
    door->destination = destination;
    door->rail = index;
    int error = pf_listen(lane, rail->uri, &events, door, &door->listener, &session->why);
    if (error)
        return error;
    char uri[PF_URI_MAX];
    error = pf_listener_uri(door->listener, uri, sizeof uri);
    if (error)
        return pf_why(&session->why, error, "cannot tell the listening address of %s", rail->uri);
    strcpy(rail->uri, uri);
    return 0;
}

/* No source would take more. */
static int check_stages(struct pf_session *session, const struct pf_regions *regions)
{
    size_t largest = PF_PAGE_SIZE;
    for (unsigned i = 0; i < regions->count; i++)
        if (pf_region_page_size(&regions->list[i]) > largest)
            largest = pf_region_page_size(&regions->list[i]);
    unsigned stages = session->options->stages;
    size_t size = pf_options_stage_size(session->options, largest);
    if (stages * size <= PF_STAGE_MEMORY_MAX / session->rails_open)
        return 0;
    return pf_why(
        &session->why, -EINVAL,
        "%u stages of %zu KiB on each rail (%u) are more than %d MiB: choose smaller --stages "
        "or --stage-size",
        stages, size >> 10, session->rails_open, PF_STAGE_MEMORY_MAX >> 20);
}

int pf_destination_listen(struct pf_destination *destination)
{
    struct ferry_job *job = destination->job;
    struct pf_session *session = &destination->session;
    struct pf_uri_list list = {.count = 0};
    char uris[PF_URI_LIST_MAX];
    int error = pf_session_open(session, job->uri, true);
    if (!error)
        error = check_stages(session, &job->regions);
    for (unsigned i = 0; i < session->rails_open && !error; i++) {
        error = listen_at(destination, i);
        strcpy(list.uris[list.count++], session->rails[i].uri);
    }
    if (error)
        return error;
    error = pf_uri_list_format(&list, uris, sizeof uris);
    if (error)
        return pf_why(&session->why, error, "the addresses of %u rails are too long to be told",
                      list.count);
    pf_job_report_rails(job, session);
    pf_job_set_uri(job, uris);
    if (job->ready)
        job->ready(job->ready_ctx, uris);
    job->ready = NULL;
    pf_info("listening on %s", uris);
    return 0;
}

void pf_destination_stop_listening(struct pf_destination *destination)
{
    if (destination->waiting)
        refuse(destination->waiting, -EBUSY, "the job is here already, or not expected any more");
    destination->waiting = NULL;
    for (unsigned i = 0; i < PF_RAILS_MAX; i++) {
        if (destination->doors[i].listener)
            pf_listener_close(destination->doors[i].listener);
        destination->doors[i].listener = NULL;
    }
}
