/* SPDX-License-Identifier: BSD-2-Clause */
/* Compression by each library that is built in, and the pool of threads that does it. */
#include "core/encode/squeeze.h"

#include "core/encode/squeeze_pool.h"
#include "tests/suite.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>

static const unsigned ways[] = {PF_COMPRESS_ZSTD, PF_COMPRESS_LZ4};
enum { WAYS = sizeof ways / sizeof ways[0], MAX = PF_SQUEEZE_MAX };

static bool built(unsigned how)
{
    return pf_squeeze_built() & 1u << how;
}

struct buffers {
    unsigned char in[MAX], out[MAX], back[MAX];
    struct pf_squeezer squeezer;
};

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

/* Words of few bits, as in most programs' memory. */
static void fill_mild(unsigned char *bytes, size_t length, uint64_t seed)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] = i % 8 < 2 ? (unsigned char)next_random(&seed) : 0;
}

static void what_goes_in_comes_out(void)
{
    struct buffers *b = calloc(1, sizeof *b);
    for (unsigned way = 0; way < WAYS; way++)
        for (unsigned level = 1; level <= 19 && built(ways[way]); level += 3)
            for (size_t bytes = 4096; bytes <= MAX; bytes *= 4) {
                fill_mild(b->in, bytes, level);
                int length = pf_squeeze(&b->squeezer, ways[way], level, b->in, bytes, b->out);
                CU_ASSERT_FATAL(length > 0 && (size_t)length < bytes * 3 / 4);
                CU_ASSERT_EQUAL(
                    pf_unsqueeze(&b->squeezer, ways[way], b->out, (size_t)length, b->back, bytes),
                    0);
                CU_ASSERT_EQUAL(memcmp(b->in, b->back, bytes), 0);
            }
    pf_squeezer_free(&b->squeezer);
    free(b);
}

static void noise_is_not_made_longer(void)
{
    struct buffers *b = calloc(1, sizeof *b);
    uint64_t state = 1;
    for (size_t i = 0; i < MAX; i++)
        b->in[i] = (unsigned char)next_random(&state);
    for (unsigned way = 0; way < WAYS; way++)
        if (built(ways[way]))
            CU_ASSERT_EQUAL(pf_squeeze(&b->squeezer, ways[way], 1, b->in, MAX, b->out), -E2BIG);
    CU_ASSERT_EQUAL(pf_squeeze(&b->squeezer, PF_COMPRESS_LZ4, 1, b->in, MAX + 1, b->out), -E2BIG);
    pf_squeezer_free(&b->squeezer);
    free(b);
}

/* Nothing is read or written beyond what was named: AddressSanitizer sees the ends. */
static int undo(struct pf_squeezer *squeezer, unsigned how, const unsigned char *in, size_t length,
                size_t bytes)
{
    unsigned char *from = malloc(length ? length : 1), *to = malloc(bytes);
    memcpy(from, in, length);
    int error = pf_unsqueeze(squeezer, how, from, length, to, bytes);
    free(from);
    free(to);
    return error;
}

static void spoilt_input_is_an_error(void)
{
    struct buffers *b = calloc(1, sizeof *b);
    uint64_t state = 5;
    for (unsigned way = 0; way < WAYS; way++) {
        if (!built(ways[way]))
            continue;
        fill_mild(b->in, 4096, 3);
        size_t length = (size_t)pf_squeeze(&b->squeezer, ways[way], 1, b->in, 4096, b->out);
        CU_ASSERT_EQUAL(undo(&b->squeezer, ways[way], b->out, length, 4096), 0);
        CU_ASSERT_EQUAL(undo(&b->squeezer, ways[way], b->out, length, 4095), -EPROTO);
        CU_ASSERT_EQUAL(undo(&b->squeezer, ways[way], b->out, length, 8192), -EPROTO);
        CU_ASSERT_EQUAL(undo(&b->squeezer, ways[way], b->out, length - 1, 4096), -EPROTO);
        CU_ASSERT_EQUAL(undo(&b->squeezer, ways[way], b->out, 0, 4096), -EPROTO);
        for (unsigned round = 0; round < 500; round++) {
            b->out[next_random(&state) % length] = (unsigned char)next_random(&state);
            int error = undo(&b->squeezer, ways[way], b->out, length, 4096);
            CU_ASSERT(error == 0 || error == -EPROTO);
        }
    }
    pf_squeezer_free(&b->squeezer);
    free(b);
}

static void what_was_not_built_is_named(void)
{
    struct pf_why why = {""};
    CU_ASSERT_EQUAL(pf_squeeze_check(PF_COMPRESS_OFF, 0, false, &why), 0);
    CU_ASSERT_EQUAL(pf_squeeze_check(PF_COMPRESS_ZSTD, 1u << PF_COMPRESS_ZSTD, false, &why), 0);
    CU_ASSERT_EQUAL(pf_squeeze_check(PF_COMPRESS_LZ4, 1u << PF_COMPRESS_ZSTD, false, &why),
                    -ENOTSUP);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "liblz4-dev"));
    CU_ASSERT_EQUAL(pf_squeeze_check(PF_COMPRESS_ZSTD, 0, true, &why), -ENOTSUP);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "destination"));
}

/* ---- the pool -------------------------------------------------------------------------------- */

static void post(struct pf_squeeze_task *task)
{
    sem_post(task->ctx);
}

static void many_pieces_at_once(void)
{
    enum { TASKS = 40, BYTES = 16384 };
    struct pf_squeeze_pool pool;
    struct pf_squeeze_task tasks[TASKS];
    sem_t done;
    unsigned how = built(PF_COMPRESS_LZ4) ? PF_COMPRESS_LZ4 : PF_COMPRESS_ZSTD;
    unsigned char *in = malloc((size_t)TASKS * BYTES), *out = malloc((size_t)TASKS * MAX),
                  *back = calloc(TASKS, BYTES);
    fill_mild(in, (size_t)TASKS * BYTES, 9);
    sem_init(&done, 0, 0);
    pf_squeeze_pool_init(&pool, 3);
    CU_ASSERT_EQUAL(pool.running, 0);
    for (unsigned i = 0; i < TASKS; i++) {
        tasks[i] = (struct pf_squeeze_task){.how = how,
                                            .level = 1,
                                            .from = in + (size_t)i * BYTES,
                                            .bytes = BYTES,
                                            .to = out + (size_t)i * MAX,
                                            .done = post,
                                            .ctx = &done};
        CU_ASSERT_EQUAL_FATAL(pf_squeeze_pool_add(&pool, &tasks[i], NULL), 0);
    }
    for (unsigned i = 0; i < TASKS; i++)
        sem_wait(&done);
    for (unsigned i = 0; i < TASKS; i++) {
        CU_ASSERT_FATAL(tasks[i].result > 0 || pf_squeeze_built() == 0);
        if (tasks[i].result < 0)
            continue;
        tasks[i] = (struct pf_squeeze_task){.how = how,
                                            .from = out + (size_t)i * MAX,
                                            .bytes = (size_t)tasks[i].result,
                                            .to = back + (size_t)i * BYTES,
                                            .to_bytes = BYTES,
                                            .done = post,
                                            .ctx = &done};
        CU_ASSERT_EQUAL_FATAL(pf_squeeze_pool_add(&pool, &tasks[i], NULL), 0);
    }
    pf_squeeze_pool_close(&pool); /* does what it was given */
    for (unsigned i = 0; i < TASKS; i++)
        CU_ASSERT_EQUAL(tasks[i].result, pf_squeeze_built() ? 0 : -ENOTSUP);
    CU_ASSERT(pf_squeeze_built() == 0 || memcmp(in, back, (size_t)TASKS * BYTES) == 0);
    pf_squeeze_pool_close(&pool);
    sem_destroy(&done);
    free(in);
    free(out);
    free(back);
}

static void a_pool_that_nobody_uses_has_no_threads(void)
{
    struct pf_squeeze_pool pool;
    pf_squeeze_pool_init(&pool, 1000);
    CU_ASSERT_EQUAL(pool.running, 0);
    CU_ASSERT_EQUAL(pool.wanted, PF_SQUEEZE_THREADS_MAX);
    pf_squeeze_pool_close(&pool);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"what_goes_in_comes_out", what_goes_in_comes_out},
        {"noise_is_not_made_longer", noise_is_not_made_longer},
        {"spoilt_input_is_an_error", spoilt_input_is_an_error},
        {"what_was_not_built_is_named", what_was_not_built_is_named},
        {"many_pieces_at_once", many_pieces_at_once},
        {"a_pool_that_nobody_uses_has_no_threads", a_pool_that_nobody_uses_has_no_threads},
        {NULL, NULL},
    };
    return pf_suite_run("squeeze", tests, argc > 1 ? argv[1] : NULL);
}
