/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/options.h"

#include "tests/suite.h"

#include <errno.h>
#include <stdlib.h>

static void clear_environment(void)
{
    char variable[PF_OPTION_TEXT_MAX];
    for (unsigned i = 0; i < PF_OPTION_COUNT; i++) {
        pf_options_variable(i, variable);
        unsetenv(variable);
    }
}

static void defaults(void)
{
    struct pf_options o;
    pf_options_init(&o);
    CU_ASSERT_EQUAL(o.wait, PF_WAIT_SPIN);
    CU_ASSERT_EQUAL(o.spin_us, 200);
    CU_ASSERT_EQUAL(o.slots, 64);
    CU_ASSERT_EQUAL(o.stages, 8);
    CU_ASSERT_EQUAL(o.stage_size, 0);
    CU_ASSERT_EQUAL(o.place, PF_PLACE_AUTO);
    CU_ASSERT_EQUAL(o.prealloc, PF_PREALLOC_AUTO);
    CU_ASSERT_EQUAL(pf_options_stage_size(&o, 4096), 256 << 10);
    CU_ASSERT_EQUAL(pf_options_stage_size(&o, 1 << 30), 2 << 20);
    CU_ASSERT_STRING_EQUAL(o.placement, "auto");
    CU_ASSERT_TRUE(o.background);
    CU_ASSERT_EQUAL(o.peer_timeout_ms, 15000);
    CU_ASSERT_EQUAL(o.connect_timeout_ms, 10000);
    CU_ASSERT_EQUAL(o.progress_ms, 100);
    CU_ASSERT_EQUAL(o.fetch, PF_FETCH_WRITE);
    CU_ASSERT_FALSE(o.release_ram);
    CU_ASSERT_EQUAL(o.mode, PF_MODE_HYBRID);
    CU_ASSERT_EQUAL(o.downtime, 300);
    CU_ASSERT_EQUAL(o.bandwidth, 0);
    CU_ASSERT_EQUAL(o.max_rounds, 30);
    CU_ASSERT_EQUAL(o.tracker, PF_TRACK_AUTO);
    CU_ASSERT_EQUAL(o.pin, PF_PIN_AUTO);
    CU_ASSERT_EQUAL(o.compress, PF_COMPRESS_OFF);
    CU_ASSERT_FALSE(o.xbzrle);
    CU_ASSERT_EQUAL(o.xbzrle_cache, 64 << 20);
    CU_ASSERT_EQUAL(o.throttle, PF_THROTTLE_OFF);
}

static void good_values(void)
{
    static const struct {
        const char *name, *value, *read_back;
    } good[] = {
        {"wait", "sleep", "sleep"},
        {"wait", "spin", "spin"},
        {"spin-us", "0", "0"},
        {"slots", "4096", "4096"},
        {"stage-size", "auto", "auto"},
        {"stage-size", "65536", "64K"},
        {"place", "continue", "continue"},
        {"prealloc", "on", "on"},
        {"stage-size", "1M", "1M"},
        {"stage-size", "1MiB", "1M"},
        {"stage-size", "128kib", "128K"},
        {"stage-size", "20480B", "20K"},
        {"placement", "none", "none"},
        {"placement", "007", "7"},
        {"placement", "000000000000000000000003", "3"},
        {"background", "off", "off"},
        {"background", "Yes", "on"},
        {"background", "0", "off"},
        {"peer-timeout", "1.5", "1.500"},
        {"peer-timeout", "2.125", "2.125"},
        {"connect-timeout", "60", "60"},
        {"progress-ms", "10", "10"},
        {"hold-at", "4294967295", "4294967295"},
        {"fetch", "read", "read"},
        {"release-ram", "on", "on"},
        {"mode", "hybrid", "hybrid"},
        {"downtime", "20", "20"},
        {"bandwidth", "auto", "auto"},
        {"bandwidth", "100M", "100M"},
        {"pin", "stage", "stage"},
        {"throttle", "safepoint", "safepoint"},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct pf_options o;
        struct pf_why why = {""};
        char text[PF_OPTION_TEXT_MAX];
        pf_options_init(&o);
        CU_ASSERT_EQUAL(pf_options_set(&o, good[i].name, good[i].value, &why), 0);
        CU_ASSERT_STRING_EQUAL(why.text, "");
        pf_options_format(&o, (unsigned)pf_options_find(good[i].name), text);
        CU_ASSERT_STRING_EQUAL(text, good[i].read_back);
    }
}

static void fields(void)
{
    struct pf_options o;
    pf_options_init(&o);
    CU_ASSERT_EQUAL(pf_options_set(&o, "stage-size", "2M", NULL), 0);
    CU_ASSERT_EQUAL(o.stage_size, UINT64_C(2) << 20);
    CU_ASSERT_EQUAL(pf_options_set(&o, "peer-timeout", "1.5", NULL), 0);
    CU_ASSERT_EQUAL(o.peer_timeout_ms, 1500);
    CU_ASSERT_EQUAL(pf_options_set(&o, "wait", "sleep", NULL), 0);
    CU_ASSERT_EQUAL(o.wait, PF_WAIT_SLEEP);
    CU_ASSERT_EQUAL(pf_options_set(&o, "background", "off", NULL), 0);
    CU_ASSERT_FALSE(o.background);
}

/* Each sentence names the option, quotes the value, and says what is allowed. */
static void bad_values(void)
{
    static const struct {
        const char *name, *value;
        int error;
        const char *allowed;
    } bad[] = {
        {"wait", "poll", -EINVAL, "spin or sleep"},
        {"wait", "", -EINVAL, "spin or sleep"},
        {"spin-us", "1000001", -ERANGE, "0 to 1000000"},
        {"spin-us", "2e3", -EINVAL, "whole number"},
        {"slots", "0", -ERANGE, "1 to 4096"},
        {"slots", "-1", -EINVAL, "1 to 4096"},
        {"slots", " 5", -EINVAL, "1 to 4096"},
        {"slots", "4294967297", -ERANGE, "1 to 4096"},
        {"slots", "99999999999999999999999", -ERANGE, "1 to 4096"},
        {"stages", "1", -ERANGE, "2 to 64"},
        {"stage-size", "0", -EINVAL, "auto, or a size from 16K to 64M"},
        {"stage-size", "64X", -EINVAL, "16K to 64M"},
        {"place", "move", -EINVAL, "auto or copy or continue"},
        {"prealloc", "yes", -EINVAL, "auto or off or on"},
        {"stage-size", "64KB", -EINVAL, "16K to 64M"},
        {"stage-size", "KiB", -EINVAL, "16K to 64M"},
        {"stage-size", "17000", -ERANGE, "multiple of 4K"},
        {"stage-size", "2GiB", -ERANGE, "16K to 64M"},
        {"stage-size", "99999999999999999T", -ERANGE, "16K to 64M"},
        {"placement", "near", -EINVAL, "auto, none"},
        {"placement", "4000", -ERANGE, "0 to 1023"},
        {"background", "perhaps", -EINVAL, "on or off"},
        {"peer-timeout", "0", -ERANGE, "1 to 86400"},
        {"peer-timeout", "1.2345", -EINVAL, "seconds"},
        {"peer-timeout", "10s", -EINVAL, "seconds"},
        {"progress-ms", "9", -ERANGE, "10 to 60000"},
        {"hold-at", "4294967296", -ERANGE, "0 to 4294967295"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct pf_options o;
        struct pf_options before;
        struct pf_why why = {""};
        memset(&o, 0, sizeof o);
        pf_options_init(&o);
        memcpy(&before, &o, sizeof o);
        CU_ASSERT_EQUAL(pf_options_set(&o, bad[i].name, bad[i].value, &why), bad[i].error);
        CU_ASSERT_PTR_NOT_NULL(strstr(why.text, bad[i].name));
        CU_ASSERT_PTR_NOT_NULL(strstr(why.text, bad[i].value));
        CU_ASSERT_PTR_NOT_NULL(strstr(why.text, bad[i].allowed));
        CU_ASSERT_EQUAL(memcmp(&o, &before, sizeof o), 0);
    }
}

static void unknown_option(void)
{
    struct pf_options o;
    struct pf_why why = {""};
    pf_options_init(&o);
    CU_ASSERT_EQUAL(pf_options_set(&o, "turbo", "on", &why), -ENOENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "turbo"));
}

static void environment(void)
{
    struct pf_options o;
    struct pf_why why = {""};
    clear_environment();
    setenv("PAGEFERRY_PEER_TIMEOUT", "3", 1);
    setenv("PAGEFERRY_STAGE_SIZE", "64K", 1);
    setenv("PAGEFERRY_NAME", "not an option", 1);
    pf_options_init(&o);
    CU_ASSERT_EQUAL(pf_options_from_environment(&o, &why), 0);
    CU_ASSERT_EQUAL(o.peer_timeout_ms, 3000);
    CU_ASSERT_EQUAL(o.stage_size, 65536);
    CU_ASSERT_EQUAL(o.slots, 64);

    setenv("PAGEFERRY_SLOTS", "many", 1);
    CU_ASSERT_EQUAL(pf_options_from_environment(&o, &why), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "PAGEFERRY_SLOTS"));
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "many"));
    clear_environment();
}

/* Every row's default is valid and reads back as itself; every row can be explained. */
static void table(void)
{
    struct pf_options o;
    pf_options_init(&o);
    for (unsigned i = 0; i < PF_OPTION_COUNT; i++) {
        const struct pf_option *option = &pf_option_table[i];
        struct pf_why why = {""};
        char text[PF_OPTION_TEXT_MAX];
        char variable[PF_OPTION_TEXT_MAX];
        CU_ASSERT_EQUAL(pf_options_set(&o, option->name, option->fallback, &why), 0);
        pf_options_format(&o, i, text);
        CU_ASSERT_STRING_EQUAL(text, option->fallback);
        CU_ASSERT_EQUAL(pf_options_find(option->name), (int)i);
        CU_ASSERT_TRUE(strlen(option->doc) > 0 && strlen(option->metavar) > 0);
        pf_options_variable(i, variable);
        CU_ASSERT_EQUAL(strlen(variable), strlen("PAGEFERRY_") + strlen(option->name));
    }
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"defaults", defaults},
        {"good values", good_values},
        {"fields", fields},
        {"bad values", bad_values},
        {"unknown option", unknown_option},
        {"environment", environment},
        {"table", table},
        {NULL, NULL},
    };
    return pf_suite_run("options", tests, argc > 1 ? argv[1] : NULL);
}
