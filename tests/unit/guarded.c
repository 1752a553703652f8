/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guarded reads, and that all other faults end where they would have ended without: each in a
 * child, with a handler of its own or none.
 */
#include "core/memory/guarded.h"

#include "tests/suite.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 16 };

#define BYTES ((size_t)PAGES * PAGE)

static char *map(int file)
{
    char *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
                        file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, file, 0);
    CU_ASSERT_FATAL(memory != MAP_FAILED);
    memset(memory, 0, BYTES);
    return memory;
}

/* ---- reads ----------------------------------------------------------------------------------- */

static void what_is_there_is_read(void)
{
    char *memory = map(-1);
    char *copy = malloc(BYTES);
    bool zero = false;
    memory[BYTES - 1] = 'z';
    CU_ASSERT_EQUAL(pf_guarded_begin(NULL), 0);
    CU_ASSERT_EQUAL(pf_guarded_copy(copy, memory, BYTES), 0);
    CU_ASSERT_EQUAL(memcmp(copy, memory, BYTES), 0);
    CU_ASSERT_EQUAL(pf_guarded_same_kind(memory, PAGE, PAGES, &zero), PAGES - 1);
    CU_ASSERT_TRUE(zero);
    pf_guarded_end();
    free(copy);
    munmap(memory, BYTES);
}

/* Of each page in turn: it may be the first that is touched, or the last. */
static void what_is_not_there_is_said(void)
{
    char *memory = map(-1);
    char *copy = malloc(BYTES);
    bool zero;
    CU_ASSERT_EQUAL(pf_guarded_begin(NULL), 0);
    for (size_t page = PAGES; page-- > 0;) {
        if (page % 2)
            munmap(memory + page * PAGE, PAGE);
        else
            mprotect(memory + page * PAGE, PAGE, PROT_NONE);
        CU_ASSERT_EQUAL(pf_guarded_copy(copy, memory, BYTES), -EFAULT);
        CU_ASSERT_EQUAL(pf_guarded_same_kind(memory, PAGE, PAGES, &zero), 0);
        CU_ASSERT_EQUAL(pf_guarded_copy(copy, memory, page * PAGE), 0);
    }
    pf_guarded_end();
    free(copy);
    munmap(memory, BYTES);
}

static void a_file_may_be_cut_off(void)
{
    int file = memfd_create("file", MFD_CLOEXEC);
    CU_ASSERT_EQUAL_FATAL(ftruncate(file, (off_t)BYTES), 0);
    char *memory = map(file);
    char copy[2 * PAGE];
    CU_ASSERT_EQUAL(pf_guarded_begin(NULL), 0);
    CU_ASSERT_EQUAL(ftruncate(file, PAGE), 0);
    CU_ASSERT_EQUAL(pf_guarded_copy(copy, memory, sizeof copy), -EFAULT);
    CU_ASSERT_EQUAL(pf_guarded_copy(copy, memory, PAGE), 0);
    pf_guarded_end();
    munmap(memory, BYTES);
    close(file);
}

/* ---- engine threads -------------------------------------------------------------------------- */

struct reader {
    char *memory;
    atomic_bool ready;
    int lost; /* -EFAULT in the end */
};

/* Signals are blocked, as in the engine's threads. */
static void *read_on(void *arg)
{
    struct reader *reader = arg;
    char copy[PAGE];
    for (size_t i = 0; !reader->lost; i++) {
        reader->lost = pf_guarded_copy(copy, reader->memory + i % PAGES * PAGE, PAGE);
        atomic_store(&reader->ready, true);
    }
    return NULL;
}

static void a_thread_that_blocks_signals_goes_on(void)
{
    struct reader readers[2] = {{.memory = map(-1)}, {.memory = map(-1)}};
    pthread_t threads[2];
    sigset_t all;
    sigset_t before;
    CU_ASSERT_EQUAL(pf_guarded_begin(NULL), 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; i < 2; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    for (unsigned i = 0; i < 2; i++) {
        while (!atomic_load(&readers[i].ready))
            usleep(1000);
        munmap(readers[i].memory, BYTES);
        pthread_join(threads[i], NULL);
        CU_ASSERT_EQUAL(readers[i].lost, -EFAULT);
    }
    pf_guarded_end();
}

/* ---- faults of others ------------------------------------------------------------------------ */

enum { WELL = 40, WRONG = 41 };

struct foreign {
    sigjmp_buf back;
    char *memory;
    volatile sig_atomic_t calls;
    bool deferred; /* the signal is to be blocked in the handler, and SIGUSR1 as well */
    bool heals;    /* maps what is missing and returns */
    bool on_stack;
    _Alignas(64) char stack[64 << 10];
};

static struct foreign foreign;

static void check_mask(int signal)
{
    sigset_t now;
    char here;
    uintptr_t at = (uintptr_t)&here;
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    if (sigismember(&now, signal) != foreign.deferred ||
        sigismember(&now, SIGUSR1) != foreign.deferred)
        _exit(WRONG);
    bool on_stack =
        at >= (uintptr_t)foreign.stack && at < (uintptr_t)foreign.stack + sizeof foreign.stack;
    if (on_stack != foreign.on_stack)
        _exit(WRONG + 1);
}

static void handle_plainly(int signal)
{
    check_mask(signal);
    foreign.calls++;
    siglongjmp(foreign.back, 1);
}

static void handle_with_info(int signal, siginfo_t *info, void *context)
{
    check_mask(signal);
    if (!context || info->si_signo != signal || (char *)info->si_addr != foreign.memory)
        _exit(WRONG + 2);
    foreign.calls++;
    if (!foreign.heals)
        siglongjmp(foreign.back, 1);
    if (mmap(foreign.memory, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
             -1, 0) == MAP_FAILED)
        _exit(WRONG + 8);
}

static void handle_by(struct sigaction action, bool deferred)
{
    sigemptyset(&action.sa_mask);
    if (deferred)
        sigaddset(&action.sa_mask, SIGUSR1);
    foreign.deferred = deferred;
    sigaction(SIGSEGV, &action, NULL);
}

static void touch(void)
{
    *(volatile char *)foreign.memory = 1;
}

/* What a child made of it: its exit status, or 128 + the signal. */
static int run(void (*child)(void))
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        foreign.memory = map(-1) + PAGE;
        munmap(foreign.memory, PAGE);
        child();
        _exit(WRONG + 3);
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void guard(void)
{
    if (pf_guarded_begin(NULL))
        _exit(WRONG + 4);
}

/* The mask is as it was before the signal: siglongjmp() or the kernel put it back. */
static void end_well(int calls)
{
    sigset_t now;
    struct sigaction left;
    pf_guarded_end();
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    sigaction(SIGSEGV, NULL, &left);
    bool ours = left.sa_handler == handle_plainly || left.sa_sigaction == handle_with_info;
    _exit(foreign.calls == calls && !sigismember(&now, SIGSEGV) && ours ? WELL : WRONG + 5);
}

static void plain_child(void)
{
    handle_by((struct sigaction){.sa_handler = handle_plainly}, true);
    guard();
    for (volatile int i = 0; i < 2; i++)
        if (!sigsetjmp(foreign.back, 1))
            touch();
    end_well(2);
}

static void info_child(void)
{
    handle_by(
        (struct sigaction){.sa_sigaction = handle_with_info, .sa_flags = SA_SIGINFO | SA_NODEFER},
        false);
    guard();
    if (!sigsetjmp(foreign.back, 1))
        touch();
    end_well(1);
}

static void healing_child(void)
{
    handle_by((struct sigaction){.sa_sigaction = handle_with_info, .sa_flags = SA_SIGINFO}, true);
    foreign.heals = true;
    guard();
    touch();
    end_well(1);
}

static void stack_child(void)
{
    stack_t stack = {.ss_sp = foreign.stack, .ss_size = sizeof foreign.stack};
    sigaltstack(&stack, NULL);
    foreign.on_stack = true;
    handle_by((struct sigaction){.sa_handler = handle_plainly, .sa_flags = SA_ONSTACK}, true);
    guard();
    if (!sigsetjmp(foreign.back, 1))
        touch();
    end_well(1);
}

static void handlers_are_called_as_before(void)
{
    CU_ASSERT_EQUAL(run(plain_child), WELL);
    CU_ASSERT_EQUAL(run(info_child), WELL);
    CU_ASSERT_EQUAL(run(healing_child), WELL);
    CU_ASSERT_EQUAL(run(stack_child), WELL);
}

static void take_default(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(SIGSEGV, &action, NULL);
}

static void default_child(void)
{
    take_default();
    guard();
    touch();
}

static void ignoring_child(void)
{
    handle_by((struct sigaction){.sa_handler = SIG_IGN}, false);
    guard();
    raise(SIGSEGV); /* can be ignored; a fault can't */
    foreign.calls++;
    touch();
}

static void killed_child(void)
{
    take_default();
    guard();
    raise(SIGSEGV);
}

static void once_child(void)
{
    handle_by((struct sigaction){.sa_handler = handle_plainly, .sa_flags = SA_RESETHAND}, true);
    guard();
    if (!sigsetjmp(foreign.back, 1))
        touch();
    touch();
}

/* A thread's guarded range says nothing of other addresses. */
static void touch_elsewhere(void *ctx)
{
    (void)ctx;
    touch();
}

static void elsewhere_child(void)
{
    char *other = map(-1);
    take_default();
    guard();
    pf_guarded(other, BYTES, touch_elsewhere, NULL);
}

static void who_has_no_handler_dies(void)
{
    CU_ASSERT_EQUAL(run(default_child), 128 + SIGSEGV);
    CU_ASSERT_EQUAL(run(ignoring_child), 128 + SIGSEGV);
    CU_ASSERT_EQUAL(run(killed_child), 128 + SIGSEGV);
    CU_ASSERT_EQUAL(run(once_child), 128 + SIGSEGV);
    CU_ASSERT_EQUAL(run(elsewhere_child), 128 + SIGSEGV);
}

/* Somebody puts his handler over ours, passes on to it, and stays. */
static struct sigaction beneath;

static void handle_over(int signal, siginfo_t *info, void *context)
{
    beneath.sa_sigaction(signal, info, context);
}

static void covered_child(void)
{
    struct sigaction over = {.sa_sigaction = handle_over, .sa_flags = SA_SIGINFO | SA_NODEFER};
    char copy[PAGE];
    handle_by((struct sigaction){.sa_handler = handle_plainly, .sa_flags = SA_NODEFER}, false);
    guard();
    sigaction(SIGSEGV, &over, &beneath);
    pf_guarded_end();
    guard(); /* again, under what has come meanwhile */
    if (pf_guarded_copy(copy, foreign.memory, PAGE) != -EFAULT)
        _exit(WRONG + 6);
    if (!sigsetjmp(foreign.back, 1))
        touch();
    pf_guarded_end();
    _exit(foreign.calls == 1 ? WELL : WRONG + 7);
}

static void a_handler_over_ours_stays(void)
{
    CU_ASSERT_EQUAL(run(covered_child), WELL);
}

int main(void)
{
    static const struct pf_test tests[] = {
        {"what_is_there_is_read", what_is_there_is_read},
        {"what_is_not_there_is_said", what_is_not_there_is_said},
        {"a_file_may_be_cut_off", a_file_may_be_cut_off},
        {"a_thread_that_blocks_signals_goes_on", a_thread_that_blocks_signals_goes_on},
        {"handlers_are_called_as_before", handlers_are_called_as_before},
        {"who_has_no_handler_dies", who_has_no_handler_dies},
        {"a_handler_over_ours_stays", a_handler_over_ours_stays},
        {NULL, NULL},
    };
    return pf_suite_run("guarded", tests, NULL);
}
