/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the threads and buffers of a session's rails go, by the option `placement`. */
#ifndef PF_CORE_SESSION_PLACE_H
#define PF_CORE_SESSION_PLACE_H

#include "core/session/session.h"

/*
 * Choose for each rail, once its device is open: away from the job's threads, near its NIC. Which
 * NIC that is says the device, else the route to the rail's address, for which a host name may have
 * to be resolved: may block.
 */
int pf_session_place(struct pf_session *session);

#endif
