/* SPDX-License-Identifier: BSD-2-Clause */
/* uffd.h: what a thread meets that faults while the range is taken back. */
#include "core/memory/uffd.h"

#include "base/clock.h"
#include "core/memory/region.h"
#include "tests/suite.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum { ROUNDS = 2000 };
#define PATIENCE_NS (10 * 1000000000ull)

struct scene {
    struct pf_uffd uffd;
    char *page;
    atomic_int round, read; /* the round that may be read, the last one that was */
};

static void *read_each_round(void *arg)
{
    struct scene *scene = arg;
    for (int round = 1; round <= ROUNDS; round++) {
        while (atomic_load(&scene->round) < round)
            sched_yield();
        (void)*(volatile char *)scene->page;
        atomic_store(&scene->read, round);
    }
    return NULL;
}

/* Wait until the reader is through; false if it hangs. It is helped on then. */
static bool is_read(struct scene *scene, int round)
{
    uint64_t until = pf_now_ns() + PATIENCE_NS;
    bool hangs = false;
    while (atomic_load(&scene->read) < round) {
        sched_yield();
        if (pf_now_ns() > until) {
            hangs = true;
            pf_uffd_wake(&scene->uffd, scene->page, PF_PAGE_SIZE);
        }
    }
    return !hangs;
}

/* The delay varies, so that some rounds fault before, some in between, some after. */
static bool play_round(struct scene *scene, int round)
{
    bool zeropage;
    madvise(scene->page, PF_PAGE_SIZE, MADV_DONTNEED);
    CU_ASSERT_EQUAL_FATAL(
        pf_uffd_register(&scene->uffd, scene->page, PF_PAGE_SIZE, false, &zeropage), 0);
    atomic_store(&scene->round, round);
    uint64_t until = pf_now_ns() + (uint64_t)(round % 20) * 200;
    while (pf_now_ns() < until)
        ;
    CU_ASSERT_EQUAL(pf_uffd_unregister(&scene->uffd, scene->page, PF_PAGE_SIZE), 0);
    return is_read(scene, round);
}

static void nobody_waits_for_plain_memory(void)
{
    struct scene scene = {.round = 0};
    struct pf_why why;
    pthread_t reader;
    CU_ASSERT_EQUAL_FATAL(pf_uffd_open(&scene.uffd, 0, &why), 0);
    scene.page =
        mmap(NULL, PF_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&reader, NULL, read_each_round, &scene), 0);
    bool read = true;
    for (int round = 1; round <= ROUNDS && read; round++)
        CU_ASSERT_TRUE(read = play_round(&scene, round));
    atomic_store(&scene.round, ROUNDS);
    pthread_join(reader, NULL);
    munmap(scene.page, PF_PAGE_SIZE);
    pf_uffd_close(&scene.uffd);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"nobody_waits_for_plain_memory", nobody_waits_for_plain_memory},
        {NULL, NULL},
    };
    return pf_suite_run("uffd_unregister", tests, argc > 1 ? argv[1] : NULL);
}
