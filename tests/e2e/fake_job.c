/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A job as far as its control socket goes, well-behaved or not, for testing the command without an
 * engine: fake_job NAME BEHAVIOUR. Prints "ready", then each request as it comes. Ends when its
 * standard input does, so that a test that dies leaves nothing behind.
 */
#include "core/job/job_socket.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECORD(event, more) "{\"event\":\"" event "\",\"name\":\"fake\",\"pid\":4711," more "}\n"
#define AMOUNTS(left)                                                                              \
    "\"role\":\"source\",\"state\":\"postcopy\",\"transport\":\"tcp\",\"total_bytes\":1073741824," \
    "\"remaining_bytes\":" left ",\"bytes_per_second\":1200000000,\"faults\":1234,"                \
    "\"service_p50_us\":17,\"service_p99_us\":43"

#define PRECOPY(round, left)                                                                       \
    "\"role\":\"source\",\"state\":\"precopy\",\"total_bytes\":1073741824,\"remaining_"            \
    "bytes\":" left ",\"round\":" round                                                            \
    ",\"dirty_bytes_per_s\":80000000,\"bandwidth_bytes_per_s\":1200000000,"                        \
    "\"expected_downtime_us\":9000,\"eta_ms\":1500,\"throttle_percent\":20"
#define ROUND(number, paused)                                                                      \
    "\"number\":" number ",\"paused\":" paused                                                     \
    ",\"began_us\":1000,\"duration_us\":880000,\"collect_us\":90,\"dirty_bytes\":1073741824,"      \
    "\"sent_bytes\":1048576,\"zero_pages\":7,\"remaining_bytes\":4194304,"                         \
    "\"bandwidth_bytes_per_s\":1200000000,\"dirty_bytes_per_s\":80000000,"                         \
    "\"expected_downtime_us\":9000,\"throttle_percent\":20"

struct behaviour {
    const char *name;
    const char *answer; /* to every request, then the connection is kept open */
    bool hang_up;       /* or closed */
};

static const struct behaviour behaviours[] = {
    {"status", RECORD("status", AMOUNTS("536870912") ",\"placement\":\"2 CPUs\""), false},
    {"migrate",
     RECORD("progress", AMOUNTS("1073741824")) RECORD("progress", AMOUNTS("536870912")) RECORD(
         "done", "\"state\":\"complete\",\"total_bytes\":1073741824,\"remaining_bytes\":0,"
                 "\"faults\":2345,\"service_p50_us\":17,\"service_p99_us\":43,"
                 "\"service_p999_us\":99,\"downtime_us\":3100,\"total_us\":430000,"
                 "\"normal_pages\":262000,\"zero_pages\":144,\"bytes_per_second\":2400000000"),
     false},
    {"precopy",
     RECORD("progress", PRECOPY("1", "1073741824")) RECORD("round", ROUND("1", "false"))
         RECORD("progress", PRECOPY("2", "4194304"))
             RECORD("done", "\"state\":\"complete\",\"total_bytes\":1073741824,\"round\":2,"
                            "\"precopy_bytes\":1077936128,\"tracker\":\"pagemap-scan\","
                            "\"rounds\":[{" ROUND("1", "false") "},{" ROUND("2", "true") "},{}]"),
     false},
    {"rounds",
     RECORD("status", PRECOPY("2", "4194304") ",\"tracker\":\"soft-dirty\",\"rounds\":[{" ROUND(
                          "1", "false") "},{" ROUND("2", "true") "},{},7]"),
     false},
    {"idle", RECORD("done", "\"state\":\"running\""), false},
    {"busy", RECORD("done", "\"state\":\"precopy\""), false},
    {"refusal", RECORD("error", "\"message\":\"option slots can't change\",\"code\":16,\"exit\":1"),
     false},
    {"underway", RECORD("progress", AMOUNTS("1073741824")), false},
    {"lost",
     RECORD("progress", AMOUNTS("536870912"))
         RECORD("error", "\"message\":\"the link broke\",\"code\":104,\"exit\":75"),
     false},
    {"odd-exit", RECORD("error", "\"message\":\"no\",\"exit\":4096"), false},
    {"no-reason", "{\"event\":\"error\"}\n", false},
    {"cancel", RECORD("done", "\"state\":\"running\""), false},
    {"news", "{\"event\":\"weather\"}\n{}\n" RECORD("status", "\"later_key\":[1,{\"a\":2}]"),
     false},
    {"odd-types",
     "{\"event\":\"status\",\"name\":[],\"pid\":\"x\",\"state\":7,\"total_bytes\":-5,"
     "\"remaining_bytes\":1e300,\"faults\":1.6,\"service_p50_us\":null,"
     "\"zero_pages\":99999999999999999999999999}\n",
     false},
    {"escapes", "{\"event\":\"status\",\"name\":\"a\\u001b[31m\\nb\",\"state\":\"ok\"}\n", false},
    {"text", "hello, who is there?\n", false},
    {"binary", "\x01\x02\xff\xfe{\"event\"\n", false},
    {"array", "[{\"event\":\"status\"}]\n", false},
    {"trailing", "{\"event\":\"status\"} {\"event\":\"status\"}\n", false},
    {"bad-utf8", "{\"event\":\"status\",\"name\":\"\xc3\x28\"}\n", false},
    {"half", "{\"event\":\"sta", true},
    {"hang-up", "", true},
    {"hang", "", false},
    {"empty-lines", "\n\n\n", false},
    {"long", NULL, false},
    {"deep", NULL, false},
};

/* Answers that are made, not written down. */
static void send_made(int fd, const char *name)
{
    static const char brackets[] =
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[";
    const char *piece = strcmp(name, "deep") == 0 ? brackets : "{\"a\":\"................\"";
    bool deep = piece == brackets;
    if (deep)
        send(fd, "{\"event\":", 9, MSG_NOSIGNAL);
    for (int i = 0; i < (deep ? 100 : 20000); i++)
        if (send(fd, piece, strlen(piece), MSG_NOSIGNAL) < 0)
            return;
    send(fd, "\n", 1, MSG_NOSIGNAL);
}

static void answer(int fd, const struct behaviour *behaviour)
{
    char request[4096];
    ssize_t got = read(fd, request, sizeof request);
    if (got <= 0)
        return;
    printf("%.*s", (int)got, request);
    fflush(stdout);
    if (behaviour->answer)
        send(fd, behaviour->answer, strlen(behaviour->answer), MSG_NOSIGNAL);
    else
        send_made(fd, behaviour->name);
}

/* One client at a time is enough; one that hangs is kept until the end. */
static void serve(int listener, const struct behaviour *behaviour)
{
    struct pollfd ready[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                              {.fd = listener, .events = POLLIN}};
    while (poll(ready, 2, -1) > 0 && ready[0].revents == 0) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        answer(fd, behaviour);
        if (behaviour->hang_up)
            close(fd);
    }
}

int main(int argc, char **argv)
{
    struct pf_why why;
    for (size_t i = 0; argc == 3 && i < sizeof behaviours / sizeof behaviours[0]; i++) {
        if (strcmp(behaviours[i].name, argv[2]) != 0)
            continue;
        int listener = pf_job_socket_listen(argv[1], &why);
        if (listener < 0) {
            fprintf(stderr, "fake_job: %s\n", why.text);
            return 1;
        }
        puts("ready");
        fflush(stdout);
        serve(listener, &behaviours[i]);
        pf_job_socket_close(argv[1], listener);
        return 0;
    }
    fprintf(stderr, "usage: fake_job NAME BEHAVIOUR\n");
    return 2;
}
