/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where in the destination's memory the source may write during pre-copy: windows, each a
 * registered stretch of a region. Where registering costs nothing a window is the whole region;
 * where it pins, the source asks for the chunks that are in use, and asks again when others have
 * come into use. The table is the control thread's to fill; movers look windows up.
 */
#ifndef PF_CORE_SEND_WINDOW_H
#define PF_CORE_SEND_WINDOW_H

#include "core/send/source_memory.h"
#include "core/session/session.h"

enum pf_window_state {
    PF_WINDOW_NONE,    /* not asked for */
    PF_WINDOW_ASKED,   /* the answer is under way: wait for it */
    PF_WINDOW_OPEN,    /* write */
    PF_WINDOW_REFUSED, /* the destination can't register it: its pages go by the stages */
};

struct pf_window {
    atomic_int state;                  /* enum pf_window_state; set when the rest is filled in */
    uint64_t addr;                     /* of its first page */
    struct pf_rkey keys[PF_RAILS_MAX]; /* for the bulk lane of each rail */
};

struct pf_region_windows {
    struct pf_window whole;
    struct pf_window *chunks;
    bool never; /* its pages are not written before the switch */
};

struct pf_windows {
    unsigned count;
    struct pf_region_windows *list; /* one for each region */
    bool told;                      /* all that are whole regions: from here on chunks only */
    /* Set between two passes of the movers. */
    bool by_stages;  /* none are asked for, and those that are open are not used */
    bool all;        /* chunks are asked for whether they are in use or not */
    unsigned asked;  /* answers that are due */
    unsigned region; /* where to look for more to ask for; `count`: nowhere */
    size_t chunk;
};

int pf_windows_init(struct pf_windows *windows, const struct pf_regions *regions,
                    struct pf_why *why);
void pf_windows_free(struct pf_windows *windows);

/* One PF_MSG_WINDOW. */
int pf_windows_take(struct pf_windows *windows, const struct pf_regions *regions,
                    struct pf_session *session, struct pf_message *message);

/* Pages have become unsent: windows that nobody has asked for may be needed. */
void pf_windows_look(struct pf_windows *windows);

/*
 * Ask for some of them, as many as the conversation has room for without waiting; the answers come
 * as messages of their own.
 */
int pf_windows_ask(struct pf_windows *windows, const struct pf_source_memory *memory,
                   struct pf_session *session);

/*
 * The window of a page: its state, its first page, and in *covered for how many pages from there on
 * the same holds. Any thread.
 */
enum pf_window_state pf_windows_find(const struct pf_windows *windows,
                                     const struct pf_source_region *source, unsigned region,
                                     size_t page, const struct pf_window **window, size_t *first,
                                     size_t *covered);

#endif
