/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/throttle/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int read_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t length = 0;
    ssize_t got;
    while ((got = read(fd, text + length, size - 1 - length)) > 0)
        length += (size_t)got;
    int error = got < 0 ? -errno : 0;
    close(fd);
    text[length] = '\0';
    return error;
}

static int join(char path[PATH_MAX], const char *directory, const char *file)
{
    int length = snprintf(path, PATH_MAX, "%s/%s", directory, file);
    return length < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int pf_cgroup_read(const char *directory, const char *file, char *text, size_t size)
{
    char path[PATH_MAX];
    int error = join(path, directory, file);
    return error ? error : read_file(path, text, size);
}

int pf_cgroup_write(const char *directory, const char *file, const char *text)
{
    char path[PATH_MAX];
    int error = join(path, directory, file);
    if (error)
        return error;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t written = write(fd, text, strlen(text));
    error = written < 0 ? -errno : 0;
    close(fd);
    return error;
}

bool pf_cgroup_has(const char *directory, const char *file, const char *word)
{
    char text[512];
    char *rest = NULL;
    if (pf_cgroup_read(directory, file, text, sizeof text))
        return false;
    for (char *at = strtok_r(text, " \n", &rest); at; at = strtok_r(NULL, " \n", &rest))
        if (strcmp(at, word) == 0)
            return true;
    return false;
}

/* Version 2's line is "0::/its/path"; those of version 1 have numbers and controllers. */
int pf_cgroup_path(const char *mount, const char *text, char path[PATH_MAX])
{
    const char *line = text;
    while (line && strncmp(line, "0::/", 4) != 0) {
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    if (!line)
        return -ENOENT;
    int within = (int)strcspn(line + 4, "\n");
    int length = snprintf(path, PATH_MAX, "%s%s%.*s", mount, within ? "/" : "", within, line + 4);
    return length < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int find_mount(char mount[PATH_MAX])
{
    struct mntent entry;
    char strings[2 * PATH_MAX];
    FILE *mounts = setmntent("/proc/self/mounts", "re");
    int error = mounts ? -ENOENT : -errno;
    while (error == -ENOENT && getmntent_r(mounts, &entry, strings, sizeof strings))
        if (strcmp(entry.mnt_type, "cgroup2") == 0)
            error = snprintf(mount, PATH_MAX, "%s", entry.mnt_dir) < PATH_MAX ? 0 : -ENAMETOOLONG;
    if (mounts)
        endmntent(mounts);
    return error;
}

int pf_cgroup_of(const char *who, char path[PATH_MAX], struct pf_why *why)
{
    char mount[PATH_MAX];
    char name[64];
    char text[PATH_MAX];
    int error = find_mount(mount);
    if (error)
        return pf_why(why, error, "cgroup v2 is not mounted here");
    snprintf(name, sizeof name, "/proc/%s/cgroup", who);
    error = read_file(name, text, sizeof text);
    if (!error)
        error = pf_cgroup_path(mount, text, path);
    if (!error && access(path, F_OK) < 0)
        error = -errno;
    return error ? pf_why(why, error, "%s names no cgroup v2 below %s: %s", name, mount,
                          strerror(-error))
                 : 0;
}
