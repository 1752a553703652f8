/* SPDX-License-Identifier: BSD-2-Clause */
/* The private data of connections: what a stranger may put there is not believed. */
#include "rdma/verbs/hello.h"

#include "tests/suite.h"

static void there_and_back(void)
{
    struct pf_verbs_hello out, in;
    uint8_t padded[sizeof out] = {0};
    CU_ASSERT_EQUAL(pf_verbs_hello_write(&out, 0x01020304, "ferry", 5), 0);
    memcpy(padded, &out, pf_verbs_hello_size(&out));
    CU_ASSERT_EQUAL(pf_verbs_hello_read(padded, sizeof padded, &in), 0);
    CU_ASSERT_EQUAL(pf_verbs_hello_key(&in), 0x01020304);
    CU_ASSERT_EQUAL(in.length, 5);
    CU_ASSERT_EQUAL(memcmp(in.data, "ferry", 5), 0);
    CU_ASSERT_EQUAL(pf_verbs_hello_read(padded, pf_verbs_hello_size(&out), &in), 0);
}

static void limits(void)
{
    struct pf_verbs_hello hello;
    const char data[PF_PRIVATE_DATA_MAX + 1] = "";
    CU_ASSERT_EQUAL(pf_verbs_hello_write(&hello, 1, data, PF_PRIVATE_DATA_MAX), 0);
    CU_ASSERT_EQUAL(pf_verbs_hello_size(&hello), sizeof hello);
    CU_ASSERT_EQUAL(pf_verbs_hello_write(&hello, 1, data, sizeof data), -EINVAL);
    CU_ASSERT_EQUAL(pf_verbs_hello_write(&hello, 1, NULL, 0), 0);
}

/* Each a good one with one thing wrong. */
static void strangers(void)
{
    struct pf_verbs_hello good, bad, in;
    CU_ASSERT_EQUAL(pf_verbs_hello_write(&good, 7, "data", 4), 0);
    CU_ASSERT_EQUAL(pf_verbs_hello_read(&good, 0, &in), -EPROTO);
    CU_ASSERT_EQUAL(pf_verbs_hello_read(&good, 7, &in), -EPROTO);
    CU_ASSERT_EQUAL(pf_verbs_hello_read(&good, pf_verbs_hello_size(&good) - 1, &in), -EPROTO);
    bad = good;
    bad.magic[0] ^= 1;
    CU_ASSERT_EQUAL(pf_verbs_hello_read(&bad, sizeof bad, &in), -EPROTO);
    bad = good;
    bad.version++;
    CU_ASSERT_EQUAL(pf_verbs_hello_read(&bad, sizeof bad, &in), -EPROTO);
    bad = good;
    bad.length = PF_PRIVATE_DATA_MAX + 1;
    CU_ASSERT_EQUAL(pf_verbs_hello_read(&bad, sizeof bad, &in), -EPROTO);
    bad.length = UINT8_MAX;
    uint8_t longest[UINT8_MAX + sizeof bad] = {0};
    memcpy(longest, &bad, sizeof bad);
    CU_ASSERT_EQUAL(pf_verbs_hello_read(longest, sizeof longest, &in), -EPROTO);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"there and back", there_and_back},
        {"limits", limits},
        {"strangers", strangers},
        {NULL, NULL},
    };
    return pf_suite_run("verbs hello", tests, argc > 1 ? argv[1] : NULL);
}
