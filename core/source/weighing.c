/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/source/weighing.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/encode/economy.h"
#include "core/source/source.h"
#include "pageferry.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    FILLED_BYTES = PF_FLIGHTS_MEASURED * PF_FLIGHT_BYTES, /* what may be under way and not sent */
    ENOUGH_BYTES = 16 << 20,
};

static const uint64_t ms = 1000000;

/* Bytes of pages, however many that were on the link. */
static uint64_t pages_sent(const struct pf_source *source)
{
    const struct pf_counters *counters = &source->job->counters;
    return pf_count_get(&counters->sent_bytes) + pf_count_get(&counters->saved_bytes);
}

/* Bytes of pages a second. 0: not known yet. */
static double link_rate(struct pf_source *source)
{
    struct pf_weighing *weighing = &source->weighing;
    uint64_t now = pf_now_ns();
    uint64_t sent = pf_count_get(&source->job->counters.sent_bytes);
    if (weighing->began_ns == 0)
        weighing->began_ns = now;
    if (weighing->since_ns == 0 && (sent >= FILLED_BYTES || now - weighing->began_ns > 100 * ms)) {
        weighing->since_ns = now;
        weighing->counted = sent;
    }
    if (weighing->since_ns == 0)
        return 0;
    uint64_t took = now - weighing->since_ns;
    uint64_t bytes = sent - weighing->counted;
    bool known = took > 50 * ms && (bytes > ENOUGH_BYTES || took > 500 * ms);
    return known ? (double)(bytes + 1) / (double)took * 1e9 : 0;
}

/* Pages that have been sent, from all over a region: those are in memory. */
static unsigned sample_region(struct pf_source_region *source, struct pf_economy_piece *pieces,
                              unsigned most)
{
    unsigned count = 0;
    size_t step = source->landed.pages / most + 1;
    for (size_t at = 0; count < most && at < source->landed.pages;) {
        struct pf_run run = pf_pageset_next(&source->landed, at);
        size_t bytes = run.pages << source->region->page_shift;
        if (run.pages == 0)
            break;
        pieces[count++] = (struct pf_economy_piece){
            .addr = pf_region_page(source->region, run.first),
            .bytes = bytes < PF_SQUEEZE_MAX ? bytes : PF_SQUEEZE_MAX,
        };
        at = run.first + step;
    }
    return count;
}

static unsigned sample(struct pf_source *source, struct pf_economy_piece *pieces)
{
    unsigned count = 0;
    for (unsigned i = 0; i < source->memory.count && count < PF_ECONOMY_PIECES_MAX; i++) {
        unsigned left = PF_ECONOMY_PIECES_MAX - count;
        unsigned share = (left + source->memory.count - i - 1) / (source->memory.count - i);
        count += sample_region(&source->memory.regions[i], pieces + count, share);
    }
    return count;
}

/* For the log, and for `status`. */
static void say(struct pf_source *source, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(struct pf_source *source, const char *format, ...)
{
    char text[320];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pf_warn("--fewer-bytes auto: %s", text);
    pf_job_note(source->job, PF_NOTE_FEWER_BYTES, "%s", text);
}

static unsigned cpus(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : (unsigned)CPU_COUNT(&set);
}

static int decide(struct pf_source *source, double link)
{
    struct pf_economy_piece pieces[PF_ECONOMY_PIECES_MAX];
    struct pf_economy choice;
    unsigned threads = (unsigned)pf_knob(&source->job->knobs.compress_threads);
    struct pf_economy_facts facts = {.link = link, .threads = threads < cpus() ? threads : cpus()};
    int error = pf_economy_measure(&facts, (unsigned)pf_knob(&source->job->knobs.compress_level),
                                   pieces, sample(source, pieces));
    if (error)
        return pf_why(&source->session.why, error, "cannot see how well pages compress: %s",
                      ferry_strerror(error));
    unsigned squeezes = source->job->peer_squeezes;
    for (unsigned how = 0; how < PF_ECONOMY_WAYS; how++)
        if (!(squeezes & 1u << how))
            facts.speed[how] = 0;
    pf_economy_choose(&facts, &choice);
    say(source, "%s%s, since %s",
        choice.compress == PF_COMPRESS_ZSTD  ? "zstd"
        : choice.compress == PF_COMPRESS_LZ4 ? "lz4"
                                             : "no compression",
        choice.xbzrle ? " and XBZRLE" : ", no XBZRLE", choice.why);
    struct pf_weighing *weighing = &source->weighing;
    weighing->link = choice.compress != PF_COMPRESS_OFF ? link : 0;
    weighing->since_ns = pf_now_ns();
    weighing->counted = pages_sent(source);
    return pf_encoder_set(&source->encoder, choice.compress, choice.xbzrle, &source->session.why);
}

/* A sample has the CPU for itself, for a moment; all of the pages have to share it with the job. */
static int watch(struct pf_source *source)
{
    struct pf_weighing *weighing = &source->weighing;
    uint64_t took = pf_now_ns() - weighing->since_ns;
    uint64_t bytes = pages_sent(source) - weighing->counted;
    if (weighing->link <= 0 || took < 500 * ms || bytes < ENOUGH_BYTES)
        return 0;
    double rate = (double)bytes / (double)took * 1e9, link = weighing->link;
    weighing->link = 0;
    if (rate >= link)
        return 0;
    say(source, "no compression any more, since it made %.0f MB/s of %.0f MB/s", rate / 1e6,
        link / 1e6);
    return pf_encoder_set(&source->encoder, PF_COMPRESS_OFF, atomic_load(&source->encoder.xbzrle),
                          &source->session.why);
}

int pf_source_weigh(struct pf_source *source, bool over)
{
    /* While the job stands and waits there is no time for it. */
    if (!source->encoder.open || source->paused_ns > 0)
        return 0;
    if (!atomic_load(&source->encoder.undecided))
        return watch(source);
    double link = link_rate(source);
    if (link > 0)
        return decide(source, link);
    if (!over)
        return 0;
    say(source, "pages go as they are, since all were sent before the link could be measured");
    return pf_encoder_set(&source->encoder, PF_COMPRESS_OFF, false, &source->session.why);
}
