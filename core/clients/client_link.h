/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client's connection: who is at the other end, its one message with the descriptor beside it,
 * and our answers. Nothing here blocks; a client that is slow or silent costs a descriptor.
 */
#ifndef PF_CORE_CLIENTS_CLIENT_LINK_H
#define PF_CORE_CLIENTS_CLIENT_LINK_H

#include "base/why.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <sys/types.h>

struct pf_client_link {
    int socket; /* -1: closed */
    int pidfd;  /* readable when the process has ended; -1: the kernel has none for it */
    pid_t pid;
    struct json_tokener *tokener;
    size_t bytes;   /* of the message so far */
    int descriptor; /* that came with it; -1: none yet */
};

/* Listen at a path, mode 0600; replaces a socket that is there. A descriptor or -errno. */
int pf_client_listen(const char *path, struct pf_why *why);

/*
 * Take a connection of a listening socket. -EAGAIN there is none; -EPERM it is neither root's
 * nor of our own user; other -errno. On failure nothing is kept.
 */
int pf_client_link_accept(struct pf_client_link *link, int listener, struct pf_why *why);
void pf_client_link_close(struct pf_client_link *link);

/*
 * Read what there is of the message. 1: it is whole, *json is the caller's; 0: more is to come;
 * -errno and a sentence: there won't be a message.
 */
int pf_client_link_read(struct pf_client_link *link, struct json_object **json, struct pf_why *why);

/* Say one line. -errno if it can't be taken at once. */
int pf_client_link_say(struct pf_client_link *link, struct json_object *json);

#endif
