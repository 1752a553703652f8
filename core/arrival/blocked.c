/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arrival/blocked.h"

#include "base/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PAGE_BITS = 44 };

#define RELAXED memory_order_relaxed

static uint64_t key_of(unsigned region, size_t page)
{
    return (uint64_t)region << PAGE_BITS | (page + 1);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static unsigned new_row(struct pf_blocked *blocked, uint32_t tid, uint16_t *known)
{
    uint32_t row = atomic_load_explicit(&blocked->count, RELAXED);
    if (row == PF_BLOCKED_THREADS)
        return PF_BLOCKED_OTHERS;
    atomic_store_explicit(&blocked->rows[row].tid, tid, RELAXED);
    atomic_store_explicit(&blocked->count, row + 1, memory_order_release);
    *known = (uint16_t)(row + 1);
    return row;
}

/* The row of a thread. The hash is never more than half full. */
static unsigned row_of(struct pf_blocked *blocked, uint32_t tid)
{
    if (tid == 0)
        return PF_BLOCKED_OTHERS;
    for (unsigned at = tid * 2654435761u >> 16;; at++) {
        uint16_t *known = &blocked->rows_by_tid[at % PF_BLOCKED_HASH];
        if (*known == 0)
            return new_row(blocked, tid, known);
        if (atomic_load_explicit(&blocked->rows[*known - 1].tid, RELAXED) == tid)
            return *known - 1u;
    }
}

static void raise(_Atomic uint64_t *most, uint64_t value)
{
    uint64_t before = atomic_load_explicit(most, RELAXED);
    while (value > before &&
           !atomic_compare_exchange_weak_explicit(most, &before, value, RELAXED, RELAXED))
        ;
}

static unsigned cell_of(uint64_t us)
{
    unsigned cell = us > 0 ? 64u - (unsigned)__builtin_clzll(us) : 0;
    return cell < PF_BLOCKED_CELLS ? cell : PF_BLOCKED_CELLS - 1;
}

static void add_time(struct pf_blocked *blocked, unsigned row, uint64_t ns)
{
    atomic_fetch_add_explicit(&blocked->rows[row].cells[cell_of(ns / 1000)], 1, RELAXED);
    atomic_fetch_add_explicit(&blocked->rows[row].total_ns, ns, RELAXED);
    raise(&blocked->rows[row].max_ns, ns);
    pf_histogram_add_shared(&blocked->latency, ns);
}

/* ---- waits ----------------------------------------------------------------------------------- */

/* All known threads were blocked until now, if `waiting` of them were. */
static void end_of_all(struct pf_blocked *blocked, uint32_t waiting, uint64_t now)
{
    if (waiting < atomic_load_explicit(&blocked->count, RELAXED))
        return;
    uint64_t since = atomic_exchange_explicit(&blocked->all_since_ns, 0, RELAXED);
    if (since && now > since)
        atomic_fetch_add_explicit(&blocked->all_ns, now - since, RELAXED);
}

/* End one wait unless another thread does. */
static void end_wait(struct pf_blocked *blocked, unsigned entry, uint64_t page, uint64_t now)
{
    struct pf_blocked_wait *wait = &blocked->waits[entry];
    uint64_t since = atomic_load_explicit(&wait->since_ns, RELAXED);
    if (!atomic_compare_exchange_strong(&wait->page, &page, 0))
        return;
    unsigned row = entry < PF_BLOCKED_THREADS ? entry : PF_BLOCKED_OTHERS;
    add_time(blocked, row, now > since ? now - since : 0);
    end_of_all(blocked, atomic_fetch_sub(&blocked->waiting, 1), now);
}

static struct pf_blocked_wait *stray_entry(struct pf_blocked *blocked)
{
    atomic_store_explicit(&blocked->strays, true, RELAXED);
    for (unsigned i = PF_BLOCKED_THREADS; i < PF_BLOCKED_THREADS + PF_BLOCKED_STRAYS; i++)
        if (atomic_load_explicit(&blocked->waits[i].page, memory_order_acquire) == 0)
            return &blocked->waits[i];
    return NULL;
}

/* The entry for a new wait, free; NULL if there is none, or if this wait is under way already. */
static struct pf_blocked_wait *entry_for(struct pf_blocked *blocked, unsigned row, uint64_t page,
                                         uint64_t now)
{
    if (row == PF_BLOCKED_OTHERS)
        return stray_entry(blocked);
    struct pf_blocked_wait *wait = &blocked->waits[row];
    uint64_t before = atomic_load_explicit(&wait->page, memory_order_acquire);
    if (before == page)
        return NULL; /* it was woken and the page was not there yet */
    if (before)      /* its page is there, and who placed it is about to say so */
        end_wait(blocked, row, before, now);
    return wait;
}

static void count_fault(struct pf_blocked *blocked, unsigned row)
{
    atomic_fetch_add_explicit(&blocked->rows[row].faults, 1, RELAXED);
}

void pf_blocked_begin(struct pf_blocked *blocked, uint32_t tid, unsigned region, size_t page,
                      uint64_t now)
{
    unsigned row = row_of(blocked, tid);
    uint64_t key = key_of(region, page);
    count_fault(blocked, row);
    struct pf_blocked_wait *wait = entry_for(blocked, row, key, now);
    if (!wait)
        return;
    /* Before it counts: who takes the count down again is to find it. */
    if (atomic_load(&blocked->waiting) + 1 >= atomic_load_explicit(&blocked->count, RELAXED))
        atomic_store_explicit(&blocked->all_since_ns, now, RELAXED);
    atomic_fetch_add(&blocked->waiting, 1);
    atomic_store_explicit(&wait->since_ns, now, RELAXED);
    atomic_store_explicit(&wait->page, key, memory_order_release);
    /*
     * A placer marks its pages as received, takes a turn, and looks for waits. Whose turn is first:
     * ours, and it finds this wait; or its, and we find the page received.
     */
    atomic_fetch_add_explicit(&blocked->turns, 1, memory_order_acq_rel);
}

void pf_blocked_settled(struct pf_blocked *blocked, uint32_t tid, uint64_t ns)
{
    unsigned row = row_of(blocked, tid);
    count_fault(blocked, row);
    add_time(blocked, row, ns);
}

/* End the waits among some entries for pages from key `first` on. */
static void end_waits(struct pf_blocked *blocked, unsigned from, unsigned to, uint64_t first,
                      size_t pages)
{
    uint64_t now = 0;
    for (unsigned i = from; i < to; i++) {
        uint64_t page = atomic_load_explicit(&blocked->waits[i].page, memory_order_acquire);
        if (page - first >= pages)
            continue;
        if (!now)
            now = pf_now_ns();
        end_wait(blocked, i, page, now);
    }
}

void pf_blocked_end(struct pf_blocked *blocked, unsigned region, struct pf_run run)
{
    atomic_fetch_add_explicit(&blocked->turns, 1, memory_order_acq_rel);
    if (atomic_load(&blocked->waiting) == 0)
        return;
    uint64_t first = key_of(region, run.first);
    end_waits(blocked, 0, atomic_load_explicit(&blocked->count, memory_order_acquire), first,
              run.pages);
    if (atomic_load_explicit(&blocked->strays, RELAXED))
        end_waits(blocked, PF_BLOCKED_THREADS, PF_BLOCKED_WAITS, first, run.pages);
}

/* ---- reading --------------------------------------------------------------------------------- */

void pf_blocked_reset(struct pf_blocked *blocked)
{
    atomic_store(&blocked->count, 0);
    for (unsigned i = 0; i < PF_BLOCKED_ROWS; i++) {
        struct pf_blocked_row *row = &blocked->rows[i];
        pf_blocked_set_name(row, "");
        atomic_store_explicit(&row->tid, 0, RELAXED);
        atomic_store_explicit(&row->faults, 0, RELAXED);
        atomic_store_explicit(&row->total_ns, 0, RELAXED);
        atomic_store_explicit(&row->max_ns, 0, RELAXED);
        for (unsigned cell = 0; cell < PF_BLOCKED_CELLS; cell++)
            atomic_store_explicit(&row->cells[cell], 0, RELAXED);
    }
    for (unsigned i = 0; i < PF_BLOCKED_WAITS; i++)
        atomic_store_explicit(&blocked->waits[i].page, 0, RELAXED);
    atomic_store(&blocked->waiting, 0);
    atomic_store(&blocked->strays, false);
    atomic_store(&blocked->all_since_ns, 0);
    atomic_store(&blocked->all_ns, 0);
    pf_histogram_reset(&blocked->latency);
    memset(blocked->rows_by_tid, 0, sizeof blocked->rows_by_tid);
}

void pf_blocked_set_name(struct pf_blocked_row *row, const char *name)
{
    uint64_t words[2] = {0, 0};
    memcpy(words, name, strnlen(name, PF_BLOCKED_NAME - 1));
    atomic_store_explicit(&row->name[0], words[0], RELAXED);
    atomic_store_explicit(&row->name[1], words[1], RELAXED);
}

void pf_blocked_name(const struct pf_blocked_row *row, char name[PF_BLOCKED_NAME])
{
    uint64_t words[2] = {
        atomic_load_explicit(&row->name[0], RELAXED),
        atomic_load_explicit(&row->name[1], RELAXED),
    };
    memcpy(name, words, PF_BLOCKED_NAME);
    name[PF_BLOCKED_NAME - 1] = '\0';
}

static void find_name(struct pf_blocked_row *row)
{
    char path[64];
    char name[PF_BLOCKED_NAME + 1];
    snprintf(path, sizeof path, "/proc/self/task/%u/comm",
             (unsigned)atomic_load_explicit(&row->tid, RELAXED));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, name, sizeof name - 1) : 0;
    if (fd >= 0)
        close(fd);
    if (got <= 0)
        return;
    name[got] = '\0';
    name[strcspn(name, "\n")] = '\0';
    pf_blocked_set_name(row, name);
}

void pf_blocked_find_names(struct pf_blocked *blocked)
{
    unsigned count = atomic_load_explicit(&blocked->count, memory_order_acquire);
    for (unsigned i = 0; i < count; i++)
        if (atomic_load_explicit(&blocked->rows[i].name[0], RELAXED) == 0)
            find_name(&blocked->rows[i]);
}
