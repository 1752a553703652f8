/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/uri.h"

#include "tests/suite.h"
#include "transport/transport.h"
#include "transport/uri_list.h"

#include <errno.h>

static void whole_uri(void)
{
    struct pf_uri uri;
    CU_ASSERT_EQUAL(pf_uri_parse("fault+tcp://10.0.0.2:7471?at=17&do=cut", &uri, NULL), 0);
    CU_ASSERT_STRING_EQUAL(uri.scheme, "fault+tcp");
    CU_ASSERT_STRING_EQUAL(uri.host, "10.0.0.2");
    CU_ASSERT_STRING_EQUAL(uri.port, "7471");

    char value[16];
    CU_ASSERT_TRUE(pf_uri_option(&uri, "at", value, sizeof value));
    CU_ASSERT_STRING_EQUAL(value, "17");
    CU_ASSERT_TRUE(pf_uri_option(&uri, "do", value, sizeof value));
    CU_ASSERT_STRING_EQUAL(value, "cut");
    CU_ASSERT_FALSE(pf_uri_option(&uri, "a", value, sizeof value));

    char again[128];
    CU_ASSERT_EQUAL(pf_uri_format(&uri, again, sizeof again), 0);
    CU_ASSERT_STRING_EQUAL(again, "fault+tcp://10.0.0.2:7471?at=17&do=cut");
    CU_ASSERT_EQUAL(pf_uri_format(&uri, again, 10), -ENAMETOOLONG);
}

static void short_forms(void)
{
    struct pf_uri uri;
    CU_ASSERT_EQUAL(pf_uri_parse("ofi+shm", &uri, NULL), 0);
    CU_ASSERT_STRING_EQUAL(uri.scheme, "ofi+shm");
    CU_ASSERT_STRING_EQUAL(uri.host, "");

    CU_ASSERT_EQUAL(pf_uri_parse("tcp://node7", &uri, NULL), 0);
    CU_ASSERT_STRING_EQUAL(uri.host, "node7");
    CU_ASSERT_STRING_EQUAL(uri.port, "");
}

static void ipv6(void)
{
    struct pf_uri uri;
    char again[64];
    CU_ASSERT_EQUAL(pf_uri_parse("tcp://[fe80::1]:80", &uri, NULL), 0);
    CU_ASSERT_STRING_EQUAL(uri.host, "fe80::1");
    CU_ASSERT_STRING_EQUAL(uri.port, "80");
    CU_ASSERT_EQUAL(pf_uri_format(&uri, again, sizeof again), 0);
    CU_ASSERT_STRING_EQUAL(again, "tcp://[fe80::1]:80");
}

static void malformed(void)
{
    static const char *const bad[] = {
        "",
        "://x",
        "tcp:/x",
        "tcp:x",
        "tcp://h:",
        "tcp://h:abc",
        "tcp://h:65536",
        "tcp://[::1",
        "tcp://[::1]x",
        "9p://x",
        "t c p://x",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct pf_uri uri;
        struct pf_why why = {""};
        CU_ASSERT_EQUAL(pf_uri_parse(bad[i], &uri, &why), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(why.text, bad[i]));
    }
}

static void lookup(void)
{
    static const struct pf_transport tcp = {.scheme = "tcp"};
    static const struct pf_transport ofi = {.scheme = "ofi+"};
    const struct pf_transport *const table[] = {&tcp, &ofi, NULL};
    CU_ASSERT_PTR_EQUAL(pf_transport_find(table, "tcp://h:1"), &tcp);
    CU_ASSERT_PTR_EQUAL(pf_transport_find(table, "tcp"), &tcp);
    CU_ASSERT_PTR_EQUAL(pf_transport_find(table, "ofi+shm://"), &ofi);
    CU_ASSERT_PTR_NULL(pf_transport_find(table, "ofi+"));
    CU_ASSERT_PTR_NULL(pf_transport_find(table, "tcpx://h:1"));
    CU_ASSERT_PTR_NULL(pf_transport_find(table, "carrier-pigeon://"));
}

static void lists(void)
{
    struct pf_uri_list list;
    char again[PF_URI_LIST_MAX];
    static const char text[] = "tcp://10.0.0.2:0,verbs://[fe80::1]:7471,ofi+shm";
    CU_ASSERT_EQUAL_FATAL(pf_uri_list_parse(text, &list, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(list.count, 3);
    CU_ASSERT_STRING_EQUAL(list.uris[1], "verbs://[fe80::1]:7471");
    CU_ASSERT_EQUAL(pf_uri_list_format(&list, again, sizeof again), 0);
    CU_ASSERT_STRING_EQUAL(again, text);
    CU_ASSERT_EQUAL(pf_uri_list_format(&list, again, sizeof text - 1), -ENAMETOOLONG);
    CU_ASSERT_EQUAL(pf_uri_list_parse("tcp://a", &list, NULL), 0);
    CU_ASSERT_EQUAL(list.count, 1);
}

static void bad_lists(void)
{
    static const char *const bad[] = {
        "",
        "tcp://a,",
        ",tcp://a",
        "tcp://a,,tcp://b",
        "tcp://a, tcp://b",
        "tcp://1,tcp://2,tcp://3,tcp://4,tcp://5,tcp://6,tcp://7,tcp://8,tcp://9",
    };
    struct pf_uri_list list;
    struct pf_why why;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        why.text[0] = '\0';
        CU_ASSERT_EQUAL(pf_uri_list_parse(bad[i], &list, &why), -EINVAL);
        CU_ASSERT_NOT_EQUAL(why.text[0], '\0');
        if (i >= 1 && i <= 3)
            CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "a comma too many"));
    }
    char longest[2 * PF_URI_LIST_MAX];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    CU_ASSERT_EQUAL(pf_uri_list_parse(longest, &list, &why), -EINVAL);
    longest[PF_URI_MAX] = ',';
    longest[PF_URI_MAX + 2] = '\0';
    CU_ASSERT_EQUAL(pf_uri_list_parse(longest, &list, &why), -EINVAL);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"whole URI", whole_uri},
        {"short forms", short_forms},
        {"IPv6", ipv6},
        {"malformed", malformed},
        {"lookup by scheme", lookup},
        {"lists", lists},
        {"malformed lists", bad_lists},
        {NULL, NULL},
    };
    return pf_suite_run("uri", tests, argc > 1 ? argv[1] : NULL);
}
