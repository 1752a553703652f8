/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/options.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)

static const char *const wait_choices[] = {"spin", "sleep", NULL};
static const char *const fetch_choices[] = {"write", "read", NULL};
static const char *const mode_choices[] = {"precopy", "postcopy", "hybrid", "auto", NULL};
static const char *const tracker_choices[] = {"auto", "pagemap-scan", "soft-dirty", "write-protect",
                                              NULL};
static const char *const pin_choices[] = {"auto", "all", "chunk", "stage", NULL};
static const char *const fewer_bytes_choices[] = {"manual", "auto", NULL};
static const char *const compress_choices[] = {"off", "zstd", "lz4", NULL};
static const char *const throttle_choices[] = {"off",    "auto",    "safepoint",
                                               "cgroup", "freezer", NULL};
static const char *const place_choices[] = {"auto", "copy", "continue", NULL};

static const char *const prealloc_choices[] = {"auto", "off", "on", NULL};

#define OPTION(member, opt_name, opt_type, opt_default, opt_metavar, opt_doc, ...)                 \
    {                                                                                              \
        .name = (opt_name), .fallback = (opt_default), .doc = (opt_doc), .metavar = (opt_metavar), \
        .type = (opt_type), .offset = offsetof(struct pf_options, member), __VA_ARGS__             \
    }

const struct pf_option pf_option_table[] = {
    OPTION(
        wait, "wait", PF_OPTION_CHOICE, "spin", "spin|sleep",
        "How engine threads wait: spin with a yield for spin-us and then sleep, or sleep at once",
        .choices = wait_choices),
    OPTION(spin_us, "spin-us", PF_OPTION_UNSIGNED, "200", "MICROSECONDS",
           "How long to spin before sleeping, with wait spin", .minimum = 0, .maximum = 1000000),
    OPTION(slots, "slots", PF_OPTION_UNSIGNED, "64", "COUNT",
           "Page requests that may be under way at once", .minimum = 1, .maximum = 4096),
    OPTION(stages, "stages", PF_OPTION_UNSIGNED, "8", "COUNT",
           "Batches of the page stream that may be under way at once", .minimum = 2,
           .maximum = 64 /* PF_STAGES_MAX: what an immediate can name */),
    OPTION(stage_size, "stage-size", PF_OPTION_SIZE, "auto", "auto|SIZE",
           "Bytes of pages in one batch of the page stream; auto: 256K, and 2M for huge pages",
           .minimum = 16 * KIB, .maximum = 64 * MIB, .multiple = 4 * KIB, .automatic = true),
    OPTION(place, "place", PF_OPTION_CHOICE, "auto", "auto|copy|continue",
           "How pages of shared regions are placed: copied, or written into the file and mapped "
           "(continue)",
           .choices = place_choices),
    OPTION(prealloc, "prealloc", PF_OPTION_CHOICE, "auto", "auto|off|on",
           "When a destination makes the memory of its regions: ahead of what comes (auto), as it "
           "comes (off), or all of it while it waits (on)",
           .choices = prealloc_choices),
    OPTION(placement, "placement", PF_OPTION_PLACEMENT, "auto", "auto|none|NODE",
           "Where engine threads run: near the NIC and away from the job, anywhere, or on a NUMA "
           "node",
           .maximum = 1023),
    OPTION(background, "background", PF_OPTION_BOOL, "on", "on|off",
           "Send pages in the background; off serves page requests only, for measuring",
           .maximum = 1),
    OPTION(prefetch, "prefetch", PF_OPTION_BOOL, "on", "on|off",
           "Send likely next pages behind the answer to a page request; both sides have to agree",
           .maximum = 1),
    OPTION(prefetch_window, "prefetch-window", PF_OPTION_SIZE, "256K", "SIZE",
           "Most bytes of likely next pages behind one answer", .minimum = 4 * KIB,
           .maximum = MIB /* PF_TRAY_SIZE_MAX */, .multiple = 4 * KIB),
    OPTION(peer_timeout_ms, "peer-timeout", PF_OPTION_SECONDS, "15", "SECONDS",
           "Silence of the peer after which the link counts as broken", .minimum = 1000,
           .maximum = 86400000),
    OPTION(connect_timeout_ms, "connect-timeout", PF_OPTION_SECONDS, "10", "SECONDS",
           "How long to try to reach the destination", .minimum = 100, .maximum = 86400000),
    OPTION(progress_ms, "progress-ms", PF_OPTION_UNSIGNED, "100", "MILLISECONDS",
           "Time between two progress records of a migration", .minimum = 10, .maximum = 60000),
    OPTION(hold_at, "hold-at", PF_OPTION_UNSIGNED, "0", "COUNT",
           "Wait at this safe point until a migration takes the job, to repeat a run exactly; 0: "
           "don't",
           .minimum = 0, .maximum = 4294967295),
    OPTION(fetch, "fetch", PF_OPTION_CHOICE, "write", "write|read",
           "How a job's pages leave its host: its source writes them, or the destination reads "
           "them and the source's CPU takes no part",
           .choices = fetch_choices),
    OPTION(release_ram, "release-ram", PF_OPTION_BOOL, "off", "on|off",
           "Give the source's memory back while it leaves, as far as the destination has it",
           .maximum = 1),
    OPTION(mode, "mode", PF_OPTION_CHOICE, "hybrid", "precopy|postcopy|hybrid|auto",
           "Memory before the job, after it, a round or two before and the rest after, or before "
           "as long as that comes to an end",
           .choices = mode_choices),
    OPTION(downtime, "downtime", PF_OPTION_UNSIGNED, "300", "MILLISECONDS",
           "How long the job may stand still for the last round of pre-copy", .minimum = 1,
           .maximum = 3600000),
    OPTION(bandwidth, "bandwidth", PF_OPTION_SIZE, "auto", "auto|RATE",
           "Most bytes of pages a second in the background, such as 100M; auto: no limit",
           .minimum = 64 * KIB, .maximum = MIB * MIB, .automatic = true),
    OPTION(max_rounds, "max-rounds", PF_OPTION_UNSIGNED, "30", "COUNT",
           "Most rounds of pre-copy; 0: no limit", .maximum = 1000000),
    OPTION(tracker, "tracker", PF_OPTION_CHOICE, "auto",
           "auto|pagemap-scan|soft-dirty|write-protect",
           "How written pages are found during pre-copy; auto: the first that works here",
           .choices = tracker_choices),
    OPTION(pin, "pin", PF_OPTION_CHOICE, "auto", "auto|all|chunk|stage",
           "What of the job's memory pre-copy registers with the NIC: whole regions, chunks that "
           "are in use, or none of it (stage)",
           .choices = pin_choices),
    OPTION(fewer_bytes, "fewer-bytes", PF_OPTION_CHOICE, "manual", "manual|auto",
           "Who decides about compress and xbzrle: you, or the measured link and CPU",
           .choices = fewer_bytes_choices),
    OPTION(compress, "compress", PF_OPTION_CHOICE, "off", "off|zstd|lz4",
           "Compress pages of pre-copy", .choices = compress_choices),
    OPTION(compress_level, "compress-level", PF_OPTION_UNSIGNED, "1", "LEVEL",
           "How hard to compress: 1 is fastest", .minimum = 1, .maximum = 19),
    OPTION(compress_threads, "compress-threads", PF_OPTION_UNSIGNED, "2", "COUNT",
           "Threads that compress, and as many that decompress", .minimum = 1, .maximum = 64),
    OPTION(xbzrle, "xbzrle", PF_OPTION_BOOL, "off", "on|off",
           "Send what has changed of a page that was sent before", .maximum = 1),
    OPTION(xbzrle_cache, "xbzrle-cache", PF_OPTION_SIZE, "64M", "SIZE",
           "Memory for pages as they were sent, rounded down to a power of two",
           .minimum = 64 * KIB, .maximum = MIB * MIB),
    OPTION(throttle, "throttle", PF_OPTION_CHOICE, "off", "off|auto|safepoint|cgroup|freezer",
           "How to slow a job down that writes faster than the link carries",
           .choices = throttle_choices),
    OPTION(throttle_initial, "throttle-initial", PF_OPTION_UNSIGNED, "20", "PERCENT",
           "Share of its time that is taken from such a job at first", .minimum = 1, .maximum = 99),
    OPTION(throttle_step, "throttle-step", PF_OPTION_UNSIGNED, "10", "PERCENT",
           "How much more each time that is not enough", .minimum = 1, .maximum = 99),
    OPTION(throttle_max, "throttle-max", PF_OPTION_UNSIGNED, "99", "PERCENT",
           "Most of its time that is taken", .minimum = 1, .maximum = 99),
};

static_assert(sizeof pf_option_table / sizeof pf_option_table[0] == PF_OPTION_COUNT,
              "PF_OPTION_COUNT is the length of the table");

/* ---- text to value: each parser returns false if the text is no such thing at all ------------ */

static bool parse_unsigned(const char *text, uint64_t *value)
{
    char *end;
    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    *value = strtoull(text, &end, 10);
    if (errno == ERANGE)
        *value = UINT64_MAX;
    return *end == '\0';
}

/* Whole seconds and up to three decimals, to milliseconds. */
static bool parse_seconds(const char *text, uint64_t *value)
{
    char *end;
    if (!isdigit((unsigned char)text[0]))
        return false;
    uint64_t seconds = strtoull(text, &end, 10);
    uint64_t part = 0;
    if (*end == '.') {
        uint64_t unit = 100;
        for (end++; isdigit((unsigned char)*end) && unit > 0; end++, unit /= 10)
            part += (uint64_t)(*end - '0') * unit;
    }
    *value = seconds > UINT64_MAX / 2000 ? UINT64_MAX : seconds * 1000 + part;
    return *end == '\0';
}

static bool size_unit(const char *text, unsigned *shift)
{
    static const struct {
        char letter;
        unsigned shift;
    } units[] = {{'K', 10}, {'M', 20}, {'G', 30}, {'T', 40}};
    *shift = 0;
    if (*text == '\0' || strcasecmp(text, "B") == 0)
        return true;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (toupper((unsigned char)*text) == units[i].letter)
            *shift = units[i].shift;
    text++;
    return *shift > 0 && (*text == '\0' || strcasecmp(text, "iB") == 0);
}

static bool parse_size(const char *text, uint64_t *value)
{
    char *end;
    unsigned shift;
    if (!isdigit((unsigned char)text[0]))
        return false;
    uint64_t number = strtoull(text, &end, 10);
    if (!size_unit(end, &shift))
        return false;
    *value = number > UINT64_MAX >> shift ? UINT64_MAX : number << shift;
    return true;
}

static bool parse_bool(const char *text, uint64_t *value)
{
    static const char *const words[2][4] = {{"off", "no", "false", "0"},
                                            {"on", "yes", "true", "1"}};
    for (unsigned truth = 0; truth < 2; truth++)
        for (unsigned i = 0; i < 4; i++)
            if (strcasecmp(text, words[truth][i]) == 0) {
                *value = truth;
                return true;
            }
    return false;
}

static bool parse_choice(const struct pf_option *option, const char *text, uint64_t *value)
{
    for (*value = 0; option->choices[*value]; ++*value)
        if (strcmp(option->choices[*value], text) == 0)
            return true;
    return false;
}

/* A word counts as number 0: it is always in range. */
static bool parse_placement(const char *text, uint64_t *value)
{
    *value = 0;
    return strcmp(text, "auto") == 0 || strcmp(text, "none") == 0 || parse_unsigned(text, value);
}

static bool parse(const struct pf_option *option, const char *text, uint64_t *value)
{
    switch (option->type) {
    case PF_OPTION_BOOL:
        return parse_bool(text, value);
    case PF_OPTION_UNSIGNED:
        return parse_unsigned(text, value);
    case PF_OPTION_SECONDS:
        return parse_seconds(text, value);
    case PF_OPTION_SIZE:
        if (option->automatic && strcmp(text, "auto") == 0) {
            *value = 0;
            return true;
        }
        return parse_size(text, value) && (*value > 0 || !option->automatic);
    case PF_OPTION_CHOICE:
        return parse_choice(option, text, value);
    case PF_OPTION_PLACEMENT:
        return parse_placement(text, value);
    }
    return false;
}

/* ---- value to text --------------------------------------------------------------------------- */

static void format_size(uint64_t bytes, char out[PF_OPTION_TEXT_MAX])
{
    static const char *const suffixes[] = {"", "K", "M", "G", "T"};
    unsigned i = 0;
    while (i < 4 && bytes > 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        i++;
    }
    snprintf(out, PF_OPTION_TEXT_MAX, "%" PRIu64 "%s", bytes, suffixes[i]);
}

static void format_seconds(uint64_t ms, char out[PF_OPTION_TEXT_MAX])
{
    if (ms % 1000 == 0)
        snprintf(out, PF_OPTION_TEXT_MAX, "%" PRIu64, ms / 1000);
    else
        snprintf(out, PF_OPTION_TEXT_MAX, "%" PRIu64 ".%03u", ms / 1000, (unsigned)(ms % 1000));
}

static void format_number(const struct pf_option *option, uint64_t value,
                          char out[PF_OPTION_TEXT_MAX])
{
    if (option->automatic && value == 0)
        snprintf(out, PF_OPTION_TEXT_MAX, "auto");
    else if (option->type == PF_OPTION_SIZE)
        format_size(value, out);
    else if (option->type == PF_OPTION_SECONDS)
        format_seconds(value, out);
    else
        snprintf(out, PF_OPTION_TEXT_MAX, "%" PRIu64, value);
}

static uint64_t load(const struct pf_options *options, const struct pf_option *option)
{
    const char *field = (const char *)options + option->offset;
    switch (option->type) {
    case PF_OPTION_BOOL:
        return *(const bool *)field;
    case PF_OPTION_SIZE: {
        uint64_t value;
        memcpy(&value, field, sizeof value);
        return value;
    }
    default: {
        unsigned value;
        memcpy(&value, field, sizeof value);
        return value;
    }
    }
}

void pf_options_format(const struct pf_options *options, unsigned index,
                       char out[PF_OPTION_TEXT_MAX])
{
    const struct pf_option *option = &pf_option_table[index];
    if (option->type == PF_OPTION_PLACEMENT) {
        snprintf(out, PF_OPTION_TEXT_MAX, "%s", (const char *)options + option->offset);
        return;
    }
    uint64_t value = load(options, option);
    if (option->type == PF_OPTION_CHOICE)
        snprintf(out, PF_OPTION_TEXT_MAX, "%s", option->choices[value]);
    else if (option->type == PF_OPTION_BOOL)
        snprintf(out, PF_OPTION_TEXT_MAX, "%s", value ? "on" : "off");
    else
        format_number(option, value, out);
}

/* ---- setting --------------------------------------------------------------------------------- */

/* What is allowed, as the end of a sentence. */
static void allowed(const struct pf_option *option, char *out, size_t size)
{
    char low[PF_OPTION_TEXT_MAX];
    char high[PF_OPTION_TEXT_MAX];
    char step[PF_OPTION_TEXT_MAX];
    format_number(option, option->minimum, low);
    format_number(option, option->maximum, high);
    format_number(option, option->multiple, step);
    switch (option->type) {
    case PF_OPTION_BOOL:
        snprintf(out, size, "on or off");
        break;
    case PF_OPTION_UNSIGNED:
        snprintf(out, size, "a whole number from %s to %s", low, high);
        break;
    case PF_OPTION_SECONDS:
        snprintf(out, size, "seconds from %s to %s, such as 15 or 0.5", low, high);
        break;
    case PF_OPTION_SIZE:
        snprintf(out, size, "%sa size from %s to %s%s%s, such as 64K or 1MiB",
                 option->automatic ? "auto, or " : "", low, high,
                 option->multiple > 0 ? " that is a multiple of " : "",
                 option->multiple > 0 ? step : "");
        break;
    case PF_OPTION_CHOICE: {
        size_t used = 0;
        for (unsigned i = 0; option->choices[i] && used < size; i++)
            used += (size_t)snprintf(out + used, size - used, "%s%s", i > 0 ? " or " : "",
                                     option->choices[i]);
        break;
    }
    case PF_OPTION_PLACEMENT:
        snprintf(out, size, "auto, none or the number of a NUMA node from %s to %s", low, high);
        break;
    }
}

static bool in_range(const struct pf_option *option, uint64_t value)
{
    if (option->type == PF_OPTION_CHOICE || (option->automatic && value == 0))
        return true;
    return value >= option->minimum && value <= option->maximum &&
           (option->multiple == 0 || value % option->multiple == 0);
}

static void store(struct pf_options *options, const struct pf_option *option, uint64_t value,
                  const char *text)
{
    char *field = (char *)options + option->offset;
    switch (option->type) {
    case PF_OPTION_BOOL:
        *(bool *)field = value != 0;
        break;
    case PF_OPTION_SIZE:
        memcpy(field, &value, sizeof value);
        break;
    case PF_OPTION_PLACEMENT:
        /* A number is written afresh: "0000000000000000001" would not fit. */
        if (isdigit((unsigned char)text[0]))
            snprintf(field, sizeof options->placement, "%" PRIu64, value);
        else
            snprintf(field, sizeof options->placement, "%s", text);
        break;
    default: {
        unsigned number = (unsigned)value;
        memcpy(field, &number, sizeof number);
        break;
    }
    }
}

/* what names the option to the user: its own name or its environment variable. */
static int set(struct pf_options *options, const struct pf_option *option, const char *what,
               const char *text, struct pf_why *why)
{
    uint64_t value;
    char rule[192];
    int error = 0;
    if (!parse(option, text, &value))
        error = -EINVAL;
    else if (!in_range(option, value))
        error = -ERANGE;
    if (error) {
        allowed(option, rule, sizeof rule);
        return pf_why(why, error, "%s can't be \"%.40s\": give %s", what, text, rule);
    }
    store(options, option, value, text);
    return 0;
}

void pf_options_init(struct pf_options *options)
{
    *options = (struct pf_options){0};
    for (unsigned i = 0; i < PF_OPTION_COUNT; i++)
        set(options, &pf_option_table[i], pf_option_table[i].name, pf_option_table[i].fallback,
            NULL);
}

size_t pf_options_stage_size(const struct pf_options *options, size_t largest_page)
{
    /* At least one page of 2 MiB, unless a smaller size is asked for. */
    size_t fitting = largest_page >= 2 * MIB ? 2 * MIB : 256 * KIB;
    return options->stage_size ? (size_t)options->stage_size : fitting;
}

int pf_options_find(const char *name)
{
    for (int i = 0; i < PF_OPTION_COUNT; i++)
        if (strcmp(pf_option_table[i].name, name) == 0)
            return i;
    return -1;
}

void pf_options_variable(unsigned index, char out[PF_OPTION_TEXT_MAX])
{
    int used = snprintf(out, PF_OPTION_TEXT_MAX, "PAGEFERRY_%s", pf_option_table[index].name);
    for (int i = 0; i < used && i < PF_OPTION_TEXT_MAX; i++)
        if (out[i] == '-')
            out[i] = '_';
        else if (out[i] >= 'a' && out[i] <= 'z')
            out[i] = (char)(out[i] - 'a' + 'A');
}

int pf_options_from_environment(struct pf_options *options, struct pf_why *why)
{
    for (unsigned i = 0; i < PF_OPTION_COUNT; i++) {
        char variable[PF_OPTION_TEXT_MAX];
        pf_options_variable(i, variable);
        const char *value = getenv(variable);
        int error = value ? set(options, &pf_option_table[i], variable, value, why) : 0;
        if (error)
            return error;
    }
    return 0;
}

int pf_options_set(struct pf_options *options, const char *name, const char *value,
                   struct pf_why *why)
{
    int index = pf_options_find(name);
    if (index < 0)
        return pf_why(why, -ENOENT, "there is no option \"%.40s\": pageferry(1) lists them all",
                      name);
    char what[48];
    snprintf(what, sizeof what, "option %s", name);
    return set(options, &pf_option_table[index], what, value, why);
}
