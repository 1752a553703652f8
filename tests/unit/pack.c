/* SPDX-License-Identifier: BSD-2-Clause */
/* Encoded pages from a job's memory into a stage and from there into a destination's region. */
#include "core/encode/pack.h"

#include "core/arrival/unpack.h"
#include "core/memory/guarded.h"
#include "tests/suite.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { PAGE = PF_ENCODED_PAGE, PAGES = 200, ROOM = 64 * PAGE };

struct stand {
    struct pf_options options;
    struct pf_knobs knobs;
    struct pf_counters counters;
    struct pf_encoder encoder;
    struct pf_pack pack;
    struct pf_squeeze_pool pool; /* the destination's */
    struct pf_unpacker unpacker;
    struct pf_region region;
    sem_t ready;
    uint8_t stage[ROOM];
    _Alignas(64) char job[(size_t)PAGES * PAGE];
    _Alignas(64) char there[(size_t)PAGES * PAGE];
};

static void ready(void *ctx)
{
    sem_post(ctx);
}

static struct stand *stand_open(unsigned compress, bool xbzrle)
{
    struct stand *stand = aligned_alloc(64, (sizeof *stand + 63) / 64 * 64);
    memset(stand, 0, sizeof *stand);
    pf_options_init(&stand->options);
    stand->options.fewer_bytes = PF_FEWER_BYTES_MANUAL;
    stand->options.compress = compress;
    stand->options.xbzrle = xbzrle;
    stand->options.xbzrle_cache = 128 * (size_t)PAGE;
    pf_knobs_fill(&stand->knobs, &stand->options);
    sem_init(&stand->ready, 0, 0);
    CU_ASSERT_EQUAL_FATAL(pf_encoder_open(&stand->encoder, &stand->knobs, &stand->counters, NULL),
                          0);
    CU_ASSERT_EQUAL_FATAL(pf_pack_init(&stand->pack, &stand->encoder, ROOM, ready, &stand->ready),
                          0);
    pf_squeeze_pool_init(&stand->pool, 2);
    pf_unpacker_init(&stand->unpacker, &stand->pool);
    stand->region =
        (struct pf_region){.addr = stand->there, .bytes = sizeof stand->there, .page_shift = 12};
    pf_encoder_round(&stand->encoder, 1);
    return stand;
}

static void stand_close(struct stand *stand)
{
    pf_unpacker_close(&stand->unpacker);
    pf_squeeze_pool_close(&stand->pool);
    pf_pack_free(&stand->pack);
    pf_encoder_close(&stand->encoder);
    sem_destroy(&stand->ready);
    free(stand);
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

/* What the destination makes of the stage that was packed. */
static int receive(struct stand *stand)
{
    size_t used = 0;
    for (unsigned i = 0; i < stand->pack.run_count; i++) {
        struct pf_stage_run run;
        uint8_t bytes[PF_RUN_BYTES];
        pf_stage_run_pack(&stand->pack.runs[i], bytes);
        pf_stage_run_unpack(bytes, &run);
        if (!pf_run_is_encoded(&run))
            return -EPROTO;
        struct pf_encoded_run encoded = pf_encoded_from_run(&run);
        int64_t taken = pf_unpack(&stand->unpacker, &stand->region, &encoded,
                                  (char *)stand->stage + used, stand->pack.bytes - used);
        if (taken < 0)
            return (int)taken;
        used += (size_t)taken;
    }
    int status = pf_unpacker_wait(&stand->unpacker);
    return status ? status : used == stand->pack.bytes ? 0 : -EPROTO;
}

/* Send pages of the job from `first` on in one stage; how many went. */
static size_t send(struct stand *stand, size_t first, size_t pages)
{
    pf_pack_begin(&stand->pack, stand->stage);
    int64_t n = pf_pack_add(&stand->pack, 0, first, stand->job + first * PAGE, pages, NULL);
    CU_ASSERT_FATAL(n > 0);
    while (!pf_pack_is_ready(&stand->pack))
        sem_wait(&stand->ready);
    CU_ASSERT_EQUAL(pf_pack_end(&stand->pack), 0);
    CU_ASSERT_EQUAL_FATAL(receive(stand), 0);
    return (size_t)n;
}

static void send_all(struct stand *stand)
{
    for (size_t at = 0; at < PAGES;)
        at += send(stand, at, PAGES - at);
    CU_ASSERT_EQUAL(memcmp(stand->there, stand->job, sizeof stand->job), 0);
}

static void fill_noise(char *page, uint64_t *state)
{
    for (size_t i = 0; i < PAGE; i++)
        page[i] = (char)next_random(state);
}

/* Text, zeros, and noise that can't be compressed. */
static void fill_job(struct stand *stand)
{
    uint64_t state = 1;
    for (size_t page = 0; page < PAGES; page++) {
        char *at = stand->job + page * PAGE;
        memset(at, 0, PAGE);
        if (page % 10 == 6)
            fill_noise(at, &state);
        else if (page % 10 != 3)
            for (size_t i = 0; i < PAGE; i++)
                at[i] = "a job's memory "[(i + page) % 15];
    }
}

static void write_a_little(struct stand *stand, uint64_t *state)
{
    for (unsigned i = 0; i < 3 * PAGES; i++)
        stand->job[next_random(state) % sizeof stand->job] = (char)next_random(state);
    memset(stand->job + next_random(state) % PAGES * PAGE, 0, PAGE);
}

static void rounds(unsigned compress, bool xbzrle)
{
    struct stand *stand = stand_open(compress, xbzrle);
    uint64_t state = 3;
    fill_job(stand);
    for (unsigned round = 1; round <= 6; round++) {
        pf_encoder_round(&stand->encoder, round);
        if (pf_encoder_shorter(&stand->encoder) == PF_SHORTER_NOT) {
            memcpy(stand->there, stand->job, sizeof stand->job); /* by windows */
            continue;
        }
        if (round == 4) /* while it runs */
            atomic_store(&stand->knobs.xbzrle_cache, 1024 * (size_t)PAGE);
        send_all(stand);
        write_a_little(stand, &state);
    }
    pf_encoder_count(&stand->encoder);
    bool compressed = compress != PF_COMPRESS_OFF;
    CU_ASSERT_EQUAL(pf_count_get(&stand->counters.compressed_pages) > 0, compressed);
    CU_ASSERT(pf_count_get(&stand->counters.compressed_bytes) <=
              pf_count_get(&stand->counters.compressed_pages) * PAGE / 4);
    CU_ASSERT_EQUAL(pf_count_get(&stand->counters.xbzrle_pages) > 0, xbzrle);
    CU_ASSERT_EQUAL(pf_count_get(&stand->counters.xbzrle_misses) > 0, xbzrle);
    CU_ASSERT(pf_count_get(&stand->counters.saved_bytes) > 0);
    if (xbzrle)
        CU_ASSERT_EQUAL(stand->encoder.cache.places, 1024);
    stand_close(stand);
}

static void the_destination_has_the_same(void)
{
    unsigned built = pf_squeeze_built();
    rounds(PF_COMPRESS_OFF, true);
    for (unsigned how = PF_COMPRESS_ZSTD; how <= PF_COMPRESS_LZ4; how++)
        if (built & 1u << how) {
            rounds(how, false);
            rounds(how, true);
        }
}

static void what_it_does_depends_on_the_round(void)
{
    struct stand *stand = stand_open(PF_COMPRESS_OFF, true);
    CU_ASSERT_EQUAL(pf_encoder_shorter(&stand->encoder), PF_SHORTER_NOT);
    pf_encoder_round(&stand->encoder, 2);
    CU_ASSERT_EQUAL(pf_encoder_shorter(&stand->encoder), PF_SHORTER_XBZRLE);
    stand_close(stand);
    if (!(pf_squeeze_built() & 1u << PF_COMPRESS_LZ4))
        return;
    stand = stand_open(PF_COMPRESS_LZ4, true);
    CU_ASSERT_EQUAL(pf_encoder_shorter(&stand->encoder), PF_SHORTER_COMPRESSED);
    pf_encoder_round(&stand->encoder, 2);
    CU_ASSERT_EQUAL(pf_encoder_shorter(&stand->encoder), PF_SHORTER_XBZRLE);
    stand_close(stand);
}

/* A page in each run: as many as a header holds, and no more. */
static void a_header_full_of_runs_ends_a_stage(void)
{
    struct stand *stand = stand_open(PF_COMPRESS_OFF, true);
    size_t n = 0;
    pf_encoder_round(&stand->encoder, 2);
    pf_pack_begin(&stand->pack, stand->stage);
    while (pf_pack_zeros(&stand->pack, 0, 2 * n, 1) == 1)
        n++;
    CU_ASSERT_EQUAL(n, PF_STAGE_RUNS_MAX);
    CU_ASSERT_EQUAL(pf_pack_add(&stand->pack, 0, 0, stand->job, 1, NULL), 0);
    CU_ASSERT_EQUAL(pf_pack_end(&stand->pack), 0);
    CU_ASSERT_EQUAL(stand->pack.run_count, PF_STAGE_RUNS_MAX);
    stand_close(stand);
}

/* ---- memory that goes away ------------------------------------------------------------------- */

enum { GOING = 8, GONE = 5, REGION = 7 };

static char *going_pages(void)
{
    uint64_t state = 1;
    char *pages = mmap(NULL, (size_t)GOING * PAGE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CU_ASSERT_FATAL(pages != MAP_FAILED);
    for (size_t page = 0; page < GOING; page++)
        fill_noise(pages + page * PAGE, &state);
    return pages;
}

/* Before they are packed, or, where the pool is to have them, after that. */
static void lose_pages(unsigned compress, bool xbzrle, bool late)
{
    struct stand *stand = stand_open(compress, xbzrle);
    char *pages = going_pages();
    pf_encoder_round(&stand->encoder, 2);
    pf_pack_begin(&stand->pack, stand->stage);
    if (!late)
        munmap(pages + (size_t)GONE * PAGE, PAGE);
    int64_t n = pf_pack_add(&stand->pack, REGION, 0, pages, GOING, NULL);
    if (late) {
        CU_ASSERT_EQUAL(n, GOING);
        while (!pf_pack_is_ready(&stand->pack))
            sem_wait(&stand->ready);
        munmap(pages + (size_t)GONE * PAGE, PAGE);
        n = pf_pack_end(&stand->pack);
    }
    CU_ASSERT_EQUAL(n, -EFAULT);
    CU_ASSERT_EQUAL(stand->pack.lost, REGION);
    munmap(pages, (size_t)GOING * PAGE);
    stand_close(stand);
}

static void pages_that_are_gone_are_told(void)
{
    CU_ASSERT_EQUAL_FATAL(pf_guarded_begin(NULL), 0);
    lose_pages(PF_COMPRESS_OFF, false, false);
    lose_pages(PF_COMPRESS_OFF, true, false);
    for (unsigned how = PF_COMPRESS_ZSTD; how <= PF_COMPRESS_LZ4; how++) {
        if (!(pf_squeeze_built() & 1u << how))
            continue;
        lose_pages(how, false, false);
        lose_pages(how, false, true);
    }
    pf_guarded_end();
}

/* ---- what does not belong in a stage --------------------------------------------------------- */

static int64_t unpack(struct stand *stand, struct pf_encoded_run run, const char *bytes,
                      size_t left)
{
    char *data = malloc(left ? left : 1);
    memcpy(data, bytes, left);
    int64_t taken = pf_unpack(&stand->unpacker, &stand->region, &run, data, left);
    int status = pf_unpacker_wait(&stand->unpacker);
    free(data);
    return status ? status : taken;
}

static void wrong_runs_are_refused(void)
{
    static const char zeros[2 * PAGE];
    static const struct {
        struct pf_encoded_run run;
        size_t left;
    } wrong[] = {
        {{0, PF_ENCODING_ZEROS, 0, 0, 0}, 0},
        {{0, PF_ENCODING_ZEROS, 1, PAGES, 0}, 0},
        {{0, PF_ENCODING_ZEROS, 2, PAGES - 1, 0}, 0},
        {{0, PF_ENCODING_ZEROS, PF_ENCODED_PAGES_MAX, (1ull << 40) - 1, 0}, 0},
        {{0, PF_ENCODING_ZEROS, 1, 0, 1}, 1},
        {{0, PF_ENCODING_PLAIN, 1, 0, PAGE - 1}, PAGE},
        {{0, PF_ENCODING_PLAIN, 1, 0, PAGE}, PAGE - 1},
        {{0, PF_ENCODING_PLAIN, 2, 0, PAGE}, PAGE},
        {{0, PF_ENCODING_XBZRLE, 1, 0, 0}, 0},
        {{0, PF_ENCODING_XBZRLE, 1, 0, 2}, 2}, /* more than one page's */
        {{0, PF_ENCODING_XBZRLE, 3, 0, 2}, 2}, /* less than three pages' */
        {{0, PF_ENCODING_ZSTD, 1, 0, 0}, 0},
        {{0, PF_ENCODING_LZ4, 1, 0, PAGE}, PAGE},
        {{0, PF_ENCODING_LZ4, 17, 0, 100}, 100},
        {{0, PF_ENCODING_ZSTD, 2, 0, 100}, 100},
        {{0, 0, 1, 0, 0}, 0},
        {{0, 6, 1, 0, 0}, 0},
        {{0, 15, 1, 0, 0}, 0},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct stand *stand = stand_open(PF_COMPRESS_OFF, false);
        int64_t taken = unpack(stand, wrong[i].run, zeros, wrong[i].left);
        CU_ASSERT(taken == -EPROTO || taken == -ENOTSUP);
        stand_close(stand);
    }
}

/* A stage of a real source in which a bit of what is encoded is another. */
static void spoilt_pages_are_noticed(void)
{
    enum { TEXT_PAGES = 3 }; /* none of them goes as it is */
    uint64_t state = 11;
    for (unsigned round = 0; round < 200; round++) {
        unsigned how = round % 3;
        if (how != PF_COMPRESS_OFF && !(pf_squeeze_built() & 1u << how))
            continue;
        struct stand *stand = stand_open(how, how == PF_COMPRESS_OFF);
        pf_encoder_round(&stand->encoder, 2);
        fill_job(stand);
        send(stand, 0, TEXT_PAGES);
        stand->job[next_random(&state) % (TEXT_PAGES * PAGE)]++;
        pf_pack_begin(&stand->pack, stand->stage);
        CU_ASSERT(pf_pack_add(&stand->pack, 0, 0, stand->job, TEXT_PAGES, NULL) == TEXT_PAGES);
        while (!pf_pack_is_ready(&stand->pack))
            sem_wait(&stand->ready);
        CU_ASSERT_EQUAL_FATAL(pf_pack_end(&stand->pack), 0);
        CU_ASSERT_FATAL(stand->pack.bytes > 0 && stand->pack.bytes < PAGE);
        stand->stage[next_random(&state) % stand->pack.bytes] ^=
            (uint8_t)(1 << next_random(&state) % 8);
        CU_ASSERT_EQUAL(receive(stand), -EPROTO);
        stand_close(stand);
    }
}

/* The same with sums that fit, as who means harm would send it. */
static void noise_is_unpacked_or_refused(void)
{
    uint64_t state = 5;
    struct stand *stand = stand_open(PF_COMPRESS_OFF, false);
    for (unsigned round = 0; round < 3000; round++) {
        char data[64];
        uint32_t length = PF_ENCODED_SUM_BYTES + 1 + (uint32_t)next_random(&state) % 50;
        for (uint32_t i = PF_ENCODED_SUM_BYTES; i < length; i++)
            data[i] = (char)(next_random(&state) & (round % 2 ? 0x07 : 0xff));
        struct pf_encoded_run run = {0, 1 + round % 3, 1 + (uint32_t)next_random(&state) % 20,
                                     next_random(&state) % PAGES, length};
        uint32_t sum = htole32(pf_encoded_sum(&run, data + PF_ENCODED_SUM_BYTES));
        memcpy(data, &sum, sizeof sum);
        int64_t taken = unpack(stand, run, data, length);
        CU_ASSERT(taken == length || taken == -EPROTO || taken == -ENOTSUP);
        stand->unpacker.status = 0;
    }
    stand_close(stand);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"the_destination_has_the_same", the_destination_has_the_same},
        {"what_it_does_depends_on_the_round", what_it_does_depends_on_the_round},
        {"a_header_full_of_runs_ends_a_stage", a_header_full_of_runs_ends_a_stage},
        {"pages_that_are_gone_are_told", pages_that_are_gone_are_told},
        {"wrong_runs_are_refused", wrong_runs_are_refused},
        {"spoilt_pages_are_noticed", spoilt_pages_are_noticed},
        {"noise_is_unpacked_or_refused", noise_is_unpacked_or_refused},
        {NULL, NULL},
    };
    return pf_suite_run("pack", tests, argc > 1 ? argv[1] : NULL);
}
