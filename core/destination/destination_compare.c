/* SPDX-License-Identifier: BSD-2-Clause */
/* Do the two sides have the same job? Asked before anything moves. */
#include "core/destination/destination.h"
#include "core/memory/backing.h"

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
    uint32_t flags = pf_get_u32(&message.payload);
    destination->offers.pin = pf_get_u32(&message.payload);
    error = pf_session_check(session, &message);
    if (error)
        return error;
    if (page_size != PF_PAGE_SIZE)
        return pf_why(&session->why, -EINVAL, "the source has base pages of %u bytes", page_size);
    if (rails == 0 || rails > PF_RAILS_MAX)
        return pf_why(&session->why, -EPROTO, "the source has %u rails: no source has that many",
                      rails);
    if (destination->regions_expected > PF_REGIONS_MAX)
        return pf_why(&session->why, -EPROTO, "the source has %u regions: no job has that many",
                      destination->regions_expected);
    if (flags & ~(uint32_t)(PF_HELLO_PULL | PF_HELLO_NO_BACKGROUND | PF_HELLO_TELL_RECEIVED |
                            PF_HELLO_ROUNDS) ||
        (flags & PF_HELLO_PULL && flags & PF_HELLO_ROUNDS) ||
        destination->offers.pin > PF_PIN_STAGE)
        return pf_why(&session->why, -EPROTO, "the source wants what is not known here (flags %#x)",
                      flags);
    session->pull = flags & PF_HELLO_PULL;
    destination->background = !(flags & PF_HELLO_NO_BACKGROUND);
    destination->rounds = flags & PF_HELLO_ROUNDS;
    destination->tells_received = flags & PF_HELLO_TELL_RECEIVED;
    destination->bytes_expected = bytes;
    if (rails < session->rail_count)
        pf_session_use_rails(session, rails);
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
        return pf_why(why, -EINVAL,
                      "region \"%s\" has pages of %s at the source and of %s here: they have to be "
                      "the same",
                      theirs->name, pf_page_size_name(theirs->page_shift),
                      pf_page_size_name(ours->page_shift));
    if (pf_region_shared(ours) != pf_region_shared(theirs))
        return pf_why(why, -EINVAL, "region \"%s\" is %s at the source and %s here", theirs->name,
                      pf_region_shared(theirs) ? "shared (a memfd)" : "private",
                      pf_region_shared(ours) ? "shared (a memfd)" : "private");
    /* When a region is sent is the source's to say. */
    if ((ours->flags ^ theirs->flags) & ~(unsigned)FERRY_SEND_LATE)
        return pf_why(why, -EINVAL, "region \"%s\" has other flags at the source", theirs->name);
    if (ours->flags & FERRY_FIXED_ADDR && (uintptr_t)ours->addr != addr)
        return pf_why(why, -EINVAL, "region \"%s\" is at %#llx at the source and at %p here",
                      theirs->name, (unsigned long long)addr, (void *)ours->addr);
    return 0;
}

/* Which stretches are full there: those are worth making, and no others any more. */
static void take_full(struct pf_destination *destination, uint32_t id, struct pf_wire *payload)
{
    struct pf_pageset *full = &destination->arrival.list[id].full;
    pf_pageset_remove_run(full, (struct pf_run){0, full->pages});
    while (!payload->bad && payload->at < payload->end) {
        struct pf_run run = {.first = pf_get_u64(payload)};
        run.pages = pf_get_u64(payload);
        if (!payload->bad && !pf_arrival_note_full(&destination->arrival, id, run))
            payload->bad = true;
    }
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
    uint64_t populated = pf_get_u64(&message.payload);
    if (message.payload.bad || id != due || theirs.page_shift < PF_PAGE_SHIFT ||
        theirs.page_shift > 40)
        return pf_why(&session->why, -EPROTO, "the source sent a malformed message (region)");
    error = compare_region(destination, &theirs, id, addr);
    if (error)
        return error;
    destination->arrival.list[id].populated = populated;
    destination->arrival.list[id].late = pf_region_late(&theirs);
    take_full(destination, id, &message.payload);
    return pf_session_check(session, &message);
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

int pf_destination_compare(struct pf_destination *destination)
{
    int error = take_hello(destination);
    /* It goes on where that is of use, once that is known. */
    pf_populator_stop(&destination->populator);
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
