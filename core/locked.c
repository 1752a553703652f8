/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/locked.h"

#include <sys/mman.h>

void *pf_map_locked(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    int error = mlock(memory, bytes);
    (void)error;
    return memory;
}
