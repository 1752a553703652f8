/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/job/job_socket.h"

#include "core/runtime_dir.h"
#include "tests/suite.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A directory of the test's own; each test removes it. */
static char *fresh_directory(char template[32])
{
    strcpy(template, "/tmp/pf-test-XXXXXX");
    char *path = mkdtemp(template);
    CU_ASSERT_PTR_NOT_NULL_FATAL(path);
    setenv("PAGEFERRY_RUNTIME_DIR", path, 1);
    return path;
}

static void directories(void)
{
    char path[128];
    setenv("PAGEFERRY_RUNTIME_DIR", "/somewhere", 1);
    CU_ASSERT_EQUAL(pf_runtime_dir(path, sizeof path, NULL), 0);
    CU_ASSERT_STRING_EQUAL(path, "/somewhere");
    unsetenv("PAGEFERRY_RUNTIME_DIR");
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    CU_ASSERT_EQUAL(pf_runtime_dir(path, sizeof path, NULL), 0);
    CU_ASSERT_STRING_EQUAL(path, geteuid() == 0 ? "/run/pageferry" : "/run/user/7/pageferry");
    struct pf_why why = {""};
    setenv("PAGEFERRY_RUNTIME_DIR", "/a/rather/long/path", 1);
    CU_ASSERT_EQUAL(pf_runtime_dir(path, 8, &why), -ENAMETOOLONG);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "PAGEFERRY_RUNTIME_DIR"));
}

static void names(void)
{
    static const char *const good[] = {"a", "heat", "heat-2.b_C", "..",
                                       "0123456789012345678901234567890123456789012345678901234567"
                                       "890123"};
    static const char *const bad[] = {"",
                                      "a/b",
                                      "../x",
                                      "a b",
                                      "\xc3\xa4",
                                      "a\n",
                                      "0123456789012345678901234567890123456789012345678901234567"
                                      "8901234"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        CU_ASSERT_EQUAL(pf_job_name_check(good[i], NULL), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct pf_why why = {""};
        CU_ASSERT_EQUAL(pf_job_name_check(bad[i], &why), -EINVAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "letters"));
    }
}

static void socket_paths(void)
{
    char path[128];
    char deep[100];
    struct pf_why why = {""};
    setenv("PAGEFERRY_RUNTIME_DIR", "/d", 1);
    CU_ASSERT_EQUAL(pf_job_socket_path("heat", path, sizeof path, NULL), 0);
    CU_ASSERT_STRING_EQUAL(path, "/d/heat.sock");
    CU_ASSERT_EQUAL(pf_job_socket_path("no/name", path, sizeof path, NULL), -EINVAL);
    memset(deep, 'x', sizeof deep - 1);
    deep[0] = '/';
    deep[sizeof deep - 1] = '\0';
    setenv("PAGEFERRY_RUNTIME_DIR", deep, 1);
    CU_ASSERT_EQUAL(pf_job_socket_path("heat-number-2", path, sizeof path, &why), -ENAMETOOLONG);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "shorter"));
}

static void safe_directory(void)
{
    char template[32];
    char inner[64];
    char other[64];
    struct pf_why why = {""};
    char *path = fresh_directory(template);
    snprintf(inner, sizeof inner, "%s/in", path);
    snprintf(other, sizeof other, "%s/link", path);
    CU_ASSERT_EQUAL(pf_runtime_dir_check(inner, NULL), -ENOENT);
    CU_ASSERT_EQUAL(pf_runtime_dir_create(inner, NULL), 0);
    CU_ASSERT_EQUAL(pf_runtime_dir_create(inner, NULL), 0);
    struct stat st;
    CU_ASSERT_EQUAL(stat(inner, &st), 0);
    CU_ASSERT_EQUAL(st.st_mode & 0777, 0700);
    CU_ASSERT_EQUAL(symlink(inner, other), 0);
    CU_ASSERT_EQUAL(pf_runtime_dir_check(other, NULL), 0);

    CU_ASSERT_EQUAL(chmod(inner, 0777), 0);
    CU_ASSERT_EQUAL(pf_runtime_dir_check(inner, &why), -EPERM);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "chmod 700"));
    if (geteuid() == 0) {
        CU_ASSERT_EQUAL(chmod(inner, 0700) | chown(inner, 4242, 4242), 0);
        CU_ASSERT_EQUAL(pf_runtime_dir_check(inner, &why), -EPERM);
        CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "4242"));
    }
    unlink(other);
    rmdir(inner);
    CU_ASSERT_EQUAL(pf_runtime_dir_check("/dev/null", NULL), -ENOTDIR);
    rmdir(path);
}

static void listen_and_connect(void)
{
    char template[32];
    char *path = fresh_directory(template);
    struct pf_why why = {""};
    CU_ASSERT_EQUAL(pf_job_socket_connect("heat", 100, &why), -ENOENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "heat"));

    int listener = pf_job_socket_listen("heat", &why);
    CU_ASSERT_TRUE_FATAL(listener >= 0);
    int client = pf_job_socket_connect("heat", 100, &why);
    CU_ASSERT_TRUE(client >= 0);
    close(client);

    CU_ASSERT_EQUAL(pf_job_socket_listen("heat", &why), -EEXIST);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "taken"));
    CU_ASSERT_FALSE(pf_job_socket_remove_stale("heat"));

    pf_job_socket_close("heat", listener);
    CU_ASSERT_EQUAL(pf_job_socket_connect("heat", 100, NULL), -ENOENT);
    /* Nothing is left behind, the hidden name neither. */
    CU_ASSERT_EQUAL(rmdir(path), 0);
}

static void dead_job(void)
{
    char template[32];
    char *path = fresh_directory(template);
    int listener = pf_job_socket_listen("heat", NULL);
    CU_ASSERT_TRUE(listener >= 0);
    close(listener);
    CU_ASSERT_EQUAL(pf_job_socket_connect("heat", 100, NULL), -ECONNREFUSED);

    /* A new job takes the name over. */
    listener = pf_job_socket_listen("heat", NULL);
    CU_ASSERT_TRUE(listener >= 0);
    close(listener);
    CU_ASSERT_TRUE(pf_job_socket_remove_stale("heat"));
    CU_ASSERT_FALSE(pf_job_socket_remove_stale("heat"));
    CU_ASSERT_EQUAL(rmdir(path), 0);
}

/* A stopped job accepts nobody: its backlog fills up, and connecting ends all the same. */
static void stopped_job(void)
{
    char template[32];
    char *path = fresh_directory(template);
    int clients[64];
    int count = 0;
    int listener = pf_job_socket_listen("heat", NULL);
    CU_ASSERT_TRUE(listener >= 0);
    while (count < 64 && (clients[count] = pf_job_socket_connect("heat", 20, NULL)) >= 0)
        count++;
    CU_ASSERT_TRUE(count > 0 && count < 64);
    CU_ASSERT_EQUAL(clients[count], -ETIMEDOUT);
    CU_ASSERT_EQUAL(pf_job_socket_listen("heat", NULL), -EEXIST);
    while (count > 0)
        close(clients[--count]);
    pf_job_socket_close("heat", listener);
    CU_ASSERT_EQUAL(rmdir(path), 0);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"directories", directories},
        {"names", names},
        {"socket paths", socket_paths},
        {"safe directory", safe_directory},
        {"listen and connect", listen_and_connect},
        {"dead job", dead_job},
        {"stopped job", stopped_job},
        {NULL, NULL},
    };
    return pf_suite_run("job socket", tests, argc > 1 ? argv[1] : NULL);
}
