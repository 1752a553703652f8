/* SPDX-License-Identifier: BSD-2-Clause */
#include "pageferry.h"

#include <errno.h>
#include <string.h>

/* What errno's general words mean here, where that says more than the C library's text. */
const char *ferry_strerror(int error)
{
    switch (-error) {
    case 0:
        return "success";
    case EACCES:
        return "the peer refused access to its memory";
    case EBUSY:
        return "busy with a migration";
    case ECANCELED:
        return "cancelled";
    case ECONNREFUSED:
        return "nobody listens there, or the connection was refused";
    case ECONNRESET:
        return "the peer went away";
    case ENOBUFS:
        return "the peer had no receive posted";
    case EPROTO:
        return "the peer broke the protocol";
    case EPROTONOSUPPORT:
        return "no such transport or protocol version";
    case ESRCH:
        return "the process is gone, or nothing of the kind is under way";
    case ETIMEDOUT:
        return "no answer in time";
    default:
        return strerrordesc_np(error < 0 ? -error : error)
                   ? strerrordesc_np(error < 0 ? -error : error)
                   : "unknown error";
    }
}
