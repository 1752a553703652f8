/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arrival/assembly.h"

#include "core/memory/locked.h"
#include "numa/topology.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int pf_assembly_open(struct pf_assembly *assembly, size_t largest, size_t part_size)
{
    *assembly = (struct pf_assembly){.part_size = part_size};
    if (largest <= part_size)
        return 0;
    assembly->memory = pf_map_locked(largest, PF_NODE_UNKNOWN);
    assembly->bytes = largest;
    return assembly->memory ? 0 : -ENOMEM;
}

void pf_assembly_close(struct pf_assembly *assembly)
{
    if (assembly->memory)
        munmap(assembly->memory, assembly->bytes);
    assembly->memory = NULL;
}

static size_t part_at(const struct pf_assembly *assembly, size_t page_size, uint64_t part)
{
    return part * assembly->part_size < page_size ? (size_t)(part * assembly->part_size)
                                                  : page_size;
}

size_t pf_assembly_run_bytes(const struct pf_assembly *assembly, size_t page_size,
                             const struct pf_stage_run *run)
{
    return part_at(assembly, page_size, (uint64_t)run->part + run->pages) -
           part_at(assembly, page_size, run->part);
}

/* The first part begins a page; every other continues the one that is incomplete. */
static bool in_sequence(const struct pf_assembly *assembly, size_t page_size,
                        const struct pf_stage_run *run)
{
    size_t parts = (page_size + assembly->part_size - 1) / assembly->part_size;
    if (parts < 2 || run->pages == 0 || run->part >= parts || run->pages > parts - run->part)
        return false;
    if (!assembly->begun)
        return run->part == 0;
    return run->region == assembly->region && run->first == assembly->page &&
           run->part == assembly->next;
}

/* Zeros are written only behind or before data: a page of nothing else needs none. */
static void put_together(struct pf_assembly *assembly, size_t page_size,
                         const struct pf_stage_run *run, const char *data)
{
    size_t at = part_at(assembly, page_size, run->part);
    size_t bytes = pf_assembly_run_bytes(assembly, page_size, run);
    if (!run->zero && !assembly->data)
        memset(assembly->memory, 0, at);
    if (!run->zero)
        memcpy(assembly->memory + at, data, bytes);
    else if (assembly->data)
        memset(assembly->memory + at, 0, bytes);
}

/* The others' are there already, and so are zeros, unless something came before the switch. */
static void clear_in_place(const struct pf_assembly *assembly, const struct pf_arriving *arriving,
                           const struct pf_stage_run *run)
{
    size_t page_size = pf_region_page_size(arriving->region);
    if (run->zero && arriving->stale)
        memset(arriving->alias + run->first * page_size + part_at(assembly, page_size, run->part),
               0, pf_assembly_run_bytes(assembly, page_size, run));
}

int pf_assembly_take(struct pf_assembly *assembly, const struct pf_arriving *arriving,
                     const struct pf_stage_run *run, const char *data, struct pf_placing *placing)
{
    size_t page_size = pf_region_page_size(arriving->region);
    if (!in_sequence(assembly, page_size, run))
        return -EPROTO;
    if (!assembly->begun)
        assembly->data = false;
    if (!arriving->in_place)
        put_together(assembly, page_size, run, data);
    else
        clear_in_place(assembly, arriving, run);
    assembly->data |= !run->zero;
    assembly->begun = true;
    assembly->region = run->region;
    assembly->page = (size_t)run->first;
    assembly->next = run->part + run->pages;
    if (part_at(assembly, page_size, assembly->next) < page_size)
        return 0;
    assembly->begun = false;
    const char *whole = arriving->in_place ? arriving->alias : assembly->memory;
    *placing = (struct pf_placing){
        .region = run->region,
        .run = {(size_t)run->first, 1},
        .from = assembly->data ? whole : NULL,
    };
    return 1;
}
