/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of clients stand on: a job with a shared region at the destination, its source,
 * and other processes that map the region. Pages come only when they are touched (no background),
 * so who reads right was served. All processes get the stand by fork.
 */
#ifndef PF_TESTS_E2E_CLIENTS_STAND_H
#define PF_TESTS_E2E_CLIENTS_STAND_H

#include "tests/e2e/grid.h"

enum { STAND_PAGES = 64, STAND_HUGE_PAGES = 8, STAND_CLIENTS = 4 };

struct stand {
    char directory[32], name[16];
    size_t page_size, pages;
    int memfd;
    bool tells_duplicates; /* the job says so when two threads wait for one page */
    bool lingers;          /* the job stays after its last page, until it has one word more */
    int words[2], client_words[2]; /* a byte in it lets the job, or one client, go on */
    struct rig_run run;
    struct rig_process clients[STAND_CLIENTS];
    unsigned count;
};

/* Options of a source. */
extern const char *const stand_on_demand[];

/* The tables of the two themes; they end with {NULL, NULL}. */
extern const struct pf_test clients_watch[];
extern const struct pf_test clients_ends[];

/* ---- for the parent */

void stand_set_up(struct stand *stand, size_t page_size);
void stand_start_destination(struct stand *stand, const char *const *options);
void stand_start_source(struct stand *stand);
struct rig_process *stand_add_client(struct stand *stand, rig_body body);
/* Close and remove what it has; a test whose job ended otherwise does the rest itself. */
void stand_clear_away(struct stand *stand);
/* The job has moved, everything was asked for once; then clear away. */
void stand_take_down(struct stand *stand);
void stand_give_words(const int words[2], unsigned count);
void stand_assert_read_right(struct rig_process *client);

/* ---- for bodies */

unsigned char stand_content(size_t page);
char *stand_map(const struct stand *stand);
void stand_await_word(const int words[2]);
size_t stand_wrong_pages(const struct stand *stand, const char *memory, size_t first, size_t pages);
/* Open the job by its name, which is how clients find it. */
void stand_open_job(struct rig_side *side);
struct ferry_client *stand_join(struct rig_side *side, char *memory);
/* Wait until all is there; what the client's process is to exit with. */
int stand_leave(struct ferry_client *client);
/* Clients that read everything: at once, or when they are told to. */
int stand_reader(struct rig_side *side);
int stand_late_reader(struct rig_side *side);

#endif
