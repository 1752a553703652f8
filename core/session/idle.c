/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/session/idle.h"

#include "base/clock.h"

#include <sched.h>

enum {
    NAP_NS = 50000,         /* between looks at a lane that has no descriptor */
    NAP_SHARE = 8,          /* longer ones are this part of the time without anything to do */
    LONG_YIELD_NS = 500000, /* a yield that took this long let somebody else work */
    CONTENDED_NS = 10 * 1000000,
};

static void arm(struct pf_idle *idle)
{
    idle->armed = true;
    idle->naps = false;
    for (unsigned i = 0; i < idle->lane_count; i++) {
        int answer = pf_lane_arm(idle->lanes[i]);
        if (answer == -EOPNOTSUPP)
            idle->naps = true;
        else if (answer)
            idle->armed = false;
    }
}

static struct timespec nap(const struct pf_idle *idle)
{
    uint64_t ns = (pf_now_ns() - idle->since) / NAP_SHARE;
    if (ns > idle->nap_most_ns)
        ns = idle->nap_most_ns;
    return (struct timespec){.tv_nsec = ns > NAP_NS ? (long)ns : NAP_NS};
}

/* True if a descriptor ended it. */
static bool sleep_now(const struct pf_idle *idle, int timeout_ms)
{
    struct pollfd polled[PF_IDLE_LANES + PF_IDLE_FDS];
    nfds_t count = 0;
    for (unsigned i = 0; i < idle->fd_count; i++)
        polled[count++] = (struct pollfd){.fd = idle->fds[i], .events = POLLIN};
    for (unsigned i = 0; i < idle->lane_count; i++) {
        int fd = pf_lane_fd(idle->lanes[i]);
        if (fd >= 0)
            polled[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
    struct timespec limit = {.tv_sec = timeout_ms / 1000,
                             .tv_nsec = (long)(timeout_ms % 1000) * 1000000};
    if (idle->naps)
        limit = nap(idle);
    /* Interrupted or timed out: the caller looks again either way. */
    return ppoll(polled, count, idle->naps || timeout_ms >= 0 ? &limit : NULL, NULL) > 0;
}

/* Will an event end the sleep? If not, a nap costs its whole length, more than any wait for a core.
 */
static bool wakes(const struct pf_idle *idle)
{
    for (unsigned i = 0; i < idle->lane_count; i++)
        if (!idle->lanes[i]->device->caps.can_sleep)
            return false;
    return true;
}

void pf_idle(struct pf_idle *idle, int timeout_ms)
{
    if (idle->armed) {
        /*
         * Something happened if a descriptor says so, though it may make no callback: the peer's
         * reads don't. A nap leaves the lanes as they were; after a wake-up they have to be armed
         * again.
         */
        if (sleep_now(idle, timeout_ms))
            pf_busy(idle);
        else
            idle->armed = idle->naps && idle->lane_count == 1;
        return;
    }
    uint64_t now = pf_now_ns();
    if (idle->since == 0)
        idle->since = now;
    if (now - idle->since >= idle->spin_ns || now < idle->contended_until) {
        arm(idle);
        return;
    }
    sched_yield();
    uint64_t after = pf_now_ns();
    if (after - now > LONG_YIELD_NS && wakes(idle))
        idle->contended_until = after + CONTENDED_NS;
}
