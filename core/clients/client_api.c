/* SPDX-License-Identifier: BSD-2-Clause */
/* The public calls for a client: another process that shows a job its memory. */
#include "base/log.h"
#include "core/clients/client_message.h"
#include "core/clients/clients.h"
#include "core/memory/uffd.h"
#include "core/runtime_dir.h"
#include "pageferry.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { ANSWER_BYTES = 1024, ANSWER_MS = 30000 };

struct ferry_client {
    int socket;
    struct pf_uffd uffd;
    bool made; /* the userfaultfd is ours */
    bool complete;
    char answer[ANSWER_BYTES]; /* lines that came */
    size_t filled;
};

/* ---- the userfaultfd ------------------------------------------------------------------------- */

static size_t page_size_of(const struct ferry_mapping *mapping)
{
    return mapping->page_size ? mapping->page_size : PF_PAGE_SIZE;
}

static int register_one(const struct ferry_client *client, const struct ferry_mapping *mapping,
                        unsigned index, bool forks, struct pf_why *why)
{
    bool zeropage;
    /* A page can be in the shared file before its content is: minor faults keep it from us. */
    int error = pf_uffd_register(&client->uffd, mapping->addr, mapping->bytes, true, &zeropage);
    if (error == -EINVAL || error == -ENOTSUP) /* private memory, or an old kernel */
        error = pf_uffd_register(&client->uffd, mapping->addr, mapping->bytes, false, &zeropage);
    if (error)
        return pf_why(why, error, "mapping %u (%zu bytes at %p) can't be registered: %s", index,
                      mapping->bytes, mapping->addr, strerror(-error));
    /* A child whose faults nobody hears would read zeros, and write them to the shared file. */
    if (!forks)
        madvise(mapping->addr, mapping->bytes, MADV_DONTFORK);
    return 0;
}

static int make_uffd(struct ferry_client *client, struct pf_why *why)
{
    const uint64_t wanted =
        UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP;
    client->made = true;
    /* Following forks needs CAP_SYS_PTRACE. */
    int error = pf_uffd_open(&client->uffd, wanted | UFFD_FEATURE_EVENT_FORK, why);
    return error == -EPERM ? pf_uffd_open(&client->uffd, wanted, why) : error;
}

static int register_all(struct ferry_client *client, const struct ferry_mapping *mappings,
                        unsigned count, int uffd, struct pf_why *why)
{
    int error = 0;
    client->uffd.fd = uffd;
    if (uffd < 0)
        error = make_uffd(client, why);
    bool forks = uffd >= 0 || client->uffd.features & UFFD_FEATURE_EVENT_FORK;
    for (unsigned i = 0; !error && i < count; i++)
        error = register_one(client, &mappings[i], i, forks, why);
    return error;
}

/* ---- the conversation ------------------------------------------------------------------------ */

static int connect_to(const char *where, struct pf_why *why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int error = 0;
    if (!strchr(where, '/'))
        error = pf_clients_path(where, address.sun_path, sizeof address.sun_path, why);
    else if (strlen(where) < sizeof address.sun_path)
        strcpy(address.sun_path, where);
    else
        error = pf_why(why, -ENAMETOOLONG, "%.200s is too long for a socket's path", where);
    if (error)
        return error;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return pf_why(why, -errno, "can't open a socket: %s", strerror(errno));
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    error =
        pf_why(why, -errno, "no job expects clients at %s: %s", address.sun_path, strerror(errno));
    close(fd);
    return error;
}

static struct json_object *describe(const struct ferry_mapping *mappings, unsigned count)
{
    struct json_object *message = json_object_new_object();
    struct json_object *list = json_object_new_array();
    for (unsigned i = 0; i < count; i++) {
        struct json_object *item = json_object_new_object();
        json_object_object_add(item, "address",
                               json_object_new_uint64((uintptr_t)mappings[i].addr));
        json_object_object_add(item, "size", json_object_new_uint64(mappings[i].bytes));
        json_object_object_add(item, "region", json_object_new_string(mappings[i].region));
        json_object_object_add(item, "offset", json_object_new_uint64(mappings[i].offset));
        json_object_object_add(item, "page_size",
                               json_object_new_uint64(page_size_of(&mappings[i])));
        json_object_array_add(list, item);
    }
    json_object_object_add(message, "mappings", list);
    return message;
}

/* The descriptor goes with the first byte. */
static int send_with(int socket, const char *text, size_t length, int descriptor)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.header), &descriptor, sizeof descriptor);
    struct iovec part = {(void *)(uintptr_t)text, length};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    for (size_t done = 0; sent >= 0 && (done += (size_t)sent) < length;)
        sent = send(socket, text + done, length - done, MSG_NOSIGNAL);
    return sent < 0 ? -errno : 0;
}

/* The next line, its end replaced by 0; valid until the next call. */
static int hear(struct ferry_client *client, char line[ANSWER_BYTES], int timeout_ms)
{
    char *end;
    while (!(end = memchr(client->answer, '\n', client->filled))) {
        struct pollfd polled = {.fd = client->socket, .events = POLLIN};
        if (client->filled == ANSWER_BYTES)
            return -EMSGSIZE;
        int ready = poll(&polled, 1, timeout_ms);
        if (ready == 0 || (ready < 0 && errno != EINTR))
            return ready == 0 ? -ETIMEDOUT : -errno;
        ssize_t got = ready < 0 ? 0
                                : recv(client->socket, client->answer + client->filled,
                                       ANSWER_BYTES - client->filled, 0);
        if (ready > 0 && got <= 0)
            return got < 0 ? -errno : -ECONNRESET;
        client->filled += (size_t)got;
    }
    size_t length = (size_t)(end - client->answer);
    memcpy(line, client->answer, length);
    line[length] = '\0';
    client->filled -= length + 1;
    memmove(client->answer, end + 1, client->filled);
    return 0;
}

/* A line {KEY: true}; an {"error": ...} becomes the sentence. */
static int expect(struct ferry_client *client, const char *key, int timeout_ms, struct pf_why *why)
{
    char line[ANSWER_BYTES];
    int error = hear(client, line, timeout_ms);
    if (error)
        return pf_why(why, error, "the job that has our mappings does not answer: %s",
                      ferry_strerror(error));
    struct json_object *answer = json_tokener_parse(line);
    struct json_object *value = NULL;
    if (json_object_is_type(answer, json_type_object) &&
        json_object_object_get_ex(answer, key, &value))
        error = 0;
    else if (json_object_is_type(answer, json_type_object) &&
             json_object_object_get_ex(answer, "error", &value))
        error =
            pf_why(why, -EINVAL, "the job refuses our mappings: %s", json_object_get_string(value));
    else
        error = pf_why(why, -EPROTO, "the job answered \"%.100s\"", line);
    json_object_put(answer);
    return error;
}

static int introduce(struct ferry_client *client, const char *where,
                     const struct ferry_mapping *mappings, unsigned count, struct pf_why *why)
{
    client->socket = connect_to(where, why);
    if (client->socket < 0)
        return client->socket;
    struct json_object *message = describe(mappings, count);
    const char *text = json_object_to_json_string_ext(message, JSON_C_TO_STRING_PLAIN);
    int error = send_with(client->socket, text, strlen(text), client->uffd.fd);
    json_object_put(message);
    if (error && error != -EPIPE)
        return pf_why(why, error, "our mappings can't be sent: %s", strerror(-error));
    /* After EPIPE the answer says what was wrong. */
    return expect(client, "ok", ANSWER_MS, why);
}

/* ---- the API --------------------------------------------------------------------------------- */

int ferry_client_open(struct ferry_client **out, const char *where,
                      const struct ferry_mapping *mappings, unsigned count, int uffd)
{
    struct pf_why why = {"no memory for a client"};
    if (!where || !mappings || count == 0) {
        pf_error("a client needs a job and mappings");
        return -EINVAL;
    }
    struct ferry_client *client = calloc(1, sizeof *client);
    int error = client ? 0 : -ENOMEM;
    if (!error) {
        client->socket = client->uffd.fd = -1;
        error = register_all(client, mappings, count, uffd, &why);
    }
    if (!error)
        error = introduce(client, where, mappings, count, &why);
    if (!error) {
        *out = client;
        return 0;
    }
    pf_error("%s", why.text);
    if (client && client->socket >= 0)
        close(client->socket);
    /* Nobody serves it: memory of which nothing was touched is plain memory again. */
    if (client && client->made)
        pf_uffd_close(&client->uffd);
    free(client);
    return error;
}

int ferry_client_wait(struct ferry_client *client, int timeout_ms)
{
    struct pf_why why = {""};
    if (client->complete)
        return 0;
    int error = expect(client, "complete", timeout_ms, &why);
    client->complete = error == 0;
    if (error && error != -ETIMEDOUT)
        pf_error("%s", why.text);
    return error;
}

void ferry_client_close(struct ferry_client *client)
{
    bool complete = ferry_client_wait(client, 0) == 0;
    close(client->socket);
    /* Before that the descriptor stays open on purpose: a page touched now has to wait for ever. */
    if (client->made && complete)
        pf_uffd_close(&client->uffd);
    free(client);
}
