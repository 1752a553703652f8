/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/session/worker.h"

#include "pageferry.h"

#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int pf_worker_init(struct pf_worker *worker, struct pf_session *session, unsigned rail)
{
    *worker = (struct pf_worker){
        .session = session, .stop_fd = -1, .placement = &session->rails[rail].placement};
    session->workers[session->worker_count++] = worker;
    worker->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker->stop_fd < 0)
        return pf_why(&session->why, -errno, "cannot make an eventfd: %s", strerror(errno));
    return 0;
}

static void *begin(void *arg)
{
    struct pf_worker *worker = arg;
    pf_thread_place(worker->placement);
    return worker->run(worker->arg);
}

int pf_worker_start(struct pf_worker *worker, const char *name, void *(*run)(void *), void *arg)
{
    sigset_t all;
    sigset_t before;
    worker->run = run;
    worker->arg = arg;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&worker->thread, NULL, begin, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return pf_why(&worker->session->why, -error, "cannot start the %s thread: %s", name,
                      strerror(error));
    worker->started = true;
    pthread_setname_np(worker->thread, name);
    return 0;
}

void pf_worker_be_quick(void)
{
    /* struct sched_attr as in the kernel's uapi; the C library of Debian 12 has none. */
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime_ns, deadline_ns, period_ns;
    } attr = {.size = sizeof attr, .policy = SCHED_OTHER, .runtime_ns = 100000};
    errno = 0;
    attr.nice = getpriority(PRIO_PROCESS, 0);
    if (errno == 0)
        syscall(SYS_sched_setattr, 0, &attr, 0);
}

void pf_worker_nudge(struct pf_worker *worker)
{
    atomic_store(&worker->nudged, true);
    ssize_t written = write(worker->stop_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written;
}

void pf_worker_stop(struct pf_worker *worker)
{
    if (worker->started) {
        atomic_store(&worker->stop, true);
        ssize_t written = write(worker->stop_fd, &(uint64_t){1}, sizeof(uint64_t));
        (void)written;
        pthread_join(worker->thread, NULL);
        worker->started = false;
    }
    if (worker->session && worker->stop_fd >= 0)
        close(worker->stop_fd);
    worker->stop_fd = -1;
}

void pf_worker_fail(struct pf_worker *worker, int status, const char *what)
{
    if (pf_worker_failed(worker))
        return;
    if (!worker->why.text[0])
        pf_why(&worker->why, status, "%s: %s", what, ferry_strerror(status));
    atomic_store(&worker->status, status);
    pf_session_wake(worker->session);
}

int pf_worker_failure(struct pf_worker *worker)
{
    int status = atomic_load(&worker->status);
    if (status)
        worker->session->why = worker->why;
    return status;
}
