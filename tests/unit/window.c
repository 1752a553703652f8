/* SPDX-License-Identifier: BSD-2-Clause */
/* Windows that a destination offers: what can't be is refused, and none is taken for another. */
#include "core/send/window.h"

#include "tests/suite.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = PF_CHUNK_BYTES / PF_PAGE_SIZE, PAGES = 2 * CHUNK + 5, SHORT = 7 };

struct stand {
    struct pf_regions regions;
    struct pf_windows windows;
    struct pf_session session; /* without rails: keys are the transports' to judge */
    struct pf_why why;
};

static struct stand *set_up(void)
{
    struct stand *stand = calloc(1, sizeof *stand);
    struct pf_why why = {""};
    CU_ASSERT_PTR_NOT_NULL_FATAL(stand);
    CU_ASSERT_EQUAL_FATAL(
        pf_regions_add_foreign(&stand->regions, "long", (size_t)PAGES * PF_PAGE_SIZE, 0, &why), 0);
    CU_ASSERT_EQUAL_FATAL(
        pf_regions_add_foreign(&stand->regions, "short", (size_t)SHORT * PF_PAGE_SIZE, 0, &why), 0);
    CU_ASSERT_EQUAL_FATAL(pf_windows_init(&stand->windows, &stand->regions, &why), 0);
    return stand;
}

static void take_down(struct stand *stand)
{
    pf_windows_free(&stand->windows);
    free(stand);
}

static int offer(struct stand *stand, uint32_t region, uint32_t kind, uint64_t first,
                 uint64_t pages)
{
    uint8_t bytes[64];
    struct pf_wire wire = pf_wire_over(bytes, sizeof bytes);
    pf_put_u32(&wire, region);
    pf_put_u32(&wire, kind);
    pf_put_u64(&wire, first);
    pf_put_u64(&wire, pages);
    if (kind == PF_WINDOW_MSG_OPEN)
        pf_put_u64(&wire, 0x10000);
    struct pf_message message = {
        .type = PF_MSG_WINDOW,
        .payload = pf_wire_over(bytes, (size_t)(wire.at - bytes)),
    };
    return pf_windows_take(&stand->windows, &stand->regions, &stand->session, &message);
}

static void ask(struct stand *stand, unsigned region, size_t chunk)
{
    stand->windows.told = true;
    stand->windows.asked++;
    atomic_store(&stand->windows.list[region].chunks[chunk].state, PF_WINDOW_ASKED);
}

static int state_of(const struct stand *stand, unsigned region, size_t chunk)
{
    return atomic_load(&stand->windows.list[region].chunks[chunk].state);
}

static void whole_regions_come_first(void)
{
    struct stand *stand = set_up();
    CU_ASSERT_EQUAL(offer(stand, 0, PF_WINDOW_MSG_OPEN, 0, PAGES), 0);
    CU_ASSERT_EQUAL(offer(stand, 0, PF_WINDOW_MSG_OPEN, 0, PAGES), -EPROTO); /* twice */
    CU_ASSERT_EQUAL(offer(stand, 1, PF_WINDOW_MSG_REFUSED, 0, SHORT), -EPROTO);
    CU_ASSERT_EQUAL(offer(stand, 1, PF_WINDOW_MSG_NEVER, 0, SHORT), 0);
    CU_ASSERT_TRUE(stand->windows.list[1].never);
    CU_ASSERT_FALSE(stand->windows.list[0].never);
    take_down(stand);
}

static void chunks_are_answers(void)
{
    struct stand *stand = set_up();
    ask(stand, 0, 1);
    ask(stand, 0, 2);
    ask(stand, 1, 0);
    CU_ASSERT_EQUAL(offer(stand, 0, PF_WINDOW_MSG_OPEN, CHUNK, CHUNK), 0);
    CU_ASSERT_EQUAL(offer(stand, 0, PF_WINDOW_MSG_REFUSED, 2 * CHUNK, 5), 0);
    CU_ASSERT_EQUAL(offer(stand, 1, PF_WINDOW_MSG_OPEN, 0, SHORT), 0);
    CU_ASSERT_EQUAL(stand->windows.asked, 0);
    CU_ASSERT_EQUAL(state_of(stand, 0, 1), PF_WINDOW_OPEN);
    CU_ASSERT_EQUAL(state_of(stand, 0, 2), PF_WINDOW_REFUSED);
    CU_ASSERT_EQUAL(state_of(stand, 1, 0), PF_WINDOW_OPEN);
    CU_ASSERT_EQUAL(atomic_load(&stand->windows.list[1].whole.state), PF_WINDOW_NONE);
    take_down(stand);
}

/* Each of them once left the source writing elsewhere, or waiting for an answer that had come. */
static void what_cannot_be_is_refused(void)
{
    static const struct {
        uint32_t region, kind;
        uint64_t first, pages;
    } offers[] = {
        {2, PF_WINDOW_MSG_OPEN, 0, SHORT},             /* no such region */
        {0, PF_WINDOW_MSG_NEVER + 1, CHUNK, CHUNK},    /* no such kind */
        {0, PF_WINDOW_MSG_OPEN, 0, CHUNK},             /* nobody asked for it */
        {0, PF_WINDOW_MSG_OPEN, 0, PAGES},             /* all of it, too late */
        {0, PF_WINDOW_MSG_NEVER, 0, PAGES},            /* likewise */
        {0, PF_WINDOW_MSG_NEVER, CHUNK, CHUNK},        /* of a chunk */
        {0, PF_WINDOW_MSG_OPEN, CHUNK + 1, CHUNK},     /* across a border */
        {0, PF_WINDOW_MSG_OPEN, CHUNK, CHUNK - 1},     /* short */
        {0, PF_WINDOW_MSG_OPEN, CHUNK, CHUNK + 1},     /* long */
        {0, PF_WINDOW_MSG_OPEN, 3 * CHUNK, CHUNK},     /* behind the end */
        {0, PF_WINDOW_MSG_OPEN, UINT64_MAX, 1},        /* far behind it */
        {0, PF_WINDOW_MSG_REFUSED, CHUNK, UINT64_MAX}, /* longer than anything */
    };
    for (size_t i = 0; i < sizeof offers / sizeof offers[0]; i++) {
        struct stand *stand = set_up();
        ask(stand, 0, 1);
        CU_ASSERT_EQUAL(
            offer(stand, offers[i].region, offers[i].kind, offers[i].first, offers[i].pages),
            -EPROTO);
        CU_ASSERT_EQUAL(stand->windows.asked, 1);
        CU_ASSERT_EQUAL(state_of(stand, 0, 1), PF_WINDOW_ASKED);
        CU_ASSERT_PTR_NOT_NULL(strstr(stand->session.why.text, "can't be"));
        take_down(stand);
    }
}

static void answers_come_once(void)
{
    struct stand *stand = set_up();
    ask(stand, 0, 1);
    CU_ASSERT_EQUAL(offer(stand, 0, PF_WINDOW_MSG_OPEN, CHUNK, CHUNK), 0);
    CU_ASSERT_EQUAL(offer(stand, 0, PF_WINDOW_MSG_OPEN, CHUNK, CHUNK), -EPROTO);
    take_down(stand);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"whole_regions_come_first", whole_regions_come_first},
        {"chunks_are_answers", chunks_are_answers},
        {"what_cannot_be_is_refused", what_cannot_be_is_refused},
        {"answers_come_once", answers_come_once},
        {NULL, NULL},
    };
    return pf_suite_run("window", tests, argc > 1 ? argv[1] : NULL);
}
