/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/runtime_dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int pf_runtime_dir(char *out, size_t size, struct pf_why *why)
{
    const char *own = getenv("PAGEFERRY_RUNTIME_DIR");
    const char *session = getenv("XDG_RUNTIME_DIR");
    int length;
    if (own && own[0])
        length = snprintf(out, size, "%s", own);
    else if (geteuid() == 0)
        length = snprintf(out, size, "/run/pageferry");
    else if (session && session[0])
        length = snprintf(out, size, "%s/pageferry", session);
    else
        length = snprintf(out, size, "/tmp/pageferry-%u", (unsigned)geteuid());
    if (length < 0 || (size_t)length >= size)
        return pf_why(why, -ENAMETOOLONG,
                      "the path of the directory for job sockets has %d characters, %zu at most "
                      "are possible: set PAGEFERRY_RUNTIME_DIR to a shorter one",
                      length, size - 1);
    return 0;
}

int pf_runtime_dir_check(const char *path, struct pf_why *why)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return pf_why(why, -errno, "can't use the directory %.100s for job sockets: %s", path,
                      strerror(errno));
    /* A link made by root or ourselves is fine, as /var/run is; in /tmp anybody can make one. */
    if (S_ISLNK(st.st_mode) && (st.st_uid == 0 || st.st_uid == geteuid()) && stat(path, &st) != 0)
        return pf_why(why, -errno, "can't follow the link %.100s to a directory: %s", path,
                      strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return pf_why(why, -ENOTDIR,
                      "%.100s should be the directory for job sockets but is none: remove it, or "
                      "set PAGEFERRY_RUNTIME_DIR",
                      path);
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return pf_why(why, -EPERM,
                      "the directory %.100s for job sockets belongs to user %u, not to you: set "
                      "PAGEFERRY_RUNTIME_DIR to one of your own",
                      path, (unsigned)st.st_uid);
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return pf_why(why, -EPERM,
                      "others may write to the directory %.100s for job sockets: chmod 700 it, or "
                      "set PAGEFERRY_RUNTIME_DIR to another",
                      path);
    return 0;
}

int pf_runtime_dir_create(const char *path, struct pf_why *why)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return pf_why(why, -errno,
                      "can't make the directory %.100s for job sockets: %s; "
                      "PAGEFERRY_RUNTIME_DIR can name another",
                      path, strerror(errno));
    return pf_runtime_dir_check(path, why);
}

int pf_job_name_check(const char *name, struct pf_why *why)
{
    size_t length = strlen(name);
    size_t good = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    if (length == 0 || length > PF_JOB_NAME_MAX || good != length)
        return pf_why(why, -EINVAL,
                      "\"%.70s\" can't be the name of a job: use 1 to %d letters, digits, dots, "
                      "underscores and dashes",
                      name, PF_JOB_NAME_MAX);
    return 0;
}

int pf_job_socket_path(const char *name, char *out, size_t size, struct pf_why *why)
{
    char directory[PATH_MAX];
    int error = pf_job_name_check(name, why);
    if (!error)
        error = pf_runtime_dir(directory, sizeof directory, why);
    if (error)
        return error;

    size_t limit = sizeof((struct sockaddr_un *)0)->sun_path;
    if (limit > size)
        limit = size;
    int length = snprintf(out, size, "%s/%s" PF_JOB_SOCKET_SUFFIX, directory, name);
    if (length < 0 || (size_t)length >= limit)
        return pf_why(why, -ENAMETOOLONG,
                      "the socket path of job \"%s\" would have %d characters, a socket's path "
                      "may have %zu: use a shorter name, or set PAGEFERRY_RUNTIME_DIR",
                      name, length, limit - 1);
    return 0;
}
