/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/memory/locked.h"

#include "numa/pages.h"

#include <sys/mman.h>
#include <unistd.h>

void *pf_map_near(size_t bytes, int node)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    pf_pages_prefer(memory, bytes, node);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t at = 0; at < bytes; at += page)
        ((volatile char *)memory)[at] = 0;
    return memory;
}

void *pf_map_locked(size_t bytes, int node)
{
    void *memory = pf_map_near(bytes, node);
    if (memory) {
        int error = mlock(memory, bytes);
        (void)error;
    }
    return memory;
}
