/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/clients/client_link.h"

#include "core/clients/client_message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    BACKLOG = 16,
    DESCRIPTORS = 4, /* more than the one that is expected, to see that there are more */
    DEPTH = 8,       /* of nested JSON */
};

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5; asm-generic/socket.h of Debian 12 is older */
#endif

int pf_client_listen(const char *path, struct pf_why *why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return pf_why(why, -ENAMETOOLONG, "the path %.120s is too long for a socket: %zu at most",
                      path, sizeof address.sun_path - 1);
    strcpy(address.sun_path, path);
    struct stat st;
    if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
        return pf_why(why, -EEXIST, "%s exists and is no socket: it is left alone", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return pf_why(why, -errno, "can't open a socket: %s", strerror(errno));
    unlink(path);
    /* Nobody connects before listen(), so the mode is in place for the first who does. */
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) || chmod(path, 0600) ||
        listen(fd, BACKLOG)) {
        int error = pf_why(why, -errno, "can't listen on the socket %s: %s", path, strerror(errno));
        close(fd);
        return error;
    }
    return fd;
}

static int open_pidfd(int socket, pid_t pid)
{
    int fd;
    socklen_t size = sizeof fd;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0)
        return fd;
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

int pf_client_link_accept(struct pf_client_link *link, int listener, struct pf_why *why)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return pf_why(why, -errno, "a client's connection can't be taken: %s", strerror(errno));
    *link = (struct pf_client_link){.socket = fd, .pidfd = -1, .descriptor = -1};
    int error = 0;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))
        error = pf_why(why, -errno, "can't tell whose connection it is: %s", strerror(errno));
    else if (peer.uid != 0 && peer.uid != geteuid())
        error = pf_why(why, -EPERM, "process %d belongs to user %u, not to you", (int)peer.pid,
                       (unsigned)peer.uid);
    if (!error) {
        link->pid = peer.pid;
        link->pidfd = open_pidfd(fd, peer.pid);
        link->tokener = json_tokener_new_ex(DEPTH);
    }
    if (error || !link->tokener)
        pf_client_link_close(link);
    return error || link->tokener ? error : pf_why(why, -ENOMEM, "no memory for a client");
}

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void pf_client_link_close(struct pf_client_link *link)
{
    close_one(&link->socket);
    close_one(&link->pidfd);
    close_one(&link->descriptor);
    if (link->tokener)
        json_tokener_free(link->tokener);
    link->tokener = NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Keep the first descriptor, close all others: none is leaked by who sends a hundred. */
static int take_descriptors(struct pf_client_link *link, struct msghdr *message, struct pf_why *why)
{
    unsigned extra = message->msg_flags & MSG_CTRUNC ? 1 : 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            if (link->descriptor < 0) {
                link->descriptor = fd;
            } else {
                close(fd);
                extra++;
            }
        }
    }
    return extra ? pf_why(why, -EINVAL, "it sent more than one descriptor") : 0;
}

static ssize_t receive(struct pf_client_link *link, char *bytes, size_t room, struct pf_why *why)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(DESCRIPTORS * sizeof(int))];
    } control;
    struct iovec part = {bytes, room};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t got = recvmsg(link->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return -EAGAIN;
    if (got < 0)
        return pf_why(why, -errno, "it can't be heard: %s", strerror(errno));
    int error = take_descriptors(link, &message, why);
    if (error)
        return error;
    if (got == 0)
        return pf_why(why, -ECONNRESET, "it hung up %s its message",
                      link->bytes ? "in the middle of" : "before");
    return got;
}

static bool only_space(const char *bytes, size_t count)
{
    static const char space[] = {' ', '\t', '\r', '\n'};
    for (size_t i = 0; i < count; i++)
        if (!memchr(space, bytes[i], sizeof space))
            return false;
    return true;
}

int pf_client_link_read(struct pf_client_link *link, struct json_object **json, struct pf_why *why)
{
    char bytes[4096];
    for (;;) {
        ssize_t got = receive(link, bytes, sizeof bytes, why);
        if (got < 0)
            return got == -EAGAIN ? 0 : (int)got;
        link->bytes += (size_t)got;
        if (link->bytes > PF_CLIENT_MESSAGE_MAX)
            return pf_why(why, -EMSGSIZE, "its message is longer than %d KiB",
                          PF_CLIENT_MESSAGE_MAX / 1024);
        *json = json_tokener_parse_ex(link->tokener, bytes, (int)got);
        enum json_tokener_error how = json_tokener_get_error(link->tokener);
        if (how == json_tokener_continue)
            continue;
        if (how != json_tokener_success)
            return pf_why(why, -EINVAL, "its message is no JSON (%s, in the first %zu bytes)",
                          json_tokener_error_desc(how), link->bytes);
        size_t end = json_tokener_get_parse_end(link->tokener);
        if (only_space(bytes + end, (size_t)got - end))
            return 1;
        json_object_put(*json);
        return pf_why(why, -EINVAL, "something follows its message");
    }
}

int pf_client_link_say(struct pf_client_link *link, struct json_object *json)
{
    const char *text = json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN);
    size_t length = strlen(text);
    char end[] = "\n";
    struct iovec line[] = {{(void *)(uintptr_t)text, length}, {end, 1}};
    struct msghdr message = {.msg_iov = line, .msg_iovlen = 2};
    ssize_t sent = sendmsg(link->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0)
        return -errno;
    return (size_t)sent == length + 1 ? 0 : -EMSGSIZE;
}
