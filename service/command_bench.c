/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/bench.h"
#include "pageferry.h"
#include "service/ask.h"
#include "service/command.h"
#include "service/engine_args.h"

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

enum {
    KEY_SIZE = 's',
    KEY_SECONDS = 'd',
    KEY_QUICK = 'q',
    KEY_THREADS = 256, /* no letter */
    KEY_PAGES,
    KEY_SHARED,
    MIB_MAX = 65536,
    SECONDS_MAX = 600,
    THREADS_MAX = 64,
};

static const double seconds_default = 8;
static const double seconds_quick = 0.5;
static const size_t mib_quick = 16;

struct measurement {
    const char *name;
    int (*run)(const struct pf_bench *bench, struct pf_report *report, struct pf_why *why);
    bool alone; /* on this host without a transport */
};

static const struct measurement measurements[] = {
    {"raw", pf_bench_raw, false},           {"fault", pf_bench_fault, false},
    {"bulk", pf_bench_bulk, false},         {"place", pf_bench_place, true},
    {"prefetch", pf_bench_prefetch, false}, {"fetch", pf_bench_fetch, false},
    {"scan", pf_bench_scan, true},          {"xbzrle", pf_bench_xbzrle, true},
    {"compress", pf_bench_compress, true},  {"dirty", pf_bench_dirty, true},
    {"precopy", pf_bench_precopy, false},   {"downtime", pf_bench_downtime, false},
};

enum { MEASUREMENTS = sizeof measurements / sizeof measurements[0], NAMES_MAX = 16 * MEASUREMENTS };

struct bench_args {
    struct pf_engine_args engine;
    const struct measurement *measurement;
    const char *transport;
    unsigned long mib; /* 0: the measurement's default */
    unsigned long threads;
    size_t page_size;
    unsigned flags;
    bool thp;
    double seconds;
    bool quick, json;
};

static const struct argp_option rows[] = {
    {"transport", 't', "URI|SCHEME", 0,
     "What to measure: a URI of this host, or a scheme alone (tcp, ofi+tcp, ofi+shm, verbs)", 0},
    {"size", KEY_SIZE, "MIB", 0,
     "Size of the job that is moved (default: fault 256, bulk and precopy 512, downtime 8192 at "
     "most, prefetch 64, fetch 16), or of the memory (scan and dirty 512, xbzrle 32, compress 4)",
     0},
    {"pages", KEY_PAGES, "4k|thp|2m", 0,
     "Pages of the job that is moved: 4k, the same with transparent huge pages (downtime), or 2m "
     "(default 4k)",
     0},
    {"shared", KEY_SHARED, NULL, 0, "The job's memory is a memfd (default: anonymous memory)", 0},
    {"threads", KEY_THREADS, "COUNT", 0,
     "fault: so many threads of the job fault at once, up to 64, against eight (default 1)", 0},
    {"seconds", KEY_SECONDS, "SECONDS", 0, "About how long to measure (default 8)", 0},
    {"quick", KEY_QUICK, NULL, 0, "A short run whose figures mean little: 0.5 s, 16 MiB", 0},
    {"json", 'j', NULL, 0, "Print the report as one line of JSON", 0},
    {0},
};

/* "raw, fault or bulk", or what else stands between them. */
static const char *list_names(char out[NAMES_MAX], const char *between, const char *before_last)
{
    size_t length = 0;
    for (size_t i = 0; i < MEASUREMENTS; i++)
        length += (size_t)snprintf(out + length, NAMES_MAX - length, "%s%s", measurements[i].name,
                                   i + 2 < MEASUREMENTS   ? between
                                   : i + 1 < MEASUREMENTS ? before_last
                                                          : "");
    return out;
}

static const struct measurement *find(const char *name)
{
    for (size_t i = 0; i < MEASUREMENTS; i++)
        if (strcmp(measurements[i].name, name) == 0)
            return &measurements[i];
    return NULL;
}

static unsigned long parse_number(const char *option, const char *what, unsigned long most,
                                  const char *text, struct argp_state *state)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || value < 1 || value > most)
        argp_error(state, "%s can't be \"%.40s\": give a number of %s from 1 to %lu", option, text,
                   what, most);
    return value;
}

static void parse_pages(struct bench_args *args, const char *text, struct argp_state *state)
{
    args->thp = strcmp(text, "thp") == 0;
    if (!args->thp && strcmp(text, "4k") != 0 && strcmp(text, "2m") != 0)
        argp_error(state, "--pages can't be \"%.40s\": give 4k, thp or 2m", text);
    args->page_size = text[0] == '2' ? FERRY_PAGE_2M : FERRY_PAGE_DEFAULT;
}

static double parse_seconds(const char *text, struct argp_state *state)
{
    char *end;
    double value = strtod(text, &end);
    if (*text < '0' || *text > '9' || *end != '\0' || !(value >= 0.1 && value <= SECONDS_MAX))
        argp_error(state, "--seconds can't be \"%.40s\": give a number from 0.1 to %d", text,
                   SECONDS_MAX);
    return value;
}

static void check_complete(struct bench_args *args, struct argp_state *state)
{
    char names[NAMES_MAX];
    if (!args->measurement)
        argp_error(state, "what to measure is missing: %s", list_names(names, ", ", " or "));
    if (!args->transport && args->measurement && !args->measurement->alone)
        argp_error(state, "--transport is missing: a scheme such as tcp, or a URI of this host");
    if (args->page_size != FERRY_PAGE_DEFAULT && args->measurement &&
        args->measurement->run != pf_bench_bulk &&
        (args->measurement->run != pf_bench_fault || args->threads > 1))
        argp_error(state, "--pages 2m is for the measurements bulk and fault (without --threads)");
    if (args->thp && args->measurement && args->measurement->run != pf_bench_downtime)
        argp_error(state, "--pages thp is for the measurement downtime");
    if (args->threads > 1 && args->measurement && args->measurement->run != pf_bench_fault)
        argp_error(state, "--threads is for the measurement fault");
    if (args->seconds == 0)
        args->seconds = args->quick ? seconds_quick : seconds_default;
    if (args->mib == 0 && args->quick)
        args->mib = mib_quick;
}

static const struct measurement *choose(const struct bench_args *args, const char *text,
                                        struct argp_state *state)
{
    char names[NAMES_MAX];
    const struct measurement *found = find(text);
    list_names(names, ", ", " or ");
    if (args->measurement)
        argp_error(state, "one measurement at a time: %s", names);
    if (!found)
        argp_error(state, "there is no measurement \"%.40s\": %s", text, names);
    return found;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct bench_args *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->engine;
        return 0;
    case 't':
        args->transport = text;
        return 0;
    case KEY_SIZE:
        args->mib = parse_number("--size", "MiB", MIB_MAX, text, state);
        return 0;
    case KEY_PAGES:
        parse_pages(args, text, state);
        return 0;
    case KEY_SHARED:
        args->flags = FERRY_SHARED;
        return 0;
    case KEY_THREADS:
        args->threads = parse_number("--threads", "threads", THREADS_MAX, text, state);
        return 0;
    case KEY_SECONDS:
        args->seconds = parse_seconds(text, state);
        return 0;
    case KEY_QUICK:
        args->quick = true;
        return 0;
    case 'j':
        args->json = true;
        return 0;
    case ARGP_KEY_ARG:
        args->measurement = choose(args, text, state);
        return 0;
    case ARGP_KEY_END:
        check_complete(args, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The job is the measurement's own: what the environment says about a job is not meant for it. */
static void clean_environment(void)
{
    unsetenv("PAGEFERRY_NAME");
    unsetenv("PAGEFERRY_INCOMING");
    unsetenv("PAGEFERRY_ONCE");
}

static void on_alarm(int number)
{
    static const char sentence[] = "pageferry: the measurement came to no end and was given up\n";
    ssize_t written = write(STDERR_FILENO, sentence, sizeof sentence - 1);
    (void)number;
    (void)written;
    _exit(PF_EXIT_FAILED);
}

/* Each wait has a bound of its own; this one is for what nobody thought of. */
static void limit_time(double seconds)
{
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    alarm(1200 + 10 * (unsigned)seconds);
}

static void scheme_of(const char *uri, char *out, size_t size)
{
    snprintf(out, size, "%.*s", (int)strcspn(uri, ":"), uri);
}

static void add_number(struct json_object *json, const char *key, double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.4f", value);
    json_object_object_add(json, key, json_object_new_double_s(value, text));
}

static void print_json(const struct pf_report *report, const struct pf_bench *bench,
                       const char *wait, const struct utsname *host)
{
    char scheme[32];
    struct json_object *json = json_object_new_object();
    scheme_of(bench->uri, scheme, sizeof scheme);
    for (unsigned i = 0; i < report->count; i++)
        add_number(json, report->figures[i].key, report->figures[i].value);
    if (bench->uri[0]) {
        json_object_object_add(json, "transport", json_object_new_string(scheme));
        json_object_object_add(json, "wait", json_object_new_string(wait));
    }
    json_object_object_add(json, "host", json_object_new_string(host->nodename));
    json_object_object_add(json, "kernel", json_object_new_string(host->release));
    json_object_object_add(json, "version", json_object_new_string(ferry_version()));
    pf_print_json(json);
    json_object_put(json);
}

static void print_table(const struct pf_report *report)
{
    printf("%-24s", "");
    for (unsigned i = 0; i < report->columns; i++)
        printf("%12s", report->heads[i]);
    for (unsigned i = 0; i < report->rows * report->columns; i++) {
        if (i % report->columns == 0)
            printf("\n%-24s", report->figures[i].label);
        printf("%12.2f", report->figures[i].value);
    }
    printf("\n");
}

static void print_text(const struct pf_report *report, const struct pf_bench *bench,
                       const char *wait, const struct utsname *host)
{
    if (bench->uri[0])
        printf("%s, wait %s; ", bench->uri, wait);
    printf("%s, Linux %s, pageferry %s\n", host->nodename, host->release, ferry_version());
    if (report->rows > 0)
        print_table(report);
    for (unsigned i = report->rows * report->columns; i < report->count; i++) {
        const struct pf_figure *figure = &report->figures[i];
        printf("%-40s%9.2f %s\n", figure->label, figure->value, figure->unit);
    }
    printf("(%s)\n", report->note);
}

static int measure(const struct bench_args *args)
{
    struct pf_bench bench = {
        .engine = args->engine.values,
        .bytes = (size_t)args->mib << 20,
        .page_size = args->page_size,
        .flags = args->flags,
        .thp = args->thp,
        .one_mode = args->engine.given[pf_options_find("mode")],
        .threads = (unsigned)args->threads,
        .seconds = args->seconds,
    };
    struct pf_report report = {.count = 0};
    struct pf_why why = {""};
    struct utsname host;
    char wait[PF_OPTION_TEXT_MAX];
    int error = args->measurement->alone ? 0 : pf_bench_address(args->transport, bench.uri, &why);
    if (error)
        return pf_complain(error == -ENODEV ? PF_EXIT_FAILED : PF_EXIT_USAGE, "%s", why.text);
    if (args->measurement->run(&bench, &report, &why) != 0)
        return pf_complain(PF_EXIT_FAILED, "%s", why.text);
    pf_options_format(&bench.engine, (unsigned)pf_options_find("wait"), wait);
    uname(&host);
    args->json ? print_json(&report, &bench, wait, &host)
               : print_text(&report, &bench, wait, &host);
    return PF_EXIT_OK;
}

int pf_command_bench(int argc, char **argv)
{
    struct bench_args args = {.measurement = NULL};
    struct pf_why why;
    char names[NAMES_MAX];
    if (pf_engine_args_init(&args.engine, &why) != 0)
        return pf_complain(PF_EXIT_USAGE, "%s", why.text);
    const struct argp argp = {
        .options = rows,
        .parser = parse,
        .args_doc = list_names(names, "|", "|"),
        .doc =
            "Measure a transport (raw), the latency of page faults over it (fault) or the rate "
            "of the background stream (bulk) or of pre-copy (precopy), how long a job stands still "
            "(downtime), or what sending neighbours unasked saves (prefetch), between two "
            "processes of this host that the command starts itself; or, without any "
            "transport, the placement of a page (place), the search for zero pages (scan), "
            "differences of pages (xbzrle), their compression (compress), or the search for pages "
            "that were written (dirty).",
        .children = args.engine.child,
    };
    argp_parse(&argp, argc, argv, 0, NULL, &args);
    clean_environment();
    /* The jobs at both ends read their options from there. */
    if (pf_engine_args_export(&args.engine, &why) != 0)
        return pf_complain(PF_EXIT_FAILED, "%s", why.text);
    limit_time(args.seconds);
    return measure(&args);
}
