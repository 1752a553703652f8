/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What travels with a connection that the provider makes, before the caller's data. Seven bytes,
 * because verbs carries 56, keeps one for itself, and the caller has 48:
 *
 *   0     magic
 *   1     version of the back end's protocol
 *   2     length of the caller's data, which follows the seven bytes
 *   3..6  longest message that the sender of this has room for, little endian
 */
#include "rdma/ofi/internal.h"

#include <string.h>

enum { MAGIC = 0xf0, VERSION = 1, HEADER = 7 };

/* Returns the bytes used of out, which has room for PF_OFI_PARAM_MAX. */
size_t pf_ofi_hello_pack(size_t recv_size, const void *data, size_t length, char *out)
{
    unsigned char header[HEADER] = {
        MAGIC,
        VERSION,
        (unsigned char)length,
        (unsigned char)recv_size,
        (unsigned char)(recv_size >> 8),
        (unsigned char)(recv_size >> 16),
        (unsigned char)(recv_size >> 24),
    };
    memcpy(out, header, HEADER);
    if (length)
        memcpy(out + HEADER, data, length);
    return HEADER + length;
}

/* -EPROTO: not one of ours. Verbs may deliver more bytes than were sent. */
int pf_ofi_hello_unpack(const char *in, size_t length, struct pf_ofi_card *card)
{
    unsigned char header[HEADER];
    if (length < HEADER)
        return -EPROTO;
    memcpy(header, in, HEADER);
    if (header[0] != MAGIC || header[1] != VERSION || header[2] > PF_PRIVATE_DATA_MAX ||
        header[2] > length - HEADER)
        return -EPROTO;
    card->recv_size = (uint32_t)header[3] | (uint32_t)header[4] << 8 | (uint32_t)header[5] << 16 |
                      (uint32_t)header[6] << 24;
    card->data_length = header[2];
    memcpy(card->data, in + HEADER, header[2]);
    return 0;
}
