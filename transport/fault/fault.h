/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fault+ANY://...?at=N&do=KIND: the back end ANY, in which something goes wrong at the device's
 * operation number N. For tests that show what becomes of an error in every place there is.
 *
 * Counted, from 1, are the calls of a device: opening it, registering memory, opening a lane,
 * listen, connect, accept, and every post of a send, receive, write, read or flush. A post that
 * gets -EAGAIN does not count: it is tried again. at=0, or no at: nothing ever goes wrong.
 *
 *     do=fail     the call returns -EIO; a post's endpoint is dead then: closed(-EIO) follows
 *     do=cut      the endpoint's link is cut: the call succeeds, what was posted ends with
 *                 -ECANCELED, closed(-ECONNRESET) follows; without an endpoint, as fail
 *     do=drop     a post claims success and nothing is sent; a receive never gets anything; of a
 *                 connect or accept the peer hears nothing, and closed(-ETIMEDOUT) follows
 *     do=delay    the operation is carried out ms=MILLISECONDS later (100 if not given), and what
 * is posted on its endpoint after it follows in order; other calls sleep that long do=corrupt  one
 * bit of the data is wrong on arrival (of a connect or accept: of its private data); the sender's
 * memory is left alone
 *
 * With pins=1 the device claims that registering memory pins it: what is done then can be tried
 * where nothing is.
 *
 * Where a kind has nothing to work on (corrupting a registration) the operation is carried out.
 * The inner back end is looked up in pf_device_attr.transports.
 */
#ifndef PF_TRANSPORT_FAULT_FAULT_H
#define PF_TRANSPORT_FAULT_FAULT_H

#include "transport/transport.h"

extern const struct pf_transport pf_fault_transport;

/* Both: for devices opened by pf_fault_transport, from any thread. */
unsigned pf_fault_count(const struct pf_device *device);
bool pf_fault_fired(const struct pf_device *device);

#endif
