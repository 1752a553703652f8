/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/send/predictor.h"

#include <stdbool.h>

enum {
    FIRST_WINDOW = 4,
    FARTHEST = 256, /* pages: longer strides are taken for chance */
    RECENT = 8,     /* two neighbours are a stream if no more requests lie between them */
    FORGET = 256,   /* requests after which a stream, or a stray, is history */
    CARE_MOST = 3,
    TRUSTED = 2, /* hits after which a stream may leave out pages */
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

void pf_predictor_init(struct pf_predictor *predictor, size_t pages, size_t most)
{
    *predictor = (struct pf_predictor){
        .pages = pages, .most = most, .limit = most, .start = least(FIRST_WINDOW, most)};
}

/* ---- what was used --------------------------------------------------------------------------- */

/* The reader has come `steps` positions further: what lies before it was used. */
static void confirm(struct pf_predictor *predictor, struct pf_stream *stream, size_t steps)
{
    size_t passed = least(steps, stream->span);
    size_t used = passed < stream->span ? stream->sent * passed / stream->span : stream->sent;
    predictor->useful += used;
    stream->sent -= used;
    stream->span -= passed;
}

/* The first position that has not been sent; it may lie outside the region. */
static int64_t behind(const struct pf_stream *stream)
{
    return stream->at + stream->stride * (int64_t)(stream->span + 1);
}

static bool is_inside(const struct pf_predictor *predictor, int64_t page)
{
    return page >= 0 && page < (int64_t)predictor->pages;
}

/* What looked like a pattern was none. */
static void discourage(struct pf_predictor *predictor)
{
    if (predictor->care < CARE_MOST)
        predictor->care++;
    if (predictor->start > 1)
        predictor->start /= 2;
}

/* A stream that has been sent up to the region's end has nothing left to show: that is no fault. */
static void forget(struct pf_predictor *predictor, struct pf_stream *stream)
{
    predictor->useless += stream->sent;
    if (stream->sent > 0 && is_inside(predictor, behind(stream))) {
        if (stream->hits < TRUSTED)
            discourage(predictor);
        else if (stream->window / 2 >= FIRST_WINDOW)
            predictor->limit = stream->window / 2;
    }
    *stream = (struct pf_stream){.stride = 0};
}

/* One stream is looked at for each request: none costs more than another. */
static void sweep(struct pf_predictor *predictor)
{
    if (predictor->count == 0)
        return;
    predictor->swept = (predictor->swept + 1) % predictor->count;
    struct pf_stream *stream = &predictor->streams[predictor->swept];
    if (stream->stride && predictor->clock - stream->seen > FORGET)
        forget(predictor, stream);
    while (predictor->count > 0 && !predictor->streams[predictor->count - 1].stride)
        predictor->count--;
}

/* ---- following a stream ---------------------------------------------------------------------- */

/*
 * How many positions a page lies ahead in a stream's pattern; 0: it is not part of it. One that
 * has proved itself may leave out pages, which came by the other lane.
 */
static size_t steps_to(const struct pf_stream *stream, int64_t page)
{
    int64_t distance = page - stream->at;
    if (!stream->stride || (distance < 0) != (stream->stride < 0) || distance == 0)
        return 0;
    size_t reach = stream->span + 1 + (stream->hits >= TRUSTED ? stream->window : 0);
    size_t apart = (size_t)(distance < 0 ? -distance : distance);
    size_t stride = (size_t)(stream->stride < 0 ? -stream->stride : stream->stride);
    if (apart > reach * stride || apart % stride)
        return 0;
    return apart / stride;
}

/* The nearest stream, of those with so many hits, in whose pattern the page lies. */
static struct pf_stream *find(struct pf_predictor *predictor, int64_t page, unsigned hits,
                              size_t *steps)
{
    struct pf_stream *nearest = NULL;
    *steps = SIZE_MAX;
    for (unsigned i = 0; i < predictor->count; i++) {
        size_t ahead = steps_to(&predictor->streams[i], page);
        if (ahead == 0 || ahead >= *steps || predictor->streams[i].hits < hits)
            continue;
        nearest = &predictor->streams[i];
        *steps = ahead;
    }
    return nearest;
}

/* The pattern went on right behind all that had been sent. */
static void reward(struct pf_predictor *predictor, struct pf_stream *stream)
{
    stream->hits++;
    if (stream->sent == 0)
        return;
    if (predictor->care > 0)
        predictor->care--;
    predictor->start = least(predictor->start * 2, least(FIRST_WINDOW, predictor->most));
    if (stream->window == predictor->limit)
        predictor->limit = least(predictor->limit * 2, predictor->most);
    stream->window = least(stream->window * 2, predictor->limit);
}

static void follow(struct pf_predictor *predictor, struct pf_stream *stream, int64_t page,
                   size_t steps)
{
    if (steps == stream->span + 1)
        reward(predictor, stream);
    confirm(predictor, stream, steps);
    stream->at = page;
    stream->seen = predictor->clock;
}

/* ---- finding a stream ------------------------------------------------------------------------ */

/* The stray request `age` before this one (1: the last); NULL when that is too long ago. */
static const struct pf_stray *stray(const struct pf_predictor *predictor, uint64_t age)
{
    if (age > PF_STRAYS_MAX || age > predictor->stray_count)
        return NULL;
    const struct pf_stray *found =
        &predictor->strays[(predictor->stray_count - age) % PF_STRAYS_MAX];
    return predictor->clock - found->seen <= FORGET ? found : NULL;
}

/* The latest stray request for a page that is older than the one of that age; NULL if none is. */
static const struct pf_stray *find_stray(const struct pf_predictor *predictor, int64_t page,
                                         uint64_t age)
{
    const struct pf_stray *before;
    while ((before = stray(predictor, ++age)))
        if (before->page == page)
            return before;
    return NULL;
}

/* What a request looks like the next of. */
struct pattern {
    int64_t stride;      /* 0: nothing */
    uint64_t last, span; /* when the request before it was seen; requests since the first of it */
};

/*
 * Is the page the third of three at equal distances, or the second of two neighbours that were
 * asked for one soon after the other? The latest such pair counts.
 */
static struct pattern find_pattern(const struct pf_predictor *predictor, int64_t page)
{
    const struct pf_stray *before;
    for (uint64_t age = 1; (before = stray(predictor, age)); age++) {
        int64_t stride = page - before->page;
        if (stride == 0 || stride > FARTHEST || stride < -FARTHEST)
            continue;
        const struct pf_stray *first = find_stray(predictor, page - 2 * stride, age);
        if (!first && stride * stride == 1 && predictor->clock - before->seen <= RECENT)
            first = before;
        if (first)
            return (struct pattern){stride, before->seen, predictor->clock - first->seen};
    }
    return (struct pattern){.stride = 0};
}

/* A place for one stream more: a free one, or that of the stream that has been silent longest. */
static struct pf_stream *make_room(struct pf_predictor *predictor)
{
    struct pf_stream *oldest = &predictor->streams[0];
    for (unsigned i = 0; i < predictor->count; i++) {
        struct pf_stream *stream = &predictor->streams[i];
        if (!stream->stride)
            return stream;
        if (stream->seen < oldest->seen)
            oldest = stream;
    }
    if (predictor->count < PF_STREAMS_MAX)
        return &predictor->streams[predictor->count++];
    forget(predictor, oldest);
    return oldest;
}

/* One whose requests lie far apart may be chance: it owes a hit more. */
static struct pf_stream *begin(struct pf_predictor *predictor, int64_t page, struct pattern pattern)
{
    struct pf_stream *stream = make_room(predictor);
    *stream = (struct pf_stream){
        .at = page,
        .stride = pattern.stride,
        .window = predictor->start,
        .due = predictor->care + (pattern.span > RECENT),
        .seen = predictor->clock,
    };
    return stream;
}

/*
 * A page that no trusted stream explains: whichever it follows more closely, an untried stream or
 * a new pattern. It stays among the strays, for it may be part of another one yet.
 */
static struct pf_stream *explain(struct pf_predictor *predictor, int64_t page)
{
    size_t steps;
    struct pf_stream *untried = find(predictor, page, 0, &steps);
    struct pattern pattern = find_pattern(predictor, page);
    predictor->strays[predictor->stray_count++ % PF_STRAYS_MAX] =
        (struct pf_stray){page, predictor->clock};
    if (untried && (!pattern.stride || pattern.last <= untried->seen)) {
        follow(predictor, untried, page, steps);
        return untried;
    }
    return pattern.stride ? begin(predictor, page, pattern) : NULL;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* The positions right behind the span, as far as the region reaches. */
static struct pf_guess guess(const struct pf_predictor *predictor, const struct pf_stream *stream)
{
    struct pf_guess guess = {
        .stride = stream->stride,
        .stream = (unsigned)(stream - predictor->streams),
    };
    int64_t first = behind(stream);
    if (stream->hits < stream->due || stream->span >= stream->window ||
        !is_inside(predictor, first))
        return guess;
    int64_t room = stream->stride > 0 ? (int64_t)predictor->pages - 1 - first : first;
    int64_t stride = stream->stride > 0 ? stream->stride : -stream->stride;
    guess.first = (size_t)first;
    guess.pages = least(stream->window, (size_t)(room / stride) + 1);
    return guess;
}

struct pf_guess pf_predictor_see(struct pf_predictor *predictor, size_t page)
{
    size_t steps;
    predictor->clock++;
    struct pf_stream *stream = find(predictor, (int64_t)page, TRUSTED, &steps);
    if (stream)
        follow(predictor, stream, (int64_t)page, steps);
    else
        stream = explain(predictor, (int64_t)page);
    sweep(predictor);
    return stream && stream->stride ? guess(predictor, stream) : (struct pf_guess){.pages = 0};
}

void pf_predictor_sent(struct pf_predictor *predictor, const struct pf_guess *guess, size_t sent)
{
    struct pf_stream *stream = &predictor->streams[guess->stream];
    stream->span += guess->pages;
    stream->sent += sent;
}

void pf_predictor_end(struct pf_predictor *predictor)
{
    for (unsigned i = 0; i < predictor->count; i++) {
        predictor->useless += predictor->streams[i].sent;
        predictor->streams[i].stride = 0;
    }
    predictor->count = 0;
}
