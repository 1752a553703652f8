/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arrival/landing.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/memory/backing.h"

#include <string.h>
#include <sys/mman.h>

enum { FILL_BYTES = 32 << 20 };

#define FILL_NS 1000000000ull

/* ---- may it be ------------------------------------------------------------------------------- */

static bool any_pins(const struct pf_session *session)
{
    for (unsigned i = 0; i < session->rail_count; i++)
        if (session->rails[i].device->caps.needs_pinning)
            return true;
    return false;
}

/* NULL, or why a shared region can't be placed in place. */
static const char *obstacle(const struct pf_arriving *arriving, const struct pf_uffd *uffd,
                            const struct pf_session *session, bool watched)
{
    if (watched)
        return "processes watch the job's memory that have no minor faults";
    uint64_t needed =
        pf_region_huge(arriving->region) ? UFFD_FEATURE_MINOR_HUGETLBFS : UFFD_FEATURE_MINOR_SHMEM;
    if (!(uffd->features & needed))
        return "this kernel has no minor faults for it";
    for (unsigned i = 0; i < session->rail_count; i++) {
        const struct pf_caps *caps = &session->rails[i].device->caps;
        /* Who reads by himself knows when a page is there. */
        if (!caps->ordered_writes && !session->pull)
            return "the transport does not keep the order of writes";
        if (arriving->region->bytes > caps->max_registration)
            return "it is larger than the device can register";
    }
    return NULL;
}

/* A page under all of the file costs memory that a sparse region would not take. */
static bool is_dense(const struct pf_arriving *arriving)
{
    return arriving->populated > arriving->region->bytes / 2;
}

/* Registering where that pins puts a page under all of the file: not for a sparse one. */
static bool worth_it(const struct pf_arriving *arriving, const struct pf_session *session)
{
    return !any_pins(session) || is_dense(arriving);
}

/* ---- the second mapping ---------------------------------------------------------------------- */

static void close_one(struct pf_arriving *arriving)
{
    for (unsigned i = 0; i < PF_RAILS_MAX; i++) {
        if (arriving->alias_mrs[i])
            pf_mr_dereg(arriving->alias_mrs[i]);
        arriving->alias_mrs[i] = NULL;
    }
    if (arriving->alias)
        munmap(arriving->alias, arriving->region->bytes);
    arriving->alias = NULL;
    arriving->in_place = arriving->filled = false;
}

static int map_alias(struct pf_arriving *arriving, struct pf_why *why)
{
    const struct pf_region *region = arriving->region;
    int error = pf_arriving_keeps(arriving) ? 0 : pf_backing_empty_file(region, why);
    if (error)
        return error;
    arriving->alias = pf_backing_map_again(region);
    if (!arriving->alias)
        return pf_why(why, -errno, "region \"%s\" cannot be mapped a second time: %s", region->name,
                      strerror(errno));
    /* The alias is the engine's alone; a huge page under it would fill holes beside the page. */
    madvise(arriving->alias, region->bytes, MADV_DONTFORK);
    madvise(arriving->alias, region->bytes, MADV_DONTDUMP);
    madvise(arriving->alias, region->bytes, MADV_NOHUGEPAGE);
    return 0;
}

/*
 * Put a page under all of the file while the job still runs at the source. Else it happens on the
 * way of each write, and clearing a page takes about as long as sending it. Bounded, as the source
 * waits for us: what is left then is filled as it is written.
 */
static bool fill_ahead(const struct pf_arriving *arriving)
{
    uint64_t start = pf_now_ns();
    size_t bytes = arriving->region->bytes;
    for (size_t at = 0; at < bytes; at += FILL_BYTES) {
        size_t left = bytes - at;
        if (pf_now_ns() - start > FILL_NS ||
            madvise(arriving->alias + at, left < FILL_BYTES ? left : FILL_BYTES,
                    MADV_POPULATE_WRITE))
            return false;
    }
    return true;
}

static int open_one(struct pf_arriving *arriving, const struct pf_session *session,
                    struct pf_why *why)
{
    int error = map_alias(arriving, why);
    for (unsigned i = 0; i < session->rail_count && !error; i++)
        error = pf_mr_reg(session->rails[i].device, arriving->alias, arriving->region->bytes,
                          session->pull ? PF_LOCAL_WRITE : PF_REMOTE_WRITE, &arriving->alias_mrs[i],
                          why);
    if (error) {
        close_one(arriving);
        return error;
    }
    arriving->in_place = true;
    /* Huge pages are reserved for the region either way. */
    bool may_fill = pf_region_huge(arriving->region) || is_dense(arriving);
    arriving->filled = any_pins(session) || (may_fill && fill_ahead(arriving));
    return 0;
}

static int choose(struct pf_arrival *arrival, struct pf_arriving *arriving,
                  struct pf_session *session, bool watched)
{
    const struct pf_region *region = arriving->region;
    unsigned place = session->options->place;
    struct pf_why why = {""};
    if (!pf_region_shared(region) || place == PF_PLACE_COPY)
        return 0;
    const char *why_not = obstacle(arriving, &arrival->uffd, session, watched);
    if (why_not && place == PF_PLACE_CONTINUE)
        return pf_why(&session->why, -ENOTSUP,
                      "region \"%s\" can't be placed by CONTINUE: %s (--place auto copies instead)",
                      region->name, why_not);
    if (why_not || (place == PF_PLACE_AUTO && !worth_it(arriving, session)))
        return 0;
    int error = open_one(arriving, session, &why);
    if (error && place == PF_PLACE_CONTINUE)
        return pf_why(&session->why, error, "region \"%s\" can't be placed by CONTINUE: %s",
                      region->name, why.text);
    if (error)
        pf_warn("region \"%s\" is placed by copy: %s", region->name, why.text);
    return 0;
}

int pf_landings_open(struct pf_arrival *arrival, struct pf_session *session, bool watched)
{
    int error = 0;
    for (unsigned i = 0; i < arrival->count && !error; i++)
        error = choose(arrival, &arrival->list[i], session, watched);
    return error;
}

void pf_landings_close(struct pf_arrival *arrival)
{
    for (unsigned i = 0; i < arrival->count; i++)
        close_one(&arrival->list[i]);
}

/* ---- telling --------------------------------------------------------------------------------- */

static int tell_one(const struct pf_arriving *arriving, unsigned id, struct pf_session *session)
{
    struct pf_wire payload;
    uint8_t key[PF_RKEY_BYTES];
    int error = pf_session_begin(session, &payload);
    if (error)
        return error;
    pf_put_u32(&payload, id);
    pf_put_u64(&payload, (uintptr_t)arriving->alias);
    error = pf_rkey_pack(arriving->alias_mrs[0], session->urgent.endpoint, key);
    pf_put_bytes(&payload, key, sizeof key);
    for (unsigned i = 0; i < session->rail_count && !error; i++) {
        error = pf_rkey_pack(arriving->alias_mrs[i], session->rails[i].bulk.endpoint, key);
        pf_put_bytes(&payload, key, sizeof key);
    }
    return error ? error : pf_session_commit(session, PF_MSG_LANDING, &payload);
}

int pf_landings_tell(struct pf_arrival *arrival, struct pf_session *session)
{
    int error = 0;
    for (unsigned i = 0; i < arrival->count && !error; i++)
        if (arrival->list[i].in_place)
            error = tell_one(&arrival->list[i], i, session);
    return error;
}

int pf_landing_take(struct pf_landing *landings, unsigned count, struct pf_session *session,
                    struct pf_message *message)
{
    uint8_t key[PF_RKEY_BYTES];
    uint32_t id = pf_get_u32(&message->payload);
    /* What comes behind the pages must be seen behind them. */
    if (id >= count || landings[id].in_place || !pf_session_device(session)->caps.ordered_writes)
        return pf_why(&session->why, -EPROTO, "the destination offers a landing that can't be");
    struct pf_landing *landing = &landings[id];
    landing->addr = pf_get_u64(&message->payload);
    pf_get_bytes(&message->payload, key, sizeof key);
    int error = pf_rkey_unpack(session->urgent.endpoint, key, &landing->urgent);
    for (unsigned i = 0; i < session->rail_count && !error; i++) {
        pf_get_bytes(&message->payload, key, sizeof key);
        error = pf_rkey_unpack(session->rails[i].bulk.endpoint, key, &landing->bulk[i]);
    }
    if (error)
        return pf_why(&session->why, -EPROTO, "the destination sent unusable keys");
    landing->in_place = true;
    return pf_session_check(session, message);
}
