/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The destination's side of a migration, from listening to the last page. pf_destination_thread()
 * serves sessions until one has brought the job; a session that fails before that leaves nothing
 * behind, and the next may come.
 */
#include "base/clock.h"
#include "base/log.h"
#include "core/exit_status.h"
#include "core/faults.h"
#include "core/job.h"
#include "core/memory_locks.h"
#include "core/placer.h"
#include "core/session.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pf_destination {
    struct ferry_job *job;
    struct pf_session session;
    struct pf_listener *listener;
    struct pf_arrival arrival;
    struct pf_fault_thread faults;
    struct pf_placer placer;
    struct pf_memory_locks locks;
    bool greeted;     /* a source has the control connection */
    bool lanes_ready; /* slots and stages are there: urgent and bulk may connect */
    bool ran;         /* the job runs here: failure is loss from here on */
    uint32_t regions_expected, pieces_expected;
    uint64_t bytes_expected;
    uint8_t *blob;
    size_t blob_filled;
    uint64_t began_ns, told_ns;
};

/* ---- who connects
 * ----------------------------------------------------------------------------------------- */

static void refuse(struct pf_request *request, int code, const char *text)
{
    uint8_t data[PF_PRIVATE_DATA_MAX];
    size_t length = strlen(text);
    if (length > sizeof data - 2)
        length = sizeof data - 2;
    data[0] = (uint8_t)-code;
    data[1] = (uint8_t)(-code >> 8);
    memcpy(data + 2, text, length);
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
    unsigned slots = destination->faults.requests.count;
    struct pf_endpoint_attr attr = pf_port_attr(port, slots, slots, 32);
    int error = accept_port(destination, request, port, &attr);
    return error ? error : pf_requests_post_receives(&destination->faults.requests);
}

static int accept_bulk(struct pf_destination *destination, struct pf_request *request)
{
    struct pf_port *port = &destination->session.bulk;
    struct pf_placer *placer = &destination->placer;
    struct pf_endpoint_attr attr = pf_port_attr(port, placer->stages, placer->receive_count, 32);
    int error = accept_port(destination, request, port, &attr);
    return error ? error : pf_placer_post_receives(placer);
}

static const char *objection(const struct pf_destination *destination,
                             const struct pf_greeting *greeting, int *code)
{
    const struct pf_session *session = &destination->session;
    *code = -EPROTO;
    if (greeting->version != PF_PROTOCOL_VERSION) {
        *code = -EPROTONOSUPPORT;
        return "another version of the protocol";
    }
    *code = -EBUSY;
    if (greeting->role == PF_ROLE_CONTROL)
        return destination->greeted ? "busy with another source" : NULL;
    *code = -EPERM;
    if (!destination->lanes_ready || greeting->session != session->id)
        return "no such session";
    if (greeting->role == PF_ROLE_URGENT ? session->urgent.endpoint != NULL
                                         : session->bulk.endpoint != NULL || greeting->rail != 0)
        return "this lane is connected already";
    return NULL;
}

static void on_request(void *ctx, struct pf_request *request, const void *data, size_t len)
{
    struct pf_destination *destination = ctx;
    struct pf_greeting greeting;
    int code = -EPROTO;
    if (pf_greeting_unpack(data, len, &greeting)) {
        refuse(request, code, "not a pageferry source");
        return;
    }
    const char *reason = objection(destination, &greeting, &code);
    if (reason) {
        refuse(request, code, reason);
        return;
    }
    int error = greeting.role == PF_ROLE_CONTROL  ? accept_control(destination, request, &greeting)
                : greeting.role == PF_ROLE_URGENT ? accept_urgent(destination, request)
                                                  : accept_bulk(destination, request);
    if (error) {
        atomic_store(&destination->session.control.status, error);
        if (!destination->session.why.text[0])
            pf_why(&destination->session.why, error, "a connection could not be accepted: %s",
                   ferry_strerror(error));
    }
}

static int start_listening(struct pf_destination *destination)
{
    static const struct pf_listener_events events = {.request = on_request};
    struct ferry_job *job = destination->job;
    struct pf_session *session = &destination->session;
    int error = pf_session_open(session, job->uri, true);
    if (!error)
        error = pf_listen(session->control.lane, job->uri, &events, destination,
                          &destination->listener, &session->why);
    if (error)
        return error;
    char uri[PF_URI_MAX];
    error = pf_listener_uri(destination->listener, uri, sizeof uri);
    if (error)
        return pf_why(&session->why, error, "cannot tell the listening address of %s", job->uri);
    pf_job_set_uri(job, uri);
    if (job->ready)
        job->ready(job->ready_ctx, uri);
    job->ready = NULL;
    pf_info("listening on %s", uri);
    return 0;
}

/* What post-copy needs of this host, asked before anything is promised. */
static int probe(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    int error = pf_arrival_open(&destination->arrival, &destination->job->regions,
                                session->counters, session->wake_fd, &session->why);
    return error ? error : pf_arrival_probe(&destination->arrival, &session->why);
}

static int wait_for_source(struct pf_destination *destination)
{
    while (!destination->session.control.connected) {
        int error = pf_session_step(&destination->session);
        if (error)
            return error;
    }
    destination->began_ns = pf_now_ns();
    pf_arrival_set_state(&destination->arrival, PF_INCOMING_ADVISE);
    return 0;
}

/* ---- comparing
 * -----------------------------------------------------------------------------------------------
 */

static int take_hello(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    struct pf_message message;
    char name[PF_JOB_NAME_MAX + 1];
    int error = pf_session_expect(session, PF_MSG_HELLO, &message);
    if (error)
        return error;
    pf_get_string(&message.payload, name, sizeof name);
    uint32_t page_size = pf_get_u32(&message.payload);
    destination->regions_expected = pf_get_u32(&message.payload);
    destination->pieces_expected = pf_get_u32(&message.payload);
    uint64_t bytes = pf_get_u64(&message.payload);
    uint32_t rails = pf_get_u32(&message.payload);
    error = pf_session_check(session, &message);
    if (error)
        return error;
    if (page_size != PF_PAGE_SIZE || rails != 1)
        return pf_why(&session->why, -EINVAL, "the source has base pages of %u bytes and %u rails",
                      page_size, rails);
    if (destination->regions_expected > PF_REGIONS_MAX)
        return pf_why(&session->why, -EPROTO, "the source has %u regions: no job has that many",
                      destination->regions_expected);
    destination->bytes_expected = bytes;
    return 0;
}

static int compare_region(struct pf_destination *destination, const struct pf_region *theirs,
                          uint32_t id, uint64_t addr)
{
    struct pf_why *why = &destination->session.why;
    struct pf_regions *regions = &destination->job->regions;
    int found = pf_regions_named(regions, theirs->name);
    if (found < 0)
        return pf_why(why, -ENOENT, "region \"%s\" does not exist at the destination",
                      theirs->name);
    const struct pf_region *ours = &regions->list[found];
    if ((uint32_t)found != id)
        return pf_why(why, -EINVAL, "region \"%s\" is number %u at the source and %d here",
                      theirs->name, id, found);
    if (ours->bytes != theirs->bytes)
        return pf_why(why, -EINVAL, "region \"%s\" has %zu bytes at the source and %zu here",
                      theirs->name, theirs->bytes, ours->bytes);
    if (ours->page_shift != theirs->page_shift)
        return pf_why(why, -EINVAL, "region \"%s\" has pages of %zu bytes at the source, %zu here",
                      theirs->name, pf_region_page_size(theirs), pf_region_page_size(ours));
    if (ours->flags != theirs->flags)
        return pf_why(why, -EINVAL, "region \"%s\" has other flags at the source", theirs->name);
    if (ours->flags & FERRY_FIXED_ADDR && (uintptr_t)ours->addr != addr)
        return pf_why(why, -EINVAL, "region \"%s\" is at %#llx at the source and at %p here",
                      theirs->name, (unsigned long long)addr, (void *)ours->addr);
    return 0;
}

static int take_region(struct pf_destination *destination, uint32_t due)
{
    struct pf_session *session = &destination->session;
    struct pf_message message;
    struct pf_region theirs = {.name = ""};
    int error = pf_session_expect(session, PF_MSG_REGION, &message);
    if (error)
        return error;
    uint32_t id = pf_get_u32(&message.payload);
    pf_get_string(&message.payload, theirs.name, sizeof theirs.name);
    theirs.bytes = pf_get_u64(&message.payload);
    theirs.page_shift = pf_get_u32(&message.payload);
    theirs.flags = pf_get_u32(&message.payload);
    uint64_t addr = pf_get_u64(&message.payload);
    error = pf_session_check(session, &message);
    if (error)
        return error;
    if (id != due || theirs.page_shift < PF_PAGE_SHIFT || theirs.page_shift > 40)
        return pf_why(&session->why, -EPROTO, "the source sent a malformed message (region)");
    return compare_region(destination, &theirs, id, addr);
}

/* All of their regions are ours, by name and in order: what can differ is what follows them. */
static int compare_totals(struct pf_destination *destination)
{
    struct pf_why *why = &destination->session.why;
    const struct ferry_job *job = destination->job;
    if (destination->regions_expected < job->regions.count)
        return pf_why(why, -EINVAL, "region \"%s\" does not exist at the source",
                      job->regions.list[destination->regions_expected].name);
    if (destination->pieces_expected != job->state.count)
        return pf_why(why, -EINVAL,
                      "the jobs have %u pieces of state at the source and %u here: start the same "
                      "program with the same arguments",
                      destination->pieces_expected, job->state.count);
    if (destination->bytes_expected != pf_regions_bytes(&job->regions))
        return pf_why(why, -EPROTO, "the source's regions are not as long as it said");
    return 0;
}

static int take_states(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    const struct pf_state *state = &destination->job->state;
    struct pf_message message;
    int error = pf_session_expect(session, PF_MSG_STATES, &message);
    for (unsigned i = 0; !error && i < state->count; i++) {
        uint64_t bytes = pf_get_u64(&message.payload);
        if (!message.payload.bad && bytes != state->pieces[i].bytes)
            error = pf_why(&session->why, -EINVAL,
                           "piece %u of the state has %llu bytes at the source and %zu here", i,
                           (unsigned long long)bytes, state->pieces[i].bytes);
    }
    return error ? error : pf_session_check(session, &message);
}

static int compare(struct pf_destination *destination)
{
    int error = take_hello(destination);
    for (uint32_t i = 0; !error && i < destination->regions_expected; i++)
        error = take_region(destination, i);
    if (!error)
        error = compare_totals(destination);
    if (!error)
        error = take_states(destination);
    if (!error)
        error = pf_job_notify(destination->job, FERRY_EVENT_PROBE, &destination->session.why);
    return error;
}

/* ---- the lanes
 * --------------------------------------------------------------------------------------------------
 */

static int open_lanes(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    struct pf_wire payload;
    int error = pf_fault_thread_open(&destination->faults, session, &destination->arrival);
    if (!error)
        error = pf_placer_open(&destination->placer, session, &destination->arrival);
    if (error)
        return error;
    destination->lanes_ready = true;
    error = pf_session_begin(session, &payload);
    if (error)
        return error;
    pf_put_u32(&payload, destination->faults.requests.count);
    pf_put_u32(&payload, destination->placer.stages);
    pf_put_u64(&payload, destination->placer.stage_size);
    error = pf_session_commit(session, PF_MSG_ACCEPTED, &payload);
    while (!error && !(session->urgent.connected && session->bulk.connected))
        error = pf_session_step(session);
    return error;
}

static int tell_arena(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    struct pf_requests *requests = &destination->faults.requests;
    struct pf_placer *placer = &destination->placer;
    struct pf_wire payload;
    uint8_t key[PF_RKEY_BYTES];
    int error = pf_rkey_pack(requests->pages_mr, session->urgent.endpoint, key);
    if (!error)
        error = pf_session_begin(session, &payload);
    if (error)
        return error;
    pf_put_u64(&payload, (uintptr_t)requests->pages);
    pf_put_u32(&payload, PF_PAGE_SIZE);
    pf_put_bytes(&payload, key, sizeof key);
    error = pf_rkey_pack(placer->memory_mr, session->bulk.endpoint, key);
    if (error)
        return error;
    pf_put_u64(&payload, (uintptr_t)placer->memory);
    pf_put_bytes(&payload, key, sizeof key);
    return pf_session_commit(session, PF_MSG_ARENA, &payload);
}

/* ---- the switch
 * --------------------------------------------------------------------------------------------------
 */

static int take_unsent(struct pf_destination *destination, struct pf_message *message)
{
    struct pf_wire *payload = &message->payload;
    uint32_t region = pf_get_u32(payload);
    while (!payload->bad && payload->at < payload->end) {
        struct pf_run run = {.first = pf_get_u64(payload)};
        run.pages = pf_get_u64(payload);
        if (!payload->bad && !pf_arrival_expect(&destination->arrival, region, run))
            payload->bad = true;
    }
    return pf_session_check(&destination->session, message);
}

static int take_state(struct pf_destination *destination, struct pf_message *message)
{
    struct pf_wire *payload = &message->payload;
    size_t room = destination->job->state.bytes - destination->blob_filled;
    uint64_t at = pf_get_u64(payload);
    size_t part = payload->bad ? 0 : (size_t)(payload->end - payload->at);
    if (at != destination->blob_filled || part > room)
        payload->bad = true;
    if (!payload->bad) {
        pf_get_bytes(payload, destination->blob + destination->blob_filled, part);
        destination->blob_filled += part;
    }
    return pf_session_check(&destination->session, message);
}

static int next_of_switch(struct pf_destination *destination, struct pf_message *message)
{
    int got;
    while ((got = pf_session_poll(&destination->session, message)) == 0) {
        int error = pf_session_step(&destination->session);
        if (error)
            return error;
    }
    return got < 0 ? got : 0;
}

/* Unsent runs, then state, then the word to listen. */
static int take_switch(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    struct pf_message message;
    pf_arrival_set_state(&destination->arrival, PF_INCOMING_DISCARD);
    for (;;) {
        int error = next_of_switch(destination, &message);
        if (error)
            return error;
        if (message.type == PF_MSG_UNSENT && destination->blob_filled == 0)
            error = take_unsent(destination, &message);
        else if (message.type == PF_MSG_STATE)
            error = take_state(destination, &message);
        else if (message.type == PF_MSG_LISTEN &&
                 destination->blob_filled == destination->job->state.bytes)
            return pf_session_check(session, &message);
        else
            error = pf_why(&session->why, -EPROTO, "the source sent %s out of turn",
                           pf_message_name(message.type));
        if (error)
            return error;
    }
}

static int start_listen(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    struct ferry_job *job = destination->job;
    pf_memory_locks_release(&destination->locks, &job->regions);
    pf_job_notify(job, FERRY_EVENT_LISTEN, NULL);
    pf_session_hand_over(session);
    /* The fault thread runs before the first page can fault. */
    int error = pf_fault_thread_start(&destination->faults);
    if (!error)
        error = pf_arrival_arm(&destination->arrival, &session->why);
    if (!error)
        error = pf_placer_start(&destination->placer);
    if (error)
        return error;
    pf_arrival_set_state(&destination->arrival, PF_INCOMING_LISTENING);
    return pf_session_say(session, PF_MSG_LISTENING);
}

static int run_job(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    struct pf_message message;
    int error = pf_session_expect(session, PF_MSG_RUN, &message);
    if (!error)
        error = pf_session_check(session, &message);
    if (!error)
        error = pf_session_failure(session);
    if (error)
        return error;
    session->cancel = NULL;
    destination->ran = true;
    pf_arrival_set_state(&destination->arrival, PF_INCOMING_RUNNING);
    pf_state_restore(&destination->job->state, destination->blob);
    pf_job_arrive(destination->job, 0);
    return pf_session_say(session, PF_MSG_RUNNING);
}

/* ---- post-copy
 * ------------------------------------------------------------------------------------------------------
 */

static void measure(struct pf_destination *destination)
{
    const struct pf_requests *requests = &destination->faults.requests;
    struct pf_counters *counters = &destination->job->counters;
    const struct {
        _Atomic uint64_t *counter;
        const struct pf_histogram *histogram;
        double share;
    } figures[] = {
        {&counters->service_p50_ns, &requests->service, 0.5},
        {&counters->service_p99_ns, &requests->service, 0.99},
        {&counters->service_p999_ns, &requests->service, 0.999},
        {&counters->read_p50_ns, &requests->read, 0.5},
        {&counters->request_p50_ns, &requests->request, 0.5},
        {&counters->answer_p50_ns, &requests->answer, 0.5},
        {&counters->place_p50_ns, &requests->place, 0.5},
    };
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++)
        pf_count_set(figures[i].counter,
                     (uint64_t)(pf_histogram_us(figures[i].histogram, figures[i].share) * 1000));
    pf_count_set(&counters->remaining_bytes,
                 (uint64_t)atomic_load(&destination->arrival.missing_pages) * PF_PAGE_SIZE);
}

static int tell_progress(struct pf_destination *destination, unsigned type)
{
    struct pf_counters *counters = &destination->job->counters;
    struct pf_wire payload;
    measure(destination);
    int error = pf_session_begin(&destination->session, &payload);
    if (error)
        return error;
    pf_put_u64(&payload, pf_count_get(&counters->remaining_bytes));
    pf_put_u64(&payload, pf_count_get(&counters->received_bytes));
    pf_put_u64(&payload, pf_count_get(&counters->faults));
    pf_put_u64(&payload, pf_count_get(&counters->duplicates));
    pf_put_u64(&payload, pf_count_get(&counters->given_back_pages));
    pf_put_u64(&payload, pf_count_get(&counters->service_p50_ns));
    pf_put_u64(&payload, pf_count_get(&counters->service_p99_ns));
    pf_put_u64(&payload, pf_count_get(&counters->service_p999_ns));
    pf_put_u64(&payload, pf_count_get(&counters->read_p50_ns));
    pf_put_u64(&payload, pf_count_get(&counters->request_p50_ns));
    pf_put_u64(&payload, pf_count_get(&counters->answer_p50_ns));
    pf_put_u64(&payload, pf_count_get(&counters->place_p50_ns));
    destination->told_ns = pf_now_ns();
    return pf_session_commit(&destination->session, type, &payload);
}

static int attend(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    struct pf_message message;
    int got = pf_session_poll(session, &message);
    if (got > 0)
        return pf_why(&session->why, -EPROTO, "the source spoke out of turn (%s)",
                      pf_message_name(message.type));
    if (got == 0 && pf_now_ns() - destination->told_ns > session->options->progress_ms * 1000000ull)
        got = tell_progress(destination, PF_MSG_PROGRESS);
    return got < 0 ? got : pf_session_step(session);
}

/*
 * The link broke. If the last page had come by then it broke too late to matter: threads finish
 * what is in their hands first, the placer while the fault thread still reads events.
 */
static bool has_all(struct pf_destination *destination)
{
    pf_worker_stop(&destination->placer.worker);
    pf_worker_stop(&destination->faults.worker);
    return atomic_load(&destination->arrival.missing_pages) == 0;
}

static int receive_pages(struct pf_destination *destination)
{
    while (atomic_load(&destination->arrival.missing_pages) > 0) {
        int error = attend(destination);
        if (error && !has_all(destination))
            return error;
    }
    /*
     * Nothing is missing: ranges go back to being plain memory, which wakes whoever still waits.
     * The fault thread serves until then.
     */
    pf_arrival_disarm(&destination->arrival);
    pf_arrival_set_state(&destination->arrival, PF_INCOMING_END);
    pf_memory_locks_restore(&destination->locks, &destination->job->regions);
    pf_worker_stop(&destination->faults.worker);
    pf_worker_stop(&destination->placer.worker);
    pf_count_set(&destination->job->counters.total_us,
                 (pf_now_ns() - destination->began_ns) / 1000);
    return 0;
}

static void part(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    struct pf_message message;
    /* The job has all it needs: a source that is gone by now changes nothing here. */
    if (tell_progress(destination, PF_MSG_COMPLETE) == 0 &&
        pf_session_expect(session, PF_MSG_BYE, &message) == 0)
        pf_session_linger(session);
}

/* ---- the whole
 * --------------------------------------------------------------------------------------------------------
 */

struct step {
    int (*run)(struct pf_destination *destination);
    enum pf_phase phase; /* entered before it */
};

static int run_steps(struct pf_destination *destination)
{
    static const struct step steps[] = {
        {start_listening, PF_PHASE_WAITING}, {probe, PF_PHASE_WAITING},
        {wait_for_source, PF_PHASE_WAITING}, {compare, PF_PHASE_ADVISE},
        {open_lanes, PF_PHASE_ADVISE},       {tell_arena, PF_PHASE_ADVISE},
        {take_switch, PF_PHASE_DISCARD},     {start_listen, PF_PHASE_DISCARD},
        {run_job, PF_PHASE_LISTENING},       {receive_pages, PF_PHASE_POSTCOPY},
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        pf_job_set_phase(destination->job, steps[i].phase);
        int error = steps[i].run(destination);
        if (error)
            return error;
    }
    return 0;
}

static int prepare(struct pf_destination *destination, struct ferry_job *job)
{
    struct pf_counters *counters = &job->counters;
    memset(destination, 0, sizeof *destination);
#define PF_COUNTER_RESET(name) pf_count_set(&counters->name, 0);
    PF_COUNTERS(PF_COUNTER_RESET)
#undef PF_COUNTER_RESET
    pf_count_set(&counters->total_bytes, pf_regions_bytes(&job->regions));
    destination->job = job;
    destination->session = (struct pf_session){
        .options = &job->options,
        .counters = counters,
        .cancel = &job->cancel,
        .wake_fd = -1,
    };
    destination->arrival.uffd.fd = -1;
    destination->blob = malloc(job->state.bytes ? job->state.bytes : 1);
    return destination->blob
               ? 0
               : pf_why(&destination->session.why, -ENOMEM, "no memory for the job's state");
}

/*
 * Faults first: ranges are unregistered while the fault thread still serves. Then the threads, the
 * connections, and the memory that the source could write to as long as these were open.
 */
static void close_destination(struct pf_destination *destination)
{
    struct pf_session *session = &destination->session;
    bool opened = session->device != NULL;
    pf_arrival_disarm(&destination->arrival);
    pf_memory_locks_restore(&destination->locks, &destination->job->regions);
    pf_worker_stop(&destination->faults.worker);
    pf_worker_stop(&destination->placer.worker);
    if (destination->listener)
        pf_listener_close(destination->listener);
    pf_session_hang_up(session);
    if (opened) {
        pf_fault_thread_close(&destination->faults);
        pf_placer_close(&destination->placer);
    }
    pf_session_close(session);
    pf_arrival_close(&destination->arrival);
    free(destination->blob);
}

/* One session. 0: it brought the job and all of its memory. */
static int serve(struct pf_destination *destination, struct ferry_job *job, struct pf_why *why)
{
    struct pf_session *session = &destination->session;
    int error = prepare(destination, job);
    pf_job_attach_session(job, session);
    if (!error)
        error = pf_job_place(job, true, &session->why);
    session->placement = job->placement;
    if (!error)
        error = run_steps(destination);
    if (!error)
        part(destination);
    else
        pf_session_tell_error(session, error);
    *why = session->why;
    pf_job_attach_session(job, NULL);
    if (error && destination->ran)
        pf_job_lost(job, error, PF_EXIT_ARRIVAL, why);
    close_destination(destination);
    pf_job_notify(job, FERRY_EVENT_END, NULL);
    return error;
}

/* A failure that another try can't cure: nothing could be listened on, or it was given up. */
static bool is_final(const struct ferry_job *job, const struct pf_destination *destination)
{
    return job->once || atomic_load(&job->cancel) || !destination->greeted;
}

void *pf_destination_thread(void *arg)
{
    struct ferry_job *job = arg;
    struct pf_why why = {"no memory for a migration"};
    struct pf_destination *destination = calloc(1, sizeof *destination);
    int error = destination ? 0 : -ENOMEM;
    while (destination) {
        error = serve(destination, job, &why);
        if (!error || is_final(job, destination))
            break;
        pf_error("a migration to here failed, waiting for another: %s", why.text);
    }
    free(destination);
    pf_job_set_phase(job, error ? PF_PHASE_FAILED : PF_PHASE_RUNNING);
    pf_job_end_migration(job, error, error ? PF_EXIT_FAILED : PF_EXIT_OK, &why);
    if (error)
        pf_job_arrive(job, error);
    return NULL;
}
