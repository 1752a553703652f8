/* SPDX-License-Identifier: BSD-2-Clause */
#include "rdma/verbs/hello.h"

#include <arpa/inet.h>
#include <string.h>

enum { VERSION = 1, HEADER = offsetof(struct pf_verbs_hello, data) };

int pf_verbs_hello_write(struct pf_verbs_hello *hello, uint32_t mailbox_key, const void *data,
                         size_t len)
{
    if (len > sizeof hello->data)
        return -EINVAL;
    uint32_t key = htonl(mailbox_key);
    *hello = (struct pf_verbs_hello){.magic = {'P', 'F'}, .version = VERSION};
    hello->length = (uint8_t)len;
    memcpy(hello->mailbox_key, &key, sizeof key);
    if (len > 0)
        memcpy(hello->data, data, len);
    return 0;
}

int pf_verbs_hello_read(const void *bytes, size_t size, struct pf_verbs_hello *hello)
{
    if (size < HEADER)
        return -EPROTO;
    *hello = (struct pf_verbs_hello){.magic = ""};
    memcpy(hello, bytes, size < sizeof *hello ? size : sizeof *hello);
    if (hello->magic[0] != 'P' || hello->magic[1] != 'F' || hello->version != VERSION ||
        hello->length > sizeof hello->data || hello->length > size - HEADER)
        return -EPROTO;
    return 0;
}

size_t pf_verbs_hello_size(const struct pf_verbs_hello *hello)
{
    return HEADER + hello->length;
}

uint32_t pf_verbs_hello_key(const struct pf_verbs_hello *hello)
{
    uint32_t key;
    memcpy(&key, hello->mailbox_key, sizeof key);
    return ntohl(key);
}
