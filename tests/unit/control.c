/* SPDX-License-Identifier: BSD-2-Clause */
/* The client's end of a control socket, with the test at the other end of a socket pair. */
#include "service/control.h"

#include "tests/suite.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Returns the job's end. */
static int connect_pair(struct pf_control *control)
{
    int pair[2];
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    *control = (struct pf_control){.fd = pair[0], .name = "heat"};
    return pair[1];
}

static void say(int fd, const char *text)
{
    CU_ASSERT_EQUAL(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static int next(struct pf_control *control, int64_t *value)
{
    struct json_object *record = NULL;
    struct pf_why why = {""};
    int error = pf_control_receive(control, 20, &record, &why);
    CU_ASSERT_EQUAL(error != 0, why.text[0] != '\0');
    *value = -1;
    if (!error)
        *value = json_object_get_int64(json_object_object_get(record, "n"));
    json_object_put(record);
    return error;
}

/* Lines do not arrive as they were sent: several in a piece, or one in many. */
static void pieces(void)
{
    struct pf_control control;
    int64_t value;
    int job = connect_pair(&control);
    say(job, "{\"n\":1}\n{\"n\":2}\r\n{\"n\":");
    CU_ASSERT_EQUAL(next(&control, &value), 0);
    CU_ASSERT_EQUAL(value, 1);
    CU_ASSERT_EQUAL(next(&control, &value), 0);
    CU_ASSERT_EQUAL(value, 2);
    CU_ASSERT_EQUAL(next(&control, &value), -ETIMEDOUT);
    say(job, "3");
    CU_ASSERT_EQUAL(next(&control, &value), -ETIMEDOUT);
    say(job, "}\n");
    CU_ASSERT_EQUAL(next(&control, &value), 0);
    CU_ASSERT_EQUAL(value, 3);
    close(job);
    CU_ASSERT_EQUAL(next(&control, &value), -ECONNRESET);
    pf_control_close(&control);
}

/* More than fits into the buffer, line by line. */
static void many_lines(void)
{
    struct pf_control control;
    int job = connect_pair(&control);
    int64_t value;
    char line[2000];
    for (int i = 0; i < 50; i++) {
        snprintf(line, sizeof line, "{\"n\":%d,\"pad\":\"%*s\"}\n", i, 50 + i * 37, "");
        say(job, line);
        if (i % 3 == 2)
            for (int j = i - 2; j <= i; j++) {
                CU_ASSERT_EQUAL(next(&control, &value), 0);
                CU_ASSERT_EQUAL(value, j);
            }
    }
    close(job);
    pf_control_close(&control);
}

static void longest_line(void)
{
    struct pf_control control;
    int64_t value;
    static char line[PF_CONTROL_LINE_MAX + 2];
    memset(line, ' ', PF_CONTROL_LINE_MAX + 1);
    memcpy(line, "{\"n\":5}", 7);

    int job = connect_pair(&control);
    line[PF_CONTROL_LINE_MAX - 1] = '\n';
    line[PF_CONTROL_LINE_MAX] = '\0';
    say(job, line);
    CU_ASSERT_EQUAL(next(&control, &value), 0);
    CU_ASSERT_EQUAL(value, 5);
    say(job, line);
    CU_ASSERT_EQUAL(next(&control, &value), 0);

    line[PF_CONTROL_LINE_MAX - 1] = ' ';
    say(job, line);
    CU_ASSERT_EQUAL(next(&control, &value), -EPROTO);
    close(job);
    pf_control_close(&control);
}

static void no_objects(void)
{
    static const char *const bad[] = {"\n",      "7\n",          "\"{}\"\n",           "[]\n",
                                      "{} {}\n", "{}x\n",        "{\"n\":1\n",         "null\n",
                                      "NaN\n",   "{\"n\":01}\n", "{\"n\":\"\xff\"}\n", "{/*a*/}\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct pf_control control;
        int64_t value;
        int job = connect_pair(&control);
        say(job, bad[i]);
        CU_ASSERT_EQUAL(next(&control, &value), -EPROTO);
        close(job);
        pf_control_close(&control);
    }
}

/* A line with a NUL, and a fixed series of random bytes. */
static void binary(void)
{
    unsigned seed = 1;
    for (int round = 0; round < 300; round++) {
        struct pf_control control;
        int64_t value;
        char bytes[64];
        int job = connect_pair(&control);
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (char)(rand_r(&seed) >> 8);
        memcpy(bytes, round % 2 ? "{\"n\"\0:" : "{\"n\":", 5);
        bytes[sizeof bytes - 1] = '\n';
        CU_ASSERT_EQUAL(send(job, bytes, sizeof bytes, 0), (ssize_t)sizeof bytes);
        close(job);
        CU_ASSERT_EQUAL(next(&control, &value), -EPROTO);
        pf_control_close(&control);
    }
}

static void requests(void)
{
    struct pf_control control;
    struct pf_why why = {""};
    char text[64] = "";
    int job = connect_pair(&control);
    struct json_object *request = json_object_new_object();
    json_object_object_add(request, "command", json_object_new_string("a\nb"));
    CU_ASSERT_EQUAL(pf_control_send(&control, request, &why), 0);
    CU_ASSERT_TRUE(read(job, text, sizeof text - 1) > 0);
    CU_ASSERT_STRING_EQUAL(text, "{\"command\":\"a\\nb\"}\n");
    close(job);
    CU_ASSERT_EQUAL(pf_control_send(&control, request, &why), -EPIPE);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "heat"));
    json_object_put(request);
    pf_control_close(&control);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"pieces", pieces},
        {"many lines", many_lines},
        {"longest line", longest_line},
        {"no objects", no_objects},
        {"binary", binary},
        {"requests", requests},
        {NULL, NULL},
    };
    return pf_suite_run("control", tests, argc > 1 ? argv[1] : NULL);
}
