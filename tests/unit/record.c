/* SPDX-License-Identifier: BSD-2-Clause */
/* What the command makes of a job's records, and how it shows them. */
#include "service/record.h"

#include "core/exit_status.h"
#include "service/human.h"
#include "service/progress.h"
#include "tests/suite.h"

static struct pf_record parse(const char *text)
{
    struct pf_record record;
    struct json_object *json = json_tokener_parse(text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(json);
    pf_record_parse(json, &record);
    json_object_put(json);
    return record;
}

static void whole_record(void)
{
    struct pf_record r = parse("{\"event\":\"progress\",\"name\":\"heat\",\"pid\":7,"
                               "\"total_bytes\":100,\"bytes_per_second\":12.6}");
    CU_ASSERT_EQUAL(r.event, PF_EVENT_PROGRESS);
    CU_ASSERT_STRING_EQUAL(r.name, "heat");
    CU_ASSERT_EQUAL(r.pid, 7);
    CU_ASSERT_EQUAL(r.total_bytes, 100);
    CU_ASSERT_EQUAL(r.bytes_per_second, 13);
    CU_ASSERT_EQUAL(r.faults, PF_UNKNOWN);
    CU_ASSERT_STRING_EQUAL(r.state, "");
}

static void odd_values(void)
{
    static const char *const odd[] = {"\"7\"", "null", "[7]", "{}", "-1", "true", "1e300", "-0.6"};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        char text[64];
        snprintf(text, sizeof text, "{\"event\":%s,\"name\":%s,\"faults\":%s}", odd[i],
                 i == 0 ? "7" : odd[i], odd[i]);
        struct pf_record r = parse(text);
        CU_ASSERT_EQUAL(r.event, PF_EVENT_OTHER);
        CU_ASSERT_STRING_EQUAL(r.name, "");
        CU_ASSERT_EQUAL(r.faults, PF_UNKNOWN);
    }
}

static void long_and_dirty_text(void)
{
    char text[1024];
    int used = snprintf(text, sizeof text, "{\"name\":\"");
    memset(text + used, 'x', 900);
    snprintf(text + used + 900, sizeof text - (size_t)used - 900,
             "\",\"state\":\"a\\u0007\\u007f\"}");
    struct pf_record r = parse(text);
    CU_ASSERT_EQUAL(strlen(r.name), PF_RECORD_TEXT - 1);
    CU_ASSERT_STRING_EQUAL(r.state, "a??");
}

static void rails(void)
{
    char line[512];
    struct pf_record r =
        parse("{\"rails\":[{\"uri\":\"tcp://a:1\",\"nic\":\"mlx5_0\",\"node\":1,\"bytes\":1048576,"
              "\"placement\":\"4 CPUs\",\"alive\":true},{\"node\":null,\"alive\":false},7]}");
    CU_ASSERT_EQUAL_FATAL(r.rail_count, 3);
    CU_ASSERT_EQUAL(r.rails[1].node, PF_UNKNOWN);
    pf_rail_record_show(&r.rails[0], line, sizeof line);
    CU_ASSERT_STRING_EQUAL(line, "tcp://a:1, up, 1.0 MiB, NIC mlx5_0 on node 1, 4 CPUs");
    pf_rail_record_show(&r.rails[1], line, sizeof line);
    CU_ASSERT_STRING_EQUAL(line, ", broken, , NIC unknown of unknown node, ");
    CU_ASSERT_EQUAL(parse("{\"rails\":{}}").rail_count, 0);
    r = parse("{\"rails\":[1,2,3,4,5,6,7,8,9]}");
    CU_ASSERT_EQUAL(r.rail_count, PF_URIS_MAX);
}

static void exit_statuses(void)
{
    struct pf_record r = parse("{\"event\":\"done\",\"exit\":9}");
    CU_ASSERT_EQUAL(pf_record_exit(&r), PF_EXIT_OK);
    r = parse("{\"event\":\"error\",\"exit\":75}");
    CU_ASSERT_EQUAL(pf_record_exit(&r), PF_EXIT_SOURCE);
    r = parse("{\"event\":\"error\",\"exit\":0}");
    CU_ASSERT_EQUAL(pf_record_exit(&r), PF_EXIT_FAILED);
    r = parse("{\"event\":\"error\",\"exit\":256}");
    CU_ASSERT_EQUAL(pf_record_exit(&r), PF_EXIT_FAILED);
    r = parse("{\"event\":\"error\"}");
    CU_ASSERT_EQUAL(pf_record_exit(&r), PF_EXIT_FAILED);
}

static void quantities(void)
{
    static const struct {
        void (*show)(int64_t, char *, size_t);
        int64_t value;
        const char *text;
    } cases[] = {
        {pf_human_bytes, 0, "0 B"},
        {pf_human_bytes, 1023, "1023 B"},
        {pf_human_bytes, 1024, "1.0 KiB"},
        {pf_human_bytes, 1048575, "1.0 MiB"},
        {pf_human_bytes, 150 << 20, "150 MiB"},
        {pf_human_bytes, INT64_MAX, "8192 PiB"},
        {pf_human_rate, 999, "999 B/s"},
        {pf_human_rate, 999999, "1.0 MB/s"},
        {pf_human_rate, 6300000000, "6.3 GB/s"},
        {pf_human_time, 17, "17 us"},
        {pf_human_time, 3100, "3.1 ms"},
        {pf_human_time, 12500000, "12.5 s"},
        {pf_human_time, 200000000, "3 min 20 s"},
        {pf_human_time, 7260000000, "2 h 1 min"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[32];
        cases[i].show(cases[i].value, text, sizeof text);
        CU_ASSERT_STRING_EQUAL(text, cases[i].text);
    }
}

static struct pf_record half_way(void)
{
    return parse("{\"event\":\"progress\",\"name\":\"heat\",\"state\":\"postcopy\","
                 "\"total_bytes\":2147483648,\"remaining_bytes\":1073741824,"
                 "\"bytes_per_second\":1073741824,\"faults\":5,\"service_p50_us\":17,"
                 "\"service_p99_us\":43}");
}

static void bar(void)
{
    struct pf_record r = half_way();
    char line[512];
    pf_progress_bar(&r, 140, line, sizeof line);
    CU_ASSERT_STRING_EQUAL(line, "heat postcopy [###############...............]  50%  1.0 GiB of "
                                 "2.0 GiB  1.1 GB/s  5 faults  p50 17 us p99 43 us  ETA 1.0 s");
    for (unsigned columns = 1; columns < 200; columns++) {
        pf_progress_bar(&r, columns, line, sizeof line);
        CU_ASSERT_TRUE(strlen(line) < columns);
    }
}

static struct pf_record in_round(void)
{
    return parse("{\"event\":\"progress\",\"name\":\"heat\",\"state\":\"precopy\","
                 "\"total_bytes\":2147483648,\"remaining_bytes\":1073741824,\"round\":2,"
                 "\"dirty_bytes_per_s\":80000000,\"bandwidth_bytes_per_s\":1200000000,"
                 "\"expected_downtime_us\":9000,\"eta_ms\":1500,\"throttle_percent\":30}");
}

static void bar_of_a_round(void)
{
    struct pf_record r = in_round();
    char line[512];
    pf_progress_bar(&r, 160, line, sizeof line);
    CU_ASSERT_STRING_EQUAL(line,
                           "heat precopy [###############...............]  round 2  1.0 GiB left"
                           "  1.2 GB/s  dirty 80.0 MB/s  downtime 9.0 ms  ETA 1.5 s"
                           "  throttled 30%");
    for (unsigned columns = 1; columns < 200; columns++) {
        pf_progress_bar(&r, columns, line, sizeof line);
        CU_ASSERT_TRUE(strlen(line) < columns);
    }
    /* What can't be said yet is left out. */
    r = parse("{\"name\":\"heat\",\"state\":\"precopy\",\"round\":1,\"eta_ms\":999999999}");
    pf_progress_bar(&r, 160, line, sizeof line);
    CU_ASSERT_STRING_EQUAL(line, "heat precopy  round 1");
}

static void rounds(void)
{
    struct pf_record r = parse("{\"event\":\"round\",\"number\":3,\"paused\":true,"
                               "\"sent_bytes\":4096,\"rounds\":[{},{}],\"dirty_bytes\":-1}");
    CU_ASSERT_EQUAL(r.event, PF_EVENT_ROUND);
    CU_ASSERT_EQUAL_FATAL(r.rounds.count, 1);
    CU_ASSERT_EQUAL(r.rounds.list[0].number, 3);
    CU_ASSERT_EQUAL(r.rounds.list[0].sent_bytes, 4096);
    CU_ASSERT_EQUAL(r.rounds.list[0].dirty_bytes, PF_UNKNOWN);
    CU_ASSERT_TRUE(r.rounds.list[0].paused);
    CU_ASSERT_EQUAL(parse("{\"rounds\":{\"number\":1}}").rounds.count, 0);

    /* Of more than there is room for, the last ones. */
    char text[4096] = "{\"rounds\":[0";
    for (int i = 1; i <= 100; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), ",{\"number\":%d}", i);
    strcat(text, "]}");
    r = parse(text);
    CU_ASSERT_EQUAL_FATAL(r.rounds.count, PF_ROUNDS_MAX);
    CU_ASSERT_EQUAL(r.rounds.list[0].number, 37);
    CU_ASSERT_EQUAL(r.rounds.list[PF_ROUNDS_MAX - 1].number, 100);
}

/* Whatever a job claims: never more than 100 %, never an overflow. */
static void absurd_bars(void)
{
    static const int64_t values[] = {PF_UNKNOWN, 0, 1, INT64_MAX / 2, INT64_MAX};
    enum { COUNT = sizeof values / sizeof values[0] };
    for (unsigned i = 0; i < COUNT * COUNT * COUNT; i++) {
        struct pf_record r = i % 2 ? half_way() : in_round();
        char line[512];
        r.eta_ms = r.expected_downtime_us = r.round = values[i / COUNT / COUNT];
        r.total_bytes = values[i % COUNT];
        r.remaining_bytes = values[i / COUNT % COUNT];
        r.bytes_per_second = values[i / COUNT / COUNT];
        memset(r.name, 'y', sizeof r.name - 1);
        pf_progress_bar(&r, 80, line, sizeof line);
        CU_ASSERT_TRUE(strlen(line) < 80);
        pf_progress_bar(&r, 65535, line, sizeof line);
        CU_ASSERT_PTR_NULL(strstr(line, "-"));
    }
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"whole record", whole_record},
        {"odd values", odd_values},
        {"long and dirty text", long_and_dirty_text},
        {"exit statuses", exit_statuses},
        {"quantities", quantities},
        {"bar", bar},
        {"bar of a round", bar_of_a_round},
        {"rounds", rounds},
        {"absurd bars", absurd_bars},
        {"rails", rails},
        {NULL, NULL},
    };
    return pf_suite_run("record", tests, argc > 1 ? argv[1] : NULL);
}
