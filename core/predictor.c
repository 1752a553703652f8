/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/predictor.h"

#include <stdbool.h>

enum {
    FIRST_WINDOW = 4,
    FARTHEST = 1024, /* pages: longer strides are taken for chance */
    RECENT = 8,      /* two neighbours in a row are a stream if no more lies between them */
    FORGET = 256,    /* requests after which a stream that has none is over */
    CARE_MOST = 3,
    TRUSTED = 2, /* hits after which a stream may leave out pages */
};

void pf_predictor_init(struct pf_predictor *predictor, size_t pages, size_t most)
{
    *predictor = (struct pf_predictor){.pages = pages, .most = most, .limit = most};
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
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

static void forget(struct pf_predictor *predictor, struct pf_stream *stream)
{
    predictor->useless += stream->sent;
    if (stream->sent > 0) {
        predictor->limit = stream->window / 2 > 1 ? stream->window / 2 : 1;
        if (predictor->care < CARE_MOST)
            predictor->care++;
    }
    stream->stride = 0;
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

static struct pf_stream *find(struct pf_predictor *predictor, int64_t page, size_t *steps)
{
    struct pf_stream *nearest = NULL;
    *steps = SIZE_MAX;
    for (unsigned i = 0; i < predictor->count; i++) {
        size_t ahead = steps_to(&predictor->streams[i], page);
        if (ahead == 0 || ahead >= *steps)
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

/* The stray request `age` before this one (1: the last). */
static int64_t stray(const struct pf_predictor *predictor, uint64_t age)
{
    return predictor->strays[(predictor->stray_count - age) % PF_STRAYS_MAX];
}

static bool was_asked_before(const struct pf_predictor *predictor, int64_t page, uint64_t age)
{
    for (age++; age <= PF_STRAYS_MAX && age <= predictor->stray_count; age++)
        if (stray(predictor, age) == page)
            return true;
    return false;
}

/*
 * Is the page the third of three at equal distances, or the second of two neighbours? *sure says
 * that it is hardly chance. The stride, or 0.
 */
static int64_t find_stride(const struct pf_predictor *predictor, int64_t page, bool *sure)
{
    int64_t found = 0;
    *sure = false;
    for (uint64_t age = 1; age <= PF_STRAYS_MAX && age <= predictor->stray_count; age++) {
        int64_t stride = page - stray(predictor, age);
        if (stride == 0 || stride > FARTHEST || stride < -FARTHEST)
            continue;
        *sure = was_asked_before(predictor, page - 2 * stride, age);
        if (!*sure && stride * stride != 1)
            continue;
        *sure = *sure || age <= RECENT;
        found = stride;
        if (*sure)
            break;
    }
    return found;
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

static struct pf_stream *begin(struct pf_predictor *predictor, int64_t page)
{
    bool sure;
    int64_t stride = find_stride(predictor, page, &sure);
    if (!stride) {
        predictor->strays[predictor->stray_count++ % PF_STRAYS_MAX] = page;
        return NULL;
    }
    struct pf_stream *stream = make_room(predictor);
    *stream = (struct pf_stream){
        .at = page,
        .stride = stride,
        .window = least(FIRST_WINDOW, predictor->limit),
        .due = predictor->care + !sure,
        .seen = predictor->clock,
    };
    return stream;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* The positions right behind the span, as far as the region reaches. */
static struct pf_guess guess(const struct pf_predictor *predictor, const struct pf_stream *stream)
{
    struct pf_guess guess = {
        .stride = stream->stride,
        .stream = (unsigned)(stream - predictor->streams),
    };
    int64_t first = stream->at + stream->stride * (int64_t)(stream->span + 1);
    int64_t last_page = (int64_t)predictor->pages - 1;
    if (stream->hits < stream->due || stream->span >= stream->window || first < 0 ||
        first > last_page)
        return guess;
    int64_t room = stream->stride > 0 ? last_page - first : first;
    int64_t stride = stream->stride > 0 ? stream->stride : -stream->stride;
    guess.first = (size_t)first;
    guess.pages = least(stream->window, (size_t)(room / stride) + 1);
    return guess;
}

struct pf_guess pf_predictor_see(struct pf_predictor *predictor, size_t page)
{
    size_t steps;
    predictor->clock++;
    struct pf_stream *stream = find(predictor, (int64_t)page, &steps);
    if (stream)
        follow(predictor, stream, (int64_t)page, steps);
    else
        stream = begin(predictor, (int64_t)page);
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
