/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arrival/apply.h"

#include <errno.h>
#include <string.h>

/* The bytes of a region that a run is about. False if it isn't in the region. */
static bool locate(const struct pf_region *region, const struct pf_stage_run *run,
                   size_t stage_size, size_t *at, size_t *bytes)
{
    size_t pages = pf_region_pages(region);
    size_t page_size = pf_region_page_size(region);
    size_t begin = (size_t)run->part * stage_size;
    if (run->pages == 0 || run->first >= pages)
        return false;
    *at = (size_t)run->first << region->page_shift;
    *bytes = (size_t)run->pages << region->page_shift;
    if (!run->in_parts)
        return run->pages <= pages - run->first;
    if (begin >= page_size)
        return false;
    *at += begin;
    *bytes = page_size - begin;
    size_t parts = (*bytes + stage_size - 1) / stage_size;
    if (run->pages < parts)
        *bytes = run->pages * stage_size;
    return run->pages <= parts;
}

static int64_t apply_encoded(struct pf_arrival *arrival, struct pf_unpacker *unpacker,
                             const struct pf_region *region, const struct pf_stage_run *run,
                             const char *data, size_t left)
{
    struct pf_encoded_run encoded = pf_encoded_from_run(run);
    int64_t taken = pf_unpack(unpacker, region, &encoded, data, left);
    if (taken < 0)
        return taken;
    bool zero = encoded.encoding == PF_ENCODING_ZEROS;
    uint64_t bytes = (uint64_t)encoded.pages * PF_ENCODED_PAGE;
    if (zero) {
        pf_count(&arrival->counters->zero_pages, bytes >> region->page_shift);
    } else {
        pf_count(&arrival->counters->normal_pages, bytes >> region->page_shift);
        pf_count(&arrival->counters->received_bytes, bytes);
    }
    return taken;
}

int64_t pf_apply_run(struct pf_arrival *arrival, struct pf_unpacker *unpacker,
                     const struct pf_stage_run *run, size_t stage_size, const char *data,
                     size_t left)
{
    size_t at;
    size_t bytes;
    const struct pf_region *region =
        run->region < arrival->count ? arrival->list[run->region].region : NULL;
    if (!arrival->prepared || !region || region->foreign)
        return -EPROTO;
    if (pf_run_is_encoded(run))
        return apply_encoded(arrival, unpacker, region, run, data, left);
    if (!locate(region, run, stage_size, &at, &bytes) || (!run->zero && bytes > left))
        return -EPROTO;
    pf_count(run->zero ? &arrival->counters->zero_pages : &arrival->counters->normal_pages,
             run->in_parts ? 1 : run->pages);
    if (run->zero) {
        memset(region->addr + at, 0, bytes);
        return 0;
    }
    memcpy(region->addr + at, data, bytes);
    pf_count(&arrival->counters->received_bytes, bytes);
    return (int64_t)bytes;
}
