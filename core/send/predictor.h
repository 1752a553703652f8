/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which pages of one region are likely asked for next, from the requests seen so far. Knows numbers
 * only: nothing of memory, messages or threads.
 *
 * Requests that follow one another at a constant stride, forwards or backwards, are a *stream*.
 * There are many at once, since threads fault in turn and a stencil reads several rows. In front of
 * a stream lies its *span*: the positions of its pattern that have been sent already. A request
 * inside the span, or right behind it, says that what lies before it was used.
 *
 * The window, how many pages a stream is sent at once, doubles each time the pattern goes on right
 * behind the span. A span that nobody follows was useless: its stream is forgotten. If it had
 * proved itself before, windows of the region grow half as far from then on; if it had not, new
 * streams begin with less and have to show more of a pattern first.
 */
#ifndef PF_CORE_SEND_PREDICTOR_H
#define PF_CORE_SEND_PREDICTOR_H

#include <stddef.h>
#include <stdint.h>

enum { PF_STREAMS_MAX = 64, PF_STRAYS_MAX = 64 };

struct pf_stream {
    int64_t at;     /* the page asked for last */
    int64_t stride; /* in pages; 0: no stream */
    size_t window;  /* pages to send at once */
    size_t span;    /* positions behind `at` that have been sent, or were here before */
    size_t sent;    /* pages of the span that were really sent */
    unsigned hits;  /* how often the pattern went on as expected */
    unsigned due;   /* that many hits before anything is sent */
    uint64_t seen;  /* the predictor's clock at its last request */
};

/* A request that belongs to no stream. */
struct pf_stray {
    int64_t page;
    uint64_t seen;
};

struct pf_predictor {
    size_t pages;   /* of the region */
    size_t most;    /* largest window */
    size_t limit;   /* how far windows grow now */
    size_t start;   /* window of a new stream */
    unsigned care;  /* hits that it owes before anything is sent */
    uint64_t clock; /* requests seen */
    unsigned count; /* streams in use, from the first on; some may be free */
    unsigned swept; /* where looking for forgotten streams goes on */
    struct pf_stream streams[PF_STREAMS_MAX];
    struct pf_stray strays[PF_STRAYS_MAX]; /* a ring */
    uint64_t stray_count;
    uint64_t useful, useless; /* pages, of those that pf_predictor_sent() was told of */
};

/* Pages first, first + stride, ...: `pages` of them, all in the region. 0 pages: no guess. */
struct pf_guess {
    size_t first;
    int64_t stride;
    size_t pages;
    unsigned stream;
};

/* For a region of that many pages; at most `most` pages are guessed at once. */
void pf_predictor_init(struct pf_predictor *predictor, size_t pages, size_t most);

/* A request for a page, and what is likely asked for next. */
struct pf_guess pf_predictor_see(struct pf_predictor *predictor, size_t page);

/*
 * The guess was acted upon, before the next request is seen: `sent` of its pages went out, the
 * others were not there to be sent. Not called: as if it had not been made.
 */
void pf_predictor_sent(struct pf_predictor *predictor, const struct pf_guess *guess, size_t sent);

/* No request will come any more: what was not confirmed by then counts as useless. */
void pf_predictor_end(struct pf_predictor *predictor);

#endif
