/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * release.h and readers.h: when memory is given up, and that nothing else is. An inproc device is
 * told that it needs pinning, so that chunks are registered one by one.
 */
#include "core/source/release.h"

#include "core/backends.h"
#include "tests/suite.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE ((size_t)PF_PAGE_SIZE)
enum { CHUNK = PF_CHUNK_BYTES / PF_PAGE_SIZE, CHUNKS = 3, PAGES = 2 * CHUNK + 100 };

struct stand {
    struct pf_device *device;
    struct pf_regions *regions;
    struct pf_region *region;
    struct pf_counters counters;
    struct pf_source_memory memory;
    struct pf_release release;
};

/* All pages written, unsent, and their chunks registered. */
static void set_up_with(struct stand *stand, unsigned flags)
{
    struct pf_device_attr attr = {
        .uri = "inproc://release", .node = PF_NODE_ANY, .transports = pf_backends};
    const struct pf_transport *transport = pf_transport_find(pf_backends, attr.uri);
    memset(stand, 0, sizeof *stand);
    CU_ASSERT_EQUAL_FATAL(pf_device_open(transport, &attr, &stand->device, NULL), 0);
    stand->device->caps.needs_pinning = true;
    struct pf_source_rails rails = {1, {stand->device}, {0}};
    stand->regions = calloc(1, sizeof *stand->regions);
    CU_ASSERT_EQUAL_FATAL(
        pf_regions_map(stand->regions, "r", PAGES * PAGE, 0, flags, &stand->region, NULL), 0);
    madvise(stand->region->addr, stand->region->bytes, MADV_NOHUGEPAGE);
    memset(stand->region->addr, 1, stand->region->bytes);
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_open(&stand->memory, &rails, stand->regions, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(pf_source_memory_scan(&stand->memory, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(pf_release_open(&stand->release, &stand->memory, &stand->counters, NULL),
                          0);
    for (size_t chunk = 0; chunk < CHUNKS; chunk++)
        pf_source_memory_prepare(&stand->memory, 0, 0, chunk * CHUNK);
}

static void set_up(struct stand *stand)
{
    set_up_with(stand, FERRY_ANON);
}

static void take_down(struct stand *stand)
{
    pf_release_close(&stand->release);
    pf_source_memory_close(&stand->memory);
    pf_regions_unmap(stand->regions);
    free(stand->regions);
    pf_device_close(stand->device);
}

static bool told(struct stand *stand, uint32_t region, uint64_t first, uint64_t chunks)
{
    uint8_t bytes[20];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_u32(&wire, region);
    pf_put_u64(&wire, first);
    pf_put_u64(&wire, chunks);
    wire = pf_wire_over(bytes, sizeof bytes);
    pf_release_take(&stand->release, &wire);
    return !wire.bad;
}

static bool is_registered(struct stand *stand, size_t chunk)
{
    size_t pages;
    return pf_source_memory_mr(&stand->memory.regions[0], 0, chunk * CHUNK, &pages) != NULL;
}

/* How many of a chunk's pages are in memory. */
static size_t resident(struct stand *stand, size_t chunk)
{
    static unsigned char in_memory[CHUNK];
    struct pf_run run = pf_region_chunk(stand->region, chunk);
    size_t count = 0;
    mincore(pf_region_page(stand->region, run.first), run.pages * PAGE, in_memory);
    for (size_t i = 0; i < run.pages; i++)
        count += in_memory[i] & 1;
    return count;
}

static void send_all(struct stand *stand)
{
    pf_pageset_remove_run(&stand->memory.regions[0].unsent, (struct pf_run){0, PAGES});
}

/* The word that it was received begins a grace period; advance() once more ends it. */
static void what_was_received_is_given_up(void)
{
    struct stand stand;
    set_up(&stand);
    send_all(&stand);
    pf_release_advance(&stand.release);
    CU_ASSERT_TRUE(told(&stand, 0, 1, 1));
    pf_release_advance(&stand.release);
    pf_release_advance(&stand.release);
    CU_ASSERT_FALSE(is_registered(&stand, 1));
    CU_ASSERT_EQUAL(resident(&stand, 1), 0);
    CU_ASSERT_EQUAL(pf_count_get(&stand.counters.released_bytes), CHUNK * PAGE);
    /* And nothing else. */
    CU_ASSERT_TRUE(is_registered(&stand, 0) && is_registered(&stand, 2));
    CU_ASSERT_EQUAL(resident(&stand, 0), CHUNK);
    CU_ASSERT_EQUAL(resident(&stand, 2), 100);
    CU_ASSERT_TRUE(told(&stand, 0, 2, 1)); /* shorter than the others */
    pf_release_advance(&stand.release);
    pf_release_advance(&stand.release);
    CU_ASSERT_EQUAL(resident(&stand, 2), 0);
    CU_ASSERT_EQUAL(resident(&stand, 0), CHUNK);
    take_down(&stand);
}

/* Unmapping alone would leave the memory with the file. */
static void file_of_our_own_is_emptied(void)
{
    struct stand stand;
    struct stat file;
    set_up_with(&stand, FERRY_SHARED);
    send_all(&stand);
    CU_ASSERT_EQUAL(fstat(stand.region->fd, &file), 0);
    CU_ASSERT(file.st_blocks * 512 >= (long)(PAGES * PAGE));
    CU_ASSERT_TRUE(told(&stand, 0, 0, 2));
    pf_release_advance(&stand.release);
    pf_release_advance(&stand.release);
    CU_ASSERT_EQUAL(fstat(stand.region->fd, &file), 0);
    CU_ASSERT(file.st_blocks * 512 >= (long)(100 * PAGE));
    CU_ASSERT(file.st_blocks * 512 < (long)(CHUNK * PAGE));
    take_down(&stand);
}

/* Somebody else may use the program's. */
static void file_of_the_program_is_only_unmapped(void)
{
    struct stand stand;
    set_up_with(&stand, FERRY_SHARED);
    send_all(&stand);
    stand.region->owned = false;
    CU_ASSERT_TRUE(told(&stand, 0, 0, 1));
    pf_release_advance(&stand.release);
    pf_release_advance(&stand.release);
    CU_ASSERT_EQUAL(pf_count_get(&stand.counters.released_bytes), CHUNK * PAGE);
    CU_ASSERT_EQUAL(*stand.region->addr, 1); /* it is still in the file */
    stand.region->owned = true;
    take_down(&stand);
}

/* An operation that had begun may read the memory until it is done, however often we look. */
static void operations_under_way_are_waited_for(void)
{
    struct stand stand;
    set_up(&stand);
    send_all(&stand);
    unsigned early = pf_source_memory_enter(&stand.memory);
    CU_ASSERT_TRUE(told(&stand, 0, 0, 1));
    for (int i = 0; i < 5; i++)
        pf_release_advance(&stand.release);
    CU_ASSERT_TRUE(is_registered(&stand, 0));
    CU_ASSERT_EQUAL(resident(&stand, 0), CHUNK);
    /* One that begins later can't have found the chunk: it is not waited for. */
    unsigned late = pf_source_memory_enter(&stand.memory);
    pf_source_memory_leave(&stand.memory, early);
    pf_release_advance(&stand.release);
    CU_ASSERT_FALSE(is_registered(&stand, 0));
    CU_ASSERT_EQUAL(resident(&stand, 0), 0);
    pf_source_memory_leave(&stand.memory, late);
    take_down(&stand);
}

/* Given back by the job at the destination: received without having been sent. */
static void what_was_never_sent_is_not_sent_later(void)
{
    struct stand stand;
    set_up(&stand);
    struct pf_pageset *unsent = &stand.memory.regions[0].unsent;
    CU_ASSERT_TRUE(told(&stand, 0, 0, 2));
    pf_release_advance(&stand.release);
    CU_ASSERT_EQUAL(pf_pageset_count(unsent), 100);
    CU_ASSERT_EQUAL(pf_pageset_next(unsent, 0).first, 2 * CHUNK);
    pf_release_advance(&stand.release);
    /* Nor is it registered again. */
    pf_source_memory_prepare(&stand.memory, 0, 0, 0);
    CU_ASSERT_FALSE(is_registered(&stand, 0));
    take_down(&stand);
}

static void nonsense_is_refused(void)
{
    struct stand stand;
    set_up(&stand);
    CU_ASSERT_FALSE(told(&stand, 1, 0, 1));
    CU_ASSERT_FALSE(told(&stand, 0, CHUNKS, 1));
    CU_ASSERT_FALSE(told(&stand, 0, 1, CHUNKS));
    CU_ASSERT_FALSE(told(&stand, 0, 1, UINT64_MAX));
    pf_release_advance(&stand.release);
    pf_release_advance(&stand.release);
    for (size_t chunk = 0; chunk < CHUNKS; chunk++)
        CU_ASSERT_TRUE(is_registered(&stand, chunk));
    pf_release_close(&stand.release);
    CU_ASSERT_FALSE(told(&stand, 0, 0, 1)); /* nobody asked for it */
    pf_release_advance(&stand.release);
    take_down(&stand);
}

/* ---- grace periods --------------------------------------------------------------------------- */

enum { THREADS = 3, THINGS = 2000 };

struct shared {
    struct pf_readers readers;
    _Atomic(int *) current; /* NULL: all are used up */
    atomic_int failures;
};

static void *use(void *arg)
{
    struct shared *shared = arg;
    int *thing;
    do {
        unsigned entered = pf_readers_enter(&shared->readers);
        thing = atomic_load(&shared->current);
        if (thing && *thing != 7)
            atomic_fetch_add(&shared->failures, 1);
        pf_readers_leave(&shared->readers, entered);
    } while (thing);
    return NULL;
}

/* What is given up was used by nobody: each thing is overwritten as soon as those before are gone.
 */
static void nobody_uses_what_was_given_up(void)
{
    static int things[THINGS];
    struct shared shared = {.failures = 0};
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THINGS; i++)
        things[i] = 7;
    atomic_store(&shared.current, &things[0]);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, use, &shared);
    for (size_t i = 0; i < THINGS; i++) {
        atomic_store(&shared.current, i + 1 < THINGS ? &things[i + 1] : NULL);
        pf_readers_turn(&shared.readers);
        while (!pf_readers_gone(&shared.readers))
            sched_yield();
        things[i] = 0;
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CU_ASSERT_EQUAL(atomic_load(&shared.failures), 0);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"what_was_received_is_given_up", what_was_received_is_given_up},
        {"file_of_our_own_is_emptied", file_of_our_own_is_emptied},
        {"file_of_the_program_is_only_unmapped", file_of_the_program_is_only_unmapped},
        {"operations_under_way_are_waited_for", operations_under_way_are_waited_for},
        {"what_was_never_sent_is_not_sent_later", what_was_never_sent_is_not_sent_later},
        {"nonsense_is_refused", nonsense_is_refused},
        {"nobody_uses_what_was_given_up", nobody_uses_what_was_given_up},
        {NULL, NULL},
    };
    return pf_suite_run("release", tests, argc > 1 ? argv[1] : NULL);
}
