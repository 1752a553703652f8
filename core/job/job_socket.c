/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/job/job_socket.h"

#include "core/runtime_dir.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    BACKLOG = 16,
    STALE_CHECK_MS = 1000,
};

static int socket_address(const char *name, struct sockaddr_un *address, struct pf_why *why)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    return pf_job_socket_path(name, address->sun_path, sizeof address->sun_path, why);
}

static int check_directory(bool create, struct pf_why *why)
{
    char directory[PATH_MAX];
    int error = pf_runtime_dir(directory, sizeof directory, why);
    if (error)
        return error;
    return create ? pf_runtime_dir_create(directory, why) : pf_runtime_dir_check(directory, why);
}

/* On a unix socket the send time-out also bounds connect(), which ends with EAGAIN then. */
static int connect_within(int fd, const struct sockaddr_un *address, unsigned timeout_ms)
{
    struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000L};
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0)
        return 0;
    return errno == EAGAIN ? -ETIMEDOUT : -errno;
}

static int connect_failed(const char *name, int error, struct pf_why *why)
{
    if (error == -ENOENT || error == -ECONNREFUSED)
        return pf_why(why, error, "there is no job \"%s\" on this host: see pageferry list", name);
    if (error == -ETIMEDOUT)
        return pf_why(why, error, "job \"%s\" does not answer: is it stopped?", name);
    return pf_why(why, error, "can't connect to job \"%s\": %s", name, strerror(-error));
}

int pf_job_socket_connect(const char *name, unsigned timeout_ms, struct pf_why *why)
{
    struct sockaddr_un address;
    int error = socket_address(name, &address, why);
    if (error)
        return error;
    error = check_directory(false, why);
    if (error == -ENOENT)
        return connect_failed(name, error, why);
    if (error)
        return error;

    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return pf_why(why, -errno, "can't open a socket: %s", strerror(errno));
    error = connect_within(fd, &address, timeout_ms);
    if (error) {
        close(fd);
        return connect_failed(name, error, why);
    }
    return fd;
}

bool pf_job_socket_remove_stale(const char *name)
{
    struct sockaddr_un address;
    if (socket_address(name, &address, NULL) != 0)
        return false;
    int fd = pf_job_socket_connect(name, STALE_CHECK_MS, NULL);
    if (fd >= 0)
        close(fd);
    return fd == -ECONNREFUSED && unlink(address.sun_path) == 0;
}

/* link() takes a free name or none, so of two jobs that start at once only one gets it. */
static int publish(const char *name, const char *hidden, const char *path, struct pf_why *why)
{
    for (int attempt = 0; attempt < 3; attempt++) {
        if (link(hidden, path) == 0)
            return 0;
        if (errno != EEXIST)
            return pf_why(why, -errno, "can't create the socket %.108s: %s", path, strerror(errno));
        if (!pf_job_socket_remove_stale(name))
            break;
    }
    return pf_why(why, -EEXIST,
                  "the name \"%s\" is taken by a live job: choose another, or see pageferry list",
                  name);
}

int pf_job_socket_listen(const char *name, struct pf_why *why)
{
    struct sockaddr_un address;
    int error = socket_address(name, &address, why);
    if (!error)
        error = check_directory(true, why);
    if (error)
        return error;
    char path[sizeof address.sun_path];
    memcpy(path, address.sun_path, sizeof path);

    /* The directory is part of the path, so this is never longer than the longest job's path. */
    char *base = strrchr(address.sun_path, '/') + 1;
    int length = snprintf(base, sizeof address.sun_path - (size_t)(base - address.sun_path), ".%d~",
                          (int)getpid());
    if (length < 0 || (size_t)length >= sizeof address.sun_path - (size_t)(base - address.sun_path))
        return pf_why(why, -ENAMETOOLONG,
                      "the directory of the socket %.108s has too long a path: set "
                      "PAGEFERRY_RUNTIME_DIR to a shorter one",
                      path);

    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return pf_why(why, -errno, "can't open a socket: %s", strerror(errno));
    unlink(address.sun_path);
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, BACKLOG) != 0) {
        error = pf_why(why, -errno, "can't listen on the socket %.108s: %s", path, strerror(errno));
        goto close_socket;
    }
    error = publish(name, address.sun_path, path, why);
    unlink(address.sun_path);
    if (!error)
        return fd;

close_socket:
    close(fd);
    return error;
}

void pf_job_socket_close(const char *name, int fd)
{
    struct sockaddr_un address;
    if (fd < 0)
        return;
    if (socket_address(name, &address, NULL) == 0)
        unlink(address.sun_path);
    close(fd);
}
