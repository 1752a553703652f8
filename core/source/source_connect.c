/* SPDX-License-Identifier: BSD-2-Clause */
/* The source's connections: control first, the others once the destination has accepted the job. */
#include "base/clock.h"
#include "base/log.h"
#include "core/source/source.h"
#include "pageferry.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static int connect_port(struct pf_source *source, struct pf_port *port,
                        const struct pf_endpoint_attr *attr)
{
    uint8_t greeting[PF_GREETING_BYTES];
    struct pf_greeting fields = {
        .version = PF_PROTOCOL_VERSION,
        .role = (uint8_t)port->role,
        .rail = (uint8_t)port->rail,
        .session = source->session.id,
    };
    pf_greeting_pack(&fields, greeting);
    return pf_connect(port->lane, source->session.rails[port->rail].uri, attr, greeting,
                      sizeof greeting, &port->endpoint, &source->session.why);
}

static int wait_connected(struct pf_source *source, struct pf_port *port)
{
    uint64_t deadline = pf_now_ns() + source->session.options->connect_timeout_ms * 1000000ull;
    while (!port->connected) {
        int error = pf_session_step(&source->session);
        if (error)
            return error;
        if (pf_now_ns() > deadline)
            return pf_why(&source->session.why, -ETIMEDOUT,
                          "%s did not answer within %.1f s (--connect-timeout)",
                          source->session.rails[port->rail].uri,
                          source->session.options->connect_timeout_ms / 1000.0);
    }
    return 0;
}

int pf_source_connect(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    if (getrandom(&session->id, sizeof session->id, 0) != sizeof session->id)
        return pf_why(&session->why, -errno, "no random numbers: %s", strerror(errno));
    int error = pf_session_open(session, source->job->uri, false);
    pf_job_report_rails(source->job, session);
    if (error)
        return error;
    struct pf_endpoint_attr attr =
        pf_port_attr(&session->control, PF_CHANNEL_SENDS, PF_CHANNEL_RECEIVES, PF_CHANNEL_MESSAGE);
    error = connect_port(source, &session->control, &attr);
    if (error)
        return error;
    error = pf_channel_attach(&session->channel, session->control.endpoint);
    if (error)
        return pf_why(&session->why, error, "cannot post receives for control messages: %s",
                      ferry_strerror(error));
    return wait_connected(source, &session->control);
}

static int connect_urgent(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    unsigned slots = source->responder.slots;
    /* One answer for each slot, and one more while the last is not reported done yet; trays. */
    unsigned depth = pf_session_device(session)->caps.max_depth;
    unsigned wanted = 2 * slots + source->trays;
    unsigned sends = wanted < depth ? wanted : depth;
    struct pf_endpoint_attr attr = pf_port_attr(&session->urgent, sends, slots, 32);
    int error = connect_port(source, &session->urgent, &attr);
    if (!error)
        error = pf_responder_post_receives(&source->responder);
    return error ? error : wait_connected(source, &session->urgent);
}

static int connect_rail(struct pf_source *source, unsigned index)
{
    struct pf_rail *rail = &source->session.rails[index];
    struct pf_mover *mover = &source->movers[index];
    unsigned depth = rail->device->caps.max_depth;
    unsigned wanted = mover->stages * PF_STAGE_PARTS_MAX;
    struct pf_endpoint_attr attr =
        pf_port_attr(&rail->bulk, wanted < depth ? wanted : depth, mover->stages, 32);
    if (attr.send_depth > 256)
        attr.send_depth = 256;
    int error = connect_port(source, &rail->bulk, &attr);
    if (!error)
        error = pf_mover_post_receives(mover);
    return error ? error : wait_connected(source, &rail->bulk);
}

/* Pull mode: the destination reads, and may knock. */
static int connect_pulled(struct pf_source *source, struct pf_port *port,
                          struct pf_attendant *attendant, unsigned reads)
{
    int error =
        pf_attendants_needed(&source->session) ? pf_attendant_open(attendant, port, reads) : 0;
    unsigned receives = attendant->receive_count ? attendant->receive_count : 1;
    struct pf_endpoint_attr attr = pf_port_attr(port, 1, receives, sizeof attendant->bytes);
    if (!error)
        error = connect_port(source, port, &attr);
    if (!error)
        error = pf_attendant_post_receives(attendant);
    return error ? error : wait_connected(source, port);
}

static int open_pulled(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    unsigned slots = source->responder.slots;
    int error = connect_pulled(source, &session->urgent, &source->attendants[0], slots);
    for (unsigned i = 0; i < session->rail_count && !error; i++)
        error = connect_pulled(source, &session->rails[i].bulk, &source->attendants[1 + i],
                               source->stages);
    return error;
}

static int take_rails(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    unsigned rails = source->rails_accepted;
    if (session->pull && (source->responder.slots > PF_SLOTS_MAX || source->stages > PF_PULLS_MAX))
        return pf_why(&session->why, -EPROTO, "the destination wants %u and %u reads under way",
                      source->responder.slots, source->stages);
    if (rails == 0 || rails > session->rail_count)
        return pf_why(&session->why, -EPROTO,
                      "the destination offers %u rails of %u: no such thing", rails,
                      session->rail_count);
    if (rails < session->rail_count)
        pf_warn("the destination has %u of the %u rails that were asked for", rails,
                session->rail_count);
    pf_session_use_rails(session, rails);
    pf_job_report_rails(source->job, session);
    return 0;
}

/* The destination decides how many there are of everything: it is its memory. */
static int check_offer(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    int error = take_rails(source);
    if (error || session->pull)
        return error;
    unsigned slots = source->responder.slots;
    unsigned stages = source->stages;
    uint64_t stage_size = source->stage_size;
    if (slots == 0 || slots > PF_SLOTS_MAX || stages == 0 || stages > PF_STAGES_MAX ||
        stage_size < PF_PAGE_SIZE || stage_size > (1 << 26) || stage_size % PF_PAGE_SIZE)
        return pf_why(&session->why, -EPROTO,
                      "the destination offers %u slots and %u stages of %llu bytes: no such thing",
                      slots, stages, (unsigned long long)stage_size);
    if (stages * stage_size > PF_STAGE_MEMORY_MAX / source->rails_accepted)
        return pf_why(&session->why, -EPROTO,
                      "the destination offers %u stages of %llu bytes on each of its rails (%u): "
                      "more than %d MiB",
                      stages, (unsigned long long)stage_size, source->rails_accepted,
                      PF_STAGE_MEMORY_MAX >> 20);
    if (source->trays > PF_TRAYS_MAX || source->tray_size > PF_TRAY_SIZE_MAX ||
        source->tray_size % PF_PAGE_SIZE || (source->trays > 0 && source->tray_size == 0))
        return pf_why(&session->why, -EPROTO,
                      "the destination offers %u trays of %llu bytes: no such thing", source->trays,
                      (unsigned long long)source->tray_size);
    return 0;
}

int pf_source_open_lanes(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    int error = check_offer(source);
    if (error || session->pull)
        return error ? error : open_pulled(source);
    error = pf_responder_open(&source->responder, session, source->responder.slots);
    if (!error)
        error = pf_prefetch_open(&source->responder.prefetch, session, &source->responder.worker,
                                 source->trays, source->tray_size);
    for (unsigned i = 0; i < session->rail_count && !error; i++)
        error = pf_mover_open(&source->movers[i], session, i, &source->responder, source->stages,
                              source->stage_size);
    if (!error)
        error = connect_urgent(source);
    for (unsigned i = 0; i < session->rail_count && !error; i++)
        error = connect_rail(source, i);
    return error;
}

static int aim_mover(struct pf_source *source, unsigned rail, struct pf_wire *payload)
{
    struct pf_rkey key = {0};
    uint8_t packed[PF_RKEY_BYTES];
    uint64_t stages_addr = pf_get_u64(payload);
    pf_get_bytes(payload, packed, sizeof packed);
    int error = pf_rkey_unpack(source->session.rails[rail].bulk.endpoint, packed, &key);
    pf_mover_aim(&source->movers[rail], stages_addr, &key, source->landings);
    return error;
}

static int aim_prefetch(struct pf_source *source, struct pf_wire *payload)
{
    struct pf_rkey key = {0};
    uint8_t packed[PF_RKEY_BYTES];
    uint64_t trays_addr = pf_get_u64(payload);
    pf_get_bytes(payload, packed, sizeof packed);
    int error =
        source->trays > 0 ? pf_rkey_unpack(source->session.urgent.endpoint, packed, &key) : 0;
    pf_prefetch_aim(&source->responder.prefetch, trays_addr, &key);
    return error;
}

/* Landings as long as they come; what follows them is the arena. */
static int take_landings(struct pf_source *source, struct pf_message *arena)
{
    struct pf_session *session = &source->session;
    unsigned count = source->job->regions.count;
    source->landings = calloc(count ? count : 1, sizeof *source->landings);
    if (!source->landings)
        return pf_why(&session->why, -ENOMEM, "no memory for the region table");
    int failed = pf_windows_init(&source->rounds.windows, &source->job->regions, &session->why);
    if (failed)
        return failed;
    for (;;) {
        int error = pf_session_next(session, arena);
        if (!error && arena->type == PF_MSG_LANDING)
            error = pf_landing_take(source->landings, count, session, arena);
        else if (!error && arena->type == PF_MSG_WINDOW && source->session.rounds)
            error = pf_windows_take(&source->rounds.windows, &source->job->regions, session, arena);
        else if (!error && arena->type != PF_MSG_ARENA)
            error = pf_why(&session->why, -EPROTO, "the peer sent %s where %s was due",
                           pf_message_name(arena->type), pf_message_name(PF_MSG_ARENA));
        if (error || arena->type == PF_MSG_ARENA)
            return error;
    }
}

static int prepare_rounds(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    int error = 0;
    /* Also where pages go as they are: that may be changed while rounds run. */
    if (source->session.rounds)
        error = pf_encoder_open(&source->encoder, &source->job->knobs, session->counters,
                                &session->why);
    for (unsigned i = 0; i < session->rail_count && !error; i++) {
        pf_round_sender_init(&source->movers[i], &source->rounds.windows);
        if (source->session.rounds)
            error = pf_round_packing_open(&source->movers[i], &source->encoder);
    }
    return error;
}

/* The largest page that goes to a slot. */
static size_t slot_needed(const struct pf_source *source)
{
    size_t needed = PF_PAGE_SIZE;
    for (unsigned i = 0; i < source->job->regions.count; i++) {
        size_t page_size = pf_region_page_size(&source->job->regions.list[i]);
        if (!source->landings[i].in_place && page_size > needed)
            needed = page_size;
    }
    return needed;
}

int pf_source_take_aim(struct pf_source *source)
{
    struct pf_session *session = &source->session;
    struct pf_message message;
    struct pf_rkey key = {0};
    uint8_t packed[PF_RKEY_BYTES];
    if (session->pull)
        return 0;
    int error = take_landings(source, &message);
    if (error)
        return error;
    error = prepare_rounds(source);
    if (error)
        return error;
    uint64_t slots_addr = pf_get_u64(&message.payload);
    uint32_t slot_size = pf_get_u32(&message.payload);
    pf_get_bytes(&message.payload, packed, sizeof packed);
    error = pf_rkey_unpack(session->urgent.endpoint, packed, &key);
    pf_responder_aim(&source->responder, slots_addr, &key, slot_size, source->landings);
    for (unsigned i = 0; i < session->rail_count && !error; i++)
        error = aim_mover(source, i, &message.payload);
    if (!error)
        error = aim_prefetch(source, &message.payload);
    if (error || slot_size < slot_needed(source))
        return pf_why(&session->why, -EPROTO, "the destination sent unusable keys");
    return pf_session_check(session, &message);
}
