/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/touch.h"

#include <stdlib.h>

size_t *pf_touch_order(size_t pages, uint64_t seed)
{
    size_t *order = malloc(pages * sizeof *order);
    if (!order)
        return NULL;
    for (size_t i = 0; i < pages; i++) {
        /* Inside-out shuffle (Fisher, Yates). */
        seed = pf_mix(seed);
        size_t j = seed % (i + 1);
        if (j != i)
            order[i] = order[j];
        order[j] = i;
    }
    return order;
}
