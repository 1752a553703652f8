/* SPDX-License-Identifier: BSD-2-Clause */
/* A client's message: what it may say, and the sentence that each mistake gets. */
#include "core/clients/client_message.h"

#include "core/clients/client.h"
#include "tests/suite.h"

#include <errno.h>
#include <stdlib.h>

static const char good[] = "{\"mappings\":[{\"address\":4096,\"size\":8192,\"region\":\"r\","
                           "\"offset\":0,\"page_size\":4096}]}";

static int take(const char *text, struct pf_why *why)
{
    struct pf_client_message message;
    struct json_object *json = json_tokener_parse(text);
    int error = pf_client_message_take(&message, json, why);
    if (!error)
        pf_client_message_free(&message);
    json_object_put(json);
    return error;
}

static void good_message_is_taken(void)
{
    struct pf_client_message message;
    struct json_object *json = json_tokener_parse(good);
    CU_ASSERT_EQUAL_FATAL(pf_client_message_take(&message, json, NULL), 0);
    CU_ASSERT_EQUAL(message.count, 1);
    CU_ASSERT_EQUAL(message.list[0].addr, 4096);
    CU_ASSERT_EQUAL(message.list[0].bytes, 8192);
    CU_ASSERT_EQUAL(message.list[0].offset, 0);
    CU_ASSERT_EQUAL(message.list[0].page_size, 4096);
    CU_ASSERT_STRING_EQUAL(message.list[0].region, "r");
    pf_client_message_free(&message);
    json_object_put(json);
}

#define ONE(addr, size, region, offset, page)                                                      \
    "{\"mappings\":[{\"address\":" addr ",\"size\":" size ",\"region\":" region                    \
    ",\"offset\":" offset ",\"page_size\":" page "}]}"

static void bad_messages_get_a_sentence(void)
{
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"[]", "no object"},
        {"{}", "no object with \"mappings\""},
        {"null", "no object"},
        {"{\"mappings\":7}", "no array"},
        {"{\"mappings\":[]}", "no mappings"},
        {"{\"mappings\":[7]}", "mapping 0 is no object"},
        {"{\"mappings\":[{}]}", "has no \"address\""},
        {ONE("\"x\"", "8192", "\"r\"", "0", "4096"), "\"address\" is no whole number"},
        {ONE("1.5", "8192", "\"r\"", "0", "4096"), "\"address\" is no whole number"},
        {ONE("-4096", "8192", "\"r\"", "0", "4096"), "\"address\" can't be -4096"},
        {ONE("4096", "9223372036854775807", "\"r\"", "0", "4096"), "\"size\" can't be"},
        {ONE("99999999999999999999999999", "8192", "\"r\"", "0", "4096"), "\"address\" can't be"},
        {ONE("4096", "0", "\"r\"", "0", "4096"), "is empty"},
        {ONE("4097", "8192", "\"r\"", "0", "4096"), "whole pages of 4096 bytes"},
        {ONE("4096", "8191", "\"r\"", "0", "4096"), "whole pages"},
        {ONE("4096", "8192", "\"r\"", "1", "4096"), "whole pages"},
        {ONE("4096", "8192", "\"r\"", "0", "2097152"), "whole pages of 2097152"},
        {ONE("4096", "8192", "\"r\"", "0", "0"), "no pages have 0 bytes"},
        {ONE("4096", "8192", "\"r\"", "0", "12288"), "no pages have 12288"},
        {ONE("4096", "8192", "7", "0", "4096"), "should name a region"},
        {ONE("4096", "8192", "\"\"", "0", "4096"), "should name a region"},
        {ONE("4096", "8192", "\"a\\nb\"", "0", "4096"), "should name a region"},
        {ONE("4096", "8192", "\"0123456789012345678901234567890123456789012345678901234567890123\"",
             "0", "4096"),
         "should name a region"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct pf_why why = {""};
        CU_ASSERT(take(bad[i].text, &why) < 0);
        if (!strstr(why.text, bad[i].words)) {
            fprintf(stderr, "%s: \"%s\" lacks \"%s\"\n", bad[i].text, why.text, bad[i].words);
            CU_FAIL("sentence");
        }
    }
}

static void home_mappings_must_cover_the_region(void)
{
    static const struct {
        const char *pieces, *words;
    } bad[] = {
        {"[{%s,\"size\":4096,\"offset\":4096,\"page_size\":4096}]",
         "begins only at offset 4096 where 0 is due"},
        {"[{%s,\"size\":8192,\"offset\":0,\"page_size\":4096},{%s0,\"size\":4096,\"offset\":4096,"
         "\"page_size\":4096}]",
         "begins again at offset 4096 where 8192 is due"},
        {"[{%s,\"size\":4096,\"offset\":0,\"page_size\":4096},{%s0,\"size\":4096,\"offset\":8192,"
         "\"page_size\":4096}]",
         "begins only at offset 8192 where 4096 is due"},
        {"[{%s,\"size\":8192,\"offset\":0,\"page_size\":4096},{%s0,\"size\":8192,\"offset\":8192,"
         "\"page_size\":8192}]",
         "pages of 4096 and 8192 bytes"},
        {"[{%s,\"size\":8192,\"offset\":0,\"page_size\":8192}]",
         "pages of 8192 bytes are not offered"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct pf_client_words words = {.addr = "address",
                                        .bytes = "size",
                                        .offset = "offset",
                                        .page_size = "page_size",
                                        .only_region = "memory"};
        struct pf_client_message message = {.count = 0};
        struct pf_regions *regions = calloc(1, sizeof *regions);
        struct pf_why why = {""};
        char text[512];
        snprintf(text, sizeof text, bad[i].pieces, "\"address\":40960", "\"address\":40960");
        struct json_object *json = json_tokener_parse(text);
        CU_ASSERT_EQUAL(pf_client_mappings_take(&message, json, &words, &why), 0);
        CU_ASSERT_EQUAL(pf_client_make_regions(&message, regions, &why), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(why.text, bad[i].words));
        CU_ASSERT_EQUAL(regions->count, 0);
        pf_client_message_free(&message);
        json_object_put(json);
        free(regions);
    }
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"good_message_is_taken", good_message_is_taken},
        {"bad_messages_get_a_sentence", bad_messages_get_a_sentence},
        {"home_mappings_must_cover_the_region", home_mappings_must_cover_the_region},
        {NULL, NULL},
    };
    return pf_suite_run("client_message", tests, argc > 1 ? argv[1] : NULL);
}
