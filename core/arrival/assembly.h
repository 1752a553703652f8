/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A host page that is larger than a stage arrives in parts of one stage's size, and is placed once,
 * when the last is here. The parts of a page come in order, one page after the other.
 */
#ifndef PF_CORE_ARRIVAL_ASSEMBLY_H
#define PF_CORE_ARRIVAL_ASSEMBLY_H

#include "core/arrival/arrival.h"
#include "core/session/protocol.h"

struct pf_assembly {
    char *memory; /* where parts are put together; NULL if none are copied */
    size_t bytes;
    size_t part_size;
    bool begun; /* a page is incomplete: */
    unsigned region;
    size_t page;
    uint32_t next; /* the part that is due */
    bool data;     /* one of its parts was not all zero */
};

/* largest: of the host pages that may come in parts and are copied; 0: none. -ENOMEM. */
int pf_assembly_open(struct pf_assembly *assembly, size_t largest, size_t part_size);
void pf_assembly_close(struct pf_assembly *assembly);

/* Bytes of a run of parts of a page of that size. */
size_t pf_assembly_run_bytes(const struct pf_assembly *assembly, size_t page_size,
                             const struct pf_stage_run *run);

/*
 * Take a run of parts; data: theirs, unless the run is zero or the region in place. 1: the page is
 * complete, and *placing says how to place it. 0: more are to come. -EPROTO: out of sequence.
 */
int pf_assembly_take(struct pf_assembly *assembly, const struct pf_arriving *arriving,
                     const struct pf_stage_run *run, const char *data, struct pf_placing *placing);

#endif
