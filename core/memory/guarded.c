/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/memory/guarded.h"

#include "base/log.h"
#include "core/memory/snapshot.h"
#include "core/memory/zero.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <ucontext.h>

/* ---- what a thread is reading ---------------------------------------------------------------- */

struct watch {
    sigjmp_buf out;
    uintptr_t from, to; /* whole base pages: a fault may be told by its page */
};

/*
 * A handler has no other way to know the thread it runs in. Not the usual way to such a variable,
 * which may allocate when a thread first gets there, and that may be a fault inside malloc().
 */
static __thread __attribute__((tls_model("initial-exec"))) struct watch *watched;
static __thread __attribute__((tls_model("initial-exec"))) bool lets_through;

/* ---- faults of others ------------------------------------------------------------------------ */

enum { TAKEN = 2 };
static const int taken[TAKEN] = {SIGSEGV, SIGBUS};

/* The process has one handler of a signal, so this is the process's, too. */
static struct {
    pthread_mutex_t lock;
    unsigned users;
    bool below[TAKEN];              /* somebody has put his handler over ours */
    struct sigaction before[TAKEN]; /* constant while ours is there, but for SA_RESETHAND */
} process = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct sigaction *before(int signal)
{
    return &process.before[signal == taken[1]];
}

static void set_default(int signal)
{
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigaction(signal, &plain, NULL);
}

/* Not of an access to memory: nothing comes again when the handler returns. */
static bool sent(int signal, const siginfo_t *info)
{
    return info->si_code <= 0 || (signal == SIGBUS && info->si_code == BUS_MCEERR_AO);
}

/* The kernel lets nobody ignore a fault. */
static void end_by(int signal, const siginfo_t *info)
{
    set_default(signal);
    if (sent(signal, info))
        raise(signal);
}

/* Do what the kernel would have done without us. */
static void pass_on(int signal, siginfo_t *info, void *context)
{
    struct sigaction *own = before(signal);
    struct sigaction to = *own;
    if (to.sa_handler == SIG_IGN && sent(signal, info))
        return;
    if (to.sa_handler == SIG_DFL || to.sa_handler == SIG_IGN) {
        end_by(signal, info);
        return;
    }
    if (to.sa_flags & SA_RESETHAND)
        own->sa_handler = SIG_DFL;
    if (!(to.sa_flags & SA_NODEFER))
        sigaddset(&to.sa_mask, signal);
    sigorset(&to.sa_mask, &to.sa_mask, &((ucontext_t *)context)->uc_sigmask);
    pthread_sigmask(SIG_SETMASK, &to.sa_mask, NULL);
    if (to.sa_flags & SA_SIGINFO)
        to.sa_sigaction(signal, info, context);
    else
        to.sa_handler(signal);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
    struct watch *own = watched;
    uintptr_t at = (uintptr_t)info->si_addr;
    if (own && !sent(signal, info) && at >= own->from && at < own->to) {
        /* Whoever called us may have blocked signals for as long as we take. */
        pthread_sigmask(SIG_SETMASK, &((ucontext_t *)context)->uc_sigmask, NULL);
        siglongjmp(own->out, 1);
    }
    int error = errno;
    pass_on(signal, info, context);
    errno = error;
}

/* ---- taking them ----------------------------------------------------------------------------- */

static bool ours(const struct sigaction *action)
{
    return action->sa_flags & SA_SIGINFO && action->sa_sigaction == on_fault;
}

static bool is_handler(const struct sigaction *action)
{
    return action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN;
}

/*
 * On the stack on which the one before would run, calls are restarted as he has it, and nothing is
 * blocked but what he wants blocked.
 */
static int take(unsigned i)
{
    struct sigaction now;
    struct sigaction own = {.sa_sigaction = on_fault};
    if (sigaction(taken[i], NULL, &now) < 0)
        return -errno;
    /* Over one that may well call ours, ours would call itself for ever. */
    if (process.below[i] && is_handler(&now) && !ours(&now))
        pf_warn(
            "the program has put a handler of %s over pageferry's: it ends the job if memory is "
            "unmapped while it is being sent",
            taken[i] == SIGSEGV ? "SIGSEGV" : "SIGBUS");
    if (ours(&now) || (process.below[i] && is_handler(&now)))
        return 0;
    process.before[i] = now;
    process.below[i] = false;
    own.sa_flags = SA_SIGINFO | SA_NODEFER | (now.sa_flags & (SA_ONSTACK | SA_RESTART));
    return sigaction(taken[i], &own, NULL) < 0 ? -errno : 0;
}

static void give_back(unsigned i)
{
    struct sigaction now;
    if (sigaction(taken[i], NULL, &now) < 0)
        return;
    process.below[i] = !ours(&now);
    if (ours(&now))
        sigaction(taken[i], &process.before[i], NULL);
}

int pf_guarded_begin(struct pf_why *why)
{
    int error = 0;
    pthread_mutex_lock(&process.lock);
    for (unsigned i = 0; i < TAKEN && process.users == 0 && !error; i++)
        error = take(i);
    process.users += !error;
    pthread_mutex_unlock(&process.lock);
    return error
               ? pf_why(why, error, "cannot guard reads of the job's memory: %s", strerror(-error))
               : 0;
}

void pf_guarded_end(void)
{
    pthread_mutex_lock(&process.lock);
    if (--process.users == 0)
        for (unsigned i = 0; i < TAKEN; i++)
            give_back(i);
    pthread_mutex_unlock(&process.lock);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void let_through(void)
{
    sigset_t set;
    sigemptyset(&set);
    for (unsigned i = 0; i < TAKEN; i++)
        sigaddset(&set, taken[i]);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    lets_through = true;
}

int pf_guarded(const void *addr, size_t bytes, void (*read)(void *ctx), void *ctx)
{
    const uintptr_t page = 4096;
    struct watch watch = {
        .from = (uintptr_t)addr & ~(page - 1),
        .to = ((uintptr_t)addr + bytes + page - 1) & ~(page - 1),
    };
    if (!lets_through)
        let_through();
    if (sigsetjmp(watch.out, 0)) {
        watched = NULL;
        return -EFAULT;
    }
    watched = &watch;
    atomic_signal_fence(memory_order_seq_cst);
    read(ctx);
    atomic_signal_fence(memory_order_seq_cst);
    watched = NULL;
    return 0;
}

struct copy {
    void *to;
    const void *from;
    size_t bytes;
};

static void copy(void *ctx)
{
    const struct copy *asked = ctx;
    pf_snapshot(asked->to, asked->from, asked->bytes);
}

int pf_guarded_copy(void *to, const void *from, size_t bytes)
{
    struct copy asked = {to, from, bytes};
    return pf_guarded(from, bytes, copy, &asked);
}

struct row {
    const char *first;
    size_t page_size, pages;
    bool zero;
};

static void look(void *ctx)
{
    struct row *row = ctx;
    row->pages = pf_same_kind(row->first, row->page_size, row->pages, &row->zero);
}

size_t pf_guarded_same_kind(const char *first, size_t page_size, size_t pages, bool *zero)
{
    struct row row = {first, page_size, pages, false};
    if (pf_guarded(first, pages * page_size, look, &row))
        return 0;
    *zero = row.zero;
    return row.pages;
}
