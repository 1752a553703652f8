/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arrival/faults.h"

#include "base/clock.h"
#include "core/arrival/homes.h"
#include "pageferry.h"

#include <string.h>
#include <unistd.h>

enum { BATCH = 64, BUDGET = 32, LANE_EVERY = 8, FAULTS_EVERY = 4, PATIENCE = 16 };

static int bad_fault(struct pf_target *target, uint64_t address)
{
    return pf_why(&target->why, -EFAULT,
                  "the kernel reported a fault at %#llx, outside every mapping and region",
                  (unsigned long long)address);
}

/*
 * A page that is no region's any more reads zeros unless something is there.
 */
static int place_zero(struct pf_target *target, char *to)
{
    size_t done;
    int result = pf_uffd_zero(target->uffd, to, PF_PAGE_SIZE, &done);
    if (result == PF_PLACED_EXISTS || result == PF_PLACED_AGAIN)
        /* AGAIN: the thread faults once more, after the event that is in the way. */
        pf_uffd_wake(target->uffd, to, PF_PAGE_SIZE);
    return result < 0 ? pf_why(&target->why, result, "a zero page could not be placed") : 0;
}

/*
 * A page that was not missing was seen to. It counts for its thread all the same: that has waited
 * for it.
 */
static int settle(struct pf_fault_thread *faults, struct pf_target *target, unsigned region,
                  char *to, uint32_t tid, uint64_t now)
{
    int error = pf_arrival_resolve(faults->arrival, region, target, to);
    if (faults->arrival->blocked && tid)
        pf_blocked_settled(faults->arrival->blocked, tid, pf_now_ns() - now);
    return error ? pf_why(&target->why, error, "a zero page could not be placed: %s",
                          strerror(-error))
                 : 0;
}

/* From here on the thread waits for a page that is to come. A client may hide its threads: tid 0.
 */
static void begin_wait(struct pf_arrival *arrival, uint32_t tid, unsigned region, size_t page,
                       uint64_t now)
{
    if (!arrival->blocked || !tid)
        return;
    pf_blocked_begin(arrival->blocked, tid, region, page, now);
    if (!pf_pageset_has(&arrival->list[region].missing, page))
        pf_blocked_end(arrival->blocked, region, (struct pf_run){page, 1});
}

/* A page that isn't there was touched. */
static int on_fault(struct pf_fault_thread *faults, struct pf_target *target,
                    const struct uffd_msg *message, uint64_t now)
{
    struct pf_arrival *arrival = faults->arrival;
    uint64_t address = message->arg.pagefault.address;
    uint32_t tid = message->arg.pagefault.feat.ptid;
    const struct pf_view *view = pf_target_find(target, address);
    if (!view)
        return bad_fault(target, address);
    pf_count(&arrival->counters->faults, 1);
    if (view->region == PF_VIEW_VACATED)
        return place_zero(target, (char *)(uintptr_t)(address & ~(uint64_t)(PF_PAGE_SIZE - 1)));

    struct pf_arriving *arriving = &arrival->list[view->region];
    size_t bytes = pf_region_page_size(arriving->region);
    size_t page = (size_t)(view->offset + (address - view->addr)) >> arriving->region->page_shift;
    char *to = (char *)(uintptr_t)(address & ~(uint64_t)(bytes - 1));
    if (!pf_pageset_has(&arriving->missing, page) || !pf_homes_due(target, view->region, page))
        return settle(faults, target, view->region, to, tid, now);
    if (pf_requests_room(&faults->requests) == 0 && !pf_pageset_has(&arriving->requested, page)) {
        target->turned_away = true;
        return 0;
    }
    begin_wait(arrival, tid, view->region, page, now);
    if (!pf_pageset_add(&arriving->requested, page)) {
        pf_count(&arrival->counters->duplicates, 1);
        return 0;
    }
    /* Placed between the two looks: see wake_late_faults() in placing.c. */
    if (arriving->in_place && !pf_pageset_look(&arriving->missing, page))
        return settle(faults, target, view->region, to, tid, now);
    struct pf_wish wish = {.region = view->region, .page = page, .read_ns = now};
    pf_requests_wish(&faults->requests, &wish);
    return 0;
}

/*
 * Pages were given back (madvise, munmap): what the source still has of them is not wanted. But
 * madvise(MADV_DONTNEED) on a shared region keeps the content of its file: there they keep coming.
 */
static void on_given_back(struct pf_fault_thread *faults, struct pf_target *target, bool unmapped,
                          uint64_t start, uint64_t end)
{
    struct pf_arrival *arrival = faults->arrival;
    for (unsigned i = 0; target->home && i < target->count; i++) {
        const struct pf_view *view = &target->views[i];
        if (view->region == PF_VIEW_VACATED)
            continue;
        const struct pf_region *region = arrival->list[view->region].region;
        uint64_t mask = pf_region_page_size(region) - 1;
        uint64_t first = start > view->addr ? start & ~mask : view->addr;
        uint64_t last = (end + mask) & ~mask;
        if (last > view->addr + view->bytes)
            last = view->addr + view->bytes;
        if (first >= last || (pf_region_shared(region) && !unmapped))
            continue;
        struct pf_run run = {(size_t)((view->offset + first - view->addr) >> region->page_shift),
                             (size_t)((last - first) >> region->page_shift)};
        pf_homes_given_back(arrival, target, view->region, run);
        /* Another thread may wait for one of them: it faults again and gets zeros. */
        pf_uffd_wake(target->uffd, (void *)(uintptr_t)first, (size_t)(last - first));
        pf_count(&arrival->counters->given_back_pages, run.pages);
    }
}

/* Unmapped or moved pieces are kept track of, in a table that has an end. */
static int in_pieces(struct pf_target *target, int error)
{
    return error ? pf_why(&target->why, error,
                          "its mappings are in more than %u pieces: that is more than can be kept "
                          "track of",
                          target->room)
                 : 0;
}

static int on_event(struct pf_fault_thread *faults, struct pf_target *target,
                    const struct uffd_msg *message)
{
    bool own = target == &faults->arrival->own;
    switch (message->event) {
    case UFFD_EVENT_REMOVE:
        on_given_back(faults, target, false, message->arg.remove.start, message->arg.remove.end);
        return 0;
    case UFFD_EVENT_UNMAP:
        on_given_back(faults, target, true, message->arg.remove.start, message->arg.remove.end);
        return own ? 0
                   : in_pieces(target, pf_target_cut(target, message->arg.remove.start,
                                                     message->arg.remove.end));
    case UFFD_EVENT_REMAP:
        if (own)
            return pf_why(&target->why, -EFAULT,
                          "the job moved part of a region with mremap while its pages were "
                          "arriving");
        return in_pieces(target, pf_target_move(target, message->arg.remap.from,
                                                message->arg.remap.to, message->arg.remap.len));
    case UFFD_EVENT_FORK:
        return pf_targets_fork(&faults->arrival->targets, target, (int)message->arg.fork.ufd);
    default:
        return pf_why(&target->why, -EPROTO, "unknown userfaultfd event %u", message->event);
    }
}

/*
 * Read a batch of messages, so many at most. What the job gave back is marked before the gate opens
 * again. Returns the number read, 0 when there was nothing.
 */
static int read_messages(struct pf_fault_thread *faults, struct pf_target *target,
                         struct uffd_msg *messages, unsigned most)
{
    struct pf_gate *gate = &faults->arrival->gate;
    /* Each message may be a fork of a client's. */
    unsigned room =
        target == &faults->arrival->own ? most : pf_targets_spares(&faults->arrival->targets);
    if (room == 0)
        return 0;
    pf_gate_close(gate);
    ssize_t got =
        read(target->uffd->fd, messages, (room < most ? room : most) * sizeof messages[0]);
    int error = got < 0 ? errno : 0;
    int count = got > 0 ? (int)((size_t)got / sizeof messages[0]) : 0;
    int result = 0;
    for (int i = 0; i < count && !result; i++)
        if (messages[i].event != UFFD_EVENT_PAGEFAULT)
            result = on_event(faults, target, &messages[i]);
    pf_gate_open(gate);
    if (result)
        return result;
    /* EAGAIN after poll is normal: whoever faulted may have been woken by a placer. */
    if (error && error != EAGAIN && error != EINTR)
        return pf_why(&target->why, -error, "cannot read page faults: %s", strerror(error));
    if (got > 0 && (size_t)got % sizeof messages[0] != 0)
        return pf_why(&target->why, -EIO, "a short read of page faults: %zd bytes", got);
    return count;
}

static int serve_batch(struct pf_fault_thread *faults, struct pf_target *target, unsigned most)
{
    struct uffd_msg messages[BATCH];
    uint64_t before = pf_now_ns();
    int count = read_messages(faults, target, messages, most);
    if (count <= 0)
        return count;
    uint64_t now = pf_now_ns();
    pf_histogram_add(&faults->requests.read, now - before);
    for (int i = 0; i < count; i++) {
        int error = messages[i].event == UFFD_EVENT_PAGEFAULT
                        ? on_fault(faults, target, &messages[i], now)
                        : 0;
        if (error)
            return error;
    }
    return count;
}

/* Threads whose faults found no room on the waiting list: they fault again. */
static void wake_turned_away(struct pf_target *target)
{
    target->turned_away = false;
    for (unsigned i = 0; i < target->count; i++)
        pf_uffd_wake(target->uffd, (void *)(uintptr_t)target->views[i].addr,
                     (size_t)target->views[i].bytes);
}

/*
 * With a full waiting list faults wait in the kernel. But it hands them out before events, and no
 * page can be placed until an event is read: for its sake all is read, and only then are those
 * woken that found no room. Sooner they would be back before it.
 */
static int serve_target(struct pf_fault_thread *faults, struct pf_target *target)
{
    unsigned room = pf_requests_room(&faults->requests);
    if (room == 0 && !pf_uffd_changing(target->uffd))
        return 0;
    unsigned most = room > 0 && room < BATCH ? room : BATCH;
    int served = 0;
    int count;
    do {
        count = serve_batch(faults, target, most);
        served += count;
    } while (count > 0 && target->turned_away);
    if (target->turned_away)
        wake_turned_away(target);
    return count < 0 ? count : served;
}

/* A failure of our own process, or of the one that has the job's memory, is the job's. */
static int serve_or_fail(struct pf_fault_thread *faults, struct pf_target *target)
{
    int served = serve_target(faults, target);
    if (served >= 0)
        return served;
    if (target == &faults->arrival->own || (target->home && served != -ESRCH)) {
        faults->worker.why = target->why;
        return served;
    }
    pf_targets_fail(&faults->arrival->targets, target, served);
    return 0;
}

/* Our own process first; then those others that have something to say. */
static int serve_faults(struct pf_fault_thread *faults)
{
    struct pf_target *ready[BATCH];
    struct pf_target *own = &faults->arrival->own;
    int served = own->count ? serve_or_fail(faults, own) : 0;
    /* Clients may wait since long before; the source answers from the switch on. */
    if (served < 0 || atomic_load(&faults->arrival->state) < PF_INCOMING_RUNNING)
        return served;
    unsigned count = pf_targets_ready(&faults->arrival->targets, ready, BATCH);
    for (unsigned i = 0; i < count && served >= 0; i++) {
        int more = serve_or_fail(faults, ready[i]);
        served = more < 0 ? more : served + more;
    }
    return served;
}

/* One look at everything. The number of things done, 0, or -errno. */
static int look(struct pf_fault_thread *faults)
{
    /*
     * Each side costs a system call even when nothing is there. What is due next is looked at every
     * time, the other now and then; before sleeping, both.
     */
    bool answer_due = faults->requests.busy > 0;
    bool both = faults->idle.armed;
    unsigned turn = faults->looks++;
    int events = 0;
    if (both || answer_due || turn % LANE_EVERY == 0)
        events = pf_progress(faults->session->urgent.lane, BUDGET);
    if (events < 0)
        return events;
    int read = 0;
    if (both || !answer_due || events > 0 || turn % FAULTS_EVERY == 0)
        read = serve_faults(faults);
    if (read < 0)
        return read;
    unsigned settled = pf_requests_advance(&faults->requests);
    settled += pf_targets_obey(&faults->arrival->targets);
    if (faults->requests.status) {
        faults->worker.why = faults->requests.why;
        return faults->requests.status;
    }
    return events + read + (int)settled;
}

static void *fault_thread_run(void *arg)
{
    struct pf_fault_thread *faults = arg;
    pf_worker_be_quick();
    while (!pf_worker_stopping(&faults->worker)) {
        int done = look(faults);
        if (done < 0) {
            pf_worker_fail(&faults->worker, done, "the urgent lane broke");
            break;
        }
        if (done > 0) {
            pf_busy(&faults->idle);
            faults->patience = faults->requests.busy > 0 ? PATIENCE : 0;
        } else if (faults->patience > 0) {
            faults->patience--;
        } else {
            pf_idle(&faults->idle, -1);
        }
    }
    atomic_store(&faults->arrival->given_up, true);
    return NULL;
}

int pf_fault_thread_open(struct pf_fault_thread *faults, struct pf_session *session,
                         struct pf_arrival *arrival)
{
    faults->session = session;
    faults->arrival = arrival;
    int error = pf_worker_init(&faults->worker, session, 0);
    return error ? error : pf_requests_open(&faults->requests, session, arrival);
}

int pf_fault_thread_start(struct pf_fault_thread *faults)
{
    const struct pf_options *options = faults->session->options;
    faults->idle = (struct pf_idle){
        .lanes = {faults->session->urgent.lane},
        .lane_count = 1,
        .fds = {faults->arrival->uffd.fd, faults->worker.stop_fd, faults->arrival->targets.epoll_fd,
                faults->arrival->targets.command_fd},
        .fd_count = 4,
        .spin_ns = options->wait == PF_WAIT_SPIN ? options->spin_us * 1000ull : 0,
    };
    return pf_worker_start(&faults->worker, "pf-faults", fault_thread_run, faults);
}

void pf_fault_thread_close(struct pf_fault_thread *faults)
{
    pf_worker_stop(&faults->worker);
    pf_requests_close(&faults->requests);
}
