/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The predictor against readers that are played here: a page that a reader finds missing is a
 * request, and what was guessed by then is not missing. Requests are counted, nothing is timed.
 */
#include "core/send/predictor.h"

#include "tests/suite.h"

#include <stdbool.h>
#include <stdlib.h>

enum { PAGES = 16384, MOST = 16 };

struct play {
    struct pf_predictor predictor;
    bool here[PAGES]; /* pages that have come, asked for or not */
    size_t requests, sent, largest;
};

static struct play *play_new(size_t pages)
{
    struct play *play = calloc(1, sizeof *play);
    pf_predictor_init(&play->predictor, pages, MOST);
    return play;
}

/* The pages of a guess come at once; each has to be inside the region. */
static void act(struct play *play, const struct pf_guess *guess)
{
    size_t sent = 0;
    for (size_t i = 0; i < guess->pages; i++) {
        int64_t page = (int64_t)guess->first + (int64_t)i * guess->stride;
        CU_ASSERT_FATAL(page >= 0 && page < (int64_t)play->predictor.pages);
        sent += !play->here[page];
        play->here[page] = true;
    }
    if (guess->pages > 0)
        pf_predictor_sent(&play->predictor, guess, sent);
    if (guess->pages > play->largest)
        play->largest = guess->pages;
    play->sent += sent;
}

static struct pf_guess ask(struct play *play, size_t page)
{
    play->here[page] = true;
    play->requests++;
    return pf_predictor_see(&play->predictor, page);
}

static void touch(struct play *play, size_t page)
{
    if (play->here[page])
        return;
    struct pf_guess guess = ask(play, page);
    act(play, &guess);
}

/* Every page sent is judged, and none twice. */
static void finish(struct play *play)
{
    pf_predictor_end(&play->predictor);
    CU_ASSERT_EQUAL(play->predictor.useful + play->predictor.useless, play->sent);
    free(play);
}

/* ---- patterns -------------------------------------------------------------------------------- */

static void sequential(void)
{
    struct play *play = play_new(PAGES);
    for (size_t page = 0; page < PAGES; page++)
        touch(play, page);
    CU_ASSERT(play->requests < PAGES / 10);
    CU_ASSERT_EQUAL(play->requests + play->sent, PAGES);
    CU_ASSERT_EQUAL(play->largest, MOST);
    pf_predictor_end(&play->predictor);
    CU_ASSERT(play->predictor.useless <= MOST);
    finish(play);
}

static void backwards(void)
{
    struct play *play = play_new(PAGES);
    for (size_t page = PAGES; page-- > 0;)
        touch(play, page);
    CU_ASSERT(play->requests < PAGES / 10);
    CU_ASSERT_EQUAL(play->requests + play->sent, PAGES);
    finish(play);
}

static void strided(void)
{
    static const size_t strides[] = {2, 7, 64, 250};
    for (size_t i = 0; i < sizeof strides / sizeof strides[0]; i++) {
        struct play *play = play_new(PAGES);
        size_t touched = 0;
        for (size_t page = 5; page < PAGES; page += strides[i], touched++)
            touch(play, page);
        CU_ASSERT(play->requests < touched / 4);
        /* Nothing between the strides was sent. */
        CU_ASSERT_EQUAL(play->requests + play->sent, touched);
        finish(play);
    }
}

/* Column by column: that each begins beside the one before is a pattern too, of no use. */
static void columns_of_a_matrix(void)
{
    enum { ROW = 16, SMALLER = PAGES / 2 };
    struct play *play = play_new(SMALLER);
    for (size_t column = 0; column < ROW; column++)
        for (size_t page = column; page < SMALLER; page += ROW)
            touch(play, page);
    CU_ASSERT(play->requests < SMALLER / 10);
    pf_predictor_end(&play->predictor);
    CU_ASSERT(play->predictor.useless < play->sent / 50);
    finish(play);
}

/* Threads that fault in turn, forwards, backwards and strided. */
static void interleaved_streams(void)
{
    enum { STREAMS = 12, LENGTH = 600 };
    struct play *play = play_new(PAGES);
    for (size_t step = 0; step < LENGTH; step++)
        for (size_t i = 0; i < STREAMS; i++) {
            size_t from = i * (PAGES / STREAMS);
            size_t stride = i % 3 == 2 ? 2 : 1;
            touch(play, from + (i % 3 == 1 ? LENGTH - 1 - step : step * stride));
        }
    CU_ASSERT(play->requests < (size_t)STREAMS * LENGTH / 8);
    /* Each stream but for the strided ones runs on behind the end of its walk. */
    CU_ASSERT(play->requests + play->sent <= (size_t)STREAMS * (LENGTH + 2 * MOST));
    finish(play);
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

static void random_access_sends_next_to_nothing(void)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct play *play = play_new(PAGES);
        uint64_t state = seed;
        for (size_t i = 0; i < 4 * (size_t)PAGES; i++)
            touch(play, next_random(&state) % PAGES);
        CU_ASSERT(play->sent < PAGES / 100);
        /* A walk behind it is seen for what it is. */
        size_t before = play->requests;
        size_t left = 0;
        memset(play->here, 0, sizeof play->here);
        for (size_t page = 0; page < PAGES; page++, left++)
            touch(play, page);
        CU_ASSERT(play->requests - before < left / 10);
        finish(play);
    }
}

/* ---- the window ------------------------------------------------------------------------------ */

/* A walk where each window arrives before it is needed: the sizes of the windows, one by one. */
static void window_grows_while_guesses_are_used(void)
{
    static const size_t sizes[] = {4, 8, 16, 16, 16};
    struct play *play = play_new(PAGES);
    size_t page = 100;
    touch(play, page++);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct pf_guess guess = ask(play, page);
        CU_ASSERT_EQUAL(guess.first, page + 1);
        CU_ASSERT_EQUAL(guess.stride, 1);
        CU_ASSERT_EQUAL(guess.pages, sizes[i]);
        act(play, &guess);
        page += guess.pages + 1;
    }
    CU_ASSERT_EQUAL(play->predictor.useful, 4 + 8 + 16 + 16);
    finish(play);
}

/* A fault inside the window says that its reader is there: the next window goes out behind it. */
static void window_under_way_is_followed_by_another(void)
{
    struct play *play = play_new(PAGES);
    touch(play, 10);
    struct pf_guess first = ask(play, 11);
    act(play, &first);
    struct pf_guess second = ask(play, 12);
    CU_ASSERT_EQUAL(second.first, 16);
    CU_ASSERT_EQUAL(second.pages, 4);
    act(play, &second);
    CU_ASSERT_EQUAL(play->predictor.useful, 1);
    /* Enough is under way now. */
    CU_ASSERT_EQUAL(ask(play, 13).pages, 0);
    /* The same stream, behind both. */
    CU_ASSERT_EQUAL(ask(play, 20).pages, 8);
    CU_ASSERT_EQUAL(play->predictor.useful, 8);
    finish(play);
}

/* Short walks from random places: what is sent behind their ends is useless, and gets less. */
static void less_is_sent_when_guesses_are_not_used(void)
{
    enum { WALKS = 200, LENGTH = 3, APART = 64 };
    struct play *play = play_new(PAGES);
    uint64_t state = 7;
    for (size_t walk = 0; walk < WALKS; walk++) {
        size_t from = next_random(&state) % (PAGES / APART) * APART;
        for (size_t i = 0; i < LENGTH; i++)
            touch(play, from + i);
    }
    CU_ASSERT(play->predictor.start < 4);
    CU_ASSERT(play->predictor.care > 0);
    /* A third of what the first window would have come to. */
    CU_ASSERT(play->sent < (size_t)WALKS * 4 / 3);
    finish(play);
}

/* A trusted stream that breaks off: those behind it grow half as far, until that pays again. */
static void window_shrinks_when_guesses_are_not_used(void)
{
    struct play *play = play_new(PAGES);
    uint64_t state = 3;
    for (size_t page = 0; page < 200; page++)
        touch(play, page);
    CU_ASSERT_EQUAL(play->predictor.limit, MOST);
    while (play->predictor.useless == 0)
        ask(play, PAGES / 2 + next_random(&state) % (PAGES / 2));
    CU_ASSERT_EQUAL(play->predictor.limit, MOST / 2);
    play->largest = 0;
    for (size_t page = 1000; page < 1015; page++)
        touch(play, page);
    CU_ASSERT_EQUAL(play->largest, MOST / 2);
    for (size_t page = 1015; page < 1200; page++)
        touch(play, page);
    CU_ASSERT_EQUAL(play->largest, MOST);
    finish(play);
}

/* A guess that nobody acts upon is made again, and is not counted. */
static void guess_not_acted_upon_is_forgotten(void)
{
    struct play *play = play_new(PAGES);
    touch(play, 50);
    CU_ASSERT_EQUAL(ask(play, 51).first, 52);
    struct pf_guess guess = ask(play, 52);
    CU_ASSERT_EQUAL(guess.first, 53);
    CU_ASSERT_EQUAL(guess.pages, 4);
    CU_ASSERT_EQUAL(play->predictor.useful, 0);
    finish(play);
}

/* A window of which the other lane has brought all is no reason to grow. */
static void window_that_was_here_is_not_counted(void)
{
    struct play *play = play_new(PAGES);
    touch(play, 50);
    struct pf_guess guess = ask(play, 51);
    pf_predictor_sent(&play->predictor, &guess, 0);
    CU_ASSERT_EQUAL(ask(play, 56).pages, 4);
    CU_ASSERT_EQUAL(play->predictor.useful, 0);
    finish(play);
}

/* ---- ends of the region ---------------------------------------------------------------------- */

static void guesses_end_with_the_region(void)
{
    enum { SMALL = 9 };
    struct play *play = play_new(SMALL);
    touch(play, 5);
    struct pf_guess up = ask(play, 6);
    CU_ASSERT_EQUAL(up.first, 7);
    CU_ASSERT_EQUAL(up.pages, 2);
    act(play, &up);
    finish(play);

    play = play_new(SMALL);
    touch(play, 3);
    struct pf_guess down = ask(play, 2);
    CU_ASSERT_EQUAL(down.first, 1);
    CU_ASSERT_EQUAL(down.stride, -1);
    CU_ASSERT_EQUAL(down.pages, 2);
    act(play, &down);
    CU_ASSERT_EQUAL(ask(play, 0).pages, 0);
    finish(play);

    play = play_new(SMALL);
    touch(play, 7);
    CU_ASSERT_EQUAL(ask(play, 8).pages, 0);
    finish(play);

    play = play_new(1);
    touch(play, 0);
    CU_ASSERT_EQUAL(play->sent, 0);
    finish(play);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"sequential", sequential},
        {"backwards", backwards},
        {"strided", strided},
        {"columns_of_a_matrix", columns_of_a_matrix},
        {"interleaved_streams", interleaved_streams},
        {"random_access_sends_next_to_nothing", random_access_sends_next_to_nothing},
        {"window_grows_while_guesses_are_used", window_grows_while_guesses_are_used},
        {"window_under_way_is_followed_by_another", window_under_way_is_followed_by_another},
        {"less_is_sent_when_guesses_are_not_used", less_is_sent_when_guesses_are_not_used},
        {"window_shrinks_when_guesses_are_not_used", window_shrinks_when_guesses_are_not_used},
        {"guess_not_acted_upon_is_forgotten", guess_not_acted_upon_is_forgotten},
        {"window_that_was_here_is_not_counted", window_that_was_here_is_not_counted},
        {"guesses_end_with_the_region", guesses_end_with_the_region},
        {NULL, NULL},
    };
    return pf_suite_run("predictor", tests, argc > 1 ? argv[1] : NULL);
}
