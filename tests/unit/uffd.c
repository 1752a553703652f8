/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/memory/uffd.h"

#include "tests/suite.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 8 };
#define PAGE ((size_t)4096)

static struct pf_uffd uffd; /* opened by main; each test has a range of its own */

static char *armed_range(void)
{
    bool zeropage = false;
    char *range =
        mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CU_ASSERT_PTR_NOT_EQUAL_FATAL(range, MAP_FAILED);
    CU_ASSERT_EQUAL_FATAL(pf_uffd_register(&uffd, range, PAGES * PAGE, false, &zeropage), 0);
    CU_ASSERT_TRUE(zeropage);
    return range;
}

static char *data(void)
{
    char *bytes = malloc(PAGES * PAGE);
    for (size_t i = 0; i < PAGES * PAGE; i++)
        bytes[i] = (char)(1 + i / PAGE);
    return bytes;
}

static void probes(void)
{
    struct pf_why why = {""};
    CU_ASSERT_EQUAL(pf_uffd_probe(&uffd, &why), 0);
    CU_ASSERT_STRING_EQUAL(why.text, "");
    struct pf_uffd none = {.fd = -1};
    CU_ASSERT(pf_uffd_probe(&none, &why) < 0);
    CU_ASSERT(strlen(why.text) > 10);
}

static void gets_only_what_it_wants(void)
{
    struct pf_uffd plain;
    CU_ASSERT_EQUAL(pf_uffd_open(&plain, 0, NULL), 0);
    CU_ASSERT_EQUAL(plain.features, 0);
    struct pollfd polled = {.fd = plain.fd, .events = POLLIN};
    CU_ASSERT_EQUAL(poll(&polled, 1, 0), 0); /* a blocking descriptor would report an error */
    pf_uffd_close(&plain);
    CU_ASSERT_EQUAL(plain.fd, -1);
}

/* A page that exists in the middle of a run: EEXIST there, and the rest can follow. */
static void copy_stops_at_what_exists(void)
{
    char *range = armed_range();
    char *from = data();
    size_t done;
    CU_ASSERT_EQUAL(pf_uffd_zero(&uffd, range + 3 * PAGE, PAGE, &done), PF_PLACED_ALL);
    CU_ASSERT_EQUAL(pf_uffd_copy(&uffd, range, from, PAGES * PAGE, &done), PF_PLACED_EXISTS);
    CU_ASSERT_EQUAL(done, 3 * PAGE);
    CU_ASSERT_EQUAL(
        pf_uffd_copy(&uffd, range + 4 * PAGE, from + 4 * PAGE, (PAGES - 4) * PAGE, &done),
        PF_PLACED_ALL);
    CU_ASSERT_EQUAL(done, (PAGES - 4) * PAGE);
    for (int i = 0; i < PAGES; i++)
        CU_ASSERT_EQUAL(range[i * PAGE + 5], i == 3 ? 0 : i + 1);
    munmap(range, PAGES * PAGE);
    free(from);
}

static void zero_stops_at_what_exists(void)
{
    char *range = armed_range();
    char *from = data();
    size_t done;
    CU_ASSERT_EQUAL(pf_uffd_copy(&uffd, range + PAGE, from, PAGE, &done), PF_PLACED_ALL);
    CU_ASSERT_EQUAL(pf_uffd_zero(&uffd, range, 4 * PAGE, &done), PF_PLACED_EXISTS);
    CU_ASSERT_EQUAL(done, PAGE);
    CU_ASSERT_EQUAL(range[PAGE], 1);
    munmap(range, PAGES * PAGE);
    free(from);
}

static void unmapped_memory_is_told(void)
{
    char *range = armed_range();
    char *from = data();
    size_t done;
    munmap(range + 2 * PAGE, (PAGES - 2) * PAGE);
    int result = pf_uffd_copy(&uffd, range, from, 4 * PAGE, &done);
    CU_ASSERT_EQUAL(result, PF_PLACED_UNMAPPED);
    CU_ASSERT(done == 0 || done == 2 * PAGE);
    CU_ASSERT_EQUAL(pf_uffd_zero(&uffd, range + 4 * PAGE, PAGE, &done), PF_PLACED_UNMAPPED);
    munmap(range, 2 * PAGE);
    free(from);
}

static void bad_arguments_are_failures(void)
{
    char *range = armed_range();
    size_t done;
    CU_ASSERT_EQUAL(pf_uffd_copy(&uffd, range + 1, range, PAGE, &done), -EINVAL);
    CU_ASSERT(pf_uffd_unregister(&uffd, range + 1, PAGE) < 0);
    munmap(range, PAGES * PAGE);
}

static void *read_byte(void *at)
{
    return *(volatile char *)at == 1 ? at : NULL;
}

static bool fault_waits(void)
{
    struct uffd_msg message;
    struct pollfd polled = {.fd = uffd.fd, .events = POLLIN};
    CU_ASSERT_EQUAL(poll(&polled, 1, 30000), 1);
    return read(uffd.fd, &message, sizeof message) == sizeof message &&
           message.event == UFFD_EVENT_PAGEFAULT;
}

/* Woken without a page, the thread faults once more. */
static void wake_lets_a_thread_look_again(void)
{
    char *range = armed_range();
    char *from = data();
    pthread_t thread;
    void *seen;
    size_t done;
    pthread_create(&thread, NULL, read_byte, range);
    CU_ASSERT_TRUE(fault_waits());
    CU_ASSERT_EQUAL(pf_uffd_wake(&uffd, range, PAGE), 0);
    CU_ASSERT_TRUE(fault_waits());
    CU_ASSERT_EQUAL(pf_uffd_copy(&uffd, range, from, PAGE, &done), PF_PLACED_ALL);
    pthread_join(thread, &seen);
    CU_ASSERT_PTR_EQUAL(seen, range);
    munmap(range, PAGES * PAGE);
    free(from);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"probes", probes},
        {"gets_only_what_it_wants", gets_only_what_it_wants},
        {"copy_stops_at_what_exists", copy_stops_at_what_exists},
        {"zero_stops_at_what_exists", zero_stops_at_what_exists},
        {"unmapped_memory_is_told", unmapped_memory_is_told},
        {"bad_arguments_are_failures", bad_arguments_are_failures},
        {"wake_lets_a_thread_look_again", wake_lets_a_thread_look_again},
        {NULL, NULL},
    };
    struct pf_why why = {""};
    if (pf_uffd_open(&uffd, 0, &why)) {
        printf("skipped: %s\n", why.text);
        return PF_TEST_SKIPPED;
    }
    return pf_suite_run("uffd", tests, argc > 1 ? argv[1] : NULL);
}
