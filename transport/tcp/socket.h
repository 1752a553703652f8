/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef PF_TRANSPORT_TCP_SOCKET_H
#define PF_TRANSPORT_TCP_SOCKET_H

#include <stdint.h>

#define PF_TCP_SECOND_NS UINT64_C(1000000000)

enum { PF_TCP_SILENCE_MS = 20000 }; /* after which a peer that acknowledges nothing is dead */

/* A non-blocking stream socket, or -errno. */
int pf_tcp_socket(int family);

/* What every socket of a stream gets, connected or accepted. Best effort: none is essential. */
void pf_tcp_socket_tune(int fd);

/* The same for what depends on the path, once connected. */
void pf_tcp_socket_tune_path(int fd);

/* What an errno of an established stream means in the contract's terms. */
int pf_tcp_stream_status(int error);

#endif
